package engine

// Stages of opRebuild.
const (
	rebuildRead uint8 = iota
	rebuildWrite
)

// runRebuilds copies, for each leg that is catching up, one range at a time from a leg that is in sync.
func (e *Engine) runRebuilds() {
	for n := range e.cfg.Legs {
		l := &e.legs[n]
		if l.state == legCatchUp && l.rebuild == nil && !l.finished && e.upLegs() != 0 && e.now >= l.wake {
			e.rebuildNext(n)
		}
	}
}

func (e *Engine) rebuildNext(n int) {
	l, b := &e.legs[n], e.bits[e.legRow(n)]
	if l.since == nil {
		l.since = b.clone()
	}
	if b.count == 0 {
		e.rebuildFinish(n)
		return
	}
	o := e.newOp(opRebuild)
	o.peer = n
	o.off, o.len = e.nextDirty(b, &l.cursor)
	l.rebuild = o
	if e.lockRange(o, lockCopy) {
		e.rebuildLocked(o)
	}
}

// nextDirty returns the next run of marked blocks from the cursor on, wrapping at the end; the bitmap is not empty.
func (e *Engine) nextDirty(b *bitmap, cursor *uint64) (off uint64, n uint32) {
	lo := b.next(*cursor)
	if lo >= b.bits {
		lo = b.next(0)
	}
	most := max(1, uint64(e.cfg.ResyncMax)>>e.cfg.BlockShift)
	perExtent := uint64(1) << (e.cfg.ExtentShift - e.cfg.BlockShift)
	hi := lo + 1
	for hi < b.bits && hi-lo < most && hi%perExtent != 0 && b.test(hi) {
		hi++
	}
	*cursor = hi
	off = lo << e.cfg.BlockShift
	end := min(hi<<e.cfg.BlockShift, e.super.Size)
	return off, uint32(end - off)
}

func (e *Engine) rebuildLocked(o *op) {
	source := e.legReadable(o)
	if source < 0 || e.legs[o.peer].state != legCatchUp {
		e.legs[o.peer].wake = e.now + retryPause
		e.rebuildEnd(o)
		return
	}
	o.stage = rebuildRead
	e.legRead(o, source, false)
}

func (e *Engine) rebuildReadDone(o *op, ok bool) {
	if !ok {
		e.rebuildLocked(o) // another leg, or give up for now
		return
	}
	if e.legs[o.peer].state != legCatchUp {
		e.rebuildEnd(o)
		return
	}
	o.stage = rebuildWrite
	e.legIO(o, o.peer, ActLegWrite)
}

func (e *Engine) rebuildWritten(o *op) {
	n := o.peer
	if o.legsBad != 0 {
		e.legFailed(n)
	} else if e.legs[n].state == legCatchUp {
		lo, hi := e.blocksCovered(o.off, o.len)
		e.bits[e.legRow(n)].clear(lo, hi)
	}
	e.rebuildEnd(o)
}

func (e *Engine) rebuildEnd(o *op) {
	if o.data != nil {
		e.emit(Action{Kind: ActRelease, Data: o.data})
	}
	e.legs[o.peer].rebuild = nil
	e.freeOp(o)
}

// rebuildFinish makes a leg a full member: its data is durable, then its metadata is complete, and then it counts as in sync.
func (e *Engine) rebuildFinish(n int) {
	l := &e.legs[n]
	l.finished = true
	e.flushLegs(func(ok bool) {
		if !ok || l.state != legCatchUp {
			l.finished = false
			return
		}
		for _, b := range e.bits {
			if b != nil {
				for page := range b.added {
					b.added[page] = true
				}
			}
		}
		e.writePages(allPages, func(bool) { e.rewriteActivityLog(func() { e.rebuildCommit(n) }) })
	})
}

func (e *Engine) rebuildCommit(n int) {
	l, row := &e.legs[n], e.legRow(n)
	if l.state != legCatchUp || e.bits[row].count != 0 {
		l.finished = false
		return
	}
	e.super.Rows[row] = Row{}
	e.commit(func(ok bool) {
		l.finished = false
		if ok && l.state == legCatchUp {
			l.state, l.since = legUp, nil
			e.notify(row, "leg %d is in sync", n)
		}
	})
}

// rewriteActivityLog writes all slots, for a leg that has not seen the transactions that filled them.
func (e *Engine) rewriteActivityLog(done func()) {
	e.metaThen(func() {
		var all []ALUpdate
		for i, s := range e.al.slots {
			if s.extent != ALFree {
				all = append(all, ALUpdate{uint16(i), s.extent})
			}
		}
		for len(all) > 0 {
			n := min(len(all), alUpdatesMax)
			e.emitAL(all[:n])
			all = all[n:]
		}
	}, func(bool) { done() })
}
