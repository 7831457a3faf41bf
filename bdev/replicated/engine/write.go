package engine

import "math/bits"

// onWrite begins a write of the front end. Its way: held until the volume takes writes, range, extents, out to legs and
// peers, complete, and remembered until no peer can lose it any more.
func (e *Engine) onWrite(ev *Event) {
	o := e.newOp(opWrite)
	o.block, o.off, o.len, o.wop, o.fua, o.data = ev.ID, ev.Off, ev.Len, ev.Op, ev.FUA, ev.Data
	if !e.takesIO(o) {
		e.failRequest(o)
		return
	}
	e.held.push(o)
}

func (e *Engine) takesIO(o *op) bool {
	return e.role == Primary && e.open && o.off+uint64(o.len) <= e.sizeForRequests() && e.held.len() < queueMax
}

// sizeForRequests is the size, or what it is about to shrink to.
func (e *Engine) sizeForRequests() uint64 {
	if e.cmd.kind == CmdResize && e.cmd.started {
		return min(e.super.Size, e.cmd.ev.Value)
	}
	return e.super.Size
}

func (e *Engine) failRequest(o *op) {
	e.emit(Action{Kind: ActComplete, ID: o.block})
	e.freeOp(o)
}

// gate is why a write cannot go out now.
type gate uint8

const (
	gateOpen gate = iota
	gateWait
	gateFail
)

// writeGate looks at everything that a write depends on but its own range. When a replica is about to miss its first
// write, a new generation is started here and writes wait until it is durable (M3).
func (e *Engine) writeGate() gate {
	if e.fencedOut {
		return gateFail
	}
	if e.suspended && !e.mutated(MutWriteSuspended) {
		return gateWait
	}
	if e.role != Primary {
		return gateFail
	}
	if e.rotating > 0 && !e.mutated(MutAckBeforeRotation) {
		return gateWait
	}
	copies := 0
	if e.hasDisk() {
		copies++
	}
	good := e.goodDisk() && e.hasDisk()
	for i := range e.peers {
		p := &e.peers[i]
		if !e.isPeer(i) {
			continue
		}
		if p.mirrors() {
			good = good || p.disk == UpToDate
			if p.cfg.Mode != ModeA && p.disk == UpToDate {
				copies++
			}
		} else if e.needsGeneration(i) {
			e.rotate()
			if !e.mutated(MutAckBeforeRotation) {
				return gateWait
			}
		}
	}
	if !good {
		return e.orFail(e.cfg.OnNoData)
	}
	if copies < e.cfg.MinAcks && !e.mutated(MutNoMinAcks) {
		return e.orFail(e.cfg.OnNoQuorum)
	}
	return gateOpen
}

func (e *Engine) orFail(f OnFailure) gate {
	if f == FailIO {
		return gateFail
	}
	return gateWait
}

// runHeld admits what waits for the volume, in order.
func (e *Engine) runHeld() {
	for e.held.len() > 0 {
		o := e.held.first()
		g := e.gateOf(o)
		if g == gateWait {
			return
		}
		e.held.pop()
		if g == gateFail {
			e.failRequest(o)
			continue
		}
		e.admit(o)
	}
}

// gateOf is why a request of the front end cannot go out now.
func (e *Engine) gateOf(o *op) gate {
	switch {
	case o.kind == opWrite && o.givenUp:
		return gateFail
	case o.kind == opWrite:
		return e.writeGate()
	case e.suspended:
		return gateWait
	}
	return gateOpen
}

func (e *Engine) admit(o *op) {
	switch o.kind {
	case opWrite:
		if e.lockRange(o, lockWrite) {
			e.writeLocked(o)
		}
	case opRead:
		e.startRead(o)
	case opFlush:
		e.startFlush(o)
	default:
		panic("only requests of the front end are held")
	}
}

func (e *Engine) writeLocked(o *op) {
	if e.hasDisk() && !e.getExtents(o) {
		return
	}
	e.parked.push(o)
}

// runParked sends out the writes that hold range and extents, if nothing has changed meanwhile that makes them wait.
func (e *Engine) runParked() {
	for e.parked.len() > 0 {
		g := e.gateOf(e.parked.first())
		if g == gateWait {
			e.yieldExtents()
			e.letCopiesPass()
			return
		}
		e.lock.stalled = false
		if g == gateOpen && !e.lock.mayGoOut(e.parked.first()) {
			e.yieldExtents()
			return
		}
		o := e.parked.pop()
		if g == gateFail {
			e.failRequest(o)
			continue
		}
		if e.hasDisk() && !e.getExtents(o) {
			continue // it had given them back; it comes here again with them
		}
		e.submit(o)
	}
}

