package iscsi

import (
	"time"

	"pollux/reactor"
	"pollux/scsi"
)

// sessionKey is what makes a session the same one again (RFC 7143 6.3.5): the initiator's port, the target and the portal group.
// A discovery session has no target name.
type sessionKey struct {
	initiator   string
	isid        ISID
	target      string
	portalGroup int32
}

// session is one session with its one connection, or for a while with none (retain.go). It is made on the home reactor, which owns the
// table of sessions, and from then on belongs to its own reactor. What both may touch are the messages and the fields that never change.
type session struct {
	key    sessionKey
	tsih   uint16
	target *Target // nil for discovery
	local  *local  // the reactor where it lives
	retain time.Duration

	// Of the home reactor.
	ending bool       // told to end
	heir   *opening   // the login that reinstates it
	guests []*opening // logins that wait for the place that it leaves
	kept   retention

	// Of the session's own reactor.
	params    Params
	conn      *conn
	nexus     *scsi.Nexus
	opened    bool // it has had a connection
	doomed    bool // told to end
	dropFirst bool // told to drop its connection before it had one
	expCmdSN  uint32
	maxCmdSN  uint32
	window    uint32 // commands that the initiator may have unfinished
	inUse     uint32 // commands that hold a place in the window
	immediate uint32 // unfinished immediate commands

	open   reactor.Message // to its own reactor: the login has ended, here is the descriptor
	end    reactor.Message // to its own reactor, from home: end
	cut    reactor.Message // to its own reactor, from home: a login replaces the connection
	lost   reactor.Message // to home: the connection is lost, the session is kept
	rested reactor.Message // to home: of the lost connection nothing is left
	closed reactor.Message // to home: nothing is left
}

// openWindow moves MaxCmdSN up to what there is room for, and returns it. It never goes back (RFC 7143 4.2.2.1).
func (s *session) openWindow() uint32 {
	if s.inUse < s.window {
		s.maxCmdSN = SerialMax(s.maxCmdSN, s.expCmdSN+(s.window-s.inUse)-1)
	}
	return s.maxCmdSN
}

// admission is what CmdSN says about a request.
type admission uint8

const (
	admitted admission = iota
	ignored            // outside the window or a duplicate: RFC 7143 4.2.2.1 has it dropped without a word
	gap                // an earlier command is missing
)

// admit takes the CmdSN of a request. On one connection commands come in order, and without error recovery what is missing never
// comes: a gap ends the connection.
func (s *session) admit(h *BHS) admission {
	if h.Immediate() {
		return admitted
	}
	switch n := h.CmdSN(); {
	case n == s.expCmdSN && SerialIn(n, s.expCmdSN, s.maxCmdSN):
		s.expCmdSN++
		return admitted
	case SerialIn(n, s.expCmdSN, s.maxCmdSN):
		return gap
	default:
		return ignored
	}
}
