package engine

// What this file adds matters only with more than one peer: three nodes and more.
//
// Bits and generations belong to pairs of nodes. Whatever changes on a node's disk without the peer of a row getting it, too,
// is marked in that row: writes of a Primary that goes on without the peer, and what a resync from a third node brings.
//
// A node takes over the data of one other at a time, and of a Primary rather than of anybody else. While it is a target it
// is nobody's source and takes no part in comparisons with others; while a Primary sends it writes, it is neither source nor
// target of a third, whose data would move under it. A link on which nothing can follow yet from the comparison stays in
// WFReportParams, and is compared again when one of the sides has changed.
//
// When a Primary is lost, its last writes may have reached some nodes only. Everybody remembers what was not known to be
// settled, marks it towards all others, and compares again.

// openWrite is a write of a Primary that is not yet known to be on all replicas.
type openWrite struct {
	epoch uint32
	off   uint64
	len   uint32
}

// severalPeers reports that there are nodes besides this one and the peer at hand.
func (e *Engine) severalPeers() bool { return e.peerCount > 1 }

// describe fills in what a hello says of the state of this node, as the peer may see it.
func (e *Engine) describe(p *peer, h *Hello) {
	h.State = PeerState{Role: e.role, Disk: e.disk, Conn: WFReportParams}
	h.Target, h.Follows = e.isTargetOfOther(p), e.followsOther(p)
	if e.attachedLegs() == 0 {
		h.GI = GI{Current: e.exposed}
		return
	}
	flags := e.super.Rows[p.row].Flags
	h.Size, h.Capacity = e.super.Size, e.cfg.Capacity
	h.GI = e.generationFor(p)
	h.Crashed, h.Open, h.Weak = flags&RowCrashed != 0, flags&RowOpen != 0, flags&RowWeak != 0
	if e.severalPeers() {
		h.Doubt = e.doubt()
	}
	h.Partial = e.disk == Inconsistent && e.sourceRow() == p.row
	h.Dirty = e.bits[p.row].count
	if e.role == Primary && e.disk == Inconsistent && e.severalPeers() {
		h.Shown = e.exposed
	}
}

// helloIsOld reports that what this node has said of itself before the comparison is not true any more.
func (e *Engine) helloIsOld(p *peer) bool {
	if !e.severalPeers() {
		return false
	}
	now := p.sent
	e.describe(p, &now)
	now.Dirty = p.sent.Dirty
	return now != p.sent
}

// generationFor is the tuple for one peer. A node in the middle of a resync shows its new generation to the source alone; for
// everybody else it is still what it was, with changes that are marked.
func (e *Engine) generationFor(p *peer) GI {
	gi := e.super.GI(p.row)
	switch source := e.sourceRow(); {
	case source == p.row:
		gi.Bitmap = 0
	case source >= 0:
		gi.Current = e.super.Rows[source].Bitmap
	}
	return gi
}

// sourceRow is the row of the peer whose data this node is taking over, or was when the connection ended; -1 is none. The
// bitmap generation of that row is what this node was before.
func (e *Engine) sourceRow() int {
	for i := range e.super.Rows {
		if e.super.Rows[i].Flags&RowSource != 0 {
			return i
		}
	}
	return -1
}

// noteSource remembers whose data this node is taking over. What is copied changes it towards everybody else.
func (e *Engine) noteSource(p *peer, base uint64) {
	if !e.severalPeers() {
		e.super.Rows[p.row].Bitmap = 0
		return
	}
	if i := e.sourceRow(); i >= 0 {
		base = e.super.Rows[i].Bitmap
		e.clearSource()
	}
	e.outliveDoubt()
	for i := range e.peers {
		switch {
		case !e.isPeer(i) || e.super.Rows[i].Bitmap != 0:
		case base&uuidMask != JustCreated:
			e.super.Rows[i].Bitmap = base
		case i != p.row:
			e.beginDoubt(i, RowWeak) // it was nothing yet, and becomes what the source is: that may have crashed
		}
	}
	e.super.Rows[p.row].Flags |= RowSource
	e.super.Rows[p.row].Bitmap = base
}

// clearSource forgets the source: the resync is complete, or the data has been declared good as it is.
func (e *Engine) clearSource() {
	if i := e.sourceRow(); i >= 0 {
		e.super.Rows[i].Flags &^= RowSource
		e.super.Rows[i].Bitmap = 0
	}
}

// dropForeignBitmaps forgets since when changes were collected, where that is a generation that is none of this node's any more:
// it may have gone back to an older one, or the generation named a resync of which it has not seen the end. A peer of an older
// generation is found by its history then, and everything is copied. One of the same generation differs by what is marked: the
// other may have been here when that resync ended, and what was taken over since is not there.
//
// A source that descends from what this node was, descends from those generations, too, although its history may be too short to
// say so, or it was never told of them: the peer got the last one from here, and is away since. So they stay in the history; before
// is the one that this node had, or nil if the source does not descend from it.
func (e *Engine) dropForeignBitmaps(before *[HistoryLen]uint64) {
	for i := range e.peers {
		b := e.super.Rows[i].Bitmap & uuidMask
		if e.severalPeers() && !e.mutated(MutKeepForeignBitmaps) && e.isPeer(i) && b != 0 && b != e.super.Current&uuidMask &&
			!descendsFrom(GI{History: e.super.History}, b) {
			if before != nil && b != JustCreated && !namesResync(before, b) {
				keepHistory(&e.super.History, b, e.collectsSince)
			}
			e.super.Rows[i].Bitmap = e.super.Current
		}
	}
}

