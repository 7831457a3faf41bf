package engine

// verifyState is an online verify with one peer.
type verifyState struct {
	next     uint64
	asks     []*op // initiator
	serves   []*op // the other side
	bad      uint64
	repair   VerifyRepair
	stopping bool
}

// Stages of opVerifyAsk and opVerifyServe.
const (
	verifyLock uint8 = iota
	verifyAsked
	verifyRead
	verifyAnswered
)

// startVerify begins on the initiator.
func (e *Engine) startVerify(p *peer, repair VerifyRepair) {
	p.verify = verifyState{repair: repair}
	e.setConn(p, VerifyS)
	e.sayState()
}

// verifyMore compares the next ranges. A Primary locks a range while it is being compared; where the initiator is
// Secondary, its peer does.
func (e *Engine) verifyMore(p *peer) {
	v := &p.verify
	for len(v.asks) < e.cfg.ResyncDepth && v.next < e.super.Size && !v.stopping {
		o := e.newOp(opVerifyAsk)
		o.peer, o.link, o.off = p.row, p.link, v.next
		o.len = uint32(min(uint64(e.cfg.ResyncMax), e.super.Size-v.next))
		v.next += uint64(o.len)
		v.asks = append(v.asks, o)
		p.active++
		if e.role != Primary || e.lockRange(o, lockCopy) {
			e.verifyLocked(o)
		}
	}
	if len(v.asks) == 0 && (v.stopping || v.next >= e.super.Size) {
		e.finishVerify(p)
	}
}

func (e *Engine) verifyLocked(o *op) {
	p := &e.peers[o.peer]
	if o.link != p.link {
		e.endVerifyOp(p, o)
		return
	}
	if o.kind == opVerifyAsk && o.stage == verifyLock {
		o.stage = verifyAsked
		e.send(p, &Msg{Type: MsgOVRequest, Block: o.id(), Off: o.off, Len: o.len})
		return
	}
	o.stage = verifyRead
	if !e.legDigests(o) {
		e.verifyReadDone(o, false)
	}
}

// onOVRequest: the other side's part is to read and send the digest. Its lock waits for the writes under way: those of its
// own front end, and those that the initiator has mirrored.
func (e *Engine) onOVRequest(p *peer, m *Msg) {
	o := e.newOp(opVerifyServe)
	o.peer, o.link, o.block, o.off, o.len = p.row, p.link, m.Block, m.Off, m.Len
	o.stage = verifyAsked
	p.active++
	p.verify.serves = append(p.verify.serves, o)
	if e.lockRange(o, lockCopy) {
		e.verifyLocked(o)
	}
}

// onOVReply: now the initiator reads the same range.
func (e *Engine) onOVReply(p *peer, m *Msg) {
	for _, o := range p.verify.asks {
		if o.id() != m.Block || o.stage != verifyAsked {
			continue
		}
		o.digest, o.byDigest = m.UUID, m.Count == 0
		if o.locked || e.lockRange(o, lockCopy) {
			e.verifyLocked(o)
		}
		return
	}
	e.protocolError(p, "verify answer that nobody asked for")
}

func (e *Engine) verifyReadDone(o *op, ok bool) {
	p := &e.peers[o.peer]
	if o.link != p.link {
		e.endVerifyOp(p, o)
		return
	}
	m := Msg{Off: o.off, Len: o.len, Block: o.id()}
	if o.kind == opVerifyServe {
		m.Type, m.UUID, m.Block = MsgOVReply, o.sum, o.block
		if !ok {
			m.Count = 1
		}
		o.stage = verifyAnswered
		e.send(p, &m)
		return
	}
	equal := ok && o.byDigest && o.digest == o.sum
	if !equal {
		e.markDifferent(p, o)
		p.verify.bad++
		m.Count = 1
	}
	m.Type = MsgOVResult
	e.send(p, &m)
	e.endVerifyOp(p, o)
}

// markDifferent notes what verify has found, for the resync that repairs it.
func (e *Engine) markDifferent(p *peer, o *op) {
	if !e.mutated(MutVerifyNoBits) {
		e.markMissed(p.row, o.off, o.len)
	}
}

// onOVResult unlocks the range on the other side, and marks it there, too, if it differs.
func (e *Engine) onOVResult(p *peer, m *Msg) {
	for _, o := range p.verify.serves {
		if o.block != m.Block || o.stage != verifyAnswered {
			continue
		}
		if m.Count != 0 {
			e.markDifferent(p, o)
		}
		e.endVerifyOp(p, o)
		return
	}
}

func (e *Engine) endVerifyOp(p *peer, o *op) {
	v := &p.verify
	v.asks, v.serves = removeOp(v.asks, o), removeOp(v.serves, o)
	e.peerOpEnds(p, o)
}

func removeOp(list []*op, o *op) []*op {
	for i := range list {
		if list[i] == o {
			return append(list[:i], list[i+1:]...)
		}
	}
	return list
}

// finishVerify reports, and repairs by a resync of what differed if that was asked for.
func (e *Engine) finishVerify(p *peer) {
	v := &p.verify
	e.notify(p.row, "verify: %d ranges differ", v.bad)
	repair := v.repair
	e.setConn(p, Connected)
	e.send(p, &Msg{Type: MsgVerifyDone})
	e.sayState()
	if e.bits[p.row].count == 0 {
		return
	}
	switch repair {
	case RepairFromLocal:
		e.startResync(p, true)
	case RepairFromPeer:
		e.startResync(p, false)
	case RepairNone, RepairByMajority, RepairFromLeg: // stepVerify does not take those of the legs
	}
}

func (e *Engine) onVerifyDone(p *peer, _ *Msg) {
	if p.conn == VerifyT {
		e.setConn(p, Connected)
		e.sayState()
	}
}

// abortVerify ends a verify with the connection.
func (e *Engine) abortVerify(p *peer) {
	v := &p.verify
	for i := len(v.asks) - 1; i >= 0; i-- {
		if o := v.asks[i]; o.legs == 0 {
			e.endVerifyOp(p, o)
		}
	}
	for i := len(v.serves) - 1; i >= 0; i-- {
		if o := v.serves[i]; o.legs == 0 {
			e.endVerifyOp(p, o)
		}
	}
}

// waitsForRange reports an operation in the queue of the interval lock.
func (e *Engine) waitsForRange(o *op) bool {
	for i := range e.lock.waiting {
		if e.lock.waiting[i].op == o {
			return true
		}
	}
	return false
}
