package engine

// onLinkUp: both connections to the peer stand.
func (e *Engine) onLinkUp(p *peer, tie bool) {
	if p.conn == StandAlone {
		e.emit(Action{Kind: ActLinkStop, Peer: p.row, Flag: true})
		return
	}
	if p.up {
		e.linkLost(p, NetworkFailure)
	}
	p.link++
	p.up, p.tie = true, tie
	p.helloSent, p.hello = false, nil
	e.setConn(p, WFReportParams)
}

// runLinks says hello where nothing of the former connection is left and the generation stands still.
func (e *Engine) runLinks() {
	for i := range e.peers {
		p := &e.peers[i]
		if !p.up || p.conn != WFReportParams {
			continue
		}
		if !p.helloSent && e.maySayHello(p) {
			e.sayHello(p)
		}
		switch {
		case !p.helloSent:
		case e.helloIsOld(p):
			e.resetLink(p)
		case p.hello != nil && !p.waits:
			e.handshake(p)
		}
	}
}

func (e *Engine) maySayHello(p *peer) bool {
	if p.active > 0 && !e.mutated(MutNoReconnectDrain) {
		return false
	}
	if p.unflushed && e.hasDisk() && !e.mutated(MutNoReconnectFlush) {
		e.flushFor(p)
		return false
	}
	return e.rotating == 0 && !e.cmd.critical && !e.committing()
}

// flushFor makes durable what a peer wrote over a connection that has ended: its sender may be gone for good, and nobody else
// would know that it can still be lost.
func (e *Engine) flushFor(p *peer) {
	p.unflushed = false
	p.active++
	e.flushLegs(func(bool) { p.active-- })
}

// committing reports a superblock write queued or under way.
func (e *Engine) committing() bool {
	if c := e.meta.current; c != nil && c.commit {
		return true
	}
	for _, j := range e.meta.jobs {
		if j.commit {
			return true
		}
	}
	return false
}

func (e *Engine) sayHello(p *peer) {
	p.helloSent = true
	p.sent = Hello{
		Mode: p.cfg.Mode, AfterSB: p.cfg.AfterSB, RRConflict: p.cfg.RRConflict, DiscardMyData: p.discard, Fence: e.super.Fence,
	}
	e.describe(p, &p.sent)
	h := p.sent
	e.send(p, &Msg{Type: MsgHello, Hello: &h})
}

func (e *Engine) onHello(p *peer, m *Msg) {
	if p.hello != nil || p.conn != WFReportParams {
		e.protocolError(p, "second hello")
		return
	}
	p.hello = m.Hello
}

// linkLost ends everything that belonged to a connection. Writes that the peer may lose are marked, and a Primary starts
// a new generation before it acknowledges anything else.
func (e *Engine) linkLost(p *peer, why Conn) {
	if !p.up {
		return
	}
	wasMirror := p.mirrors()
	if p.isTarget() {
		e.noteShown(p)
	}
	row := &e.super.Rows[p.row]
	if p.isSource() && row.Flags&RowEnding != 0 && !e.mayHaveEnded(p) {
		row.Flags &^= RowEnding
	}
	p.up = false
	p.link++
	p.hello, p.helloSent, p.discard, p.waits = nil, false, false, false
	e.dropInbox(p)
	e.abortSync(p)
	e.abortVerify(p)
	p.hold, p.gate = 0, nil
	p.recv, p.writes = 0, 0
	e.setConn(p, why)
	p.disk, p.role, p.missed = DUnknown, RoleUnknown, false
	e.setConn(p, WFConnection)
	e.forgetPeerWrites(p)
	e.openWritesOf(p)
	if e.lossWait&p.bit() != 0 {
		e.lossWait &^= p.bit()
		e.exposed = e.newUUID() // it never noted that this disk is behind: only this disk will do
	}
	if p.uuidWait > 0 && e.severalPeers() && !e.hasDisk() && !e.peerHasData() {
		e.exposed = e.newUUID() // the same
	}
	e.rotating -= p.uuidWait
	p.uuidWait, p.told, p.inUse = 0, 0, nil
	if e.role == Primary && (wasMirror || row.Flags&RowEnding != 0) {
		e.rotate()
	}
	p.gen = 0 // from now on it may be of any, and so may this node
	e.recheck()
	list := p.reads
	p.reads = nil
	for _, o := range list {
		e.readAgain(o)
	}
}

