package scsi

import "pollux/reactor"

// change is a wish to change what all nexuses share of a LUN, or to fence. It travels to the LUN's home reactor, waits there
// for the changes before it, is applied, and travels back when every reactor has acknowledged it. Rare, so it is allocated.
type change struct {
	lun   *LUN
	from  *reactor.Reactor
	nexus *Nexus // nil: the control plane asks
	epoch uint64 // of the path it comes from
	// bounded: the change is refused as BUSY when changesMax wait already. Those of tasks are bounded by the tasks.
	bounded bool

	apply func(old *state) effect // on home
	done  func(effect)            // on from

	effect  effect
	message reactor.Message
	next    *change
}

// effect is what a change does.
type effect struct {
	status byte // of the command that asked
	sense  Sense
	field  int // in the parameter list, or -1, for sense data

	next    *state // nil: the state stays
	persist bool   // next must be in the LUN's ptpl_file first
	attend  func(nexusKey) (Sense, bool)
	fence   *fence
}

// fence ends or drains tasks before a change is answered.
type fence struct {
	affects     func(nexusKey) bool
	abort       bool   // else the tasks only have to end
	by          *Nexus // the fencing nexus: its own tasks end silently (SAM-5 5.6)
	task        *Task  // the one that asked: it goes on
	taskAborted bool   // TAS, when the change was made
}

// changeQueue is the line at a LUN's home reactor, which makes one change at a time.
type changeQueue struct {
	first, last *change
	waiting     int
	busy        bool
	epoch       uint64
	closed      bool
	idle        func() // the control plane waits for the end of the change under way
}

// changesMax is how many changes may wait at a LUN's home reactor for one more that is bounded. They wait while a device does not answer
// what a fence waits for.
const changesMax = 1024

// ask sends c to the home reactor (on c.from).
func (l *LUN) ask(c *change) {
	c.lun = l
	if p := l.paths[c.from.ID()]; p != nil {
		c.epoch = p.epoch
	}
	c.message.Bind(c.step)
	l.home.Send(&c.message)
}

// step runs on the home reactor first, and then, with the effect, where the change came from.
func (c *change) step() {
	if c.apply == nil {
		c.done(c.effect)
		return
	}
	q := &c.lun.changes
	if q.closed {
		c.answer(effect{status: StatusCheckCondition, sense: senseLUNNotSupported, field: -1})
		return
	}
	if c.bounded && q.waiting >= changesMax {
		c.answer(effect{status: StatusBusy, field: -1})
		return
	}
	if q.last == nil {
		q.first = c
	} else {
		q.last.next = c
	}
	q.last = c
	q.waiting++
	c.lun.advance()
}

// answer sends the change back (on home).
func (c *change) answer(e effect) {
	c.effect, c.apply = e, nil
	c.from.Send(&c.message)
}

// advance makes the next change, if none is under way (on home).
func (l *LUN) advance() {
	q := &l.changes
	if q.busy || q.first == nil {
		return
	}
	c := q.first
	q.first = c.next
	if q.first == nil {
		q.last = nil
	}
	q.waiting--
	q.busy = true
	e := c.apply(l.state.Load())
	if e.persist {
		l.persist(c, e)
		return
	}
	l.publish(c, e)
}

// publish makes what c does known to every reactor (on home).
func (l *LUN) publish(c *change, e effect) {
	if e.next != nil {
		l.state.Store(e.next)
	}
	if e.next == nil && e.attend == nil && e.fence == nil {
		l.made(c, e)
		return
	}
	l.changes.epoch++
	l.broadcast(c, e)
}

// made ends the change under way: everybody has acknowledged it (on home).
func (l *LUN) made(c *change, e effect) {
	q := &l.changes
	if e.fence != nil && e.fence.abort {
		l.dropFenced(e.fence)
	}
	c.answer(e)
	q.busy = false
	if q.idle != nil {
		q.idle()
		return
	}
	l.advance()
}

// closeChanges refuses all further changes and calls done when none is under way (on home).
func (l *LUN) closeChanges(done func()) {
	q := &l.changes
	q.closed = true
	for c := q.first; c != nil; {
		next := c.next
		c.answer(effect{status: StatusCheckCondition, sense: senseLUNNotSupported, field: -1})
		c = next
	}
	q.first, q.last, q.waiting = nil, nil, 0
	if q.busy {
		q.idle = done
		return
	}
	done()
}

