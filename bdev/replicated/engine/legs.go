package engine

func legBit(n int) uint16 { return 1 << n }

// legsCommit stands in op.legs for the superblock write that has to come before the end of an operation.
const legsCommit uint16 = 1 << 15

// upLegs are in sync; attachedLegs are written, too.
func (e *Engine) upLegs() (mask uint16) {
	for n := range e.cfg.Legs {
		if e.legs[n].state == legUp {
			mask |= legBit(n)
		}
	}
	return mask
}

func (e *Engine) attachedLegs() (mask uint16) {
	for n := range e.cfg.Legs {
		if s := e.legs[n].state; s == legUp || s == legCatchUp {
			mask |= legBit(n)
		}
	}
	return mask
}

// ChooseLeg compares the superblocks of a node's legs (nil: not here, or unreadable). It returns the leg to start from,
// those in sync with it, those that missed writes, and whether one that should be in sync is not here.
// ok is false when no leg can be trusted: none is here, or two have gone separate ways.
func ChooseLeg(supers []*Super, legRow int) (best int, up, stale uint16, missing, ok bool) {
	best = -1
	for i, s := range supers {
		if s == nil || s.Rows[legRow+i].Flags&RowStale != 0 && len(supers) > 1 {
			continue // a leg that knows itself to be behind
		}
		if best < 0 || Descends(s, supers[best], legRow+best) {
			best = i
		}
	}
	if best < 0 {
		return -1, 0, 0, false, false
	}
	ok = true
	for i, s := range supers {
		behind := len(supers) > 1 && (supers[best].Rows[legRow+i].Flags&RowStale != 0 || s != nil && s.Rows[legRow+i].Flags&RowStale != 0)
		switch {
		case s == nil:
			missing = missing || !behind
		case behind:
			stale |= legBit(i)
			ok = ok && (s.Rows[legRow+i].Flags&RowStale != 0 || Descends(supers[best], s, legRow+i))
		default:
			up |= legBit(i)
			ok = ok && (i == best || Descends(supers[best], s, legRow+i))
		}
	}
	return best, up, stale, missing, ok
}

// Descends reports that superblock s came after that of another leg, whose row is given: it belongs to the same set of legs
// and is younger, or its set has dropped the other's.
func Descends(s, other *Super, row int) bool {
	if s.LegGen == other.LegGen {
		return s.Seq >= other.Seq
	}
	if s.Rows[row].Bitmap == other.LegGen {
		return true
	}
	for _, g := range s.LegPast {
		if g != 0 && g == other.LegGen {
			return true
		}
	}
	return false
}

// attach takes over what the metadata says.
func (e *Engine) attach(md *Loaded) {
	e.super = md.Super
	e.sizeBitmaps()
	for row, b := range e.bits {
		switch {
		case b == nil:
		case md.Bitmaps[row] == nil || e.super.Rows[row].Flags&RowFullSync != 0 || e.super.Flags&SuperFullSync != 0:
			b.setAll()
		default:
			b.or(md.Bitmaps[row])
			for page := range b.added {
				b.added[page] = md.Rewrite>>row&1 != 0
			}
		}
	}
	e.super.Flags &^= SuperFullSync
	for row := range e.super.Rows {
		e.super.Rows[row].Flags &^= RowFullSync
	}
	e.attachLegs(md)
	e.loadActivityLog(md)
	e.recoverCrash(md)
	if md.Missing && !e.mutated(MutTrustWhatIsHere) {
		e.distrust()
	}
	e.disk = e.diskFromFlags()
	e.super.Flags &^= SuperClean
	// What a killed process left in the disks' caches reads as if it were durable; peers are about to rely on it.
	if !e.mutated(MutNoStartFlush) {
		e.metaThen(func() {
			e.meta.pending++
			e.flushLegs(func(bool) { e.metaDone(0) })
		}, func(bool) {})
	}
	e.writePages(allPages, func(bool) {})
	e.commit(nil)
}

func allPages(int, int) bool { return true }

// distrust is for a leg that is not here and that the others take to be in sync: it may have gone on without them, and only
// it knows. What is here may miss anything, so everything is copied from a peer that is not behind; without one, an operator
// has to declare this data good.
func (e *Engine) distrust() {
	e.super.Flags &^= SuperConsistent | SuperUpToDate
	e.super.Flags |= SuperLegMissing
	for row, b := range e.bits {
		if b != nil && (e.isPeer(row) || e.isTracker(row)) {
			b.setAll()
		}
	}
	e.notify(-1, "a leg is missing that may have newer data")
}

func (e *Engine) diskFromFlags() Disk {
	switch {
	case e.super.Flags&SuperConsistent == 0:
		return Inconsistent
	case e.super.Flags&SuperUpToDate == 0:
		return Outdated
	}
	return UpToDate
}

