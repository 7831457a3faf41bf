package bdev

import (
	"time"

	"pollux/reactor"
)

// retryPeriod is how soon a module that is out of resources is asked again when nothing of it is in flight that could
// end and give some back.
const retryPeriod = 100 * time.Microsecond

// lane is what a device has on one reactor, made with the device for each of them: the module's queue, shared by all
// channels there, and everything in flight on it. Data plane; on its reactor only.
type lane struct {
	dev *Device
	r   *reactor.Reactor

	queue    Queue // nil while no channel is open
	channels int
	blocks   uint64 // this reactor's view of the size; 0 when removed
	removed  bool

	flight   list // accepted and not ended, but for those that wait for a lock, are held, are resets or aborts
	inModule int  // parts and whole requests that the module has
	depth    int  // of dispatch calls below us; what completes inside is ended later

	gates  int // range locks, resets, removal and limits of rates: 0 on the hot path
	locks  []*lockEntry
	held   list
	resets list // of which the module has ended its part

	resetting int // resets that have not ended

	qos       *qos // nil: no limits
	throttled list
	qosTimer  reactor.Timer

	starved list // the module said StatusNoMemory
	parked  list // no composite or buffer
	retry   reactor.Timer
	lockers list // composites wait for the range lock

	unparkMsg reactor.Message

	done    list // ended, Done not yet called
	doneMsg reactor.Message

	composites compositePool
	stats      Stats
	histogram  *opHistogram // nil: nothing is counted
}

func newLane(d *Device, r *reactor.Reactor) *lane {
	l := &lane{dev: d, r: r, blocks: d.blocks.Load()}
	l.flight.kind = flight
	for _, w := range []*list{&l.held, &l.resets, &l.throttled, &l.starved, &l.parked, &l.lockers, &l.done} {
		w.kind = wait
	}
	l.doneMsg.Bind(l.drainDone)
	l.unparkMsg.Bind(l.unpark)
	l.retry.Bind(r, l.retryAll)
	l.qosTimer.Bind(r, l.unthrottle)
	return l
}

// start is the way of every new request.
func (l *lane) start(q *Request) {
	if s := l.check(q); s != StatusOK {
		l.endLater(q, s)
		return
	}
	if l.gates != 0 && l.isHeld(q) {
		return
	}
	l.run(q)
}

// run sets a request to work that nothing is in the way of.
func (l *lane) run(q *Request) {
	switch {
	case q.Op == OpAbort:
		l.abort(q)
	case q.Op == OpReset:
		l.reset(q)
	case l.isDone(q):
		l.endLater(q, StatusOK)
	case l.isDirect(q):
		l.flight.push(q)
		l.dispatch(q)
	default:
		l.flight.push(q)
		l.compose(q)
	}
}

// isDone reports whether there is nothing to do for q.
func (l *lane) isDone(q *Request) bool {
	return ops[q.Op].ranged && q.Blocks == 0 || q.Op == OpFlush && !l.dev.native[OpFlush]
}

// dispatch gives q, a whole request or a part, to the module, or keeps it behind those that wait for its resources.
func (l *lane) dispatch(q *Request) {
	if l.starved.n > 0 {
		l.starve(q)
		return
	}
	l.submit(q)
}

func (l *lane) submit(q *Request) {
	q.state = stateModule
	l.inModule++
	l.depth++
	l.queue.Submit(q)
	l.depth--
}

// Complete ends the request with status; called by the module that got it, once, on the queue's reactor, inside Submit or later.
func (q *Request) Complete(status Status) {
	l := q.channel.lane
	if q.state != stateModule {
		panic("bdev: " + l.dev.spec.Name + ": " + q.Op.String() + " completed twice or without having been submitted")
	}
	l.inModule--
	if status == StatusNoMemory {
		l.starveFirst(q)
		return
	}
	q.Status = status
	if l.depth > 0 {
		l.later(q)
		return
	}
	l.finish(q)
}

// endLater ends q with status at the end of what is running now.
func (l *lane) endLater(q *Request, status Status) {
	q.Status = status
	l.later(q)
}

func (l *lane) later(q *Request) {
	q.state = stateEnded
	l.done.push(q)
	if !l.doneMsg.Queued() {
		l.r.Defer(&l.doneMsg)
	}
}

// drainDone finishes what has ended up to now; what ends meanwhile has its own turn.
func (l *lane) drainDone() {
	for n := l.done.n; n > 0; n-- {
		l.finish(l.done.pop())
	}
	if l.done.n > 0 && !l.doneMsg.Queued() {
		l.r.Defer(&l.doneMsg)
	}
}

// finish hands an ended request to whoever waits for it: its composite, or its owner.
func (l *lane) finish(q *Request) {
	switch {
	case q.parent != nil:
		q.state = stateIdle
		q.parent.partDone(q)
	case q.pending:
		l.settle(q)
	default:
		l.end(q)
	}
	if l.starved.n > 0 {
		l.retryStarved()
	}
}

// end gives q back to its owner and lets go what waited for that.
func (l *lane) end(q *Request) {
	if q.links[flight].in != nil {
		l.leave(q)
	}
	l.stats.count(q, l)
	c, aborts := q.channel, q.waiters
	q.state, q.waiters = stateIdle, nil
	c.outstanding--
	q.Done(q)
	for aborts != nil {
		next := aborts.links[wait].next
		aborts.links[wait] = link{}
		l.end(aborts)
		aborts = next
	}
	c.closeIfIdle()
}

// leave takes q from what is in flight, and lets go what waits for that: range locks and resets.
func (l *lane) leave(q *Request) {
	l.flight.remove(q)
	if l.gates == 0 {
		return
	}
	for _, e := range l.locks {
		e.left(q)
	}
	l.checkResets()
}

// starve keeps q behind the others until the module has resources.
func (l *lane) starve(q *Request) {
	q.state = stateStarved
	l.starved.push(q)
	l.armRetry()
}

// starveFirst keeps a request that the module has just refused, before the others.
func (l *lane) starveFirst(q *Request) {
	l.stats.Errors[StatusNoMemory]++
	q.state = stateStarved
	l.starved.pushFront(q)
	l.armRetry()
}

// armRetry sees to it that somebody asks again: whoever ends next or, if the module has nothing, the timer.
func (l *lane) armRetry() {
	if l.inModule == 0 && !l.retry.Active() {
		l.retry.Start(retryPeriod)
	}
}

// retryStarved offers the module what it refused, in order, until it refuses again.
func (l *lane) retryStarved() {
	for n := l.starved.n; n > 0; n-- {
		q := l.starved.pop()
		l.submit(q)
		if q.state == stateStarved {
			return
		}
	}
}

// retryAll is the timer.
func (l *lane) retryAll() {
	l.retryStarved()
	l.unpark()
	if (l.parked.n > 0 || l.starved.n > 0 && l.inModule == 0) && !l.retry.Active() {
		l.retry.Start(retryPeriod)
	}
}
