package engine

func (e *Engine) onRead(ev *Event) {
	o := e.newOp(opRead)
	o.block, o.off, o.len = ev.ID, ev.Off, ev.Len
	if !e.takesIO(o) {
		e.failRequest(o)
		return
	}
	if e.suspended || e.held.len() > 0 {
		e.held.push(o)
		return
	}
	e.startRead(o)
}

// startRead picks a replica that has the range in sync: a leg, else a peer.
func (e *Engine) startRead(o *op) {
	if e.localReadable(o) {
		if n := e.legReadable(o); n >= 0 {
			e.legRead(o, n, false)
			return
		}
	}
	if p := e.peerReadable(o); p != nil {
		e.askPeer(o, p)
		return
	}
	if o.tried == 0 && o.triedPeers == 0 && e.cfg.OnNoData == SuspendIO {
		e.noSource = append(e.noSource, o)
		return
	}
	e.failRequest(o)
}

func (e *Engine) askPeer(o *op, p *peer) {
	o.triedPeers |= p.bit()
	o.peer, o.link = p.row, p.link
	p.reads = append(p.reads, o)
	e.send(p, &Msg{Type: MsgDataRequest, Block: o.id(), Off: o.off, Len: o.len})
}

// readAgain looks for another source for a read that a peer has not answered.
func (e *Engine) readAgain(o *op) {
	o.peer = -1
	if o.kind == opRepair {
		e.repairFetch(o)
		return
	}
	e.startRead(o)
}

// localReadable reports that the local legs hold the newest data of the range.
func (e *Engine) localReadable(o *op) bool {
	if e.goodDisk() || (e.mutated(MutReadInconsistent) && e.disk >= Inconsistent) {
		return true
	}
	if e.disk != Inconsistent {
		return false
	}
	lo, hi := e.blocksTouched(o.off, o.len)
	for i := range e.peers {
		if p := &e.peers[i]; p.conn == SyncTarget || p.conn == PausedSyncT {
			return !e.bits[i].any(lo, hi)
		}
	}
	return false
}

// peerReadable returns a peer with good data that o has not tried.
func (e *Engine) peerReadable(o *op) *peer {
	for i := range e.peers {
		p := &e.peers[i]
		if e.isPeer(i) && p.conn >= Connected && p.disk == UpToDate && !p.missed && p.conn != Ahead && o.triedPeers&p.bit() == 0 {
			return p
		}
	}
	return nil
}

// readDone is the end of a read from a leg, for all kinds of operations that read.
func (e *Engine) readDone(o *op, ok bool) {
	if o.unread != 0 && o.kind != opRepair && (ok || e.legReadable(o) < 0) {
		e.startRepair(o.off, o.len, o.unread)
	}
	switch o.kind {
	case opRepair:
		e.repairReadDone(o, ok)
	case opRead:
		e.clientReadDone(o, ok)
	case opPeerRead:
		e.peerReadDone(o, ok)
	case opServe:
		e.serveReadDone(o, ok)
	case opPull:
		e.pullDigestDone(o, ok)
	case opVerifyServe, opVerifyAsk:
		e.verifyReadDone(o, ok)
	case opLegVerify:
		e.legVerifyReadDone(o, ok)
	case opRebuild:
		e.rebuildReadDone(o, ok)
	default:
		panic("this operation does not read")
	}
}

func (e *Engine) clientReadDone(o *op, ok bool) {
	if !ok {
		e.readErrors++
		e.startRead(o) // another leg or a peer
		return
	}
	e.completeRead(o)
}

func (e *Engine) completeRead(o *op) {
	e.emit(Action{Kind: ActComplete, ID: o.block, OK: true, Off: o.off, Len: o.len, Data: o.data})
	e.freeOp(o)
}

// onDataReply is a peer's answer to a read of ours.
func (e *Engine) onDataReply(p *peer, m *Msg) {
	for i, o := range p.reads {
		if o.id() != m.Block {
			continue
		}
		p.reads = append(p.reads[:i], p.reads[i+1:]...)
		if m.Type == MsgNegReply {
			e.readAgain(o)
			return
		}
		o.peer, o.data = -1, m.Data
		e.peerAnswered(p, o)
		return
	}
	e.protocolError(p, "answer to an unknown read")
}

// peerAnswered has a peer's data for a read of the front end, or for a repair.
func (e *Engine) peerAnswered(p *peer, o *op) {
	if o.kind == opRepair {
		e.repairReadDone(o, p.disk == UpToDate && !p.missed)
		return
	}
	e.completeRead(o)
}

// retryReads looks for another source for reads that were waiting for a peer or for any data.
func (e *Engine) retryReads() {
	list := e.noSource
	e.noSource = nil
	for _, o := range list {
		e.startRead(o)
	}
}

// onFlush ends when everything acknowledged before is durable on this node and on the peers of modes B and C.
func (e *Engine) onFlush(ev *Event) {
	o := e.newOp(opFlush)
	o.block = ev.ID
	if !e.takesIO(o) {
		e.failRequest(o)
		return
	}
	if e.suspended || e.held.len() > 0 {
		e.held.push(o)
		return
	}
	e.startFlush(o)
}

func (e *Engine) startFlush(o *op) {
	e.closeEpoch()
	o.epoch = e.epoch // everything before this epoch counts
	if !e.mutated(MutFlushLocalOnly) {
		for i := range e.peers {
			p := &e.peers[i]
			switch {
			case p.cfg.Mode != ModeC || !p.mirrors():
			case len(p.barriers) > 0:
				o.barWait |= p.bit()
			default:
				o.acked |= p.bit()
			}
		}
	}
	e.flushes = append(e.flushes, o)
	if e.hasDisk() {
		e.legFlush(o)
		return
	}
	o.localDone = true
	e.tryCompleteFlush(o)
}

func (e *Engine) recheckFlushes() {
	for i := 0; i < len(e.flushes); {
		o := e.flushes[i]
		e.tryCompleteFlush(o)
		if i < len(e.flushes) && e.flushes[i] == o {
			i++
		}
	}
}

func (e *Engine) tryCompleteFlush(o *op) {
	for i := range e.peers {
		p := &e.peers[i]
		if o.barWait&p.bit() != 0 && (len(p.barriers) == 0 || p.barriers[0].epoch >= o.epoch) {
			o.barWait &^= p.bit()
			o.acked |= p.bit()
		}
	}
	if !o.localDone || o.barWait != 0 || e.holdsAcks(o) {
		return
	}
	for i := range e.flushes {
		if e.flushes[i] == o {
			e.flushes = append(e.flushes[:i], e.flushes[i+1:]...)
			break
		}
	}
	mask := o.acked
	if o.localOK {
		mask |= HostBit
	}
	e.emit(Action{Kind: ActComplete, ID: o.block, OK: o.localOK || o.acked != 0 || e.peerHasData(), Mask: mask})
	e.freeOp(o)
}

func (e *Engine) peerHasData() bool {
	for i := range e.peers {
		if p := &e.peers[i]; e.isPeer(i) && p.conn >= Connected && p.disk == UpToDate && !p.missed {
			return true
		}
	}
	return false
}
