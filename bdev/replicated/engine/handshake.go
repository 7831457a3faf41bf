package engine

// handshake compares what both sides said and starts what follows from it. Both sides work on the same two hellos, so
// they come to mirrored results without asking again.
func (e *Engine) handshake(p *peer) {
	mine, theirs := &p.sent, p.hello
	if why := incompatible(mine, theirs); why != "" {
		e.standAlone(p, why)
		return
	}
	if theirs.Fence > e.super.Fence {
		e.acceptFence(theirs.Fence)
	}
	p.disk, p.role = theirs.State.Disk, theirs.State.Role
	if mine.State.Role == Primary && theirs.State.Role == Primary && !bothData(mine, theirs) {
		e.standAlone(p, "both sides are Primary")
		return
	}
	if mine.Target || theirs.Target || goesBack(mine, theirs) || goesBack(theirs, mine) {
		e.wait(p)
		return
	}
	if !bothData(mine, theirs) {
		e.connectDiskless(p)
		return
	}
	in := compareOf(p)
	in.several = e.severalPeers()
	in.survivors = in.several && p.cfg.Mode == ModeC
	if !in.several {
		in.minePartial, in.peerPartial = takesOver(mine, theirs), takesOver(theirs, mine)
	}
	if e.mutated(MutForgetPartial) {
		in.minePartial, in.peerPartial = false, false
	}
	if in.several && !e.mutated(MutDoubtOwnRow) {
		e.compareOrigins(p, &in)
	}
	follow := mine.Follows && theirs.Follows
	in.collected = (mine.Dirty > 0 || theirs.Dirty > 0) && !follow
	in.bothFollow = in.several && follow && mine.State.Disk == UpToDate && theirs.State.Disk == UpToDate
	rule := compare(&in)
	e.cfg.Cover.rule(rule)
	e.notify(p.row, "uuid compare: %d by rule %d", int(rule.Verdict), rule.Number)
	if e.severalPeers() && mustWait(mine, theirs, byDisks(rule.Verdict, mine, theirs)) {
		e.wait(p)
		return
	}
	v, why := e.decide(p, &in, rule)
	if why == "" && v >= -2 && v <= 2 {
		why = e.agreeSize(p, v)
	}
	if why != "" {
		e.standAlone(p, why)
		return
	}
	e.applyRepair(p, rule)
	e.startAfterCompare(p, v)
}

func incompatible(mine, theirs *Hello) string {
	switch {
	case mine.Mode != theirs.Mode:
		return "the peer uses another protocol"
	case swapped(mine.AfterSB) != theirs.AfterSB:
		return "the peer has other split-brain policies"
	case mine.RRConflict != theirs.RRConflict:
		return "the peer has another rr-conflict"
	}
	return ""
}

// swapped shows policies as the peer sees them: local and remote change places.
func swapped(list [3]Policy) [3]Policy {
	for i, x := range list {
		switch x {
		case DiscardLocal:
			list[i] = DiscardRemote
		case DiscardRemote:
			list[i] = DiscardLocal
		default:
		}
	}
	return list
}

// bothData reports that both sides have disks whose generations can be compared.
func bothData(mine, theirs *Hello) bool {
	return mine.State.Disk >= Inconsistent && theirs.State.Disk >= Inconsistent
}

func compareOf(p *peer) compareInput {
	return compareInput{
		mine: p.sent.GI, peer: p.hello.GI,
		mineCrashed: p.sent.Crashed, peerCrashed: p.hello.Crashed,
		mineOpen: p.sent.Open, peerOpen: p.hello.Open, mineWeak: p.sent.Weak, peerWeak: p.hello.Weak,
		minePartial: p.sent.Partial, peerPartial: p.hello.Partial,
		minePrimary: p.sent.State.Role == Primary, peerPrimary: p.hello.State.Role == Primary,
		tieBreaker: p.tie, historyLen: p.cfg.HistoryLen,
	}
}

// takesOver reports, of two nodes only, a target in the middle of a resync that goes by what the source collects since. The source
// knows that name before the target does, unless it has been started without the leg that alone was told of it: then all that is left
// is where the name comes from. Between several nodes the target says so itself.
func takesOver(target, source *Hello) bool {
	return target.State.Disk == Inconsistent && source.GI.Bitmap != 0 && sameOrigin(target.GI.Current, source.GI.Bitmap)
}

