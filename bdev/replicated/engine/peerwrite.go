package engine

// onData takes a mirrored write. Even one that is refused counts in its epoch.
func (e *Engine) onData(p *peer, m *Msg) {
	p.recv++
	if e.fenced(p, m.Fence) || e.role == Primary || !e.hasDisk() || m.Off+uint64(m.Len) > e.super.Size {
		e.refuseData(p, m)
		return
	}
	o := e.newOp(opPeerWrite)
	o.peer, o.link, o.block, o.off, o.len, o.wop, o.data = p.row, p.link, m.Block, m.Off, m.Len, m.Op, m.Data
	o.flags, o.epoch, o.fua = m.Flags, m.Epoch, m.Flags&FlagFUA != 0
	o.fromDiskless = p.disk < Inconsistent
	p.active++
	p.writes++
	p.unflushed = true
	e.noteOpen(p, m)
	if m.Flags&FlagRecvAck != 0 && m.Flags&FlagWriteAck == 0 {
		e.send(p, &Msg{Type: MsgRecvAck, Block: m.Block, Off: m.Off, Len: m.Len})
	}
	if e.lockRange(o, lockPeer) {
		e.peerWriteLocked(o)
	}
}

// refuseData says that a write is not taken. In the middle of a resync it is still to be copied: the end may not come without it.
func (e *Engine) refuseData(p *peer, m *Msg) {
	if p.isTarget() {
		e.markMissed(p.row, m.Off, m.Len)
	}
	if m.Data != nil {
		e.emit(Action{Kind: ActRelease, Data: m.Data})
	}
	e.send(p, &Msg{Type: MsgNegAck, Block: m.Block, Off: m.Off, Len: m.Len})
}

// fenced reports a sender whose fencing epoch has been superseded, and tells it.
func (e *Engine) fenced(p *peer, epoch uint64) bool {
	if p.cfg.NoFence || epoch >= e.super.Fence || e.mutated(MutNoFenceCheck) {
		return false
	}
	e.send(p, &Msg{Type: MsgFenced, Fence: e.super.Fence})
	return true
}

// needsExtents: on a node that only stores what a Primary sends, a crash leaves nothing open that the Primary does not know
// of, unless there is somebody else who may differ.
func (e *Engine) needsExtents(p *peer) bool {
	if e.cfg.Legs > 1 {
		return true
	}
	for i := range e.peers {
		if i != p.row && (e.isPeer(i) || e.isTracker(i)) {
			return true
		}
	}
	return false
}

func (e *Engine) peerWriteLocked(o *op) {
	p := &e.peers[o.peer]
	if !e.hasDisk() {
		e.peerWriteDone(o, false)
		return
	}
	if (o.fromDiskless || e.needsExtents(p)) && !e.getExtents(o) {
		return
	}
	e.markOthers(p, o)
	e.legWrite(o)
}

// markOthers notes the write for every replica that is known not to get it: trackers, a sender without disk, and peers that
// the Primary has gone on without.
func (e *Engine) markOthers(p *peer, o *op) {
	e.markTrackers(o)
	for i := range e.peers {
		switch {
		case !e.isPeer(i):
		case i == p.row:
			if o.fromDiskless && !e.mutated(MutDisklessNoBits) {
				e.markMissed(i, o.off, o.len)
			}
		case e.super.Rows[i].Bitmap != 0:
			e.markMissed(i, o.off, o.len)
		}
	}
}

// peerWriteDone answers a mirrored write, after anything that has to be durable before.
func (e *Engine) peerWriteDone(o *op, ok bool) {
	p := &e.peers[o.peer]
	if o.link == p.link && e.rotating > 0 && ok {
		e.commit(func(bool) { e.peerWriteAck(o, ok) })
		return
	}
	e.peerWriteAck(o, ok)
}

