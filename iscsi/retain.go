package iscsi

import (
	"time"

	"pollux/reactor"
)

// A session whose connection is lost is kept for DefaultTime2Retain seconds (RFC 7143 8.3: FAILED), unless it was logged out or the target
// itself ended it. Without recovery above ErrorRecoveryLevel 0 its tasks are aborted; its nexus stays, with unit attentions and what
// is reserved for it, and so do its numbers. Within that time a login with its ISID and TSIH continues it, one with TSIH 0
// reinstates it, and afterwards it ends as if it had been closed: the nexus is lost.
//
//	session's reactor                           home
//	conn.end: lose            -- lost -->       FAILED, the timer runs
//	settle: nothing is left   -- rested -->     a login may continue it: resume, and with its descriptor openHere
//	endHere                   <-- end --        the time is over, or a login needs the place
//	dropHere                  <-- cut --        a login with the same CID replaces a connection that the target believes in

// retention is what home knows of a session's connection.
type retention struct {
	cid     uint16
	failed  bool          // the connection is lost
	rested  bool          // and nothing of it is left
	cutting bool          // its reactor has been told to drop the connection
	expired bool          // the time is over, but a login waits to continue the session
	until   int64         // when the time is over
	next    *opening      // the login that continues the session when it has come to rest
	timer   reactor.Timer // of DefaultTime2Retain
}

// keeps reports whether the session is to outlive the connection, which is ending.
func (c *conn) keeps() bool {
	s := c.session
	return c.state == connRunning && !c.ping.leaving && s.nexus != nil && !s.doomed && !c.local.closing && (s.retain > 0 || c.replaced)
}

// lose ends the tasks of a session that is kept.
func (c *conn) lose() {
	s := c.session
	c.local.count(countFailed)
	c.local.server.home.r.Send(&s.lost)
	s.nexus.EndTasks(func() {
		c.tasksEnded = true
		c.settle()
	})
}

// forsake closes the nexus of a connection that is ending, because its session is not to be kept after all.
func (c *conn) forsake() {
	c.keeping = false
	c.closeNexus()
	c.settle()
}

// dropHere is home's order to drop the connection in favour of one that a login brings (on the session's reactor).
func (s *session) dropHere() {
	switch c := s.conn; {
	case c != nil:
		c.replaced = true
		c.end()
	case !s.opened:
		s.dropFirst = true
	default: // It is lost already, and home is being told.
	}
}

// notOpened says that the connection which home has granted did not come (on the session's reactor).
func (s *session) notOpened() {
	switch home := s.local.server.home; {
	case !s.opened:
		s.gone()
	case s.doomed: // endHere closes the nexus.
	default:
		home.r.Send(&s.lost)
		home.r.Send(&s.rested)
	}
}

// join decides about a login to a session that exists. It may bring the connection that a failed session lacks, or replace the connection
// that it names (RFC 7143 6.3.4); a second one is refused.
func (h *home) join(o *opening) {
	s := h.tsihs[o.tsih]
	switch {
	case s == nil || s.key != o.key || s.ending:
		h.refuse(o, LoginSessionDoesNotExist)
		return
	case h.stopping:
		h.refuse(o, LoginServiceUnavailable)
		return
	case !s.kept.failed && o.cid != s.kept.cid:
		h.refuse(o, LoginTooManyConnections)
		return
	}
	k := &s.kept
	if k.next != nil {
		h.refuse(k.next, LoginServiceUnavailable)
	}
	k.next = o
	h.await(o, s)
	if !k.failed && !k.cutting {
		k.cutting = true
		s.local.r.Send(&s.cut)
	}
	h.resume(s)
}

// sessionLost begins the time for which the session is kept.
func (h *home) sessionLost(s *session) {
	k := &s.kept
	k.failed, k.cutting = true, false
	if s.ending {
		return
	}
	if h.stopping {
		h.endSession(s)
		return
	}
	h.failed = append(h.failed, s)
	k.until = h.r.Now() + int64(s.retain)
	k.timer.Start(s.retain)
}

// sessionRested lets a login continue the session.
func (h *home) sessionRested(s *session) {
	s.kept.rested = true
	h.resume(s)
}

// resume gives a session that has come to rest to the login that waits to continue it.
func (h *home) resume(s *session) {
	k := &s.kept
	o := k.next
	if o == nil || !k.rested || s.ending {
		return
	}
	k.timer.Stop()
	h.failed = without(h.failed, s)
	k.cid, k.next, k.failed, k.rested, k.expired = o.cid, nil, false, false, false
	o.session = s
	h.answer(o, LoginSuccess)
}

// retained is the end of the time. A login that has come within it, and waits for the last tasks, may still continue the session.
func (h *home) retained(s *session) {
	if s.kept.next != nil {
		s.kept.expired = true
		return
	}
	h.local().count(countExpired)
	h.endSession(s)
}

// displace ends the session that was lost first and has come to rest, in favour of a login for which there is no place.
func (h *home) displace(o *opening) bool {
	for _, s := range h.failed {
		if s.kept.rested && s.kept.next == nil {
			h.local().count(countDisplaced)
			h.endSession(s)
			s.guests = append(s.guests, o)
			h.await(o, s)
			return true
		}
	}
	return false
}

// endFailed ends all sessions that are kept.
func (h *home) endFailed() {
	for len(h.failed) > 0 {
		h.endSession(h.failed[0])
	}
}

// await bounds how long a login waits for a session.
func (h *home) await(o *opening, s *session) {
	o.patience.Bind(h.r, func() { h.giveUp(o, s) })
	o.patience.Start(SessionWait)
}

// giveUp ends a login's wait for a session: a device keeps one of its tasks.
func (h *home) giveUp(o *opening, s *session) {
	h.local().count(countWaitTimeout)
	if s.heir == o {
		s.heir = nil
	}
	s.guests = without(s.guests, o)
	if s.kept.next == o {
		s.kept.next = nil
		if s.kept.expired {
			h.retained(s)
		}
	}
	h.refuse(o, LoginServiceUnavailable)
}

// remaining is how long a failed session is still kept.
func (k *retention) remaining(now int64) time.Duration { return time.Duration(max(0, k.until-now)) }
