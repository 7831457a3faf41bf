package iscsi

import (
	"slices"
	"time"

	"pollux/reactor"
)

// opening is a login's request for a session. It is embedded in the login's connection; while it is on its way it belongs to whoever
// has the message.
type opening struct {
	key    sessionKey
	tsih   uint16 // as the initiator sent it: 0 asks for a new session
	cid    uint16
	target *Target
	params Params
	from   *local

	status  LoginStatus // the answer
	session *session    // with LoginSuccess

	ask      reactor.Message // to home
	answer   reactor.Message // back
	patience reactor.Timer   // of home, while the login waits for a session
}

// home is the table of all sessions of a server. It belongs to the server's home reactor. Everything that must be true of sessions
// together is decided here, by one owner: numbers, reinstatement, limits.
type home struct {
	server   *Server
	r        *reactor.Reactor
	sessions map[sessionKey]*session
	tsihs    map[uint16]*session
	all      []*session // in the order in which they were granted
	failed   []*session // of them, in the order in which their connections were lost
	nextTSIH uint16
	perLocal []int // sessions per reactor
	stopping bool
	waiters  []*waiter
}

// waiter is a control-plane call that waits until no session of a target is left (nil: no session at all), or until its time is over.
type waiter struct {
	node  *node
	done  func()
	timer reactor.Timer
}

func newHome(s *Server, r *reactor.Reactor) *home {
	return &home{
		server: s, r: r, nextTSIH: 1,
		sessions: map[sessionKey]*session{}, tsihs: map[uint16]*session{},
		perLocal: make([]int, len(s.locals)),
	}
}

// local is the server's part on the home reactor.
func (h *home) local() *local { return h.server.locals[h.r.ID()] }

// ask decides about a login. A login of a session that exists reinstates it (RFC 7143 6.3.5): the old one ends, and only when
// nothing of it is left does the login go on. Of several that wait for the same session the last one wins.
func (h *home) ask(o *opening) {
	if o.tsih != 0 {
		h.join(o)
		return
	}
	old := h.sessions[o.key]
	switch {
	case h.stopping || o.target != nil && o.target.node.gone.Load():
		h.refuse(o, LoginServiceUnavailable)
	case old != nil:
		if old.heir != nil {
			h.refuse(old.heir, LoginServiceUnavailable)
		}
		h.endSession(old)
		if Mutated(MutateReinstateEarly) {
			delete(h.sessions, old.key)
			h.grant(o)
			return
		}
		old.heir = o
		h.await(o, old)
	default:
		h.grant(o)
	}
}

func (h *home) refuse(o *opening, status LoginStatus) { h.answer(o, status) }

// answer sends the login on its way; it belongs to its connection again.
func (h *home) answer(o *opening, status LoginStatus) {
	o.patience.Stop()
	o.status = status
	o.from.r.Send(&o.answer)
}

// grant makes the session and enters it into the table.
func (h *home) grant(o *opening) {
	where := h.place(o.from)
	if len(h.all) >= int(h.server.view.Load().options.MaxSessions) || h.perLocal[where.r.ID()] >= ConnectionsMax {
		if !h.displace(o) {
			h.refuse(o, LoginOutOfResources)
		}
		return
	}
	s := &session{
		key: o.key, target: o.target, params: o.params, tsih: h.newTSIH(), local: where,
		retain: time.Duration(o.params.DefaultTime2Retain) * time.Second,
	}
	s.end.Bind(s.endHere)
	s.cut.Bind(s.dropHere)
	s.lost.Bind(func() { h.sessionLost(s) })
	s.rested.Bind(func() { h.sessionRested(s) })
	s.closed.Bind(func() { h.closed(s) })
	s.kept.cid = o.cid
	s.kept.timer.Bind(h.r, func() { h.retained(s) })
	h.sessions[s.key], h.tsihs[s.tsih] = s, s
	h.all = append(h.all, s)
	h.perLocal[s.local.r.ID()]++
	o.session = s
	h.answer(o, LoginSuccess)
}

// newTSIH is a number that no session has; 0 is reserved.
func (h *home) newTSIH() uint16 {
	for h.nextTSIH == 0 || h.tsihs[h.nextTSIH] != nil {
		h.nextTSIH++
	}
	h.nextTSIH++
	return h.nextTSIH - 1
}

// place picks the reactor with the fewest sessions; between equals the one where the connection already is.
func (h *home) place(from *local) *local {
	best := from
	for _, l := range h.server.locals {
		if h.perLocal[l.r.ID()] < h.perLocal[best.r.ID()] {
			best = l
		}
	}
	return best
}

// endSession tells a session to end, once.
func (h *home) endSession(s *session) {
	if s.ending {
		return
	}
	s.ending = true
	s.kept.timer.Stop()
	h.failed = without(h.failed, s)
	s.local.r.Send(&s.end)
}

// closed strikes out a session of which nothing is left, and lets those in who wait for that.
func (h *home) closed(s *session) {
	if h.sessions[s.key] == s {
		delete(h.sessions, s.key)
	}
	delete(h.tsihs, s.tsih)
	h.all = without(h.all, s)
	h.perLocal[s.local.r.ID()]--
	if o := s.kept.next; o != nil {
		s.kept.next = nil
		h.refuse(o, LoginSessionDoesNotExist)
	}
	waiting := s.guests
	if s.heir != nil {
		waiting = append(waiting, s.heir)
	}
	s.heir, s.guests = nil, nil
	for _, o := range waiting {
		o.patience.Stop()
		h.ask(o)
	}
	h.wakeWaiters()
}

// endAll ends the sessions of a target, or all of them.
func (h *home) endAll(n *node) {
	for _, s := range h.all {
		if n == nil || s.target != nil && s.target.node == n {
			h.endSession(s)
		}
	}
}

// wait calls done when no session of n (nil: no session) is left, or after so long.
func (h *home) wait(n *node, atMost time.Duration, done func()) {
	w := &waiter{node: n, done: done}
	w.timer.Bind(h.r, func() {
		h.waiters = without(h.waiters, w)
		w.done()
	})
	w.timer.Start(atMost)
	h.waiters = append(h.waiters, w)
	h.wakeWaiters()
}

func (h *home) wakeWaiters() {
	for _, w := range slices.Clone(h.waiters) {
		if h.count(w.node) == 0 {
			w.timer.Stop()
			h.waiters = without(h.waiters, w)
			w.done()
		}
	}
}

// count is how many sessions of n (nil: sessions at all) there are.
func (h *home) count(n *node) (sessions int) {
	for _, s := range h.all {
		if n == nil || s.target != nil && s.target.node == n {
			sessions++
		}
	}
	return sessions
}