func (e *Engine) peerWriteAck(o *op, ok bool) {
	p := &e.peers[o.peer]
	if o.link == p.link {
		m := Msg{Type: MsgWriteAck, Block: o.block, Off: o.off, Len: o.len}
		switch {
		case !ok:
			m.Type = MsgNegAck
		case o.flags&FlagSetInSync != 0:
			m.Type = MsgRSWriteAck
			if p.syncing() || e.mutated(MutClearOutsideSync) {
				e.markInSync(p.row, o.off, o.len)
			}
		}
		if !ok || o.flags&(FlagWriteAck|FlagSetInSync) != 0 {
			e.send(p, &m)
		}
		p.writes--
	}
	e.peerOpEnds(p, o)
	e.runBarrier(p)
}

// onBarrier closes an epoch: its writes are on disk before any write of the next one starts, and durable before the answer.
func (e *Engine) onBarrier(p *peer, m *Msg) {
	if m.Count != p.recv {
		e.protocolError(p, "epoch %d has %d writes, not %d", m.Epoch, p.recv, m.Count)
		return
	}
	p.recv = 0
	if e.mutated(MutNoBarrierDrain) {
		e.flushBarrier(p, m)
		return
	}
	p.hold++
	p.gate = m
	e.runBarrier(p)
}

func (e *Engine) runBarrier(p *peer) {
	if p.gate == nil || p.writes > 0 {
		return
	}
	m := p.gate
	p.gate = nil
	e.flushBarrier(p, m)
}

func (e *Engine) flushBarrier(p *peer, m *Msg) {
	if !e.hasDisk() {
		e.resetLink(p) // the disk went with writes that were acknowledged and not flushed: the sender has to know
		return
	}
	if e.cfg.NoFlush || e.mutated(MutNoBarrierFlush) {
		e.ackBarrier(p, m.Epoch, m.Count)
		return
	}
	o := e.newOp(opBarrier)
	o.peer, o.link, o.epoch, o.flags = p.row, p.link, m.Epoch, uint16(m.Count)
	p.active++
	e.legFlush(o)
}

func (e *Engine) barrierFlushed(o *op, ok bool) {
	p := &e.peers[o.peer]
	if o.link == p.link {
		if ok {
			p.unflushed = p.recv > 0
			e.ackBarrier(p, o.epoch, uint32(o.flags))
		} else {
			e.resetLink(p) // nothing is known to be durable: the sender keeps its writes as missed
		}
	}
	e.peerOpEnds(p, o)
}

func (e *Engine) ackBarrier(p *peer, epoch, count uint32) {
	e.send(p, &Msg{Type: MsgBarrierAck, Epoch: epoch, Count: count})
	if !e.mutated(MutNoBarrierDrain) {
		e.release(p)
	}
}

// onDataRequest reads for a peer that has no good data of its own. With modes A and B what that one has mirrored before may be
// acknowledged and still be on its way to the disk. But then its epoch is closed, and the barrier is in front of the request.
func (e *Engine) onDataRequest(p *peer, m *Msg) {
	o := e.newOp(opPeerRead)
	o.peer, o.link, o.block, o.off, o.len = p.row, p.link, m.Block, m.Off, m.Len
	p.active++
	e.peerRead(p, o)
}

func (e *Engine) peerRead(p *peer, o *op) {
	n := -1
	if e.goodDisk() && o.off+uint64(o.len) <= e.super.Size {
		n = e.legReadable(o)
	}
	if n < 0 {
		if o.link == p.link {
			e.send(p, &Msg{Type: MsgNegReply, Block: o.block, Off: o.off, Len: o.len})
		}
		e.peerOpEnds(p, o)
		return
	}
	e.legRead(o, n, false)
}

func (e *Engine) peerReadDone(o *op, ok bool) {
	p := &e.peers[o.peer]
	if !ok {
		e.peerRead(p, o)
		return
	}
	if o.link == p.link {
		e.send(p, &Msg{Type: MsgDataReply, Block: o.block, Off: o.off, Len: o.len, Data: o.data})
	}
	e.peerOpEnds(p, o)
}
