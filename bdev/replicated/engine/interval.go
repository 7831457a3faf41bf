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

func (s *span) conflicts(t *span) bool {
	return s.start < t.end && t.start < s.end && s.class.conflicts(t.class)
}

// intervalLock keeps overlapping work apart, in the order of arrival. Holders are few (the queue depth),
// so both lists are scanned.
type intervalLock struct {
	held    []span
	waiting []span
}

// acquire takes the range of o or queues o; it reports whether o holds it now.
func (l *intervalLock) acquire(o *op, class lockClass) bool {
	s := span{o.off, o.off + uint64(o.len), class, o}
	if conflictsAny(&s, l.held) || conflictsAny(&s, l.waiting) {
		l.waiting = append(l.waiting, s)
		return false
	}
	l.held = append(l.held, s)
	return true
}

// release gives the range of o back, or withdraws o from the queue, and appends those who hold theirs now to granted.
func (l *intervalLock) release(o *op, granted []*op) []*op {
	l.held = removeSpan(l.held, o)
	l.waiting = removeSpan(l.waiting, o)
	for i := 0; i < len(l.waiting); {
		s := l.waiting[i]
		if conflictsAny(&s, l.held) || conflictsAny(&s, l.waiting[:i]) {
			i++
			continue
		}
		l.waiting = append(l.waiting[:i], l.waiting[i+1:]...)
		l.held = append(l.held, s)
		granted = append(granted, s.op)
	}
	return granted
}

func conflictsAny(s *span, list []span) bool {
	for i := range list {
		if s.conflicts(&list[i]) {
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