func (e *Engine) dropInbox(p *peer) {
	for _, m := range p.inbox {
		if m.Data != nil {
			e.emit(Action{Kind: ActRelease, Data: m.Data})
		}
	}
	p.inbox = nil
}

// forgetPeerWrites marks what the peer had not confirmed by a barrier and waits for it no longer.
func (e *Engine) forgetPeerWrites(p *peer) {
	p.barriers, p.epochCount, p.inFlight = nil, 0, 0
	lost := false
	for o := e.logHead; o != nil; {
		next := o.next
		if o.barWait&p.bit() != 0 {
			e.markMissed(p.row, o.off, o.len)
			e.tellOthersMissed(p, o)
			if e.fencedOut {
				e.fencedWrite(o)
			}
			o.barWait &^= p.bit()
			o.good &^= p.bit() // a power loss may take that copy, and nobody who takes over will find it there
			lost = lost || o.completed
		}
		o.ackWait &^= p.bit()
		if !o.completed && !e.localCounts(o) {
			o.good &^= p.bit()
			o.acked &^= p.bit() // the only copy may be one that a power loss takes: it is sent again
		}
		if o.completed {
			e.retire(o)
		}
		o = next
	}
	for _, o := range e.flushes {
		o.barWait &^= p.bit()
	}
	if lost && !e.hasDisk() && e.role == Primary && p.cfg.Mode != ModeC && !e.peerHasData() {
		// Writes are acknowledged that perhaps nobody has: this Primary must not go on from older data.
		e.exposed = e.newUUID()
	}
}

// tellOthersMissed lets the other peers mark it, too: one of them may be the next Primary. That goes for one that has fallen behind
// since: it may have got this write before.
func (e *Engine) tellOthersMissed(lost *peer, o *op) {
	for i := range e.peers {
		if p := &e.peers[i]; p != lost && e.isPeer(i) && p.conn >= Connected && !e.mutated(MutKeepMissed) {
			e.send(p, &Msg{Type: MsgPeerOOS, Off: o.off, Len: o.len, Count: uint32(lost.cfg.Node)})
		}
	}
}

// needsGeneration reports a peer that is about to miss writes for the first time in this generation. What was collected within it
// so far has come from other nodes, and does not tell who of the two goes first. Nor does the name of a resync that the peer may have
// ended while the link broke (RowEnding): it has this generation then, may be promoted in it, and would overwrite whatever was
// acknowledged here alone. A generation that was taken over with the data of a source may be the peer's, too, whatever the row says: a
// Primary that was a target begins its own. Otherwise the word of the source that it and the peer were equal (onInSync) would be
// taken for what they are after the first writes without the peer, and the peer might be promoted in the same generation.
func (e *Engine) needsGeneration(row int) bool {
	if !e.isPeer(row) {
		return false
	}
	b := e.super.Rows[row].Bitmap & uuidMask
	first := b == 0 || b == e.super.Current&uuidMask
	first = first || e.severalPeers() && e.takenOver == e.super.Current&uuidMask
	first = first || e.super.Rows[row].Flags&RowEnding != 0 && !e.peers[row].isSource()
	return first && e.mayRotate() || e.leftOut>>row&1 == 0 && e.mayLend()
}

// mayRotate reports that this node has data of which it can start a new generation.
func (e *Engine) mayRotate() bool {
	return e.hasDisk() && e.disk > Inconsistent && !e.givesUpData() && !e.fencedOut && !e.mutated(MutNoRotation)
}

// setCurrent sets the current generation; its bit 0 says whether this node is Primary.
func (e *Engine) setCurrent(uuid uint64) {
	uuid &= uuidMask
	if e.role == Primary {
		uuid |= uuidPrimary
	}
	e.super.Current = uuid
}

// rotate starts a new generation for all peers that do not get the writes (M3). Nothing is acknowledged until it is
// durable here and on the peers that go along.
func (e *Engine) rotate() {
	if !e.mayRotate() {
		e.lendGeneration()
		return
	}
	old := e.super.Current
	var without uint32
	others := false
	for i := range e.peers {
		p := &e.peers[i]
		switch {
		case !e.isPeer(i):
		case p.mirrors():
			others = true
		case e.needsGeneration(i):
			if Invariants && !e.severalPeers() && p.conn == WFReportParams && p.helloSent {
				panic("a generation ends while it is being compared")
			}
			e.collectFrom(p, old)
			without |= 1 << p.cfg.Node
		case e.severalPeers() && e.mayRotate():
			without |= 1 << p.cfg.Node
		}
	}
	if without == 0 {
		return
	}
	if others || e.severalPeers() {
		e.remember(&e.super.History, old)
	}
	e.setCurrent(e.newUUID())
	young := e.super.Current
	e.exposed = young
	e.notify(-1, "new generation")
	e.rotating++
	e.commit(func(bool) {
		e.tellGeneration(old, young, without)
		e.rotating--
		e.recheck()
	})
}