// submit sends a write to all replicas that take it, and notes it for those that do not.
func (e *Engine) submit(o *op) {
	for i := range e.peers {
		if p := &e.peers[i]; p.mirrors() && e.congested(p) {
			e.goAhead(p) // ends an epoch, so all of it before the write gets its own
		}
	}
	o.epoch = e.epoch
	e.epochWrites++
	e.logAppend(o)
	for i := range e.peers {
		if e.isPeer(i) {
			e.submitToPeer(o, &e.peers[i])
		}
	}
	e.markTrackers(o)
	if e.hasDisk() {
		e.legWrite(o)
	} else {
		o.localDone, o.failedLocal = true, true
	}
	if e.epochWrites >= e.cfg.MaxEpoch {
		e.closeEpoch()
	}
	e.tryComplete(o)
}

func (e *Engine) submitToPeer(o *op, p *peer) {
	if !p.mirrors() {
		e.markMissed(p.row, o.off, o.len)
		if e.rotating > 0 {
			e.tellOthersMissed(p, o) // who goes along will hear of the generation after this write
		}
		if (p.conn == Ahead || p.conn == WFBitMapS) && !e.mutated(MutNoOutOfSync) {
			e.send(p, &Msg{Type: MsgOutOfSync, Off: o.off, Len: o.len})
		}
		return
	}
	m := Msg{
		Type: MsgData, Op: o.wop, Block: o.id(), Off: o.off, Len: o.len, Epoch: o.epoch, Data: o.data, Fence: e.super.Fence,
	}
	if o.fua {
		m.Flags |= FlagFUA
	}
	switch {
	case p.disk < UpToDate && p.conn != Connected:
		m.Flags |= FlagSetInSync | FlagWriteAck
	case p.cfg.Mode == ModeC:
		m.Flags |= FlagWriteAck
	case p.cfg.Mode == ModeB:
		m.Flags |= FlagRecvAck
	}
	o.barWait |= p.bit()
	if p.cfg.Mode != ModeA {
		o.ackWait |= p.bit()
	}
	p.epochCount++
	p.inFlight += uint64(o.len)
	e.send(p, &m)
}

func (e *Engine) writeLocalDone(o *op, ok bool) {
	o.localDone, o.localOK = true, ok
	if !ok {
		o.failedLocal = true
	}
	e.tryComplete(o)
}

// tryComplete acknowledges a write that enough replicas have, or gives it up when none has it.
func (e *Engine) tryComplete(o *op) {
	if o.completed {
		e.retire(o)
		return
	}
	if !o.localDone || o.ackWait != 0 || e.holdsAcks(o) {
		return
	}
	if o.givenUp {
		e.complete(o, false)
		return
	}
	if !e.localCounts(o) && o.acked == 0 {
		if o.barWait == 0 {
			e.foundNoReplica(o)
		} else if o.epoch == e.epoch {
			e.closeEpoch() // with mode A only the barrier tells
		}
		return
	}
	if e.fencedOut {
		e.complete(o, false) // there will be no second copy: the peers refuse it
		return
	}
	if e.copies(o) < e.cfg.MinAcks && !e.mutated(MutNoMinAcks) {
		if e.cfg.OnNoQuorum == FailIO {
			e.complete(o, false)
			return
		}
		// The resync that brings the missing copy has to read this range, and others need the activity log. What the
		// missing replicas lack is in their bitmaps. No acknowledgement closes the epoch, so that the others confirm it now.
		// Later writes wait behind it: without a disk it is sent again if those who have it are lost.
		e.yieldRange(o)
		if o.barWait == 0 {
			e.putExtents(o)
		} else if o.epoch == e.epoch {
			e.closeEpoch()
		}
		return
	}
	e.complete(o, true)
}

// holdsAcks reports that something must become durable before anything is acknowledged.
func (e *Engine) holdsAcks(o *op) bool {
	if e.rotating > 0 && !e.mutated(MutAckBeforeRotation) {
		return true
	}
	return !e.localCounts(o) && e.lossWait != 0 && !e.mutated(MutAckBeforeLoss)
}

// localCounts reports that this node's copy is worth an acknowledgement. A target's is not. Nor is one on disks that are gone: they
// cannot note any more that the peers are left out, and are not recognized as the newest when they come back.
func (e *Engine) localCounts(o *op) bool {
	return o.localOK && !o.failedLocal && (e.hasDisk() && e.disk > Inconsistent || e.mutated(MutTargetCounts) ||
		!e.hasDisk() && e.mutated(MutLostDisksCount))
}