// connectDiskless: at least one side has no data, so there is nothing to compare but what a diskless Primary has shown.
func (e *Engine) connectDiskless(p *peer) {
	mine, theirs := &p.sent, p.hello
	if mine.State.Disk < Inconsistent && theirs.State.Disk >= Inconsistent {
		if known := e.exposed & uuidMask; known != 0 && known != theirs.GI.Current&uuidMask && !e.mutated(MutDisklessAnyData) {
			switch {
			case e.role == Primary && e.severalPeers():
				e.wait(p) // a third node has what it lacks
				return
			case e.role == Primary || !descendsFrom(theirs.GI, known):
				e.standAlone(p, "the peer has other data than this node has seen")
				return
			}
		}
		e.exposed = theirs.GI.Current
	}
	if theirs.State.Role == Primary && theirs.State.Disk < Inconsistent && mine.State.Disk >= Inconsistent &&
		theirs.GI.Current != 0 && theirs.GI.Current&uuidMask != e.super.Current&uuidMask && !e.mutated(MutDisklessAnyData) {
		if e.severalPeers() {
			e.wait(p)
			return
		}
		e.standAlone(p, "the diskless Primary has shown other data")
		return
	}
	p.gen = theirs.GI.Current
	p.lends = lender{theirs.GI.Current, theirs.Doubt}
	e.setConn(p, Connected)
	e.connected(p)
	if p.role == Primary && p.disk < Inconsistent && e.hasDisk() && e.disk == UpToDate {
		e.collectForDiskless(p)
	}
}

// descendsFrom reports that a generation is one of the tuple's former ones.
func descendsFrom(g GI, uuid uint64) bool {
	g.mask()
	for _, h := range g.History {
		if h == uuid {
			return true
		}
	}
	return g.Bitmap == uuid
}

// connected is what every successful handshake ends with.
func (e *Engine) connected(p *peer) {
	p.discard = false
	e.leftOut = 0 // the peer may have met others since it had this generation from here
	e.sayState()
	if p.role == Primary {
		e.followOnly(p)
	}
	e.retryReads()
	for len(p.inbox) > 0 && p.hold == 0 {
		m := p.inbox[0]
		p.inbox = p.inbox[1:]
		e.dispatch(p, m)
	}
}

// decide turns the verdict of the table into a direction. A reason means that the sides cannot work together.
func (e *Engine) decide(p *peer, in *compareInput, rule *Rule) (Verdict, string) {
	mine, theirs := &p.sent, p.hello
	v := rule.Verdict
	if v == Unrelated {
		return v, "unrelated data"
	}
	// What a node has written alone after a resync whose end it missed is in the bitmap of its old generation; the missing leg may have that.
	peerMissed := v > 0 && (in.mine.Current&uuidMask != in.peer.Current&uuidMask || in.mine.Bitmap != 0) || v == SplitBrain
	if peerMissed && e.super.Flags&SuperLegMissing != 0 && !mine.DiscardMyData {
		return v, "a leg is missing that may have what the peer has not"
	}
	v = byDisks(v, mine, theirs)
	if v == SplitBrainAuto || v == SplitBrain {
		e.cfg.Cover.splitBrain()
		v = e.resolveSplitBrain(p, in, v)
	}
	switch {
	case v == SplitBrainAuto || v == SplitBrain:
		return v, "split brain"
	case v != NoSync && mine.State.Disk == Inconsistent && theirs.State.Disk == Inconsistent:
		return v, "the source of the resync would be Inconsistent itself"
	case in.minePrimary && in.peerPrimary: // whoever is to give in has to be demoted first
		return v, "both sides are Primary"
	}
	return v, e.primaryBecomesTarget(mine, theirs, v)
}

// byDisks lets usable data win over data that is not, if only one side's is usable.
func byDisks(v Verdict, mine, theirs *Hello) Verdict {
	if v == Unrelated || (mine.State.Disk == Inconsistent) == (theirs.State.Disk == Inconsistent) {
		return v
	}
	return byDisk(v, mine.State.Disk > Inconsistent)
}

