package engine

type opKind uint8

const (
	opWrite       opKind = iota // of the front end
	opRead                      // of the front end
	opFlush                     // of the front end
	opPeerWrite                 // mirrored by the peer
	opPeerRead                  // the peer has no good disk of its own
	opBarrier                   // flush that answers a barrier
	opServe                     // resync read for the target
	opPull                      // resync write on the target
	opVerifyServe               // verify: read and answer with a digest
	opVerifyAsk                 // verify: the initiator's side of one range
	opRebuild                   // copy to a leg
	opSync                      // flush with a continuation
	opLegVerify                 // compare the legs
	opRepair                    // put good data back on a leg that could not read it
)

// op is one piece of work under way. The number of its slot, with a generation, is the ID that the host echoes.
type op struct {
	kind  opKind
	class lockClass
	wop   WriteOp
	fua   bool
	flags uint16
	slot  int
	gen   uint32
	peer  int
	link  uint32 // the peer's connection that it belongs to
	block uint64 // front end's or peer's name for it
	off   uint64
	len   uint32
	epoch uint32
	data  any
	sum   uint64
	stage uint8

	fromDiskless bool // a mirrored write whose sender has no disk of its own
	byDigest     bool // a resync request that is answered with data only if its digest differs
	digest       uint64

	locked, inAL       bool
	yields             bool // it has gone out and lacks copies: what brings them passes it
	localDone, localOK bool
	completed, logged  bool
	freed              bool
	failedLocal        bool // its local write was lost with the disk
	givenUp            bool // this node has taken over other data since
	legs               uint16
	legsOK, legsBad    uint16
	tried              uint16 // legs that it has been read from
	answered           uint16 // legs that have answered the read under way
	differ             bool   // and not all with the same digest
	sums               [LegsMax]uint64
	unread             uint16 // those that could not
	repair             uint16 // legs that are written again because they could not read
	triedPeers         uint16
	ackWait            uint16 // peers that have to acknowledge before the front end hears of it
	acked              uint16 // peers that did
	good               uint16 // of these, peers whose data was good: copies that count
	barWait            uint16 // peers that may still lose it
	then               func(ok bool)
	prev, next         *op
}

func (o *op) id() uint64 { return uint64(o.gen)<<32 | uint64(o.slot) }

// changesDisk reports work under way that changes what the volume holds.
func (o *op) changesDisk() bool {
	switch o.kind {
	case opWrite:
		return !o.freed && !o.completed
	case opPeerWrite, opPull:
		return !o.freed
	case opLegVerify:
		return !o.freed && o.stage == legVerifyWrite
	default:
		return false
	}
}

func (e *Engine) newOp(kind opKind) *op {
	if n := len(e.freeOps); n > 0 {
		o := e.ops[e.freeOps[n-1]]
		e.freeOps = e.freeOps[:n-1]
		*o = op{kind: kind, slot: o.slot, gen: o.gen + 1, peer: -1}
		return o
	}
	o := &op{kind: kind, slot: len(e.ops), gen: 1, peer: -1}
	e.ops = append(e.ops, o)
	return o
}

func (e *Engine) findOp(id uint64) *op {
	o := e.ops[uint32(id)]
	if o.gen != uint32(id>>32) {
		panic("completion of an operation that has ended")
	}
	return o
}

// freeOp ends an operation: it gives back what it holds and lets go on who waited for that.
func (e *Engine) freeOp(o *op) {
	if o.legs != 0 {
		panic("operation ends with leg I/O under way")
	}
	if o.freed {
		panic("operation ends twice")
	}
	o.freed = true
	e.unlock(o)
	e.putExtents(o)
	for i := range e.granted {
		if e.granted[i] == o {
			e.granted[i] = nil
		}
	}
	o.data, o.then = nil, nil
	o.gen++
	e.freeOps = append(e.freeOps, o.slot)
}

