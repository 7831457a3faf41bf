package iscsi

import (
	"net/netip"
	"slices"
	"sync/atomic"
	"time"

	"pollux/reactor"
	"pollux/reactor/iobuf"
)

// local is a server's part on one reactor: its connections, their tasks, counters. Everything in it belongs to that reactor.
type local struct {
	server *Server
	r      *reactor.Reactor
	pool   *iobuf.Pool

	logins  []*loginConn
	conns   []*conn
	pending int                // logins that are not ending
	closing bool               // no connection is accepted any more
	sources map[netip.Addr]int // scratch memory of countSources

	tasks    taskPool
	controls *control // free list
	mem      memory
	feed     reactor.Message
	retry    reactor.Timer

	counters [counterCount]atomic.Uint64 // written by this reactor, read by the control plane
	faults   [FaultCount]atomic.Uint64   // written by this reactor, read by the control plane
	stuck    stuck
	exited   uint64 // full-feature connections that have ended

	idle []func() // called when no connection is left
}

func newLocal(s *Server, r *reactor.Reactor) *local {
	l := &local{server: s, r: r, sources: map[netip.Addr]int{}}
	l.feed.Bind(l.feedStarved)
	return l
}

// start takes what only the reactor itself may take (on r).
func (l *local) start() {
	l.pool = l.r.Buffers()
	l.shareOut()
	l.retry.Bind(l.r, l.feedStarved)
}

// counter is what a reactor counts, beside faults of PDUs.
type counter uint8

const (
	countAccepted counter = iota
	countAcceptRefused
	countAcceptErrors
	countLoginTimeout
	countLoginRefused
	countRedirected
	countSessions
	countFailed
	countContinued
	countExpired
	countDisplaced
	countWaitTimeout
	countIgnoredCmdSN
	countCmdSNGap
	countBehindEnd
	countStrayDataOut
	countDataOutOrder
	countTooManyImmediate
	countControlOverflow
	countStarved
	countTaskSetFull
	countNOPTimeout
	countDataOutTimeout
	countSendTimeout
	countRejects
	countAborted
	countTooManyManagement
	countManagementTimeout
	countQuarantined
	counterCount
)

// counterNames are the members of iscsi_get_counters.
var counterNames = [counterCount]string{
	countAccepted:          "connections_accepted",
	countAcceptRefused:     "connections_refused",
	countAcceptErrors:      "accept_errors",
	countLoginTimeout:      "login_timeouts",
	countLoginRefused:      "logins_refused",
	countRedirected:        "logins_redirected",
	countSessions:          "sessions_opened",
	countFailed:            "sessions_failed",
	countContinued:         "sessions_continued",
	countExpired:           "sessions_expired",
	countDisplaced:         "sessions_displaced",
	countWaitTimeout:       "login_waits_given_up",
	countIgnoredCmdSN:      "commands_outside_window",
	countCmdSNGap:          "command_gaps",
	countBehindEnd:         "requests_behind_the_end",
	countStrayDataOut:      "stray_data_out",
	countDataOutOrder:      "data_out_out_of_order",
	countTooManyImmediate:  "too_many_immediate",
	countControlOverflow:   "unread_answers",
	countStarved:           "waits_for_memory",
	countTaskSetFull:       "task_set_full",
	countNOPTimeout:        "nop_timeouts",
	countDataOutTimeout:    "data_out_timeouts",
	countSendTimeout:       "send_timeouts",
	countRejects:           "rejects_sent",
	countAborted:           "tasks_aborted",
	countTooManyManagement: "too_many_management",
	countManagementTimeout: "management_timeouts",
	countQuarantined:       "tasks_quarantined",
}

func (l *local) count(c counter) { l.counters[c].Add(1) }

func (l *local) fault(f Fault) { l.faults[f].Add(1) }

// without returns list without v.
func without[T comparable](list []T, v T) []T {
	return slices.DeleteFunc(list, func(x T) bool { return x == v })
}

// settle calls those who wait until the last connection has gone.
func (l *local) settle() {
	if len(l.logins)+len(l.conns) > 0 {
		return
	}
	for _, done := range l.idle {
		done()
	}
	l.idle = nil
}

// whenIdle calls done when no connection is left (on r).
func (l *local) whenIdle(done func()) {
	l.idle = append(l.idle, done)
	l.settle()
}

// shut refuses new connections and ends those that have not logged in (on r).
func (l *local) shut() {
	l.closing = true
	for _, c := range slices.Clone(l.logins) {
		c.end()
	}
}

// askLogout asks initiators to log out: those of a target (nil: all) whose portal group has the tag (0: any). What has not ended
// after grace is ended (on r).
func (l *local) askLogout(n *node, tag int32, grace time.Duration) {
	for _, c := range slices.Clone(l.conns) {
		s := c.session
		if n != nil && (s.target == nil || s.target.node != n) || tag != 0 && s.key.portalGroup != tag {
			continue
		}
		c.askLogout(grace)
	}
}
