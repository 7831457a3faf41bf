package engine

// Stages of opPull.
const (
	pullLock   uint8 = iota // waits for its range, or for its digest to be asked
	pullDigest              // reads its own data for the digest
	pullAsked
	pullWrite
)

// pullMore asks for dirty ranges, as many as the depth and the rate allow.
func (e *Engine) pullMore(p *peer) {
	s, b := &p.sync, e.bits[p.row]
	if b.count == 0 && len(s.pulls) == 0 {
		if p.uuidWait == 0 { // else the source is about to have another generation than this node would end in
			e.finishTarget(p)
		}
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
		o.stage = pullDigest
		if e.legDigests(o) {
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
		if p.sourceDoubt != (Doubt{}) {
			e.markForOthers(p, o.off, o.len) // both may lack it
		}
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
	if e.needsExtents(&e.peers[o.peer]) && !e.getExtents(o) {
		return // a leg or a third node that is behind now, or a tracker, has to know of this after a crash
	}
	e.markTrackers(o)
	e.markForOthers(&e.peers[o.peer], o.off, o.len)
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
