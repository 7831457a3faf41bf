package engine

// lockClass says what kind of work holds or wants a range.
type lockClass uint8

const (
	lockWrite lockClass = iota // a write of our front end
	lockPeer                   // a write that arrived by a link; the sender has ordered these among themselves
	lockCopy                   // resync, verify and rebuild: the range must stand still
)

func (c lockClass) conflicts(d lockClass) bool { return c != lockPeer || d != lockPeer }

// span is a range held or wanted.
type span struct {
	start, end uint64
	class      lockClass
	op         *op
}

func (s *span) overlaps(t *span) bool { return s.start < t.end && t.start < s.end }

// intervalLock keeps overlapping work apart, in the order of arrival. Holders are few (the queue depth),
// so both lists are scanned.
//
// Writes that hold their ranges and cannot go out may wait for what a copy is about to bring: the second copy that they need is on a
// node that is still a target. While they are stalled, copies pass them, and then they wait for these. One that has gone out and lacks
// copies yields to them, and so do those behind it. No write passes it: it may have to go out again, and would come after what
// has overwritten it.
type intervalLock struct {
	held     []span
	waiting  []span
	stalled  bool
	yielding int  // writes that have gone out and lack copies
	passed   bool // copies may hold what writes hold, too
}

func (l *intervalLock) conflicts(s, t *span) bool {
	return s.overlaps(t) && s.class.conflicts(t.class) && !l.passes(s, t) && !l.passes(t, s)
}

// passes reports a copy that does not wait for a write: the range stands still until that one goes out, or since it has.
func (l *intervalLock) passes(s, t *span) bool {
	switch {
	case s.class != lockCopy || t.class != lockWrite:
		return false
	case t.op.logged:
		return t.op.yields
	}
	return l.stalled || l.yielding > 0
}

// yield lets copies pass a write that has gone out, and appends those who hold their ranges now to granted.
func (l *intervalLock) yield(o *op, granted []*op) []*op {
	o.yields = true
	l.yielding++
	l.passed = true
	return l.grant(granted)
}

// insist ends that: the write goes out again, or has ended.
func (l *intervalLock) insist(o *op) {
	if o.yields {
		o.yields = false
		l.yielding--
	}
}

// acquire takes the range of o or queues o; it reports whether o holds it now.
func (l *intervalLock) acquire(o *op, class lockClass) bool {
	s := span{o.off, o.off + uint64(o.len), class, o}
	if l.conflictsAny(&s, l.held) || l.conflictsAny(&s, l.waiting) {
		l.waiting = append(l.waiting, s)
		return false
	}
	l.held = append(l.held, s)
	return true
}

// release gives the range of o back, or withdraws o from the queue, and appends those who hold theirs now to granted.
func (l *intervalLock) release(o *op, granted []*op) []*op {
	l.insist(o)
	l.held = removeSpan(l.held, o)
	l.waiting = removeSpan(l.waiting, o)
	return l.grant(granted)
}

// grant appends those who can hold their ranges now.
func (l *intervalLock) grant(granted []*op) []*op {
	for i := 0; i < len(l.waiting); {
		s := l.waiting[i]
		if l.conflictsAny(&s, l.held) || l.conflictsAny(&s, l.waiting[:i]) {
			i++
			continue
		}
		l.waiting = append(l.waiting[:i], l.waiting[i+1:]...)
		l.held = append(l.held, s)
		granted = append(granted, s.op)
	}
	return granted
}

// mayGoOut reports that no copy holds the range of a write that does.
func (l *intervalLock) mayGoOut(o *op) bool {
	if !l.passed {
		return true
	}
	may, s := true, span{o.off, o.off + uint64(o.len), lockWrite, o}
	l.passed = l.stalled || l.yielding > 0
	for i := range l.held {
		if t := &l.held[i]; t.class == lockCopy {
			l.passed = true
			may = may && !s.overlaps(t)
		}
	}
	return may
}

func (l *intervalLock) conflictsAny(s *span, list []span) bool {
	for i := range list {
		if l.conflicts(s, &list[i]) {
			return true
		}
	}
	return false
}

func removeSpan(list []span, o *op) []span {
	for i := range list {
		if list[i].op == o {
			copy(list[i:], list[i+1:])
			list[len(list)-1].op = nil
			return list[:len(list)-1]
		}
	}
	return list
}
