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
}

// Stages of opPull.
const (
	pullLock   uint8 = iota // waits for its range, or for its digest to be asked
	pullDigest              // reads its own data for the digest
	pullAsked
	pullWrite
)

const (
	retryPause = int64(1e9) // before a failed resync read is tried again
	aheadPause = int64(1e9) // between the last confirmed write and the resync that ends Ahead
)

// startBitmapSource sends this side's bitmap, the first step of a resync. From here on the target hears of every write.
func (e *Engine) startBitmapSource(p *peer) {
	e.setConn(p, WFBitMapS)
	e.send(p, &Msg{Type: MsgBitmap, Words: e.bits[p.row].clone()})
}

// onBitmap merges the peer's bitmap. The target makes the union durable before it answers with it: from then on a power
// loss on the target forgets nothing, even though the source clears its bits as soon as a block is written.
func (e *Engine) onBitmap(p *peer, m *Msg) {
	switch p.conn {
	case WFBitMapT:
		e.bits[p.row].or(m.Words)
		words := e.bits[p.row].clone()
		link := p.link
		p.hold++
		answer := func(bool) {
			if p.link == link {
				e.send(p, &Msg{Type: MsgBitmap, Words: words})
				e.setConn(p, WFSyncUUID)
				e.release(p)
			}
		}
		if e.mutated(MutTargetBitsVolatile) {
			answer(true)
			return
		}
		e.writePages(func(row, _ int) bool { return row == p.row }, answer)
	case WFBitMapS:
		e.bits[p.row].or(m.Words)
		e.startSource(p)
	default:
		e.protocolError(p, "bitmap in state %v", p.conn)
	}
}

// startSource names the resync by a generation, durably, and then starts it.
func (e *Engine) startSource(p *peer) {
	row := &e.super.Rows[p.row]
	old := row.Bitmap
	if old != 0 {
		pushHistory(&e.super.History, old)
		row.Bitmap = (old + syncUUIDOffset) &^ 1
	} else {
		row.Bitmap = e.newUUID()
	}
	row.Flags &^= RowOutdated
	link := p.link
	begin := func(bool) {
		if p.link != link || !p.isSource() {
			return
		}
		gi := e.super.GI(p.row)
		e.send(p, &Msg{Type: MsgSyncUUID, UUID: row.Bitmap, Fence: e.super.Fence, Hello: &Hello{GI: gi}})
		p.gen = row.Bitmap
		p.disk, p.sync.aheadWait, p.sync.leaving = Inconsistent, false, false
		e.setConn(p, SyncSource)
		e.applyPause(p)
	}
	if e.mutated(MutSyncUUIDBeforeMeta) {
		begin(true)
		e.later(func() { e.commit(nil) })
		return
	}
	e.commit(begin)
}

// onSyncUUID: the source has started. The target is Inconsistent, durably, before the first block changes.
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
	}
	e.setCurrent(m.UUID)
	e.super.Rows[p.row].Bitmap = 0
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
	// What the source only told of since the bitmaps were exchanged has to survive a crash, too.
	e.writePages(func(row, _ int) bool { return row == p.row }, func(bool) {})
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

// pullMore asks for dirty ranges, as many as the depth and the rate allow.
func (e *Engine) pullMore(p *peer) {
	s, b := &p.sync, e.bits[p.row]
	if b.count == 0 && len(s.pulls) == 0 {
		e.finishTarget(p)
		return
	}
	if s.failed && e.now < p.wake {
		return
	}
	s.failed = false
	if p.link == 0 || e.cmd.stopsPulls() {
		return
	}
	for len(s.pulls) < e.cfg.ResyncDepth {
		lo := e.nextPull(p)
		if lo >= b.bits || !e.mayPull(p) {
			return
		}
		o := e.newOp(opPull)
		s.cursor = lo
		o.off, o.len = e.nextDirty(b, &s.cursor)
		o.len = e.trimPull(p, o)
		s.cursor = (o.off + uint64(o.len) + 1<<e.cfg.BlockShift - 1) >> e.cfg.BlockShift
		o.peer, o.link = p.row, p.link
		p.active++
		s.pulls = append(s.pulls, o)
		s.credit -= int64(o.len)
		e.startPull(p, o)
		if p.conn != SyncTarget {
			return
		}
	}
}

// nextPull finds the next dirty block that is not asked for yet.
func (e *Engine) nextPull(p *peer) uint64 {
	b := e.bits[p.row]
	for _, from := range [2]uint64{p.sync.cursor, 0} {
		for i := b.next(from); i < b.bits; i = b.next(i + 1) {
			if !e.pulling(p, i<<e.cfg.BlockShift) {
				return i
			}
		}
	}
	return b.bits
}