// collectFrom notes the generation of a peer that stays behind. One that may have ended its resync has either the name of that,
// by which it is still known, or the generation that ends now: the history has that, behind the first two, where the start of the
// resync is found if that did not arrive. One for which changes have been collected since an earlier generation is likely to have that,
// when the one that ends was taken over from a source; else it is found by the history.
func (e *Engine) collectFrom(p *peer, old uint64) {
	row := &e.super.Rows[p.row]
	b := row.Bitmap & uuidMask
	h := &e.super.History
	switch ending := row.Flags&RowEnding != 0 && b != 0 && b != old&uuidMask; {
	case ending && p.cfg.HistoryLen > 2 && h[1] != 0:
		keepHistory(h, old, e.collectsSince)
	case ending:
		e.remember(h, old) // DRBD has no more than two
	case b != 0 && b != old&uuidMask: // stays
	case p.gen&uuidMask != 0 && p.gen&uuidMask != old&uuidMask:
		row.Bitmap = p.gen
	default:
		row.Bitmap = old
	}
	row.Flags &^= RowEnding
}

// tellGeneration takes the peers along that are in sync, and waits for them. Generations that became durable together are told one
// after the other: each has its own peers that are left out.
func (e *Engine) tellGeneration(old, young uint64, without uint32) {
	former := e.formerInUse()
	for i := range e.peers {
		p := &e.peers[i]
		if !e.isPeer(i) || p.conn < Connected {
			continue
		}
		m := Msg{Type: MsgUUIDs, UUID: young, Count: without, Block: old, Words: former}
		if p.mirrors() && p.disk == UpToDate {
			p.uuidWait++
			e.rotating++
		}
		e.send(p, &m)
	}
}

// onUUIDs: the peer has started a new generation.
func (e *Engine) onUUIDs(p *peer, m *Msg) {
	if e.lossWait&p.bit() != 0 {
		e.lossWait &^= p.bit()
		e.recheck()
	}
	p.gen = m.UUID
	if m.Block == JustCreated && e.super.Current == JustCreated && e.hasDisk() {
		e.bits[p.row].clear(0, e.bits[p.row].bits) // the operator says that the disks are equal
		e.setCurrent(m.UUID)
		e.setDisk(UpToDate)
		e.commit(nil)
		return
	}
	if !e.hasDisk() && (e.role == Secondary || !e.severalPeers()) {
		e.exposed = m.UUID
	}
	if e.hasDisk() && e.disk == UpToDate && p.conn >= Connected && !p.isTarget() && e.role == Secondary {
		if m.Count>>e.cfg.Node&1 != 0 && !e.mutated(MutLeftOutFollows) {
			// It has gone on without this node, which is not Behind: the Primary was a target and has ended its resync and gone
			// Ahead, and the word of that end comes by the other stream. With that generation this node would pass for equal.
			e.resetLink(p)
			return
		}
		switch uuidMask & e.super.Current {
		case uuidMask & m.Block:
			e.followGeneration(p, m)
			return
		case uuidMask & m.UUID:
		default:
			if e.severalPeers() {
				e.resetLink(p) // it takes this node for one of another generation: compare
				return
			}
		}
	}
	if p.isTarget() {
		e.remember(&p.sourceHistory, m.Block) // it ends in the new generation
		e.refresh(&p.sourceHistory, m.Words)
	}
	e.send(p, &Msg{Type: MsgUUIDsAck, UUID: m.UUID})
}

