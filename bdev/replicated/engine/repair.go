package engine

// Stages of opRepair.
const (
	repairLock  uint8 = iota // waits for its range
	repairRead               // reads from a leg, or waits for a peer's answer
	repairWrite              // has the data; waits for extents, or writes
)

// repairsMax bounds the repairs under way; what is left out is repaired when it is read the next time.
const repairsMax = 16

// startRepair puts good data back where legs could not read it, after a read that was answered from elsewhere. The range is
// locked and read again: what the reader got may have been overwritten meanwhile.
func (e *Engine) startRepair(off uint64, n uint32, legs uint16) {
	if e.repairs == repairsMax || legs&e.upLegs() == 0 {
		return
	}
	e.repairs++
	o := e.newOp(opRepair)
	o.off, o.len, o.repair, o.tried = off, n, legs, legs
	if e.mutated(MutNoRepairLock) || e.lockRange(o, lockCopy) {
		e.repairLocked(o)
	}
}

// repairLocked goes on with a repair that has got its range or its extents.
func (e *Engine) repairLocked(o *op) {
	if o.stage == repairWrite {
		e.repairLegs(o)
		return
	}
	e.repairFetch(o)
}

// repairFetch reads from a leg that can, else from a peer. Only a Primary asks a peer: nobody waits for its range while
// holding one that the peer needs for the answer.
func (e *Engine) repairFetch(o *op) {
	o.stage = repairRead
	switch n, p := e.legReadable(o), e.peerReadable(o); {
	case o.repair&e.upLegs() == 0 || !e.localReadable(o):
		e.repairEnd(o)
	case n >= 0:
		e.legRead(o, n, false)
	case p != nil && e.role == Primary:
		e.askPeer(o, p)
	default:
		e.repairEnd(o)
	}
}

func (e *Engine) repairReadDone(o *op, ok bool) {
	if !ok {
		if o.data != nil {
			e.emit(Action{Kind: ActRelease, Data: o.data})
			o.data = nil
		}
		e.repairFetch(o)
		return
	}
	o.stage = repairWrite
	e.repairLegs(o)
}

// repairLegs writes to the legs that could not read. One that cannot write either has failed, as with any write.
func (e *Engine) repairLegs(o *op) { e.putRepair(o, e.repairEnd) }

// putRepair writes the good copy to those legs of o.repair that are still up; end is called at once if there are none.
func (e *Engine) putRepair(o *op, end func(*op)) {
	if !e.getExtents(o) {
		return
	}
	for n := range e.cfg.Legs {
		if o.repair&e.upLegs()&legBit(n) != 0 {
			e.legIO(o, n, ActLegWrite)
		}
	}
	if o.legs == 0 {
		end(o)
	}
}

func (e *Engine) repairDone(o *op, ok bool) {
	if ok {
		e.repaired++
		e.cfg.Cover.repair()
		for n := range e.cfg.Legs {
			if o.legsOK&legBit(n) != 0 {
				e.notify(e.legRow(n), "leg %d: %d bytes at %d could not be read and were written again", n, o.len, o.off)
			}
		}
	}
	e.repairEnd(o)
}

func (e *Engine) repairEnd(o *op) {
	if o.data != nil {
		e.emit(Action{Kind: ActRelease, Data: o.data})
	}
	e.repairs--
	e.freeOp(o)
}