func (e *Engine) pulling(p *peer, off uint64) bool {
	for _, o := range p.sync.pulls {
		if off >= o.off && off < o.off+uint64(o.len) {
			return true
		}
	}
	return false
}

// trimPull keeps a new request from reaching into one under way.
func (e *Engine) trimPull(p *peer, o *op) uint32 {
	n := o.len
	for _, q := range p.sync.pulls {
		if q.off > o.off && q.off < o.off+uint64(n) {
			n = uint32(q.off - o.off)
		}
	}
	return n
}

// mayPull applies the resync rate as a token bucket of one second.
func (e *Engine) mayPull(p *peer) bool {
	rate := int64(e.cfg.ResyncRate)
	if rate == 0 {
		return true
	}
	s := &p.sync
	s.credit = min(rate, s.credit+(e.now-s.filled)/1e6*rate/1e3)
	s.filled = e.now
	if s.credit > 0 {
		return true
	}
	if p.wake == 0 {
		p.wake = e.now + 1e8
	}
	return false
}

// startPull takes the range first where this node writes itself (a Primary that is a target): there, the source's lock
// would come too late. Everywhere else the range is taken when the data is here, since the source holds it until then.
func (e *Engine) startPull(p *peer, o *op) {
	o.stage = pullLock
	if e.role == Primary && !e.lockRange(o, lockCopy) {
		return
	}
	e.pullLocked(o)
}

func (e *Engine) pullLocked(o *op) {
	p := &e.peers[o.peer]
	if o.link != p.link {
		e.endPull(p, o)
		return
	}
	if o.stage == pullWrite {
		e.pullWrite(o)
		return
	}
	if p.cfg.Csums && o.stage == pullLock {
		if n := e.legReadable(o); n >= 0 {
			o.stage = pullDigest
			e.legRead(o, n, true)
			return
		}
	}
	o.stage = pullAsked
	e.send(p, &Msg{Type: MsgRSRequest, Block: o.id(), Off: o.off, Len: o.len})
}

func (e *Engine) pullDigestDone(o *op, ok bool) {
	p := &e.peers[o.peer]
	if o.link != p.link {
		e.endPull(p, o)
		return
	}
	o.stage = pullAsked
	m := Msg{Type: MsgRSRequest, Block: o.id(), Off: o.off, Len: o.len}
	if ok {
		m.Type, m.UUID = MsgCsumRequest, o.sum
	}
	e.send(p, &m)
}

// onRSReply is the source's answer: data, or that the range is equal, or that it cannot be read.
func (e *Engine) onRSReply(p *peer, m *Msg) {
	o := e.pullByID(p, m)
	if o == nil {
		e.protocolError(p, "resync data that nobody asked for")
		return
	}
	switch m.Type {
	case MsgRSReply:
		o.stage, o.data = pullWrite, m.Data
		if e.lockRange(o, lockCopy) {
			e.pullWrite(o)
		}
	case MsgRSInSync:
		e.markInSync(p.row, o.off, o.len)
		e.endPull(p, o)
	default:
		p.sync.failed = true
		p.wake = e.now + retryPause
		e.endPull(p, o)
	}
}

func (e *Engine) pullByID(p *peer, m *Msg) *op {
	for _, o := range p.sync.pulls {
		if o.id() == m.Block && o.off == m.Off && o.stage == pullAsked {
			return o
		}
	}
	return nil
}

func (e *Engine) pullWrite(o *op) {
	if e.cfg.Legs > 1 && !e.getExtents(o) {
		return // a leg that is behind now has to know of this after a crash
	}
	e.legWrite(o)
}

// pullWritten: the blocks are equal now; both sides may forget them.
func (e *Engine) pullWritten(o *op, ok bool) {
	p := &e.peers[o.peer]
	if o.link == p.link {
		if ok {
			e.markInSync(p.row, o.off, o.len)
			e.send(p, &Msg{Type: MsgRSWriteAck, Block: o.id(), Off: o.off, Len: o.len, Count: 1})
			if e.mutated(MutEagerBitClear) {
				e.writePages(allPages, func(bool) {})
			}
		} else {
			e.send(p, &Msg{Type: MsgNegAck, Block: o.id(), Off: o.off, Len: o.len, Count: 1})
		}
	}
	e.endPull(p, o)
}

func (e *Engine) endPull(p *peer, o *op) {
	for i, q := range p.sync.pulls {
		if q == o {
			p.sync.pulls = append(p.sync.pulls[:i], p.sync.pulls[i+1:]...)
			break
		}
	}
	e.al.removeWaiting(o)
	e.peerOpEnds(p, o)
}

// peerOpEnds frees an operation that was on behalf of a peer.
func (e *Engine) peerOpEnds(p *peer, o *op) {
	if o.data != nil {
		e.emit(Action{Kind: ActRelease, Data: o.data})
	}
	p.active--
	e.freeOp(o)
}

