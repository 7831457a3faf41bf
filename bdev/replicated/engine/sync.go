package engine

// syncState is the resync with one peer.
type syncState struct {
	cursor    uint64
	pulls     []*op // target: ranges asked for or being written
	serves    []*op // source: ranges locked, read or sent
	pauseMine bool
	pausePeer bool
	finishing bool
	failed    bool  // the source could not read something; ask again after a while
	credit    int64 // bytes that the rate allows now
	filled    int64 // when credit was last topped up
	aheadWait bool
	leaving   bool // Ahead, and the resync is about to start
	asked     bool // source: the target has asked for data, so it knows durably that the resync has begun
}

const (
	retryPause = int64(1e9) // before a failed resync read is tried again
	aheadPause = int64(1e9) // between the last confirmed write and the resync that ends Ahead
)

// startBitmapSource sends this side's bitmap, the first step of a resync. From here on the target hears of every write.
func (e *Engine) startBitmapSource(p *peer) {
	e.setConn(p, WFBitMapS)
	e.send(p, &Msg{Type: MsgBitmap, Words: e.bits[p.row].clone()})
}

// onBitmap merges the peer's bitmap; the target answers with the union.
func (e *Engine) onBitmap(p *peer, m *Msg) {
	switch p.conn {
	case WFBitMapT:
		e.bits[p.row].or(m.Words)
		e.send(p, &Msg{Type: MsgBitmap, Words: e.bits[p.row].clone()})
		e.setConn(p, WFSyncUUID)
	case WFBitMapS:
		e.bits[p.row].or(m.Words)
		e.startSource(p)
	default:
		e.protocolError(p, "bitmap in state %v", p.conn)
	}
}

// startSource names the resync by a generation, durably, and then starts it. A name that a crash took would not be lost data: by rules
// 81 and 82 everything is copied then, instead of what is marked. But from now on the target may come to have this node's generation
// unheard, and nobody may write alone in that (RowEnding), not even after a crash. Of several nodes a Primary begins another one
// whenever it goes on without a peer.
func (e *Engine) startSource(p *peer) {
	row := &e.super.Rows[p.row]
	old := row.Bitmap
	if old != 0 {
		e.pushFormer(old)
		row.Bitmap = (old + syncUUIDOffset) &^ 1
	} else {
		row.Bitmap = e.newUUID()
	}
	row.Flags &^= RowOutdated
	if !e.severalPeers() && !e.mutated(MutNoEndingGeneration) {
		row.Flags |= RowEnding
	}
	p.sync.asked = false
	e.refreshHistory()
	link := p.link
	begin := func(bool) {
		if p.link != link || !p.isSource() {
			return
		}
		gi := e.super.GI(p.row)
		e.send(p, &Msg{Type: MsgSyncUUID, UUID: row.Bitmap, Fence: e.super.Fence, Hello: &Hello{GI: gi}, Doubt: e.doubt()})
		p.gen = row.Bitmap
		p.disk, p.sync.aheadWait, p.sync.leaving = Inconsistent, false, false
		e.setConn(p, SyncSource)
		e.applyPause(p)
	}
	e.commit(begin)
}

// onSyncUUID: the source has started. Before the first block changes, the target is Inconsistent, durably, and so are the
// bits of both sides and of what it was told of since they exchanged them: from then on a power loss here forgets nothing,
// even though the source clears its bits as soon as a block is written.
func (e *Engine) onSyncUUID(p *peer, m *Msg) {
	if p.conn != WFSyncUUID && p.conn != Behind {
		e.protocolError(p, "P_SYNC_UUID in state %v", p.conn)
		return
	}
	if e.otherSource(p) {
		e.resetLink(p) // one source at a time; the handshake is repeated until the other resync has ended
		return
	}
	if m.Hello != nil {
		p.sourceHistory = m.Hello.GI.History
		if then := m.Hello.GI.Current; then&uuidMask != p.gen&uuidMask || p.told != 0 {
			e.remember(&p.sourceHistory, then) // this Primary has lent it another generation since
		}
	}
	p.sourceDoubt = m.Doubt
	base := e.super.Current
	e.setCurrent(m.UUID)
	e.noteSource(p, base)
	link := p.link
	p.hold++
	p.sync.cursor, p.sync.filled = 0, e.now
	begin := func(ok bool) {
		if p.link == link {
			e.setConn(p, SyncTarget)
			e.applyPause(p)
			e.release(p)
		}
	}
	if e.mutated(MutNoTargetInconsistent) {
		begin(true)
		e.super.Flags |= SuperConsistent | SuperUpToDate
		e.commit(nil)
		return
	}
	e.setDisk(Inconsistent)
	if !e.mutated(MutTargetBitsVolatile) {
		e.writePages(func(row, _ int) bool { return row == p.row }, func(bool) {})
	}
	e.commit(begin)
}

