package engine

// suspendCommand holds the front end's I/O back, until it is resumed or the deadline has come.
func (e *Engine) suspendCommand(ev *Event) {
	if ev.Cmd == CmdResumeIO {
		e.resumeIO()
		e.emit(Action{Kind: ActReply, ID: ev.ID, OK: true})
		return
	}
	e.suspended, e.suspendToldOK = true, false
	e.suspendUntil = 0
	if ev.Value != 0 {
		e.suspendUntil = e.now + int64(ev.Value)
	}
	e.emit(Action{Kind: ActReply, ID: ev.ID, OK: true})
}

func (e *Engine) resumeIO() {
	if e.suspended {
		e.suspended, e.suspendUntil = false, 0
		e.emit(Action{Kind: ActSuspended})
	}
}

// checkSuspended says once that nothing is under way any more.
func (e *Engine) checkSuspended() {
	if !e.suspended || e.suspendToldOK {
		return
	}
	for o := e.logHead; o != nil; o = o.next {
		if !o.completed {
			return
		}
	}
	e.suspendToldOK = true
	e.emit(Action{Kind: ActSuspended, OK: true})
}

// stepOutdate says that a newer generation is known to exist elsewhere.
func (e *Engine) stepOutdate() {
	if e.cmd.critical {
		return
	}
	if e.role == Primary || e.disk < Outdated || len(e.activePeers()) > 0 {
		e.reply(ErrState)
		return
	}
	e.cmd.critical = true
	e.setDisk(Outdated)
	e.commit(func(bool) { e.reply(OK) })
}

func (e *Engine) activePeers() (list []*peer) {
	for i := range e.peers {
		if p := &e.peers[i]; p.conn >= Connected {
			list = append(list, p)
		}
	}
	return list
}

// stepDetach stops using the local disks. A Primary may do so only while a peer has the data.
func (e *Engine) stepDetach() {
	if !e.hasDisk() || e.role == Primary && !e.peerHasData() {
		e.reply(ErrState)
		return
	}
	for n := range e.cfg.Legs {
		if s := e.legs[n].state; s == legUp || s == legCatchUp {
			e.legs[n].state = legStale
		}
	}
	e.diskFailed()
	e.reply(OK)
}

// diskFailed: no leg is left. A Primary goes on through its peers, but acknowledges nothing that only they have before
// they have noted, durably, that this node's disk is behind.
func (e *Engine) diskFailed() {
	if e.disk < Inconsistent {
		return
	}
	for n := range e.cfg.Legs {
		if e.legs[n].state != legNone {
			e.legs[n].state = legStale
		}
	}
	e.notify(-1, "no local disk left")
	for o := e.logHead; o != nil && e.disk == Inconsistent; o = o.next {
		o.failedLocal = true
	}
	for i := range e.peers {
		p := &e.peers[i]
		if !e.isPeer(i) {
			continue
		}
		if p.isTarget() || p.isSource() {
			e.resetLink(p)
		}
		if e.role == Primary && p.conn >= Connected && p.disk == UpToDate && !e.severalPeers() {
			e.lossWait |= p.bit()
		}
	}
	e.exposed = e.super.Current
	if e.role == Primary && e.lossWait == 0 && !(e.severalPeers() && e.peerHasData()) {
		e.exposed = e.newUUID() // nobody who is here has all of it: only this disk will do
	}
	e.setDisk(Failed)
	e.setDisk(Diskless)
	for i := range e.peers {
		if p := &e.peers[i]; p.conn > Connected {
			e.abortVerify(p)
			e.setConn(p, Connected)
		}
	}
	if e.role == Primary {
		e.leftOut = 0
		e.lendGeneration()
	}
	e.later(e.recheck)
}

func (e *Engine) stepVerify() {
	p, repair := e.cmdPeer(), VerifyRepair(e.cmd.ev.Value)
	if p == nil || (p.conn != Connected) || e.disk != UpToDate || p.disk != UpToDate || e.followsOther(p) {
		e.reply(ErrState)
		return
	}
	if repair > RepairFromPeer {
		e.reply(ErrRange)
		return
	}
	if !e.asks(p.bit(), CmdVerify) {
		return
	}
	if err := e.cmd.answer; err != OK {
		e.reply(err)
		return
	}
	e.startVerify(p, repair)
	e.reply(OK)
}

func (e *Engine) stepVerifyStop() {
	p := e.cmdPeer()
	if p == nil && e.legVerify.on {
		e.legVerify.stopping = true
		e.reply(OK)
		return
	}
	if p == nil || p.conn != VerifyS {
		e.reply(ErrState)
		return
	}
	p.verify.stopping = true
	e.reply(OK)
}

func (e *Engine) stepPause() {
	p := e.cmdPeer()
	if p == nil {
		e.reply(ErrRange)
		return
	}
	p.sync.pauseMine = e.cmd.kind == CmdPauseSync
	e.applyPause(p)
	if p.conn >= Connected {
		e.send(p, &Msg{Type: MsgState, State: e.stateFor(p)})
	}
	e.reply(OK)
}

