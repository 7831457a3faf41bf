package engine

// stepInvalidate throws one side's data away and copies the other's. There is no bitmap to exchange: both set all bits.
func (e *Engine) stepInvalidate() {
	p := e.cmdPeer()
	mine := e.cmd.kind == CmdInvalidate
	if p == nil || p.conn != Connected || e.disk != UpToDate || p.disk != UpToDate || e.followsOther(p) || mine && e.role == Primary ||
		!mine && p.role == Primary {
		e.reply(ErrState)
		return
	}
	if !e.asks(p.bit(), e.cmd.kind) {
		return
	}
	if err := e.cmd.answer; err != OK {
		e.reply(err)
		return
	}
	m := Msg{Type: MsgInvalidate}
	if mine {
		m.Count = 1
	}
	e.send(p, &m)
	e.invalidate(p, !mine)
	e.reply(OK)
}

func (e *Engine) onInvalidate(p *peer, m *Msg) {
	if p.conn != Connected {
		e.protocolError(p, "invalidate in state %v", p.conn)
		return
	}
	e.invalidate(p, m.Count == 1)
}

// invalidate starts the full resync on either side.
func (e *Engine) invalidate(p *peer, source bool) {
	p.sourceHistory = e.super.History
	p.gen = e.super.Current
	if source {
		e.bits[p.row].setAll()
		p.disk = Inconsistent
		e.setConn(p, StartingSyncS)
		e.startSource(p)
		return
	}
	p.hold++
	e.setConn(p, StartingSyncT)
	e.discardData()
	link := p.link
	e.writePages(func(row, _ int) bool { return e.isPeer(row) }, func(bool) {
		for i := range e.peers {
			if e.isPeer(i) {
				e.super.Rows[i].Flags &^= RowFullSync
			}
		}
		if p.link == link {
			e.setConn(p, WFSyncUUID)
			e.release(p)
		}
	})
}

// discardData declares the data of this node bad, all of it and towards everybody: if the source is lost, another node has to copy
// it in full, whatever it knew of this one. The superblock that says Inconsistent says that it is all of it, too, until the
// bitmaps do: otherwise a crash of both sides would leave a resync of nothing.
func (e *Engine) discardData() {
	for i := range e.peers {
		if !e.isPeer(i) {
			continue
		}
		e.bits[i].setAll()
		if !e.mutated(MutInvalidateVolatile) {
			e.super.Rows[i].Flags |= RowFullSync
		}
	}
	e.setDisk(Inconsistent)
}

// startResync exchanges bitmaps on a link that is connected: verify's repair and resize need it.
func (e *Engine) startResync(p *peer, source bool) {
	m := Msg{Type: MsgStartResync}
	if !source {
		m.Count = 1
	}
	e.send(p, &m)
	e.beginResync(p, source)
}

func (e *Engine) onStartResync(p *peer, m *Msg) {
	if p.conn != Connected {
		e.protocolError(p, "start of a resync in state %v", p.conn)
		return
	}
	e.beginResync(p, m.Count == 1)
}

func (e *Engine) beginResync(p *peer, source bool) {
	p.sourceHistory = e.super.History
	p.gen = e.super.Current
	if source {
		e.startBitmapSource(p)
		return
	}
	e.setConn(p, WFBitMapT)
}