func byDisk(v Verdict, mineIsGood bool) Verdict {
	full := v == SplitBrain || v == 2 || v == -2
	v = -1
	if mineIsGood {
		v = 1
	}
	if full {
		v *= 2
	}
	return v
}

// resolveSplitBrain applies the policies, and then what the operator said about one side's data.
func (e *Engine) resolveSplitBrain(p *peer, in *compareInput, v Verdict) Verdict {
	mine, theirs := &p.sent, p.hello
	if v == SplitBrainAuto {
		primaries := 0
		for _, s := range []*Hello{mine, theirs} {
			if s.State.Role == Primary {
				primaries++
			}
		}
		a := conflictOf(mine, theirs, in.tieBreaker)
		e.cfg.Cover.policy(primaries, mine.AfterSB[primaries])
		if r := resolve(primaries, &mine.AfterSB, &a); r != 0 {
			e.notify(p.row, "split brain: resolved by after-sb-%dpri %v", primaries, mine.AfterSB[primaries])
			return r
		}
	}
	full := Verdict(1)
	if v == SplitBrain {
		full = 2 // the bitmaps do not reach back to where the histories part
	}
	switch {
	case mine.DiscardMyData && !theirs.DiscardMyData:
		return -full
	case theirs.DiscardMyData && !mine.DiscardMyData:
		return full
	}
	e.notify(p.row, "split brain detected")
	return v
}

// primaryBecomesTarget obeys rr-conflict where a Primary with usable data would be overwritten.
func (e *Engine) primaryBecomesTarget(mine, theirs *Hello, v Verdict) string {
	victim := v < 0 && mine.State.Role == Primary && mine.State.Disk >= Consistent ||
		v > 0 && theirs.State.Role == Primary && theirs.State.Disk >= Consistent
	if !victim {
		return ""
	}
	e.cfg.Cover.rrConflict(mine.RRConflict)
	switch mine.RRConflict {
	case Violently:
		return ""
	case CallPriLost:
		if v < 0 {
			e.notify(-1, "pri-lost: this Primary would have to take the peer's data")
		}
	default:
	}
	return "a Primary would become the target of a resync"
}

// agreeSize makes the target as large as the source; two fresh sides take the smaller one.
func (e *Engine) agreeSize(p *peer, v Verdict) string {
	mine, theirs := p.sent.Size, p.hello.Size
	switch {
	case mine == theirs:
		return ""
	case v == 0 && p.sent.GI.Current == JustCreated:
		e.resize(min(mine, theirs), false)
		return ""
	case v < 0 && theirs <= e.cfg.Capacity:
		e.resize(theirs, false)
		return ""
	case v > 0 && mine <= p.hello.Capacity:
		return ""
	}
	return "the sizes differ"
}

// applyRepair corrects a tuple that the loss of one message has left behind.
func (e *Engine) applyRepair(p *peer, rule *Rule) {
	row := &e.super.Rows[p.row]
	switch rule.repair {
	case repairMineEnd:
		e.remember(&e.super.History, row.Bitmap)
		row.Bitmap = 0
		if e.bits[p.row].count != 0 {
			row.Bitmap = e.super.Current // what it has written since without the peer must go on to tell who goes first
		}
		e.commit(nil)
	case repairMineStart:
		row.Bitmap = popHistory(&e.super.History)
		e.commit(nil)
	case repairNone, repairPeerEnd, repairPeerStart:
	}
}

// startAfterCompare begins the resync that the comparison asks for.
func (e *Engine) startAfterCompare(p *peer, v Verdict) {
	p.gen = p.hello.GI.Current
	p.sourceHistory = p.hello.GI.History
	e.remember(&p.sourceHistory, p.hello.GI.Bitmap)
	if v == 2 || v == -2 {
		e.bits[p.row].setAll()
	}
	switch {
	case v == 0:
		e.setConn(p, Connected)
		e.commit(nil)
		if e.severalPeers() && e.disk > Inconsistent && p.sent.GI.Bitmap != 0 && p.hello.GI.Bitmap != 0 {
			e.rowInSync(p.row) // both came to this generation by way of others, or of one Primary
		}
	case v > 0:
		e.startBitmapSource(p)
	default:
		e.giveUpWrites()
		e.setConn(p, WFBitMapT)
	}
	e.connected(p)
}
