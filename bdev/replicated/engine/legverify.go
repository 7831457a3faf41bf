package engine

// legVerify compares the legs of this node with one another.
type legVerify struct {
	on       bool
	stopping bool
	repair   VerifyRepair
	source   int      // leg, for RepairFromLeg
	next     uint64   // offset of the next range
	pieces   []uint64 // offsets of single blocks of ranges that differ
	ops      int
	differ   uint64 // blocks
	repaired uint64
	left     uint64 // that nobody could decide about
}

// legNotesMax bounds the blocks of one verify that an operator is told of singly.
const legNotesMax = 16

// Stages of opLegVerify.
const (
	legVerifyDigest uint8 = iota // waits for its range, or for the digests of all legs
	legVerifyRead                // reads the good copy
	legVerifyWrite               // puts it on the legs that differ
)

// stepVerifyLegs begins a verify of the legs.
func (e *Engine) stepVerifyLegs() {
	ev := &e.cmd.ev
	repair := VerifyRepair(ev.Value)
	if v := &e.legVerify; v.on || !e.goodDisk() || e.upLegs()&(e.upLegs()-1) == 0 {
		e.reply(ErrState)
		return
	}
	if repair != RepairNone && repair != RepairByMajority && repair != RepairFromLeg ||
		repair == RepairFromLeg && (ev.Leg >= e.cfg.Legs || e.legs[ev.Leg].state != legUp) {
		e.reply(ErrRange)
		return
	}
	e.legVerify = legVerify{on: true, repair: repair, source: ev.Leg}
	e.reply(OK)
}

// runLegVerify compares the next ranges, and where one differs its blocks.
func (e *Engine) runLegVerify() {
	v := &e.legVerify
	for v.on && v.ops < e.cfg.ResyncDepth && e.goodDisk() && !v.stopping {
		o := e.newOp(opLegVerify)
		switch {
		case len(v.pieces) > 0:
			o.off, o.len = v.pieces[0], uint32(min(uint64(1)<<e.cfg.BlockShift, e.super.Size-v.pieces[0]))
			v.pieces = v.pieces[1:]
		case v.next < e.super.Size:
			o.off, o.len = v.next, uint32(min(uint64(e.cfg.ResyncMax), e.super.Size-v.next))
			v.next += uint64(o.len)
		default:
			e.freeOp(o)
			e.legVerifyEnd()
			return
		}
		v.ops++
		if e.lockRange(o, lockCopy) {
			e.legVerifyLocked(o)
		}
	}
	if v.on && v.ops == 0 {
		e.legVerifyEnd()
	}
}

func (e *Engine) legVerifyEnd() {
	if v := &e.legVerify; v.on && v.ops == 0 {
		v.on = false
		e.notify(-1, "verify of the legs: %d blocks differ, %d of them repaired", v.differ, v.repaired)
	}
}

// legVerifyLocked goes on with a range that is locked, or whose extents are hot.
func (e *Engine) legVerifyLocked(o *op) {
	switch {
	case o.stage == legVerifyWrite:
		e.legVerifyPut(o)
	case !e.legDigests(o):
		e.legVerifyOpEnd(o)
	}
}

func (e *Engine) legVerifyReadDone(o *op, ok bool) {
	switch {
	case o.stage == legVerifyRead && ok:
		o.stage = legVerifyWrite
		e.legVerifyPut(o)
	case ok || o.answered == 0 || o.stage == legVerifyRead:
		e.legVerifyOpEnd(o) // equal, or nothing can be said
	default:
		e.legsDiffer(o)
	}
}

// legsDiffer looks at a range block by block, and decides about a block.
func (e *Engine) legsDiffer(o *op) {
	v := &e.legVerify
	if o.len > 1<<e.cfg.BlockShift {
		for off := o.off; off < o.off+uint64(o.len); off += 1 << e.cfg.BlockShift {
			v.pieces = append(v.pieces, off)
		}
		e.legVerifyOpEnd(o)
		return
	}
	v.differ++
	good := e.goodLeg(o)
	if good < 0 {
		if v.left++; v.left <= legNotesMax {
			e.notify(-1, "legs differ at %d", o.off)
		}
		e.legVerifyOpEnd(o)
		return
	}
	for n := range e.cfg.Legs {
		if o.answered&legBit(n) != 0 && o.sums[n] != o.sums[good] {
			o.repair |= legBit(n)
		}
	}
	o.stage = legVerifyRead
	e.legRead(o, good, false)
}

// goodLeg is the leg to copy from: the one that the operator named, or one of more than half of those that answered.
func (e *Engine) goodLeg(o *op) int {
	v := &e.legVerify
	if v.repair == RepairFromLeg && o.answered&legBit(v.source) != 0 {
		return v.source
	}
	for n := 0; n < e.cfg.Legs && v.repair == RepairByMajority; n++ {
		same, all := 0, 0
		for m := range e.cfg.Legs {
			if o.answered&legBit(m) == 0 {
				continue
			}
			all++
			if o.sums[m] == o.sums[n] {
				same++
			}
		}
		if o.answered&legBit(n) != 0 && 2*same > all {
			return n
		}
	}
	return -1
}

// legVerifyPut writes the good copy. For those who look at what has changed it is a change: they may have read the other one.
func (e *Engine) legVerifyPut(o *op) {
	e.markTrackers(o)
	e.putRepair(o, e.legVerifyOpEnd)
}

func (e *Engine) legVerifyWritten(o *op, ok bool) {
	if ok {
		e.legVerify.repaired++
		e.cfg.Cover.legRepair()
	}
	e.legVerifyOpEnd(o)
}

func (e *Engine) legVerifyOpEnd(o *op) {
	if o.data != nil {
		e.emit(Action{Kind: ActRelease, Data: o.data})
	}
	e.legVerify.ops--
	e.moved = true
	e.freeOp(o)
}