// attachLegs gives every leg its state; what should be in sync and is not here has fallen behind by that.
func (e *Engine) attachLegs(md *Loaded) {
	first := true
	for n := range e.cfg.Legs {
		l := &e.legs[n]
		switch {
		case md.Up&legBit(n) != 0 && (first || e.super.Flags&SuperClean != 0 || e.mutated(MutTrustLegs)):
			l.state, first = legUp, false
		case md.Up&legBit(n) != 0, md.Stale&legBit(n) != 0:
			l.state = legCatchUp
		default:
			l.state = legNone
		}
		if l.state != legUp && e.cfg.Legs > 1 {
			e.markLegStale(n)
		}
	}
}

// loadActivityLog starts with the extents that were hot.
func (e *Engine) loadActivityLog(md *Loaded) {
	for _, u := range md.Hot {
		if int(u.Slot) >= len(e.al.slots) || u.Extent == ALFree {
			continue
		}
		if _, twice := e.al.index[u.Extent]; twice {
			continue
		}
		e.al.slots[u.Slot] = alSlot{extent: u.Extent, hot: true}
		e.al.index[u.Extent] = int(u.Slot)
	}
}

// recoverCrash makes what was hot dirty towards every replica that may differ.
func (e *Engine) recoverCrash(md *Loaded) {
	if e.super.Flags&SuperClean != 0 {
		return
	}
	crashed := e.super.Flags&SuperPrimary != 0
	e.super.Flags &^= SuperPrimary
	for row := range e.bits {
		if e.bits[row] == nil {
			continue
		}
		r := &e.super.Rows[row]
		if e.isPeer(row) && crashed {
			e.beginDoubt(row, RowCrashed)
		}
		// Without the crash of a Primary only those differ that were collecting changes: rows with a bitmap generation,
		// stale legs, and trackers.
		if e.isPeer(row) && !crashed && e.severalPeers() {
			e.beginDoubt(row, RowWeak) // what it had of a Primary's last writes is open towards everybody
		} else if e.isPeer(row) && !crashed && r.Bitmap == 0 {
			continue
		}
		e.markHot(row)
		for _, extent := range md.HotToo {
			e.markExtent(row, extent)
		}
		if md.HotAll {
			e.bits[row].setAll()
		}
	}
}

// markHot makes all hot extents dirty towards one replica.
func (e *Engine) markHot(row int) {
	if e.mutated(MutNoALOnCrash) {
		return
	}
	for _, s := range e.al.slots {
		e.markExtent(row, s.extent)
	}
}

func (e *Engine) markExtent(row int, extent uint32) {
	if extent != ALFree {
		lo := uint64(extent) << e.cfg.ExtentShift >> e.cfg.BlockShift
		hi := (uint64(extent) + 1) << e.cfg.ExtentShift >> e.cfg.BlockShift
		e.bits[row].set(lo, hi)
	}
}

func (e *Engine) markLegStale(n int) {
	r := &e.super.Rows[e.legRow(n)]
	if r.Flags&RowStale == 0 {
		r.Flags |= RowStale
		r.Bitmap = e.super.LegGen
		copy(e.super.LegPast[1:], e.super.LegPast[:])
		e.super.LegPast[0] = e.super.LegGen
		e.super.LegGen = e.newUUID()
	}
}

// legFailed stops using a leg. What it may have lost is what is hot: its volatile cache holds nothing older.
func (e *Engine) legFailed(n int) {
	l := &e.legs[n]
	if l.state != legUp && l.state != legCatchUp {
		return
	}
	row := e.legRow(n)
	if l.state == legCatchUp {
		e.bits[row].or(l.since)
	}
	l.state = legStale
	l.since = nil
	e.notify(row, "leg %d failed", n)
	if e.upLegs() == 0 {
		e.diskFailed()
		return
	}
	e.markLegStale(n)
	e.markHot(row)
	for _, extent := range e.al.evicted {
		e.markExtent(row, extent) // on their way out, and perhaps not flushed on this leg
	}
	e.writePages(func(r, _ int) bool { return r == row }, func(bool) {})
	if e.mutated(MutLegAckBeforeStale) {
		e.commit(nil)
		return
	}
	e.rotating++
	e.commit(func(bool) {
		e.rotating--
		e.recheck()
	})
}

// legWrite sends a write to all attached legs; legsDone follows in any case, later.
func (e *Engine) legWrite(o *op) {
	mask := e.attachedLegs()
	for n := range e.cfg.Legs {
		if mask&legBit(n) == 0 {
			if e.cfg.Legs > 1 {
				e.markMissed(e.legRow(n), o.off, o.len)
			}
			continue
		}
		e.legIO(o, n, ActLegWrite)
	}
	if mask == 0 {
		e.later(func() { e.localDone(o, false) })
	}
}

func (e *Engine) legFlush(o *op) {
	mask := e.attachedLegs()
	for n := range e.cfg.Legs {
		if mask&legBit(n) != 0 {
			e.legIO(o, n, ActLegFlush)
		}
	}
	if mask == 0 {
		e.later(func() { e.localDone(o, false) })
	}
}

func (e *Engine) legIO(o *op, n int, kind ActionKind) {
	o.legs |= legBit(n)
	e.emit(Action{
		Kind: kind, Leg: n, ID: o.id(), Off: o.off, Len: o.len, Op: o.wop, FUA: o.fua, Data: o.data,
	})
}