// followGeneration takes the Primary's new generation over, and starts collecting for the nodes that stay behind. What the Primary
// writes is here, too: towards these, this side is as old as the Primary's (see uuidPrimary).
func (e *Engine) followGeneration(p *peer, m *Msg) {
	old := e.super.Current
	for i := range e.peers {
		q := &e.peers[i]
		if !e.isPeer(i) || m.Count>>q.cfg.Node&1 == 0 {
			continue
		}
		if e.super.Rows[i].Bitmap == 0 {
			e.super.Rows[i].Bitmap = old&uuidMask | m.Block&uuidPrimary
		}
		if q != p && q.conn >= Connected {
			e.later(func() { e.resetLink(q) }) // it is behind now: compare when it may be helped
		}
	}
	e.remember(&e.super.History, old)
	e.refresh(&e.super.History, m.Words)
	e.setCurrent(m.UUID)
	link := p.link
	former := e.ownInUse()
	e.commit(func(bool) {
		if p.link == link {
			e.send(p, &Msg{Type: MsgUUIDsAck, UUID: m.UUID, Words: former})
		}
	})
}

func (e *Engine) onUUIDsAck(p *peer, m *Msg) {
	if p.uuidWait == 0 {
		return
	}
	p.gen = m.UUID
	e.noteInUse(p, m.Words)
	if p.uuidWait--; p.uuidWait == 0 {
		p.told = 0
	}
	e.rotating--
	e.recheck()
}

// onPeerOOS: the Primary says that a third node missed a range.
func (e *Engine) onPeerOOS(p *peer, m *Msg) {
	for i := range e.peers {
		if e.isPeer(i) && i != p.row && e.peers[i].cfg.Node == int(m.Count) {
			e.markMissed(i, m.Off, m.Len)
		}
	}
	e.writePeerPages()
}

// writePeerPages makes durable what was marked for peers after the write itself: its extents may have left the activity log.
func (e *Engine) writePeerPages() {
	e.writePages(func(row, _ int) bool { return e.isPeer(row) }, func(bool) {})
}

// onState: role or disk of the peer have changed.
func (e *Engine) onState(p *peer, m *Msg) {
	before := p.disk
	p.role = m.State.Role
	if p.conn != Connected || !targetState(m.State.Conn) {
		p.disk = m.State.Disk // else it was said before the end of the resync, which came by the other stream
	}
	p.sync.pausePeer = m.State.Hold
	e.applyPause(p)
	e.followAhead(p, m.State.Conn)
	if p.role == Primary {
		e.followOnly(p)
	}
	if p.disk < Inconsistent && before >= Inconsistent {
		e.peerLostDisk(p)
	}
	if p.role == Primary && p.disk < Inconsistent && e.hasDisk() && e.disk == UpToDate {
		e.collectForDiskless(p)
	}
	if before != UpToDate && p.disk == UpToDate && p.conn == Connected && e.hasDisk() && e.super.Rows[p.row].Bitmap != 0 {
		e.resetLink(p) // it has missed writes while it was not: compare
		return
	}
	if before != UpToDate && p.disk == UpToDate {
		e.later(e.retryReads)
	}
	e.setConn(p, p.conn) // what the peer says of its disk counts only as far as the link state admits
}

// peerLostDisk: the peer is still there but cannot store any more.
func (e *Engine) peerLostDisk(p *peer) {
	if p.isTarget() {
		e.noteShown(p)
	}
	e.abortSync(p)
	e.abortVerify(p)
	if p.conn > Connected {
		e.setConn(p, Connected)
	}
	p.disk = Diskless
	e.forgetPeerWritesKeepAcks(p)
	if e.role == Primary {
		e.rotate()
	}
	e.recheck()
}

// forgetPeerWritesKeepAcks is forgetPeerWrites on a link that stays: barriers under way are still answered.
func (e *Engine) forgetPeerWritesKeepAcks(p *peer) {
	for o := e.logHead; o != nil; o = o.next {
		if o.barWait&p.bit() != 0 {
			e.markMissed(p.row, o.off, o.len)
			e.tellOthersMissed(p, o)
		}
	}
}

// collectForDiskless: a Primary without disk writes through this node. Its disk, should it come back, misses all of that.
func (e *Engine) collectForDiskless(p *peer) {
	row := &e.super.Rows[p.row]
	if !e.severalPeers() && (row.Bitmap == 0 || row.Flags&RowEnding != 0) && !e.mutated(MutDisklessNoBits) {
		e.collectFrom(p, e.super.Current)
		e.setCurrent(e.newUUID())
		e.rotating++
		e.commit(func(bool) {
			e.rotating--
			e.tellDiskless(p)
			e.recheck()
		})
		return
	}
	e.commit(func(bool) { e.tellDiskless(p) })
}

func (e *Engine) tellDiskless(p *peer) {
	e.send(p, &Msg{Type: MsgUUIDs, UUID: e.super.Current})
}