// otherSource reports a resync from another peer.
func (e *Engine) otherSource(p *peer) bool {
	for i := range e.peers {
		if q := &e.peers[i]; q != p && (q.conn == SyncTarget || q.conn == PausedSyncT) {
			return true
		}
	}
	return false
}

// runSyncs lets every target ask for more, and ends what is complete.
func (e *Engine) runSyncs() {
	for i := range e.peers {
		p := &e.peers[i]
		switch {
		case p.conn == SyncTarget && !p.sync.finishing:
			e.pullMore(p)
		case p.conn == Ahead:
			e.leaveAhead(p)
		case p.conn == VerifyS:
			e.verifyMore(p)
		}
	}
}

// peerOpEnds frees an operation that was on behalf of a peer.
func (e *Engine) peerOpEnds(p *peer, o *op) {
	if o.data != nil {
		e.emit(Action{Kind: ActRelease, Data: o.data})
	}
	p.active--
	e.freeOp(o)
}

// onOutOfSync: the source has changed something that it does not send.
func (e *Engine) onOutOfSync(p *peer, m *Msg) { e.markMissed(p.row, m.Off, m.Len) }

// finishTarget ends the resync here: data first, then the generation that says so (M5), then the word to the source.
func (e *Engine) finishTarget(p *peer) {
	p.sync.finishing = true
	link := p.link
	finish := func(ok bool) {
		if p.link != link || !ok || p.uuidWait != 0 || e.bits[p.row].count != 0 {
			p.sync.finishing = false
			return
		}
		e.targetIsEqual(p, link)
	}
	if e.mutated(MutNoFlushBeforeEnd) {
		finish(true)
		return
	}
	e.flushLegs(finish)
}

func (e *Engine) targetIsEqual(p *peer, link uint32) {
	before := e.historyOfAncestor(p)
	e.super.History = p.sourceHistory
	e.remember(&e.super.History, e.super.Current&uuidMask)
	e.setCurrent(p.gen)
	e.takenOver = p.gen & uuidMask
	e.clearSource() // in the same superblock: one that is UpToDate and has a source would show others the generation before
	e.super.Rows[p.row].Bitmap = 0
	e.dropForeignBitmaps(before)
	e.endDoubt(p.row)
	e.takeOverDoubt(p)
	e.super.Flags |= SuperConsistent | SuperUpToDate
	e.super.Flags &^= SuperLegMissing
	e.endIsDurable(p, link)
}

// endIsDurable commits the end of a resync, and says it. The source may begin another generation while that becomes durable, and takes this
// node along like any target: then it is that in which the resync ends.
func (e *Engine) endIsDurable(p *peer, link uint32) {
	e.commit(func(ok bool) {
		if ok && p.link == link && p.gen&uuidMask != e.super.Current&uuidMask && !e.mutated(MutEndsInOlder) {
			e.remember(&e.super.History, e.super.Current&uuidMask)
			e.setCurrent(p.gen)
			e.takenOver = p.gen & uuidMask
			e.endIsDurable(p, link)
			return
		}
		p.sync.finishing = false
		if !ok {
			return
		}
		if p.link != link {
			e.equalWithoutSource(p)
			return
		}
		e.exposed = e.super.Current
		e.forgetOpenOf(p)
		e.setConn(p, Connected)
		e.setDisk(UpToDate)
		e.send(p, &Msg{Type: MsgSyncDone})
		e.sayState()
		e.writePages(func(row, _ int) bool { return row == p.row }, func(bool) {})
		e.retryReads()
		e.recheck()
		e.resetOthers(p)
	})
}

