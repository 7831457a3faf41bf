package scsi

import (
	"slices"

	"pollux/reactor"
)

// turn is what an ordered task needs besides its place among the tasks of its nexus: that of the other nexuses nothing on the LUN is
// under way, on any reactor, and that nothing of theirs begins until it has ended (SAM-5 8.6; there is one task set, TST 0). The LUN's
// home reactor gives turns one after the other. An ordered task enters the task set, as seen from other nexuses, when its turn
// begins; what they have sent before and heard no answer to may come first or last. Rare, so it is allocated.
type turn struct {
	lun  *LUN
	from *reactor.Reactor

	task *Task // on from; nil when it has ended

	// On home.
	left int  // reactors that have not acknowledged
	over bool // the task ended before they had

	ask, begin, end reactor.Message
}

// hold is what one reactor hears of a turn.
type hold struct {
	turn   *turn
	path   *path
	begin  reactor.Message // there: hold back the others
	back   reactor.Message // home: nothing of theirs is under way
	end    reactor.Message // there: they may go on
	drains int
}

// takeTurn asks for t's turn; until then t waits.
func (t *Task) takeTurn() {
	n := &turn{lun: t.unit.lun, from: t.nexus.r, task: t}
	n.ask.Bind(n.queue)
	n.begin.Bind(n.start)
	n.end.Bind(n.finish)
	t.turn = n
	n.lun.home.Send(&n.ask)
}

// leaveTurn tells that t has ended, whether its turn had come or not.
func (t *Task) leaveTurn() {
	n := t.turn
	t.turn, n.task = nil, nil
	n.lun.home.Send(&n.end)
}

// queue gets in line (on home).
func (n *turn) queue() {
	l := n.lun
	l.turns = append(l.turns, n)
	if len(l.turns) == 1 {
		n.grant()
	}
}

// grant has every reactor hold back the other nexuses (on home).
func (n *turn) grant() {
	n.left = len(n.lun.paths)
	n.lun.holds = make([]hold, len(n.lun.paths))
	for id, p := range n.lun.paths {
		h := &n.lun.holds[id]
		h.turn, h.path = n, p
		h.begin.Bind(h.arrive)
		h.back.Bind(h.acknowledged)
		h.end.Bind(h.release)
		p.channel.Reactor().Send(&h.begin)
	}
}

// arrive holds back what has not begun and waits for what has (on the path's reactor).
func (h *hold) arrive() {
	h.path.turn = h.turn
	h.drains = 1
	for _, u := range h.path.units {
		if u.holdBack(); u.holds > 0 {
			h.drains++
			u.drain(hasBegun, h.drained)
		}
	}
	h.drained()
}

// hasBegun picks what must end before an ordered task of another nexus begins: changes that the home reactor makes, too.
func hasBegun(t *Task) bool { return t.phase == phaseRunning || t.phase == phaseForwarded }

func (h *hold) drained() {
	h.drains--
	if h.drains == 0 {
		h.turn.lun.home.Send(&h.back)
	}
}

// acknowledged lets the task begin when all reactors have answered (on home).
func (h *hold) acknowledged() {
	n := h.turn
	n.left--
	switch {
	case n.left > 0:
	case n.over:
		n.release()
	default:
		n.from.Send(&n.begin)
	}
}

// start runs the task, if it has not been aborted meanwhile (on from).
func (n *turn) start() {
	if t := n.task; t != nil && t.phase == phaseWaiting {
		t.unit.waiting--
		t.start()
	}
}

// finish takes the turn out of the line, and lets the next one begin (on home).
func (n *turn) finish() {
	l := n.lun
	switch {
	case l.turns[0] != n:
		l.turns = slices.DeleteFunc(l.turns, func(o *turn) bool { return o == n })
	case n.left > 0:
		n.over = true
	default:
		n.release()
	}
}

// release lets the others go on (on home). Messages to a reactor arrive in order: the next turn begins behind this end.
func (n *turn) release() {
	l := n.lun
	for i := range l.holds {
		h := &l.holds[i]
		h.path.channel.Reactor().Send(&h.end)
	}
	l.turns = l.turns[1:]
	if len(l.turns) > 0 {
		l.turns[0].grant()
	}
}

func (h *hold) release() {
	h.path.turn = nil
	for _, u := range h.path.units {
		u.holds = 0
		u.settle()
	}
}

// holdBack notes whether a turn of another nexus keeps tasks of u from beginning.
func (u *unit) holdBack() {
	if n := u.path.turn; n != nil && !Mutated(MutateOwnOrder) && (n.from != u.nexus.r || n.task == nil || n.task.unit != u) {
		u.holds = 1
	}
}
