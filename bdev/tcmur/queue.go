package tcmur

import (
	"time"

	"golang.org/x/sys/unix"

	"pollux/bdev"
	"pollux/reactor"
)

const (
	// pollBatch is how many completions one pass takes.
	pollBatch = 32
	// watchPeriod is how often a busy queue looks for requests that take too long.
	watchPeriod = 100 * time.Millisecond
	// holdMax is how long a request waits for a helper before it ends with StatusNotReady.
	holdMax = 20 * time.Second
	// crashesMax is how often the helper may die over one request before the request fails.
	crashesMax = 2
)

type slotState uint8

const (
	slotFree   slotState = iota
	slotHeld             // waits for a helper
	slotInRing           // the helper has it
)

// slot is one request in the module's hands, and where in the ring's data its bytes are.
type slot struct {
	req     *bdev.Request
	state   slotState
	gen     uint32 // counts what was submitted from this slot
	crashes uint8  // helpers that died with this request at work
	program program
	since   int64 // Reactor.Now when it came
	issued  int64 // and when the helper got its present step
}

// queue is a reactor's path to the device, and the target's side of that reactor's ring. It outlives helpers: when one dies,
// its requests are held until the next has come. All on one reactor.
type queue struct {
	d *disk
	r *reactor.Reactor

	ring    *ring // nil: no helper
	probing bool  // the helper is new: only suspects are issued, by the supervisor
	broken  bool  // the ring is damaged and is not read any more
	slots   [ringDepth]slot
	free    []int // a stack, so that few pages are in use
	inRing  int
	pushed  int // entries that the helper has not been woken for

	poller  reactor.Poller
	waking  reactor.Message // at the end of the pass
	watch   reactor.Timer
	wakeUp  reactor.Op // polls the pipe while the reactor sleeps
	closing bool
}

func newQueue(d *disk, r *reactor.Reactor) *queue {
	q := &queue{d: d, r: r, free: make([]int, 0, ringDepth)}
	for i := ringDepth - 1; i >= 0; i-- {
		q.free = append(q.free, i)
	}
	q.poller = reactor.Poller{Name: "tcmur " + d.name, Poll: q.poll, Arm: q.arm}
	q.waking.Bind(q.wake)
	q.watch.Bind(r, q.look)
	r.AddPoller(&q.poller)
	return q
}

// Close ends the path. The poll of the pipe, if one is left, ends by itself.
func (q *queue) Close() {
	q.d.queues[q.r.ID()] = nil
	q.d.open.Add(-1)
	q.r.RemovePoller(&q.poller)
	q.watch.Stop()
	q.closing = true
	switch {
	case q.wakeUp.InFlight() > 0:
		q.wakeUp.Cancel()
	case q.wakeUp.IsOpen():
		q.wakeUp.Close()
	}
}

// Submit starts a request: in the helper, or as soon as there is one.
func (q *queue) Submit(req *bdev.Request) {
	switch {
	case req.Op == bdev.OpAbort:
		q.abort(req)
	case req.Op == bdev.OpReset:
		q.endHeld(bdev.StatusAborted)
		req.Complete(bdev.StatusOK)
	case q.d.isOffline():
		req.Complete(q.d.offlineStatus())
	case len(q.free) == 0:
		req.Complete(bdev.StatusNoMemory)
	default:
		q.start(req)
	}
}

func (q *queue) start(req *bdev.Request) {
	i := q.free[len(q.free)-1]
	q.free = q.free[:len(q.free)-1]
	s := &q.slots[i]
	s.req, s.crashes, s.since = req, 0, q.r.Now()
	s.program.compile(q.d, req)
	if !q.watch.Active() {
		q.watch.Start(watchPeriod)
	}
	q.issue(i)
}

// abort ends the target if no helper has it; otherwise it ends when it ends.
func (q *queue) abort(req *bdev.Request) {
	for i := range q.slots {
		if s := &q.slots[i]; s.state == slotHeld && s.req == req.Target {
			q.end(i, bdev.StatusAborted)
			break
		}
	}
	req.Complete(bdev.StatusOK)
}

// issue gives the helper the slot's next step.
func (q *queue) issue(i int) {
	s := &q.slots[i]
	if q.ring == nil || q.probing || q.broken {
		s.state = slotHeld
		return
	}
	q.push(i)
}

func (q *queue) push(i int) {
	s := &q.slots[i]
	p := &s.program
	op, off, length, data := p.next(q.d, s.req, q.ring.memory(i))
	s.gen++
	s.state, s.issued = slotInRing, q.r.Now()
	q.ring.push(i, s.gen, op, data, off, length)
	q.inRing++
	if op == opFlush {
		q.d.unflushed.Store(false) // What completes from now on may not be covered by it.
	}
	q.pushed++
	if !q.waking.Queued() {
		q.r.AtPassEnd(&q.waking)
	}
}