// equalWithoutSource: the connection ended while the end of the resync became durable. What the superblock says is true, and the
// next resync has to find this node as it would after a crash. A Primary goes on without its source, in a new generation.
func (e *Engine) equalWithoutSource(p *peer) {
	if e.disk != Inconsistent || e.super.Flags&SuperUpToDate == 0 {
		return // the disks are gone
	}
	e.exposed = e.super.Current
	e.setDisk(UpToDate)
	if e.role == Primary {
		e.rotate()
	}
	e.retryReads()
	e.recheck()
	e.resetOthers(p)
}

// resetOthers compares generations anew with those who knew this node by its old one.
func (e *Engine) resetOthers(p *peer) {
	for i := range e.peers {
		if q := &e.peers[i]; q != p && q.up {
			e.resetLink(q)
		}
	}
}

// onSyncDone ends the resync on the source.
func (e *Engine) onSyncDone(p *peer, _ *Msg) {
	if p.conn != SyncSource && p.conn != PausedSyncS {
		e.protocolError(p, "end of resync in state %v", p.conn)
		return
	}
	if e.bits[p.row].count != 0 {
		e.notify(p.row, "resync ended with %d blocks left", e.bits[p.row].count)
		e.resetLink(p)
		return
	}
	row := &e.super.Rows[p.row]
	e.pushFormer(row.Bitmap)
	row.Bitmap = 0
	row.Flags &^= RowEnding
	e.endDoubt(p.row)
	p.disk, p.gen = UpToDate, e.super.Current
	e.setConn(p, Connected)
	e.commit(nil)
	if e.role == Primary && e.severalPeers() && e.saidEpoch > 0 {
		e.send(p, &Msg{Type: MsgSettled, Epoch: e.saidEpoch}) // it has not been told while it was behind
	}
	e.tellInSync(p)
	for o := e.logHead; o != nil; {
		next := o.next
		if !o.completed && (o.barWait&p.bit() == 0 || o.acked&p.bit() != 0) {
			e.ackedBy(o, p) // resync has copied what waited for a second copy
			e.tryComplete(o)
		}
		o = next
	}
}

// mayHaveEnded reports that the target of a resync from here may have all data, or may not know yet that the resync has begun. The
// target lacks nothing that is not marked here, and more than it has acknowledged only where it was sent something.
func (e *Engine) mayHaveEnded(p *peer) bool {
	if !p.sync.asked {
		return true
	}
	left := newBitmap(e.bits[p.row].bits, e.cfg.PageBits)
	left.or(e.bits[p.row].words)
	for _, o := range p.sync.serves {
		if o.stage == 1 {
			left.clear(e.blocksCovered(o.off, o.len))
		}
	}
	for o := e.logHead; o != nil; o = o.next {
		if (o.ackWait|o.barWait)&p.bit() != 0 {
			left.clear(e.blocksCovered(o.off, o.len))
		}
	}
	return left.count == 0
}

// abortSync ends a resync with the connection, or with the peer's disk.
func (e *Engine) abortSync(p *peer) {
	s := &p.sync
	for i := len(s.pulls) - 1; i >= 0; i-- {
		o := s.pulls[i]
		if o.legs == 0 {
			e.endPull(p, o)
		}
	}
	for i := len(s.serves) - 1; i >= 0; i-- {
		if o := s.serves[i]; o.legs == 0 {
			e.endServe(p, o, 0)
		}
	}
	s.finishing, s.failed, s.aheadWait, s.pausePeer, s.leaving, s.asked = false, false, false, false, false, false
}

// applyPause moves between the running and the paused states as both sides wish.
func (e *Engine) applyPause(p *peer) {
	paused := p.sync.pauseMine || p.sync.pausePeer
	switch {
	case paused && p.conn == SyncSource:
		e.setConn(p, PausedSyncS)
	case paused && p.conn == SyncTarget:
		e.setConn(p, PausedSyncT)
	case !paused && p.conn == PausedSyncS:
		e.setConn(p, SyncSource)
	case !paused && p.conn == PausedSyncT:
		e.setConn(p, SyncTarget)
	}
}
