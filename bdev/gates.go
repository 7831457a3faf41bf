package bdev

// isHeld answers what is in the way of q: it is held back, or refused, or nothing is. Rare: only while a range lock, a reset or
// the removal of the device is going on.
func (l *lane) isHeld(q *Request) bool {
	switch {
	case q.Op == OpAbort, q.Op == OpReset:
		return false
	case l.removed:
		l.endLater(q, StatusRemoved)
		return true
	case l.isBlocked(q):
		q.state = stateHeld
		l.held.push(q)
		return true
	}
	return l.isThrottled(q)
}

// isBlocked reports whether a reset or a range lock excludes q.
func (l *lane) isBlocked(q *Request) bool {
	if l.resetting > 0 && q.Lock == nil { // Who holds a lock must come to its end, since others in flight may wait for it.
		return true
	}
	for _, e := range l.locks {
		if e.waitsFor(q) {
			return true
		}
	}
	return false
}

// releaseHeld starts what nothing is in the way of any more, in the order in which it came.
func (l *lane) releaseHeld() {
	for n := l.held.n; n > 0 && l.held.n > 0; n-- {
		q := l.held.pop()
		if l.gates == 0 || !l.isHeld(q) {
			l.run(q)
		}
	}
}

// endHeld ends everything held back.
func (l *lane) endHeld(status Status) {
	for _, held := range [...]*list{&l.held, &l.throttled} {
		for q := held.pop(); q != nil; q = held.pop() {
			l.endLater(q, status)
		}
	}
}

// abort asks for an early end of another request, and waits for it.
func (l *lane) abort(q *Request) {
	t := q.Target
	q.state = stateRunning
	l.hasten(t, StatusAborted)
	if t.state == stateModule && l.dev.native[OpAbort] {
		q.pending = true
		l.submit(q)
		return
	}
	if !l.awaitsTarget(q) {
		l.endLater(q, StatusOK)
	}
}

// hasten ends t if the module does not have it, and a composite as soon as the module has ended its parts.
func (l *lane) hasten(t *Request, status Status) {
	switch t.state {
	case stateHeld:
		l.held.remove(t)
		l.endLater(t, status)
	case stateThrottled:
		l.throttled.remove(t)
		l.endLater(t, status)
	case stateParked:
		l.parked.remove(t)
		l.endLater(t, status)
	case stateStarved:
		l.starved.remove(t)
		l.endLater(t, status)
	case stateLocking:
		t.whole.aborted = true
	case stateRunning:
		if t.whole != nil {
			t.whole.hasten(status)
		}
	case stateIdle, stateModule, stateEnded:
	}
}

// hasten makes no further parts, and ends those that the module does not have.
func (c *composite) hasten(status Status) {
	c.aborted = true
	for i := range c.parts {
		if p := &c.parts[i]; p.busy && p.state == stateStarved {
			c.lane.hasten(&p.Request, status)
		}
	}
}

// awaitsTarget puts q behind its target, if that has not ended.
func (l *lane) awaitsTarget(q *Request) bool {
	t := q.Target
	if t.state == stateIdle || Mutated(MutateAbortForgets) {
		return false
	}
	q.state = stateRunning
	q.links[wait].next, t.waiters = t.waiters, q
	return true
}

// reset ends everything in flight on the lane; what comes after it waits.
func (l *lane) reset(q *Request) {
	q.state = stateRunning
	l.gates++
	l.resetting++
	l.endHeld(StatusAborted)
	for t := l.lockers.head; t != nil; t = t.links[wait].next {
		t.whole.aborted = true
	}
	for t := l.flight.head; t != nil; t = t.links[flight].next {
		l.hasten(t, StatusAborted)
	}
	if l.dev.native[OpReset] {
		q.pending = true
		l.submit(q)
		return
	}
	l.awaitQuiet(q)
}

// awaitQuiet has q end when nothing is in flight any more.
func (l *lane) awaitQuiet(q *Request) {
	q.state = stateRunning
	l.resets.push(q)
	l.checkResets()
}

// checkResets ends the resets if nothing is in flight, and starts what came after them.
func (l *lane) checkResets() {
	if l.resets.n == 0 || (l.flight.n > 0 || l.lockers.n > 0) && !Mutated(MutateResetForgets) {
		return
	}
	for q := l.resets.pop(); q != nil; q = l.resets.pop() {
		l.gates--
		l.resetting--
		l.endLater(q, q.Status)
	}
	l.releaseHeld()
}

// settle goes on with a reset or an abort that the module has ended.
func (l *lane) settle(q *Request) {
	q.pending = false
	switch {
	case q.Op == OpReset:
		l.awaitQuiet(q)
	case !l.awaitsTarget(q):
		l.end(q)
	}
}