// historyOfAncestor is the history of this node before the resync that is about to end, if the source has gone on from the data that
// there was here; else nil.
func (e *Engine) historyOfAncestor(p *peer) *[HistoryLen]uint64 {
	base := e.super.Rows[p.row].Bitmap & uuidMask // while that row is the source's; see noteSource
	if base == 0 || base != p.gen&uuidMask && !descendsFrom(GI{History: p.sourceHistory}, base) {
		return nil
	}
	h := e.super.History
	return &h
}

// markForOthers notes what only this node and the peer hold.
func (e *Engine) markForOthers(p *peer, off uint64, n uint32) {
	for i := range e.peers {
		if e.isPeer(i) && i != p.row {
			e.markMissed(i, off, n)
		}
	}
}

// isTargetOfOther and followsOther look at all peers but one.
func (e *Engine) isTargetOfOther(p *peer) bool {
	for i := range e.peers {
		if q := &e.peers[i]; q != p && q.isTarget() {
			return true
		}
	}
	return false
}

func (e *Engine) followsOther(p *peer) bool {
	for i := range e.peers {
		if q := &e.peers[i]; q != p && q.conn >= Connected && q.role == Primary {
			return true
		}
	}
	return false
}

// leaveOthers ends what a node that becomes a target has with everybody else.
func (e *Engine) leaveOthers(p *peer) {
	for i := range e.peers {
		if q := &e.peers[i]; q != p && q.conn >= Connected {
			e.resetLink(q)
		}
	}
}

// leaveTargets ends resyncs from here: this node's data is not good any more.
func (e *Engine) leaveTargets() {
	for i := range e.peers {
		if p := &e.peers[i]; p.isSource() {
			e.resetLink(p)
		}
	}
}

// followOnly ends resyncs with others: a Primary sends its writes here now.
func (e *Engine) followOnly(p *peer) {
	for i := range e.peers {
		if q := &e.peers[i]; q != p && q.conn > Connected {
			e.resetLink(q)
		}
	}
}

// mustWait reports that nothing can follow from a comparison yet. Both sides look at the same two hellos.
func mustWait(mine, theirs *Hello, v Verdict) bool {
	switch {
	case mine.Target || theirs.Target:
		return true
	case v == NoSync || v == Unrelated:
		return false
	case mine.State.Disk == Inconsistent && theirs.State.Disk == Inconsistent:
		return true // neither can be a source
	}
	return mine.Follows || theirs.Follows
}

// goesBack reports a Primary that has lost the source of its data, and a node that has not seen what that source had: what the front
// end has been shown, and what it has been told is written, is on others.
func goesBack(primary, source *Hello) bool {
	if primary.Shown == 0 || source.State.Disk <= Inconsistent {
		return false
	}
	return source.GI.Current&uuidMask != primary.Shown&uuidMask && !descendsFrom(source.GI, primary.Shown&uuidMask)
}

// noteShown remembers, when the connection to a source ends, whose data a Primary has shown.
func (e *Engine) noteShown(p *peer) {
	if e.role == Primary && e.disk == Inconsistent && p.gen != 0 {
		e.exposed = p.gen
	}
}

// wait leaves the link where it is, until one side has changed.
func (e *Engine) wait(p *peer) {
	p.waits = true
	p.disk, p.role = DUnknown, RoleUnknown
	e.moved = true
	e.notify(p.row, "resync has to wait")
}

// noteOpen remembers a write of a Primary.
func (e *Engine) noteOpen(p *peer, m *Msg) {
	if e.severalPeers() {
		p.open = append(p.open, openWrite{m.Epoch, m.Off, m.Len})
	}
}

// onSettled forgets those that are everywhere.
func (e *Engine) onSettled(p *peer, m *Msg) {
	n := 0
	for n < len(p.open) && p.open[n].epoch <= m.Epoch {
		n++
	}
	p.open = append(p.open[:0], p.open[n:]...)
}

// openWritesOf marks, when a Primary is lost, what may be on some nodes only.
func (e *Engine) openWritesOf(p *peer) {
	if len(p.open) == 0 || e.mutated(MutForgetOpen) {
		return
	}
	for _, w := range p.open {
		e.markForOthers(p, w.off, w.len)
	}
	p.open = nil
	for i := range e.peers {
		if q := &e.peers[i]; q != p && e.isPeer(i) {
			e.beginDoubt(i, RowOpen)
			if q.conn >= Connected {
				e.resetLink(q)
			}
		}
	}
	e.writePeerPages()
	e.commit(nil)
}