// wake runs at the end of the pass: one system call for everything that was pushed in it.
func (q *queue) wake() {
	if q.ring != nil && q.pushed > 0 {
		q.ring.wake(q.pushed)
	}
	q.pushed = 0
}

// poll takes completions.
func (q *queue) poll() int {
	if q.inRing == 0 || q.broken {
		return 0
	}
	n, ok := q.ring.ready()
	if !ok {
		q.distrust()
		return 0
	}
	return q.reap(int(min(n, pollBatch)))
}

// reap takes n completions, or fewer if one is of a request that the helper does not have: then nothing of it can be believed.
func (q *queue) reap(n int) int {
	for i := range n {
		c := q.ring.take()
		if c.slot >= ringDepth || q.slots[c.slot].state != slotInRing || q.slots[c.slot].gen != c.gen {
			q.distrust()
			return i
		}
		q.finish(int(c.slot), c)
	}
	return n
}

func (q *queue) distrust() {
	q.broken = true
	q.d.kick(kickDamaged)
}

// finish goes on after a step that the helper has ended.
func (q *queue) finish(i int, c completion) {
	s := &q.slots[i]
	q.inRing--
	s.state = slotHeld
	switch {
	case c.status == stsFenced:
		q.d.kick(kickLock) // It has not been carried out. It is held until the lock is ours again.
	case c.status == stsNotHandled && s.program.writeInstead():
		q.issue(i)
	case s.program.looking:
		q.endMiscompare(i, c)
	case c.status == stsMiscompare && s.req.Op == bdev.OpCompareAndWrite:
		s.program.look(c.info)
		q.issue(i)
	case c.status != stsOK:
		q.fail(i, c)
	case s.program.advance(q.d, s.req, q.memory(i)):
		q.issue(i)
	default:
		q.d.note(s.req)
		q.end(i, bdev.StatusOK)
	}
	if q.probing && q.inRing == 0 {
		q.d.tellProbed()
	}
}

func (q *queue) memory(i int) []byte { return q.ring.memory(i) }

func (q *queue) fail(i int, c completion) {
	if q.slots[i].req.Op == bdev.OpFlush {
		q.d.unflushed.Store(true)
	}
	q.end(i, statusOf(c.status, c.info))
}

// endMiscompare ends a compare-and-write that has found a difference, with its offset from what has been read after it. If that
// could not be read, or is equal by now, the handler's own figure has to do.
func (q *queue) endMiscompare(i int, c completion) {
	s := &q.slots[i]
	s.req.Result = min(s.program.pos, s.req.Blocks<<q.d.shift-1)
	if c.status == stsOK {
		cursor := bdev.CursorOf(s.req.Compare)
		if at := cursor.Compare(q.memory(i)[:s.req.Blocks<<q.d.shift]); at >= 0 {
			s.req.Result = uint64(at)
		}
	}
	q.end(i, bdev.StatusMiscompare)
}

// end gives the request back.
func (q *queue) end(i int, status bdev.Status) {
	s := &q.slots[i]
	req := s.req
	s.req, s.state = nil, slotFree
	q.free = append(q.free, i)
	req.Complete(status)
}

// endHeld ends everything that no helper has.
func (q *queue) endHeld(status bdev.Status) {
	for i := range q.slots {
		if q.slots[i].state == slotHeld {
			q.end(i, status)
		}
	}
}

// look is the watchdog: what no helper takes ends, and a helper that does not end what it has is reported. It also polls, so
// that a helper which forgets to wake the reactor costs time, not the request.
func (q *queue) look() {
	q.poll()
	now, busy := q.r.Now(), false
	for i := range q.slots {
		s := &q.slots[i]
		switch {
		case s.state == slotHeld && now-s.since > int64(holdMax):
			q.end(i, bdev.StatusNotReady)
		case s.state == slotInRing && now-s.issued > int64(q.d.patience()):
			q.d.kick(kickHang)
		}
		busy = busy || s.state != slotFree
	}
	if busy {
		q.watch.Start(watchPeriod)
	}
}

// arm has the ring of the reactor complete when the helper ends something. The order matters: the helper publishes, then looks
// at armed; here it is the other way round.
func (q *queue) arm() bool {
	if q.inRing == 0 || q.broken {
		return true
	}
	q.ring.shared.armed.Store(1)
	if n, ok := q.ring.ready(); n > 0 || !ok {
		q.ring.shared.armed.Store(0)
		return false
	}
	if !q.wakeUp.IsOpen() {
		q.r.OpenOp(&q.wakeUp, q.woken)
	}
	if q.wakeUp.InFlight() == 0 {
		q.wakeUp.SQE().PollAdd(q.d.pipes[q.r.ID()].read, unix.POLLIN)
	}
	return true
}

func (q *queue) woken(int32, uint32) {
	if q.closing {
		q.wakeUp.Close()
		return
	}
	q.d.pipes[q.r.ID()].drain()
}
