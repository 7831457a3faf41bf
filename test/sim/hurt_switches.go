package sim

// What this file has happens in no seed by chance: it is there for switches of TestMutations that hardly any seed notices, and for
// -only. Seeds mean what they meant without it.

import (
	"slices"

	"pollux/bdev/replicated/engine"
)

// aloneAfterResync breaks a link while a target writes down that it is equal. The source, a Primary, writes alone and ends, and the
// target is promoted and writes, too: neither may be overwritten by the other.
func (s *Sim) aloneAfterResync(_ *node, _ *wire, power bool) {
	source, target := s.beginResync(false)
	if target == nil || s.model.primary != source {
		return
	}
	ends := func() bool {
		return target.eng == nil || target.eng.View().Disk == engine.Inconsistent && target.eng.Metadata().Flags&engine.SuperUpToDate != 0
	}
	if !s.runUntil(2e9, ends) || target.eng == nil {
		return
	}
	w := s.wire(source.index, target.index)
	s.sever(w)
	s.workload(20e6)
	s.crash(source, power)
	s.runFor(100e6)
	s.promote(target, false)
	s.runFor(500e6)
	s.workload(20e6)
	s.start(source)
	s.healWire(w)
	s.runFor(2e9)
	s.quiesceSoon()
}

// crashWithDisklessPrimary ends a Primary without disk in the middle of writes that one node has stored, and of which another has got
// none, and with it the node that has them: nothing but its disk says then that the two differ.
func (s *Sim) crashWithDisklessPrimary(*node, *wire, bool) {
	n, o := s.pairOfAll()
	if o == nil {
		return
	}
	s.command(n, engine.Event{Cmd: engine.CmdDetach}, nil)
	s.runFor(1e9)
	stopped := s.sendsOnlyTo(n, o)
	s.workload(30e6)
	s.crash(n, false)
	s.crash(o, false)
	s.reset(stopped)
	s.start(o)
	s.runFor(2e9)
	s.quiesceSoon()
	s.start(n)
	s.runFor(1e9)
	s.quiesceSoon()
}

// sendsOnlyTo has all that a node sends lost but to one, without notice, and is the wires on which that is so.
func (s *Sim) sendsOnlyTo(n, o *node) (stopped []*wire) {
	for _, x := range s.nodes {
		if x != n && x != o {
			w := s.wire(n.index, x.index)
			w.cut[w.side(n.index)] = true
			stopped = append(stopped, w)
		}
	}
	return stopped
}

// reset ends the connections of wires, and makes the wires whole.
func (s *Sim) reset(list []*wire) {
	for _, w := range list {
		s.sever(w)
		s.healWire(w)
	}
}

// crashInAChain ends all nodes, and lets two of them see each other by way of the others only, for long: the resyncs that follow come to
// an end.
func (s *Sim) crashInAChain(_ *node, w *wire, power bool) {
	s.startAll()
	s.healAll()
	s.promoteAny()
	if s.rng.IntN(2) == 0 {
		s.workload(20e6)
	} else if n := s.roleHolder(); n != nil {
		s.quiet()
		s.demote(n)
		s.runFor(1e9)
	}
	for _, n := range s.nodes {
		s.crash(n, power)
	}
	s.sever(w)
	for _, i := range s.rng.Perm(len(s.nodes)) {
		s.start(s.nodes[i])
		s.runFor(s.rng.Int64N(500e6))
	}
	s.runFor(60e9)
	s.checkResyncsEnd()
	s.healWire(w)
}

// resizeWithoutPrimary asks a Secondary for another size while its peer hears nothing of it, and promotes the peer, which writes.
func (s *Sim) resizeWithoutPrimary(*node, *wire, bool) {
	n, o := s.pairOfAll()
	if o == nil {
		return
	}
	s.demote(n)
	s.runFor(1e9)
	if n.eng == nil || o.eng == nil || s.roleHolder() != nil {
		return
	}
	before := n.eng.Metadata().Current
	s.command(n, engine.Event{Cmd: engine.CmdResize, Value: uint64(s.prof.blocks+s.rng.IntN(s.prof.spare+1)) * blockSize}, nil)
	s.runUntil(100e6, func() bool { return n.eng.Metadata().Current != before })
	w := s.wire(n.index, o.index)
	s.sever(w)
	s.promote(o, false)
	s.runFor(500e6)
	s.workload(20e6)
	s.quiet()
	s.demote(o)
	s.runFor(1e9)
	s.healWire(w)
	s.runFor(2e9)
}