// markEvictedOpen marks, before extents leave the activity log, the writes in them that a Primary has not called settled: after a crash
// of this node nothing else remembers that others may lack them. A Primary with a disk keeps the extents of such writes in its own log
// (see retire), so a log here of the same size does not lose them; one without disk has no log that would bound them. Nor can they be
// kept in the log here until they are settled: that may need a write that waits for a place in it. What is marked stays until the
// next resync with the peer; the least recently used extent seldom has an open write.
func (e *Engine) markEvictedOpen() {
	for i := range e.peers {
		p := &e.peers[i]
		for _, w := range p.open {
			if e.leavesLog(w) {
				e.markForOthers(p, w.off, w.len)
			}
		}
	}
}

// leavesLog reports a write in an extent that is about to leave the activity log.
func (e *Engine) leavesLog(w openWrite) bool {
	lo, hi := e.extentsOf(w.off, w.len)
	for _, x := range e.al.evicted {
		if lo <= x && x <= hi {
			return true
		}
	}
	return false
}

// forgetOpenOf is called at the end of a resync from a peer. One that has been demoted since this node fell behind has seen the
// end of all its writes, but it did not say so here: what is remembered of them would count as the loss of a Primary whenever the
// link ends. Who was left out meanwhile may miss them, so they are marked.
func (e *Engine) forgetOpenOf(p *peer) {
	if len(p.open) == 0 || p.role != Secondary {
		return
	}
	for _, w := range p.open {
		e.markForOthers(p, w.off, w.len)
	}
	p.open = nil
	e.writePeerPages()
}

// tellSettled lets the peers of a Primary forget the epochs that everybody has confirmed who has not been left out of a generation
// since. One that has fallen behind does not follow the generations: until it is resynced it remembers what it got before.
func (e *Engine) tellSettled() {
	if e.role != Primary || !e.severalPeers() || e.fencedOut { // one node may have refused what another took
		return
	}
	settled := e.epoch - 1
	if e.logHead != nil {
		settled = e.logHead.epoch - 1
	}
	if settled <= e.saidEpoch {
		return
	}
	e.saidEpoch = settled
	for i := range e.peers {
		if p := &e.peers[i]; p.conn >= Connected && p.conn != Ahead {
			e.send(p, &Msg{Type: MsgSettled, Epoch: settled})
		}
	}
}

// passFence lets a Primary know of a fencing epoch that is in force: it may be connected here only.
func (e *Engine) passFence() {
	for i := range e.peers {
		if p := &e.peers[i]; e.severalPeers() && p.role == Primary && p.conn >= Connected && !p.cfg.NoFence {
			e.send(p, &Msg{Type: MsgFenced, Fence: e.super.Fence})
		}
	}
}

func (e *Engine) peerOfNode(node int) *peer {
	for i := range e.peers {
		if e.isPeer(i) && e.peers[i].cfg.Node == node {
			return &e.peers[i]
		}
	}
	return nil
}

// mayLend reports a Primary whose own data is not good, and that has peers whose data is: they have to start the new generation,
// all of them the same.
func (e *Engine) mayLend() bool {
	return e.severalPeers() && e.role == Primary && !e.fencedOut && (!e.hasDisk() || e.disk == Inconsistent || e.anyTarget()) &&
		!e.mutated(MutNoRotation) && e.peerHasData()
}

// givesUpData reports that this node has agreed to take over the data of a peer, whose generation counts from then on.
func (e *Engine) givesUpData() bool { return e.severalPeers() && e.anyTarget() }

// lendGeneration starts a new generation on the peers that have good data, without those that do not get the writes.
func (e *Engine) lendGeneration() {
	if !e.mayLend() {
		return
	}
	var without uint32
	if !e.hasDisk() {
		without |= 1 << e.cfg.Node
	}
	for i := range e.peers {
		if p := &e.peers[i]; e.isPeer(i) && !p.mirrors() {
			e.leftOut |= p.bit()
			without |= 1 << p.cfg.Node
		}
	}
	if without == 0 {
		return
	}
	for i := range e.peers {
		if p := &e.peers[i]; p.sync.finishing {
			e.resetLink(p) // this node is about to have the generation that the source has now; it goes on from there
			return
		}
	}
	uuid := e.newUUID()
	former := e.formerInUse()
	var was uint64
	if !e.promoting() {
		was = uuidPrimary
	}
	e.notify(-1, "new generation on the peers")
	for i := range e.peers {
		if p := &e.peers[i]; p.mirrors() && p.disk == UpToDate {
			p.uuidWait++
			e.rotating++
			old := p.gen
			if p.told != 0 {
				old = p.told
			}
			if p.isTarget() {
				e.remember(&p.sourceHistory, old)
				e.refresh(&p.sourceHistory, former)
			}
			e.send(p, &Msg{Type: MsgUUIDs, UUID: uuid, Block: old&uuidMask | was, Count: without, Words: former})
			p.told = uuid
		}
	}
	if !e.hasDisk() {
		e.exposed = uuid
	}
}