// onRSRequest locks the range against writes until the target has written it, and reads it.
func (e *Engine) onRSRequest(p *peer, m *Msg) {
	if p.conn != SyncSource && p.conn != PausedSyncS {
		e.send(p, &Msg{Type: MsgNegRSReply, Block: m.Block, Off: m.Off, Len: m.Len})
		return
	}
	o := e.newOp(opServe)
	o.peer, o.link, o.block, o.off, o.len = p.row, p.link, m.Block, m.Off, m.Len
	o.byDigest, o.digest = m.Type == MsgCsumRequest, m.UUID
	p.active++
	p.sync.serves = append(p.sync.serves, o)
	if e.lockRange(o, lockCopy) {
		e.serveLocked(o)
	}
}

func (e *Engine) serveLocked(o *op) {
	p := &e.peers[o.peer]
	n := e.legReadable(o)
	if o.link != p.link || n < 0 || !e.goodDisk() {
		e.endServe(p, o, MsgNegRSReply)
		return
	}
	e.legRead(o, n, o.byDigest)
}

func (e *Engine) serveReadDone(o *op, ok bool) {
	p := &e.peers[o.peer]
	switch {
	case o.link != p.link:
		e.endServe(p, o, 0)
	case !ok:
		e.serveLocked(o)
	case o.byDigest && o.digest == o.sum:
		e.markInSync(p.row, o.off, o.len)
		e.endServe(p, o, MsgRSInSync)
	case o.byDigest: // they differ: now the data
		o.byDigest, o.tried = false, 0
		e.serveLocked(o)
	default:
		e.send(p, &Msg{Type: MsgRSReply, Block: o.block, Off: o.off, Len: o.len, Data: o.data})
		o.stage = 1 // sent; the range stays locked until the target has it
	}
}

// endServe answers, if there is something to say, and unlocks the range.
func (e *Engine) endServe(p *peer, o *op, answer MsgType) {
	if answer != 0 && o.link == p.link {
		e.send(p, &Msg{Type: answer, Block: o.block, Off: o.off, Len: o.len})
	}
	for i, q := range p.sync.serves {
		if q == o {
			p.sync.serves = append(p.sync.serves[:i], p.sync.serves[i+1:]...)
			break
		}
	}
	e.peerOpEnds(p, o)
}

// onRSWriteAck: the target has written resync data (Count 1) or a mirrored write that makes blocks equal.
func (e *Engine) onRSWriteAck(p *peer, m *Msg) {
	if m.Count == 0 {
		e.onWriteAck(p, m)
		return
	}
	for _, o := range p.sync.serves {
		if o.block == m.Block && o.off == m.Off && o.stage == 1 {
			e.markInSync(p.row, o.off, o.len)
			e.endServe(p, o, 0)
			return
		}
	}
	e.protocolError(p, "resync acknowledgement of unknown data")
}

// onOutOfSync: the source has changed something that it does not send.
func (e *Engine) onOutOfSync(p *peer, m *Msg) { e.markMissed(p.row, m.Off, m.Len) }

// finishTarget ends the resync here: data first, then the generation that says so (M5), then the word to the source.
func (e *Engine) finishTarget(p *peer) {
	p.sync.finishing = true
	link := p.link
	finish := func(ok bool) {
		if p.link != link || !ok {
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
	e.super.History = p.sourceHistory
	pushHistory(&e.super.History, e.super.Current&uuidMask)
	e.setCurrent(p.gen)
	e.super.Rows[p.row].Bitmap = 0
	e.super.Rows[p.row].Flags &^= RowCrashed
	e.super.Flags |= SuperConsistent | SuperUpToDate
	e.commit(func(ok bool) {
		p.sync.finishing = false
		if p.link != link || !ok {
			return
		}
		e.exposed = e.super.Current
		p.gen = e.super.Current
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
	pushHistory(&e.super.History, row.Bitmap)
	row.Bitmap = 0
	row.Flags &^= RowCrashed
	p.disk, p.gen = UpToDate, e.super.Current
	e.setConn(p, Connected)
	e.commit(nil)
	for o := e.logHead; o != nil; {
		next := o.next
		if !o.completed && o.barWait&p.bit() == 0 {
			o.acked |= p.bit() // resync has copied what waited for a second copy
			e.tryComplete(o)
		}
		o = next
	}
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
	s.finishing, s.failed, s.aheadWait, s.pausePeer, s.leaving = false, false, false, false, false
}

// onServeFailed: the target could not write what it was sent.
func (e *Engine) onServeFailed(p *peer, m *Msg) {
	for _, o := range p.sync.serves {
		if o.block == m.Block && o.stage == 1 {
			e.endServe(p, o, 0)
			return
		}
	}
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