// longAway lets one node see nobody for more generations than anybody remembers who need not, and then meet one that has been a target
// in all of them. Of four nodes another follows the Primary all the time; it may have been a target when the one went away, and meets it
// sooner or later, too.
func (s *Sim) longAway(*node, *wire, bool) {
	n, o := s.pairOfAll()
	if o == nil {
		return
	}
	i := slices.IndexFunc(s.nodes, func(x *node) bool { return x != n && x != o })
	x := s.nodes[i]
	for _, y := range s.nodes {
		if y != x {
			s.sever(s.wire(x.index, y.index))
		}
	}
	s.workload(10e6)
	w := s.wire(n.index, o.index)
	for range engine.HistoryLen {
		s.sever(w)
		s.workload(5e6)
		s.healWire(w)
		if !s.runUntil(10e9, func() bool { return s.linkIs(n, o, engine.Connected) && s.linkIs(o, n, engine.Connected) }) {
			break
		}
	}
	s.healWire(s.wire(x.index, o.index))
	s.runFor(3e9)
	s.healAll()
	s.quiesceSoon()
}

// aheadAfterResync promotes a target, lets it send more than the link takes as soon as its resync has ended, and breaks the link before
// all has arrived that it says of this: its former source has been left behind.
func (s *Sim) aheadAfterResync(*node, *wire, bool) {
	source, target := s.beginResync(true)
	if target == nil || s.roleHolder() != nil {
		return
	}
	w := s.wire(source.index, target.index)
	row := rowOf(target.index, source.index)
	s.promote(target, false)
	s.runUntil(500e6, func() bool { return target.eng == nil || target.primary })
	w.stretch(target.index, s.now+1e9)
	s.workloadUntil(500e6, func() bool { return target.eng == nil || target.eng.Peer(row).Conn == engine.Ahead })
	s.workload(s.rng.Int64N(30e6))
	s.sever(w)
	s.workload(10e6)
	s.healWire(w)
	s.workload(s.rng.Int64N(300e6))
	s.quiet()
	s.runFor(3e9)
	s.quiesceSoon()
}

// sourceBecomesTarget breaks a resync off in the middle, and lets its source take over the data of a third node before the two meet again:
// it does not know the resync any more.
func (s *Sim) sourceBecomesTarget(*node, *wire, bool) {
	source, target := s.beginResync(true)
	if target == nil || s.roleHolder() != nil {
		return
	}
	s.runFor(s.rng.Int64N(5e6))
	x := s.nodes[slices.IndexFunc(s.nodes, func(x *node) bool { return x != source && x != target })]
	for _, w := range s.wires {
		s.sever(w)
	}
	if x.eng == nil || !s.newest(x) {
		s.healAll()
		return
	}
	s.promote(x, false)
	s.runFor(500e6)
	s.workload(20e6)
	s.healWire(s.wire(source.index, x.index))
	s.runUntil(5e9, func() bool { return s.linkIs(source, x, engine.Connected) && s.linkIs(x, source, engine.Connected) })
	s.sever(s.wire(source.index, x.index))
	s.healWire(s.wire(source.index, target.index))
	s.runFor(3e9)
	s.healAll()
	s.quiesceSoon()
}

// unnoticedCrash ends a Primary in the middle of writes of which a node has got none, and starts it again at once: another node, that has
// them, may notice only when the two are equal again.
func (s *Sim) unnoticedCrash(*node, *wire, bool) {
	n, o := s.pairOfAll()
	if o == nil {
		return
	}
	stopped := s.sendsOnlyTo(n, o)
	s.workload(5e6 + s.rng.Int64N(20e6))
	s.crash(n, false)
	s.reset(stopped)
	s.start(n)
	s.runFor(4e9)
	s.quiesceSoon()
}

// promoteBetween ends a Primary in the middle of writes that one node has and another has not, and asks a node without disk to be Primary
// that sees these two, which do not see each other. If it is, it loses one of them and reads on at the other. If it refuses, that has to end
// when the two have met. The node without disk may be the one that was Primary, started again; or that is one of the two, or stays away.
func (s *Sim) promoteBetween(*node, *wire, bool) {
	primary, lacks := s.pairOfAll()
	if lacks == nil {
		return
	}
	var others []*node
	for _, i := range s.rng.Perm(len(s.nodes)) {
		if n := s.nodes[i]; n != primary && n != lacks {
			others = append(others, n)
		}
	}
	x, has := primary, others[0] // without disk, and with the last writes
	if s.rng.IntN(3) > 0 {
		x, has = others[0], primary
		if len(others) > 1 && s.rng.IntN(2) == 0 {
			has = others[1]
		}
	}
	for _, d := range x.disks {
		d.gone = true
	}
	defer func() { s.giveDiskBack(x) }()
	s.workload(10e6) // it notices
	s.quiet()
	s.runFor(500e6)
	if x.eng == nil || x.eng.View().Disk >= engine.Inconsistent || !s.isGood(primary, has) || !s.isGood(primary, lacks) {
		return
	}
	late, between := s.wire(primary.index, lacks.index), s.wire(has.index, lacks.index)
	late.cut[late.side(primary.index)] = true
	s.hot = 4
	defer func() { s.hot = 0 }()
	s.workload(5e6 + s.rng.Int64N(20e6))
	s.crash(primary, false)
	for _, n := range s.nodes {
		if n != primary {
			s.sever(s.wire(primary.index, n.index))
		}
		if n != x && n != has && n != lacks { // the two do not become equal by way of it
			s.crash(n, false)
		}
	}
	s.healAll()
	s.sever(between)
	if primary == x || primary == has {
		s.start(primary)
	}
	s.runFor(500e6)
	if !s.runUntil(3e9, func() bool { return s.sees(x, has) && s.sees(x, lacks) }) {
		return
	}
	if s.promote(x, false); !s.runUntil(500e6, func() bool { return x.primary }) {
		s.healWire(between)
		s.checkRefusalEnds(x, has, lacks)
		return
	}
	s.workload(20e6)
	s.sever(s.wire(x.index, []*node{has, lacks}[s.rng.IntN(2)].index))
	s.workload(50e6)
}