// resize changes the size here; new blocks are dirty towards everybody unless they are known to be equal. The last block so far
// may have been a short one: what it gets is new, too.
func (e *Engine) resize(size uint64, clean bool) {
	old := e.super.Size >> e.cfg.BlockShift
	e.super.Size = size
	e.sizeBitmaps()
	if clean || e.mutated(MutNoGrowthBits) {
		return
	}
	for _, b := range e.bits {
		if b != nil {
			b.set(old, b.bits)
		}
	}
}

// stepResize gives the volume another size. It is a new generation for all peers, with what is new marked: each of them takes the
// size and what it lacks in the comparison that follows, whenever that is, so that a crash or a lost message in the middle
// leaves a resync to do and nothing else.
//
// It takes a Primary, as in DRBD. A generation is named by who writes: one that a Secondary begins, and that its peer has not heard of
// when the link ends, has nothing in it and yet looks like a split brain to whoever is promoted and writes meanwhile. A policy could give
// these writes up for it.
//
// Growing needs every peer, since the smallest of them bounds the size. Shrinking does not: a peer that is away is cut when it
// is back. The front end must not use any more what goes away; requests there end in errors from now on.
func (e *Engine) stepResize() {
	if e.cmd.critical {
		return
	}
	size, clean := e.cmd.ev.Value, e.cmd.ev.Flag
	if err := e.mayResize(size); err != OK {
		e.reply(err)
		return
	}
	if !e.asks(e.connectedPeers(), CmdResize) {
		return
	}
	if err := e.cmd.answer; err != OK {
		e.reply(err)
		return
	}
	if e.usedBeyond(size) {
		return // until what is under way there has ended
	}
	e.cmd.critical = true
	e.resize(size, clean)
	e.resizeGeneration()
	e.writePages(allPages, func(bool) {
		e.commit(func(bool) {
			for i := range e.peers {
				if p := &e.peers[i]; e.isPeer(i) && p.up {
					e.resetLink(p) // the comparison finds the older generation and the other size
				}
			}
			e.reply(OK)
		})
	})
}

func (e *Engine) mayResize(size uint64) Err {
	if size == 0 || size == e.super.Size || size > e.cfg.Capacity || !e.hasDisk() {
		return ErrRange
	}
	if e.disk != UpToDate || e.role != Primary && !e.mutated(MutSecondaryResizes) {
		return ErrState
	}
	for i := range e.peers {
		p := &e.peers[i]
		switch {
		case !e.isPeer(i):
		case !p.up && size < e.super.Size:
		case p.conn != Connected || p.disk != UpToDate:
			return ErrNotConnected
		case p.hello != nil && size > p.hello.Capacity:
			return ErrRange
		}
	}
	return OK
}

// usedBeyond reports writes and reads that end past a size.
func (e *Engine) usedBeyond(size uint64) bool {
	for _, o := range e.ops {
		if !o.freed && o.off+uint64(o.len) > size {
			return true
		}
	}
	return false
}

func (e *Engine) resizeGeneration() {
	old := e.super.Current
	e.remember(&e.super.History, old)
	for i := range e.peers {
		if e.isPeer(i) && e.super.Rows[i].Bitmap == 0 {
			e.super.Rows[i].Bitmap = old
		}
	}
	e.setCurrent(e.newUUID())
}

// stepNewGeneration declares replicas equal, or makes the next comparison start from here.
func (e *Engine) stepNewGeneration() {
	p := e.cmdPeer()
	if p == nil || e.cmd.critical {
		if p == nil {
			e.reply(ErrRange)
		}
		return
	}
	fresh := e.super.Current == JustCreated
	if !e.cmd.ev.Flag || !fresh || p.conn != Connected || p.disk < Inconsistent || e.disk < Inconsistent {
		e.reply(ErrState)
		return
	}
	e.cmd.critical = true
	uuid := e.newUUID()
	link := p.link
	e.bits[p.row].clear(0, e.bits[p.row].bits)
	e.setCurrent(uuid)
	e.setDisk(UpToDate)
	e.commit(func(bool) {
		if p.link == link {
			e.send(p, &Msg{Type: MsgUUIDs, UUID: uuid, Block: JustCreated})
			p.disk, p.gen = UpToDate, uuid
			e.sayState()
		}
		e.reply(OK)
	})
}

func (e *Engine) stepTrackerReset() {
	n := e.cmd.ev.Peer
	if n < 0 || n >= ReplicasMax || !e.isTracker(n) {
		e.reply(ErrRange)
		return
	}
	e.bits[n].clear(0, e.bits[n].bits)
	for _, o := range e.ops {
		if o.changesDisk() {
			e.markMissed(n, o.off, o.len) // under way: whoever copies the volume now may not see it
		}
	}
	e.super.Rows[n].Flags |= RowTracker
	e.reply(OK)
}