// dropFenced answers the waiting changes of fenced nexuses that were sent before the nexus's reactor acknowledged the fence.
// Messages of one reactor arrive in order, so all of them are here by now; their tasks have been marked as aborted.
func (l *LUN) dropFenced(f *fence) {
	q := &l.changes
	var first, last *change
	for c := q.first; c != nil; {
		next := c.next
		c.next = nil
		switch {
		case c.nexus != nil && f.affects(c.nexus.key) && c.epoch < q.epoch:
			q.waiting--
			c.answer(effect{status: StatusTaskAborted})
		case first == nil:
			first, last = c, c
		default:
			last.next = c
			last = c
		}
		c = next
	}
	q.first, q.last = first, last
}

// notice tells one reactor of a change, and brings back its acknowledgement.
type notice struct {
	all   *notices
	path  *path
	there reactor.Message
	back  reactor.Message
	left  int // units that still drain
}

// notices are the notices of one change.
type notices struct {
	lun    *LUN
	change *change
	effect effect
	epoch  uint64
	left   int // reactors that have not acknowledged
}

// broadcast has every reactor take note of e, and answers c when all have (on home).
func (l *LUN) broadcast(c *change, e effect) {
	all := &notices{lun: l, change: c, effect: e, epoch: l.changes.epoch, left: len(l.paths)}
	for id, p := range l.paths {
		n := &notice{all: all, path: p}
		n.there.Bind(n.arrive)
		n.back.Bind(n.acknowledged)
		l.device.group.Reactors()[id].Send(&n.there)
	}
}

// arrive takes note on the reactor: unit attentions are established, and tasks that the change forbids are ended or waited for.
func (n *notice) arrive() {
	n.path.epoch = n.all.epoch
	n.left = 1
	for _, u := range n.path.units {
		n.attend(u)
		if about := n.fence(u); about != nil {
			n.left++
			u.drain(about, n.drained)
		}
	}
	n.drained()
}

func (n *notice) attend(u *unit) {
	if n.all.effect.attend == nil {
		return
	}
	if s, ok := n.all.effect.attend(u.nexus.key); ok {
		u.attentions.add(s)
	}
}

// fence aborts what must be aborted on u, and returns which tasks have to end before the change may be answered; nil for none. Tasks
// that wait, at a home reactor or for an ordered task, are not waited for: they write nothing before they are admitted anew, and it
// may be this change they wait for.
func (n *notice) fence(u *unit) func(*Task) bool {
	f := n.all.effect.fence
	switch {
	case Mutated(MutateNoFence):
		return nil
	case f == nil || !f.affects(u.nexus.key):
		return n.revoked(u)
	}
	if f.abort {
		u.abortAll(f.how(u), f.task)
	}
	return isRunning
}

func isRunning(t *Task) bool { return t.phase == phaseRunning }

// revoked picks the tasks under way that the new state would refuse: a write that was admitted before a reservation must not come
// after its answer.
func (n *notice) revoked(u *unit) func(*Task) bool {
	if n.all.effect.next == nil {
		return nil
	}
	denied := n.all.effect.next.reservations.denied(u.nexus.key)
	if denied == 0 {
		return nil
	}
	return func(t *Task) bool { return t.phase == phaseRunning && t.command.reservationClass(t)&denied != 0 }
}

// how says in which way tasks of u end.
func (f *fence) how(u *unit) abortion {
	if f.by == u.nexus || !f.taskAborted {
		return abortSilent
	}
	return abortStatus
}

// abortAll aborts every task of u but one.
func (u *unit) abortAll(how abortion, but *Task) {
	for t := u.first; t != nil; t = t.next {
		if t != but {
			t.abort(how)
		}
	}
}

func (n *notice) drained() {
	n.left--
	if n.left == 0 {
		n.all.lun.home.Send(&n.back)
	}
}

func (n *notice) acknowledged() {
	n.all.left--
	if n.all.left == 0 {
		n.all.lun.made(n.all.change, n.all.effect)
	}
}

// forget releases what n held on the LUN and does not outlive it; done runs on n's reactor. All tasks of n have ended, so none can make it
// hold anything any more: who holds nothing does not wait for the changes of others.
func (l *LUN) forget(n *Nexus, done func()) {
	if l.state.Load().without(n.key) == nil {
		done()
		return
	}
	l.ask(&change{
		from:  n.r,
		apply: func(old *state) effect { return effect{next: old.without(n.key)} },
		done:  func(effect) { done() },
	})
}

// without is the state after the loss of a nexus, or nil if nothing changes: a RESERVE(6) ends, registrations stay.
func (s *state) without(key nexusKey) *state {
	r := s.reservations
	if !r.exclusive || r.exclusiveHolder != key {
		return nil
	}
	next := *s
	next.reservations.exclusive = false
	return &next
}
