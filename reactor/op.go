package reactor

import (
	"fmt"
	"syscall"

	"golang.org/x/sys/unix"

	"pollux/reactor/uring"
)

// Op is a source of operations on r's ring: it owns a slot of the completion table. user_data is its slot and
// generation, so that a late completion of an earlier owner is recognised and only gives back what it carries.
type Op struct {
	r        *Reactor
	fn       func(res int32, flags uint32)
	slot     uint32
	gen      uint32
	inFlight int
}

// The layout of user_data: generation<<32 | slot<<8 | kind.
const (
	kindOp     = 0 // a completion of what the Op has submitted
	kindCancel = 1 // the answer to a cancellation: nobody needs it

	slotShift = 8
	slotMax   = 1<<24 - 1
	genShift  = 32
)

// slotTable finds the Op of a completion.
type slotTable struct {
	slots []slot
	free  []uint32
	open  int
}

type slot struct {
	op  *Op
	gen uint32
}

// OpenOp takes a slot for op; fn is called for each completion (on r).
func (r *Reactor) OpenOp(op *Op, fn func(res int32, flags uint32)) {
	if op.r != nil {
		panic("reactor: OpenOp of an open Op")
	}
	t := &r.slots
	if len(t.free) == 0 {
		if len(t.slots) > slotMax {
			panic("reactor: more operations than slots")
		}
		t.slots = append(t.slots, slot{})
		t.free = append(t.free, uint32(len(t.slots)-1))
	}
	i := t.free[len(t.free)-1]
	t.free = t.free[:len(t.free)-1]
	t.slots[i].op = op
	t.open++
	*op = Op{r: r, fn: fn, slot: i, gen: t.slots[i].gen}
}

// Close gives the slot back. Nothing may be in flight.
func (op *Op) Close() {
	if op.inFlight != 0 {
		panic("reactor: Close of an Op with operations in flight")
	}
	t := &op.r.slots
	t.slots[op.slot].op = nil
	t.slots[op.slot].gen++
	t.free = append(t.free, op.slot)
	t.open--
	op.r = nil
}

// IsOpen reports whether op has a slot.
func (op *Op) IsOpen() bool { return op.r != nil }

// SQE takes a submission entry that completes to op. It never fails: a full queue is submitted first (on r).
// The entry must be filled before the next one is taken.
func (op *Op) SQE() *uring.SQE {
	e := op.r.sqe()
	e.UserData = op.userData(kindOp)
	op.inFlight++
	op.r.stats.InFlight++
	return e
}

func (op *Op) userData(kind uint64) uint64 {
	return uint64(op.gen)<<genShift | uint64(op.slot)<<slotShift | kind
}

// InFlight is the number of submissions whose last completion has not come.
func (op *Op) InFlight() int { return op.inFlight }

// Cancel asks the kernel to cancel everything in flight of op; the completions still come.
func (op *Op) Cancel() {
	if op.inFlight == 0 {
		return
	}
	e := op.r.sqe()
	e.CancelByUserData(op.userData(kindOp))
	e.UserData = op.userData(kindCancel)
}

// sqe takes an entry of the ring, or of the backlog while the ring takes none.
func (r *Reactor) sqe() *uring.SQE {
	if len(r.backlog) == 0 {
		if !r.ring.Full() {
			return r.ring.SQE()
		}
		r.stats.QueueFulls++
		r.submit()
		if !r.ring.Full() {
			return r.ring.SQE()
		}
	}
	e := &uring.SQE{} // The kernel refuses entries until completions have been read: keep order, and memory, till then.
	r.backlog = append(r.backlog, e)
	return e
}

// flushBacklog moves entries that had to wait into the ring.
func (r *Reactor) flushBacklog() {
	n := 0
	for n < len(r.backlog) && !r.ring.Full() {
		*r.ring.SQE() = *r.backlog[n]
		n++
	}
	r.backlog = append(r.backlog[:0], r.backlog[n:]...)
}

// reap hands the completions that are there to their Ops, and those that have lost their Op to stale.
func (r *Reactor) reap() int {
	n := r.ring.Ready()
	for i := range n {
		r.dispatch(r.ring.CQE(i))
	}
	if n > 0 {
		r.ring.Seen(n)
	}
	return int(n)
}

func (r *Reactor) dispatch(c uring.CQE) {
	if c.UserData&(1<<slotShift-1) == kindCancel {
		return
	}
	s := &r.slots.slots[c.UserData>>slotShift&slotMax]
	if s.op == nil || s.gen != uint32(c.UserData>>genShift) {
		r.stale(c)
		return
	}
	if c.Flags&uring.CQEMore == 0 {
		s.op.inFlight--
		r.stats.InFlight--
	}
	s.op.fn(c.Res, c.Flags)
}

// stale takes back the buffer that a completion without an Op may carry.
func (r *Reactor) stale(c uring.CQE) {
	r.stats.StaleCQEs++
	if c.Flags&uring.CQEBuffer != 0 {
		r.recv.Recycle(c.Res, c.Flags)
	}
}

// enter gives the kernel what has gathered in this pass, and fetches what it holds back for us; at most one system call.
func (r *Reactor) enter() int {
	if r.recv != nil {
		r.recv.Publish()
	}
	if len(r.backlog) > 0 {
		r.flushBacklog()
	}
	if r.ring.Prepared() == 0 && !r.ring.NeedsEnter() {
		return 0
	}
	before := r.ring.Ready()
	return r.submit() + int(r.ring.Ready()-before)
}

// submit enters the kernel without waiting.
func (r *Reactor) submit() int {
	r.stats.Enters++
	n, errno := r.ring.Enter()
	r.entered(errno)
	return n
}

// entered takes the error of an enter. All mean: try again in the next pass, but one. EBADR says that the kernel has thrown
// completions away, since it had no memory to keep what the queue has no room for. Nobody knows whose they were, and those
// operations would never end: it is better to be started anew.
func (r *Reactor) entered(errno syscall.Errno) {
	if errno == unix.EBADR {
		panic(fmt.Sprintf("reactor %d: the kernel is out of memory and has dropped completions of %d operations in flight", r.id, r.stats.InFlight))
	}
}