// lockRange takes the range; false means that proceed is called when it is granted.
func (e *Engine) lockRange(o *op, class lockClass) bool {
	if o.locked {
		return true
	}
	o.locked, o.class = true, class
	if e.mutated(MutNoIntervalLock) && class != lockCopy {
		o.locked = false
		return true
	}
	if e.mutated(MutNoResyncLock) && class == lockCopy {
		o.locked = false
		return true
	}
	return e.lock.acquire(o, class)
}

func (e *Engine) unlock(o *op) {
	if !o.locked {
		return
	}
	o.locked = false
	e.moved = e.moved || o.class == lockCopy && e.parked.len() > 0
	first := len(e.granted)
	e.granted = e.lock.release(o, e.granted)
	e.laterGranted(first)
}

// yieldRange lets copies pass a write that has gone out and waits for another replica to have it.
func (e *Engine) yieldRange(o *op) {
	if !o.locked || o.yields {
		return
	}
	if e.mutated(MutYieldToAll) {
		e.unlock(o)
		return
	}
	first := len(e.granted)
	e.granted = e.lock.yield(o, e.granted)
	e.laterGranted(first)
}

// yieldExtents: the writes that hold extents cannot go out for now, and what they wait for may need a place in the activity log.
func (e *Engine) yieldExtents() {
	for _, o := range e.parked.list[e.parked.head:] {
		e.putExtents(o)
	}
}

// letCopiesPass: the writes that hold ranges cannot go out for now, and what they wait for may be a copy of these.
func (e *Engine) letCopiesPass() {
	e.lock.stalled, e.lock.passed = true, true
	first := len(e.granted)
	e.granted = e.lock.grant(e.granted)
	e.laterGranted(first)
}

// laterGranted goes through the list of those who have got their ranges, unless an outer call does.
func (e *Engine) laterGranted(first int) {
	if first == 0 && len(e.granted) > 0 {
		e.later(e.runGranted)
	}
}

func (e *Engine) runGranted() {
	for i := 0; i < len(e.granted); i++ {
		o := e.granted[i]
		if o != nil && o.locked {
			e.proceed(o)
		}
	}
	e.granted = e.granted[:0]
}

// proceed goes on with an operation that has got its range or its extents.
func (e *Engine) proceed(o *op) {
	switch o.kind {
	case opWrite:
		e.writeLocked(o)
	case opPeerWrite:
		e.peerWriteLocked(o)
	case opServe:
		e.serveLocked(o)
	case opPull:
		e.pullLocked(o)
	case opVerifyServe, opVerifyAsk:
		e.verifyLocked(o)
	case opRebuild:
		e.rebuildLocked(o)
	case opRepair:
		e.repairLocked(o)
	case opLegVerify:
		e.legVerifyLocked(o)
	default:
		panic("operation without a range was granted one")
	}
}

// getExtents makes the extents of a write hot; false means that proceed is called when they are (M1).
func (e *Engine) getExtents(o *op) bool {
	if o.inAL {
		return true
	}
	lo, hi := e.extents(o)
	if e.mutated(MutNoALTransaction) || (len(e.al.waiting) == 0 && e.al.get(lo, hi)) {
		o.inAL = !e.mutated(MutNoALTransaction)
		return true
	}
	e.al.waiting = append(e.al.waiting, o)
	e.kickAL()
	return false
}

func (e *Engine) putExtents(o *op) {
	if !o.inAL {
		return
	}
	o.inAL = false
	lo, hi := e.extents(o)
	e.al.put(lo, hi)
	if len(e.al.waiting) > 0 {
		e.later(e.kickAL)
	}
}

// opQueue is a queue that reuses its memory.
type opQueue struct {
	list []*op
	head int
}

func (q *opQueue) len() int   { return len(q.list) - q.head }
func (q *opQueue) first() *op { return q.list[q.head] }

func (q *opQueue) push(o *op) {
	if q.head > 0 && len(q.list) == cap(q.list) {
		n := copy(q.list, q.list[q.head:])
		q.list, q.head = q.list[:n], 0
	}
	q.list = append(q.list, o)
}

func (q *opQueue) pop() *op {
	o := q.list[q.head]
	q.list[q.head] = nil
	if q.head++; q.head == len(q.list) {
		q.list, q.head = q.list[:0], 0
	}
	return o
}