func (e *Engine) copies(o *op) (n int) {
	if e.localCounts(o) {
		n++
	}
	return n + bits.OnesCount16(o.good)
}

// ackedBy notes that a peer has a write. A copy on a target is one that cannot be promoted, and does not count.
func (e *Engine) ackedBy(o *op, p *peer) {
	o.acked |= p.bit()
	if p.disk == UpToDate {
		o.good |= p.bit()
	}
}

func (e *Engine) complete(o *op, ok bool) {
	if e.fencedOut {
		ok = false
		e.fencedWrite(o)
	}
	mask := o.acked
	if e.localCounts(o) {
		mask |= HostBit
	}
	o.completed = true
	e.emit(Action{Kind: ActComplete, ID: o.block, OK: ok, Mask: mask})
	o.data = nil
	e.unlock(o)
	if o.epoch == e.epoch && (!e.mutated(MutNoEpochClose) || !e.writing()) {
		e.closeEpoch()
	}
	e.retire(o)
}

// fencedWrite notes a write that failed because another node has been given the volume. This disk may have it and must not
// keep it: the node takes the data of a peer that was in sync, although the generations are equal. Where it had gone on
// alone, its generation says so, and what it acknowledged alone must not go away by this.
func (e *Engine) fencedWrite(o *op) {
	if e.mutated(MutKeepFenced) {
		return
	}
	for i := range e.peers {
		if e.isPeer(i) {
			e.markMissed(i, o.off, o.len)
			e.fencedLoss = e.fencedLoss || e.super.Rows[i].Bitmap == 0
		}
	}
}

// giveUpWrites: a Primary with good data takes over that of a peer, by a split-brain policy. What it has not acknowledged fails: the
// copies that there are will be overwritten, and what has not gone out yet was meant for the data that was here.
func (e *Engine) giveUpWrites() {
	if e.role != Primary || !e.goodDisk() {
		return
	}
	for _, o := range e.ops {
		o.givenUp = o.givenUp || o.kind == opWrite && !o.freed && !o.completed
	}
	e.later(e.recheck)
}

// foundNoReplica is the end of a write that neither this node nor any peer could store.
func (e *Engine) foundNoReplica(o *op) {
	if e.cfg.OnNoData == FailIO {
		e.complete(o, false)
		return
	}
	e.logRemove(o)
	o.localDone, o.localOK, o.failedLocal = false, false, false
	o.legsOK, o.legsBad = 0, 0
	e.putExtents(o)
	e.lock.insist(o)
	e.later(func() { e.writeLocked(o) }) // it still holds its range, and waits for a replica
}

// onWriteAck is the answer to one mirrored write.
func (e *Engine) onWriteAck(p *peer, m *Msg) {
	o := e.ackedOp(p, m)
	if o == nil {
		return
	}
	if m.Type == MsgRSWriteAck && (p.syncing() || e.mutated(MutClearOutsideSync)) {
		e.markInSync(p.row, o.off, o.len)
	}
	o.ackWait &^= p.bit()
	e.ackedBy(o, p)
	if e.mutated(MutForgetAtAck) {
		o.barWait &^= p.bit()
	}
	e.tryComplete(o)
}

// onNegAck: the peer could not write it. It has missed a write, so a new generation is due before this one is acknowledged.
func (e *Engine) onNegAck(p *peer, m *Msg) {
	if m.Count != 0 {
		e.onServeFailed(p, m)
		return
	}
	o := e.ackedOp(p, m)
	if o == nil {
		return
	}
	e.markMissed(p.row, o.off, o.len)
	e.tellOthersMissed(p, o)
	if !p.missed {
		e.forgetPeerWritesKeepAcks(p) // before the new generation: who goes along has noted all of it when he confirms that
	}
	if e.fencedOut {
		e.fencedWrite(o)
	}
	if !p.missed && !e.fencedOut {
		link := p.link
		e.commit(func(bool) { // it has to be resynced, and a new comparison says so
			if p.link == link && p.missed {
				e.resetLink(p)
			}
		})
	}
	p.missed = true
	o.ackWait &^= p.bit()
	if e.role == Primary {
		e.rotate()
	}
	e.tryComplete(o)
}

func (e *Engine) ackedOp(p *peer, m *Msg) *op {
	slot := uint32(m.Block)
	if int(slot) >= len(e.ops) || e.ops[slot].gen != uint32(m.Block>>32) || e.ops[slot].off != m.Off {
		if e.mutated(MutForgetAtAck) {
			return nil
		}
		e.protocolError(p, "acknowledgement of an unknown write")
		return nil
	}
	return e.ops[slot]
}
