package sim

// What this file has happens too rarely by chance to prove the rules that it is about.

import (
	"slices"

	"pollux/bdev/replicated/engine"
	"pollux/bdev/replicated/meta"
)

// crashWithBadMetadata ends a Primary that has gone on without a node, and spoils on all its legs what says which blocks that
// node lacks: its bitmap, or the activity log. Then everything has to be copied (M7).
func (s *Sim) crashWithBadMetadata(_ *node, _ *wire, power bool) {
	n, o := s.quietPair()
	if o == nil {
		return
	}
	w := s.wire(n.index, o.index)
	s.sever(w)
	s.workload(10e6 + s.rng.Int64N(60e6)) // long enough for extents to leave the activity log
	s.crash(n, power)
	slots := s.slots(n)
	first, last := slots, slots+s.prof.alPages
	if s.rng.IntN(2) == 0 {
		first = rowOf(n.index, o.index) // rows and slots of peers have the same numbers
		last = first + 1
	}
	for _, d := range n.disks {
		for page := first; page < last; page++ {
			s.rotPage(d, page)
		}
	}
	s.start(n)
	s.healWire(w)
	s.quiesceSoon()
}

// disklessMeetsOlder takes the disks from a Primary that has gone on alone, and lets it meet again those that it has gone on
// without: they have not got what its front end was told.
func (s *Sim) disklessMeetsOlder(*node, *wire, bool) {
	n, o := s.quietPair()
	if o == nil {
		return
	}
	for _, w := range s.wires {
		if w.a == n.index || w.b == n.index {
			s.sever(w)
		}
	}
	s.workload(10e6 + s.rng.Int64N(20e6))
	for _, d := range n.disks {
		d.gone = true
	}
	s.workload(20e6)
	for _, w := range s.wires {
		if w.a == n.index || w.b == n.index {
			s.healWire(w)
		}
	}
	s.workload(500e6)
	s.crash(n, false)
	for _, d := range n.disks {
		d.gone = false
	}
	s.start(n)
	s.runFor(s.rng.Int64N(2e9))
}

// legBackInResync lets a leg of a target catch up while the resync is under way, and takes the power when it has: with the leg all
// bitmaps become durable, and what was copied while they did is not (M4).
func (s *Sim) legBackInResync(*node, *wire, bool) {
	s.startAll()
	s.promoteAny()
	n := s.model.primary
	if n == nil || n.eng == nil {
		return
	}
	o := s.other(n)
	if o == nil || len(o.disks) == 1 {
		return
	}
	i := s.rng.IntN(len(o.disks))
	o.disks[i].gone = true
	s.hot = 2
	s.workload(10e6)
	s.hot = 0
	o.disks[i].gone = false
	source, target := s.beginResync(s.rng.IntN(2) == 0)
	if target != o {
		s.addLeg(o, i)
		return
	}
	s.addLeg(o, i)
	before := o.bitmapPages(source)
	s.runUntil(100e6, func() bool {
		return !slices.Equal(before, o.bitmapPages(source)) || !s.linkIs(o, source, engine.SyncTarget)
	})
	s.runFor(s.rng.Int64N(1e6))
	s.crash(o, true)
	s.start(o)
	s.quiesceSoon()
}

// bitmapPages is what the legs of a node have of their bitmap for another node.
func (n *node) bitmapPages(o *node) (list []meta.Page) {
	for _, d := range n.disks {
		list = append(list, meta.Page(d.md.bytes[rowOf(n.index, o.index)*meta.PageSize:]))
	}
	return list
}

// powerLossAfterPromotion ends a Primary in the middle of writes, promotes another node, lets a third take its data over, and takes
// its power: the old Primary, which takes its data over afterwards, has to get the same.
func (s *Sim) powerLossAfterPromotion(*node, *wire, bool) {
	n, o := s.pairOfAll()
	if o == nil {
		return
	}
	x := s.nodes[0]
	for _, y := range s.nodes {
		if y != n && y != o {
			x = y
		}
	}
	s.sever(s.wire(n.index, x.index))
	s.sever(s.wire(o.index, x.index))
	s.hot = 3
	s.workload(20e6)
	s.hot = 0
	s.crash(n, false)
	if s.newest(o) {
		s.promote(o, false)
	}
	s.healWire(s.wire(o.index, x.index))
	if s.runUntil(3e9, func() bool { return s.linkIs(x, o, engine.SyncTarget) }) {
		s.runUntil(3e9, func() bool { return s.linkIs(x, o, engine.Connected) })
	}
	s.sever(s.wire(o.index, x.index))
	s.crash(o, true)
	s.start(o)
	s.start(n)
	s.runFor(1e9)
	s.healWire(s.wire(n.index, x.index))
	s.runFor(1e9)
	s.healAll()
	s.quiesceSoon()
}

// readBadBlocks lets blocks become unreadable, again and again, that the front end reads and writes all the time.
func (s *Sim) readBadBlocks(*node, *wire, bool) {
	n := s.model.primary
	if n == nil || n.eng == nil {
		return
	}
	s.hot = 3
	for range 5 {
		d := n.disks[s.rng.IntN(len(n.disks))]
		for b := s.prof.blocks - s.hot; b < s.prof.blocks; b++ {
			if c := &d.cells[b]; c.curSeq == c.durSeq {
				c.unreadable = true
			}
		}
		s.workload(5e6)
	}
	s.hot = 0
	s.quiesce()
}

// promoteSecond asks a node that sees a Primary to become one, too. Without a fencing epoch it has to refuse.
func (s *Sim) promoteSecond(*node, *wire, bool) {
	if n := s.model.primary; n != nil && n.eng != nil {
		if o := s.other(n); o != nil && s.linkIs(n, o, engine.Connected) && s.linkIs(o, n, engine.Connected) {
			s.promote(o, s.rng.IntN(2) == 0)
			s.workload(20e6)
		}
	}
}

// loseMetadataWrites lets one leg of a Primary that goes on alone lose what it is to remember, and ends the Primary: only its other
// legs know then what it has written.
func (s *Sim) loseMetadataWrites(_ *node, _ *wire, power bool) {
	s.startAll()
	s.promoteAny()
	n, o := s.quietPair()
	if o == nil {
		return
	}
	d := n.disks[s.rng.IntN(len(n.disks))]
	if !s.othersRemember(n, d) {
		return
	}
	w := s.wire(n.index, o.index)
	s.sever(w)
	d.losesMeta = true
	s.workload(5e6 + s.rng.Int64N(30e6))
	s.crash(n, power)
	d.losesMeta = false
	s.start(n)
	s.healWire(w)
	s.quiesceSoon()
}
