package engine

// onRSRequest locks the range against writes until the target has written it, and reads it.
func (e *Engine) onRSRequest(p *peer, m *Msg) {
	if p.conn != SyncSource && p.conn != PausedSyncS {
		e.send(p, &Msg{Type: MsgNegRSReply, Block: m.Block, Off: m.Off, Len: m.Len})
		return
	}
	p.sync.asked = true
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
	case o.byDigest && (o.digest == o.sum || e.mutated(MutCsumBlind)):
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

// onServeFailed: the target could not write what it was sent.
func (e *Engine) onServeFailed(p *peer, m *Msg) {
	for _, o := range p.sync.serves {
		if o.block == m.Block && o.stage == 1 {
			e.endServe(p, o, 0)
			return
		}
	}
}