// stepLegAdd takes a disk back that was gone; it is copied to before it is read.
func (e *Engine) stepLegAdd() {
	n := e.cmd.ev.Leg
	if n >= e.cfg.Legs || e.cfg.Legs < 2 || e.upLegs() == 0 || (e.legs[n].state != legStale && e.legs[n].state != legNone) {
		e.reply(ErrState)
		return
	}
	if e.legBusy(n) {
		return // what was under way when it left has not all ended
	}
	l := &e.legs[n]
	*l = leg{state: legCatchUp, exclude: l.exclude, reads: l.reads}
	if e.cmd.ev.Flag {
		e.legIsNew(n)
	}
	e.reply(OK)
}

// legIsNew: everything has to be copied to the disk. The superblock says so from the moment in which it knows the disk until
// the bitmap does.
func (e *Engine) legIsNew(n int) {
	row := e.legRow(n)
	e.bits[row].setAll()
	e.super.Rows[row].Flags |= RowFullSync
	e.commit(nil)
	e.writePages(func(r, _ int) bool { return r == row }, func(ok bool) {
		if ok {
			e.super.Rows[row].Flags &^= RowFullSync
			e.commit(nil)
		}
	})
}

func (e *Engine) legBusy(n int) bool {
	if e.legs[n].rebuild != nil {
		return true
	}
	for _, o := range e.ops {
		if o.legs&legBit(n) != 0 {
			return true
		}
	}
	return e.meta.current != nil
}

func (e *Engine) stepLegRemove() {
	n := e.cmd.ev.Leg
	if n >= e.cfg.Legs || e.upLegs()&^legBit(n) == 0 {
		e.reply(ErrState)
		return
	}
	e.legFailed(n)
	e.reply(OK)
}

func (e *Engine) stepReadExclude() {
	if n := e.cmd.ev.Leg; n < e.cfg.Legs {
		e.legs[n].exclude = e.cmd.ev.Flag
		e.reply(OK)
		return
	}
	e.reply(ErrRange)
}

// stepFence makes a fencing epoch known that somebody else has been given.
func (e *Engine) stepFence() {
	if e.cmd.critical {
		return
	}
	if e.cmd.ev.Value <= e.super.Fence {
		e.reply(ErrFenced)
		return
	}
	e.cmd.critical = true
	e.acceptFence(e.cmd.ev.Value)
	if e.mutated(MutFenceVolatile) {
		e.reply(OK)
		return
	}
	e.commit(func(bool) { e.reply(OK) })
}

// acceptFence stores a higher epoch. A Primary of a lower one is Primary no longer.
func (e *Engine) acceptFence(epoch uint64) {
	e.super.Fence = epoch
	e.commit(nil)
	e.passFence()
	if e.role == Primary {
		e.notify(-1, "fenced: epoch %d is in force", epoch)
		e.open, e.fencedOut = false, true
		e.failEverything()
		e.later(e.recheck)
	}
}

// onFenced: the peer knows a higher epoch.
func (e *Engine) onFenced(p *peer, m *Msg) {
	if m.Fence > e.super.Fence {
		e.acceptFence(m.Fence)
	}
}

// failEverything ends what waits for the volume to go on; writes under way end by themselves.
func (e *Engine) failEverything() {
	for e.held.len() > 0 {
		e.failRequest(e.held.pop())
	}
}

// congested and goAhead: with mode A a link that cannot keep up does not make writes wait, it falls behind.
func (e *Engine) congested(p *peer) bool {
	return p.cfg.PullAhead && p.cfg.Mode == ModeA && p.conn == Connected && p.disk == UpToDate &&
		e.disk == UpToDate && p.inFlight > uint64(p.cfg.Congestion)
}

func (e *Engine) goAhead(p *peer) {
	e.closeEpoch()
	e.setConn(p, Ahead)
	e.send(p, &Msg{Type: MsgState, State: e.stateFor(p)})
	if e.needsGeneration(p.row) {
		e.rotate()
	}
}

// followAhead: the source has stopped sending what it writes.
func (e *Engine) followAhead(p *peer, theirs Conn) {
	if theirs == Ahead && p.conn == Connected {
		e.setConn(p, Behind)
	}
}

// leaveAhead starts a resync once all that was sent is confirmed, and a moment has passed.
func (e *Engine) leaveAhead(p *peer) {
	s := &p.sync
	if s.leaving || len(p.barriers) > 0 || p.epochCount > 0 || e.rotating > 0 {
		return
	}
	if !s.aheadWait {
		s.aheadWait = true
		p.wake = e.now + aheadPause
		return
	}
	if p.wake == 0 {
		s.leaving = true
		e.startSource(p) // no bitmap to exchange: the target has heard of every write
	}
}