// legReadable returns the least busy leg that is in sync and that o has not tried; -1 is none.
func (e *Engine) legReadable(o *op) int {
	best := -1
	for _, excluded := range [2]bool{false, true} {
		for n := range e.cfg.Legs {
			l := &e.legs[n]
			if l.state == legUp && l.exclude == excluded && o.tried&legBit(n) == 0 &&
				(best < 0 || l.reads < e.legs[best].reads) {
				best = n
			}
		}
		if best >= 0 {
			break
		}
	}
	return best
}

// legRead reads from one leg; digest asks for a checksum alone.
func (e *Engine) legRead(o *op, n int, digest bool) {
	if o.legs == 0 {
		o.answered, o.differ = 0, false
	}
	o.legs |= legBit(n)
	o.tried |= legBit(n)
	e.legs[n].reads++
	e.emit(Action{Kind: ActLegRead, Leg: n, ID: o.id(), Off: o.off, Len: o.len, Flag: digest})
}

// legDigests asks all legs that are in sync for their digest: the read succeeds if all that answer agree. It reports whether
// there is one to ask.
func (e *Engine) legDigests(o *op) bool {
	for n := range e.cfg.Legs {
		if e.legs[n].state == legUp && (o.legs == 0 || !e.mutated(MutDigestOneLeg)) {
			e.legRead(o, n, true)
		}
	}
	return o.legs != 0
}

func (e *Engine) onLegDone(ev *Event) {
	o := e.findOp(ev.ID)
	bit := legBit(ev.Leg)
	if o.legs&bit == 0 {
		panic("leg I/O ended that was not under way")
	}
	o.legs &^= bit
	if o.reading() {
		e.legs[ev.Leg].reads--
		e.legAnswers(o, ev)
		return
	}
	if ev.OK {
		o.legsOK |= bit
	} else {
		o.legsBad |= bit
	}
	if o.legs == 0 {
		e.legsDone(o)
	}
}

// legAnswers is the end of a read, or of one leg's share in a read of all their digests.
func (e *Engine) legAnswers(o *op, ev *Event) {
	if ev.OK {
		o.differ = o.differ || o.answered != 0 && o.sum != ev.Sum
		o.answered |= legBit(ev.Leg)
		o.data, o.sum, o.sums[ev.Leg] = ev.Data, ev.Sum, ev.Sum
	} else {
		o.unread |= legBit(ev.Leg)
	}
	if o.legs == 0 {
		e.readDone(o, o.answered != 0 && !o.differ)
	}
}

// reading reports that the leg I/O under way is a read.
func (o *op) reading() bool {
	switch o.kind {
	case opRead, opPeerRead, opServe, opVerifyServe, opVerifyAsk:
		return true
	case opPull:
		return o.stage == pullDigest
	case opRebuild:
		return o.stage == rebuildRead
	case opRepair:
		return o.stage == repairRead
	case opLegVerify:
		return o.stage != legVerifyWrite
	default:
		return false
	}
}

// legsDone has all answers to a write or flush. A leg that failed is durably stale before anybody hears of it.
func (e *Engine) legsDone(o *op) {
	if o.kind == opRebuild {
		e.rebuildWritten(o)
		return
	}
	if o.legsBad == 0 {
		e.localDone(o, o.legsOK != 0)
		return
	}
	o.legs = legsCommit // nobody may end it meanwhile
	e.legsBad(o)
	end := func(ok bool) {
		o.legs = 0
		e.localDone(o, ok)
	}
	switch {
	case e.upLegs() == 0:
		end(false)
	case o.kind == opSync:
		end(true) // metadata writes wait for it; what follows it is a metadata write, too
	case e.mutated(MutLegAckBeforeStale):
		end(o.legsOK&e.attachedLegs() != 0)
	default:
		e.commit(func(ok bool) { end(ok && e.upLegs() != 0) })
	}
}

// legsBad takes the legs that failed an operation out of use, and notes what they lack.
func (e *Engine) legsBad(o *op) {
	for n := range e.cfg.Legs {
		if o.legsBad&legBit(n) == 0 {
			continue
		}
		e.legFailed(n)
		if e.cfg.Legs > 1 && o.len > 0 {
			e.markMissed(e.legRow(n), o.off, o.len)
		}
	}
}

// localDone is the end of a write or flush on this node.
func (e *Engine) localDone(o *op, ok bool) {
	switch o.kind {
	case opWrite:
		e.writeLocalDone(o, ok)
	case opFlush:
		o.localDone, o.localOK = true, ok
		e.tryCompleteFlush(o)
	case opPeerWrite:
		e.peerWriteDone(o, ok)
	case opBarrier:
		e.barrierFlushed(o, ok)
	case opPull:
		e.pullWritten(o, ok)
	case opRepair:
		e.repairDone(o, ok)
	case opLegVerify:
		e.legVerifyWritten(o, ok)
	case opSync:
		then := o.then
		e.freeOp(o)
		then(ok)
	default:
		panic("this operation does not write")
	}
}