// checkRefusalEnds: node x, which has no disk, can be promoted when the two that it would read from have become equal.
func (s *Sim) checkRefusalEnds(x, n, o *node) {
	equal := func() bool { return s.sees(n, o) && s.sees(o, n) && s.sees(x, n) && s.sees(x, o) }
	if s.runFor(2e9); !s.runUntil(5e9, equal) || !s.idle(1e9) || s.roleHolder() != nil {
		return
	}
	if s.promote(x, false); !s.runUntil(2e9, func() bool { return x.primary }) && equal() {
		s.violate("nodes %d and %d are equal, and node %d, which has no disk, cannot be promoted: %s", n.index, o.index, x.index, s.describe())
	}
	s.workload(20e6)
}

// giveDiskBack starts a node again with the disks that were taken from it.
func (s *Sim) giveDiskBack(n *node) {
	s.startAll()
	s.healAll()
	s.quiet()
	s.demote(n)
	s.runFor(1e9)
	s.crash(n, false)
	for _, d := range n.disks {
		d.gone = false
	}
	s.start(n)
	s.quiesceSoon()
}

// isGood reports that a node, a Primary or another, has good data and gets all writes of the Primary.
func (s *Sim) isGood(primary, n *node) bool {
	if n == primary {
		return n.eng != nil && n.eng.View().Disk == engine.UpToDate
	}
	return s.inSync(primary, n)
}

// sees reports that n is connected to o and takes its data to be good.
func (s *Sim) sees(n, o *node) bool {
	return s.linkIs(n, o, engine.Connected) && n.eng.Peer(rowOf(n.index, o.index)).Disk == engine.UpToDate
}

// generationAtResyncEnd breaks the link of a Primary to a third node while a target writes down that it is equal: the Primary begins a
// generation, and the target goes along. The third node meets the target when the Primary is gone.
func (s *Sim) generationAtResyncEnd(*node, *wire, bool) {
	source, target := s.beginResync(false)
	if target == nil || s.model.primary != source {
		return
	}
	x := s.nodes[slices.IndexFunc(s.nodes, func(x *node) bool { return x != source && x != target })]
	s.sever(s.wire(target.index, x.index))
	ends := func() bool {
		return target.eng == nil || target.eng.View().Disk == engine.Inconsistent && target.eng.Metadata().Flags&engine.SuperUpToDate != 0
	}
	if !s.runUntil(2e9, ends) || target.eng == nil {
		return
	}
	target.slowMetaUntil = s.now + 100e6
	s.sever(s.wire(source.index, x.index))
	s.workload(300e6)
	s.quiet()
	s.crash(source, false)
	if s.rng.IntN(2) == 0 {
		s.promote(target, false)
		s.runFor(500e6)
		s.workload(20e6)
	}
	s.healWire(s.wire(target.index, x.index))
	s.runFor(3e9)
	s.start(source)
	s.healAll()
	s.quiesceSoon()
}

// linksOfDisklessPrimary takes the disk from a node to which a Primary without disk writes the same few blocks again and again, and breaks
// the link: what lacks a copy is sent again, before whatever is written there later.
func (s *Sim) linksOfDisklessPrimary(*node, *wire, bool) {
	n, o := s.pairOfAll()
	if o == nil {
		return
	}
	s.command(n, engine.Event{Cmd: engine.CmdDetach}, nil)
	s.runFor(1e9)
	s.hot = 2
	for range 8 {
		s.workload(s.rng.Int64N(10e6))
		s.command(o, engine.Event{Cmd: engine.CmdDetach}, nil)
		s.workload(s.rng.Int64N(3e6))
		s.sever(s.wire(n.index, o.index))
		s.workload(s.rng.Int64N(3e6))
		s.crash(o, false)
		s.start(o)
		s.healAll()
		s.workload(s.rng.Int64N(100e6))
	}
	s.hot = 0
	s.startAll()
	s.quiesceSoon()
}
