package iscsitest

import (
	"errors"
	"fmt"
	"io"
	"syscall"

	"pollux/iscsi"
)

// Answer is what a target does about a misbehaviour.
type Answer struct {
	kind   answerKind
	reason iscsi.RejectReason
	login  iscsi.LoginStatus
	status uint8
	key    uint8
}

type answerKind uint8

const (
	wantClosed  answerKind = iota // the connection ends, perhaps after a Reject
	wantReject                    // a Reject; the session goes on
	wantLogin                     // a Login Response with that status, then the end
	wantStatus                    // a SCSI Response; the session goes on
	wantSilence                   // nothing; the session goes on
	wantOther                     // any one answer; the session goes on
)

func rejected(r iscsi.RejectReason) Answer { return Answer{kind: wantReject, reason: r} }
func refused(s iscsi.LoginStatus) Answer   { return Answer{kind: wantLogin, login: s} }
func checkCondition(key uint8) Answer      { return Answer{kind: wantStatus, status: 2, key: key} }

var (
	closed   = Answer{kind: wantClosed}
	silence  = Answer{kind: wantSilence}
	answered = Answer{kind: wantOther}
)

// Sense keys of SPC-5.
const (
	keyIllegalRequest = 5
	keyAborted        = 0xb
)

// Case is one misbehaviour. Without LoggedIn the peer has only connected.
type Case struct {
	Name     string
	LoggedIn bool
	Offer    func(*iscsi.Params)
	Play     func(*Peer, *Stage) error
	Want     Answer
	// Allowed by the protocol, which has an answer for it: a target need not count it.
	Allowed bool
}

// Stage is what a case may need to know.
type Stage struct {
	Options Options
	LUN     uint64 // eight bytes, big-endian; of a disk whose first MiB may be overwritten
	Block   int    // its logical block length
}

// Run plays the case and checks the answer.
func (c *Case) Run(s *Stage) error {
	o := s.Options
	o.Edit = c.Offer
	p, err := c.begin(o, s.LUN)
	if err != nil {
		return fmt.Errorf("begin: %w", err)
	}
	defer p.Close()
	if err := c.Play(p, s); err != nil && !isGone(err) {
		return fmt.Errorf("play: %w", err)
	}
	if err := c.Want.check(p); err != nil {
		return fmt.Errorf("answer: %w", err)
	}
	if c.LoggedIn && c.Want.kind != wantClosed {
		return p.Ping()
	}
	return nil
}

func (c *Case) begin(o Options, lun uint64) (*Peer, error) {
	if !c.LoggedIn {
		return Connect(o)
	}
	return LogInReady(o, lun)
}

// LogInReady logs in and lets the LUN tell its unit attentions.
func LogInReady(o Options, lun uint64) (*Peer, error) {
	p, err := LogIn(o)
	if err != nil {
		return nil, err
	}
	if err := p.ready(lun); err != nil {
		p.Close()
		return nil, err
	}
	return p, nil
}

// readyTries is how many unit attentions a LUN may tell before it is ready.
const readyTries = 8

func (p *Peer) ready(lun uint64) error {
	for range readyTries {
		if err := p.Send(p.Command(lun, make([]byte, 6), 0, false)); err != nil {
			return err
		}
		rsp, err := p.Receive()
		if err != nil {
			return err
		}
		if rsp.Opcode() == iscsi.OpSCSIResponse && rsp.Status() == 0 {
			return nil
		}
	}
	return errors.New("the LUN does not become ready")
}

// isGone reports whether an error says that the target has ended the connection.
func isGone(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}

// check reads the answer.
func (a Answer) check(p *Peer) error {
	switch a.kind {
	case wantClosed:
		return a.checkClosed(p)
	case wantSilence:
		return nil // the ping that follows must come back first
	default:
	}
	pdu, err := p.Receive()
	if err != nil {
		return err
	}
	wrong := fmt.Errorf("got\n%s", Print(pdu))
	switch a.kind {
	case wantReject:
		if pdu.Opcode() == iscsi.OpReject && pdu.Reason() == a.reason && len(pdu.Data) >= iscsi.BHSLength {
			return nil
		}
	case wantLogin:
		if pdu.Opcode() == iscsi.OpLoginResponse && pdu.LoginStatus() == a.login {
			return p.Gone()
		}
	case wantStatus:
		if pdu.Opcode() == iscsi.OpSCSIResponse && pdu.Status() == a.status && len(pdu.Data) > 4 && pdu.Data[4]&0xf == a.key {
			return nil
		}
	case wantOther:
		return nil
	default:
	}
	return wrong
}

// checkClosed allows one Reject or Login Response to say why.
func (a Answer) checkClosed(p *Peer) error {
	pdu, err := p.Receive()
	switch {
	case err != nil && isGone(err):
		return nil
	case err != nil:
		return err
	case pdu.Opcode() != iscsi.OpReject && pdu.Opcode() != iscsi.OpLoginResponse:
		return fmt.Errorf("still there, and says\n%s", Print(pdu))
	}
	return p.Gone()
}
