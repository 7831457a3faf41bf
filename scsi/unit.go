package scsi

// unit is a LUN as one nexus sees it: its tasks and its unit attentions. It belongs to the nexus's reactor.
type unit struct {
	nexus *Nexus
	path  *path // nil for the well-known unit and for LUNs that do not exist
	lun   *LUN

	first, last *Task // in order of arrival
	ordered     int   // ordered tasks among them
	waiting     int   // tasks held back
	holds       int   // 1 while another nexus's ordered task has its turn
	drains      []*drain

	attentions attentions
	view       *state  // the snapshot from which denied was worked out
	denied     classes // classes of commands that reservations forbid this nexus
}

func newUnit(n *Nexus, p *path) *unit {
	u := &unit{nexus: n, path: p}
	if p != nil {
		u.lun = p.lun
	}
	return u
}

// state is the LUN's snapshot; it also brings what the unit has derived from it up to date.
func (u *unit) state() *state {
	s := u.lun.state.Load()
	if s != u.view {
		u.view = s
		u.denied = s.reservations.denied(u.nexus.key)
	}
	return s
}

// descriptorSense reports the D_SENSE bit.
func (u *unit) descriptorSense() bool {
	return u != nil && u.lun != nil && u.lun.state.Load().mode.descriptorSense
}

func (u *unit) isIdle() bool { return u.first == nil }

func (u *unit) append(t *Task) {
	t.next, t.prev = nil, u.last
	if u.last == nil {
		u.first = t
	} else {
		u.last.next = t
	}
	u.last = t
	if t.Attribute == AttributeOrdered {
		u.ordered++
	}
}

func (u *unit) remove(t *Task) {
	if t.prev == nil {
		u.first = t.next
	} else {
		t.prev.next = t.next
	}
	if t.next == nil {
		u.last = t.prev
	} else {
		t.next.prev = t.prev
	}
	t.next, t.prev = nil, nil
	if t.Attribute == AttributeOrdered {
		u.ordered--
	}
}

// mayStart applies the task attributes (SAM-5 8.6): an ordered task waits for all older ones, a simple task for older ordered
// ones, a head of queue task for none. The order is that of arrival, so tasks whose data-out is being gathered count. Of other nexuses'
// ordered tasks only the one that has its turn counts.
func (u *unit) mayStart(t *Task) bool {
	switch {
	case u.ordered|u.holds == 0 || t.Attribute == AttributeHeadOfQueue:
		return true
	case t.turn != nil:
		return false // It begins when its turn does.
	case u.holds > 0 && t.Attribute != AttributeOrdered:
		return false
	}
	for o := t.prev; o != nil; o = o.prev {
		if t.Attribute == AttributeOrdered && o.Attribute != AttributeHeadOfQueue || o.Attribute == AttributeOrdered {
			return false
		}
	}
	return true
}

// settle goes on with what the end of a task may allow: tasks that an ordered one held back, and drains.
func (u *unit) settle() {
	if u.waiting > 0 {
		u.startWaiting()
	}
	if len(u.drains) > 0 {
		u.checkDrains()
	}
}

// startWaiting starts the held-back tasks that may go now. None finishes within.
func (u *unit) startWaiting() {
	for t := u.first; t != nil; t = t.next {
		if t.phase == phaseWaiting && u.mayStart(t) {
			u.waiting--
			t.proceed()
		}
	}
}

// drain waits for the end of tasks that are under way on a unit.
type drain struct {
	last  uint64           // the youngest task it is about, by sequence
	about func(*Task) bool // nil: all
	done  func()
}

// waitsFor reports whether t must end before d is done. Prepared tasks do not count: if they are aborted, Execute ends them.
func (d *drain) waitsFor(t *Task) bool {
	return t.sequence <= d.last && t.phase != phasePrepared && (d.about == nil || d.about(t))
}

func (d *drain) isDone(u *unit) bool {
	for t := u.first; t != nil; t = t.next {
		if d.waitsFor(t) {
			return false
		}
	}
	return true
}

// drain calls done, now or later, when no task that exists now and that about picks is under way.
func (u *unit) drain(about func(*Task) bool, done func()) {
	d := &drain{last: u.nexus.sequence, about: about, done: done}
	if d.isDone(u) {
		done()
		return
	}
	u.drains = append(u.drains, d)
}

// checkDrains ends the drains that have nothing left to wait for.
func (u *unit) checkDrains() {
	for i := 0; i < len(u.drains); {
		d := u.drains[i]
		if !d.isDone(u) {
			i++
			continue
		}
		u.drains = append(u.drains[:i], u.drains[i+1:]...)
		d.done()
		i = 0 // done may have changed the list.
	}
}

// endAll aborts everything, prepared tasks too, and calls done when it has ended.
func (u *unit) endAll(done func()) {
	for t := u.first; t != nil; t = t.next {
		if t.phase == phasePrepared {
			t.phase = phaseRunning
			t.aborted = abortSilent
			t.endLater()
			continue
		}
		t.abort(abortSilent)
	}
	u.endDrained(nil, done)
}
