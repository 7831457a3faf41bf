package sim

import "pollux/bdev/replicated/engine"

// corruptAndVerify changes a block behind a node's back, and lets verify find and repair it from a node that is good.
func (s *Sim) corruptAndVerify(*node, *wire, bool) {
	good := s.model.primary
	if good == nil || good.eng == nil || !s.quiet() || !s.idle(1e9) {
		return
	}
	bad := s.other(good)
	if bad == nil || !s.linkIs(good, bad, engine.Connected) || !s.inSync(good, bad) || bad.eng.View().Disk != engine.UpToDate ||
		good.eng.View().Disk != engine.UpToDate {
		return
	}
	b := s.rng.IntN(s.prof.blocks)
	was := bad.replace(b, s.torn(0, 0))
	asks, ev := good, engine.Event{Cmd: engine.CmdVerify, Value: uint64(engine.RepairFromLocal)}
	if s.rng.IntN(2) == 0 {
		asks, ev.Value = bad, uint64(engine.RepairFromPeer)
	}
	answers := good
	if asks == good {
		answers = bad
	}
	s.calm = true
	defer func() { s.calm = false }()
	ev.Peer = rowOf(asks.index, answers.index)
	w := s.wire(good.index, bad.index)
	conn := w.conn
	done, err := false, engine.OK
	s.command(asks, ev, func(e engine.Err) { done, err = true, e })
	s.runUntil(1e9, func() bool { return done })
	ended := s.runUntil(3e9, func() bool {
		return s.linkIs(good, bad, engine.Connected) && s.linkIs(bad, good, engine.Connected) && s.silent()
	})
	if !ended || err != engine.OK || w.conn != conn {
		bad.putBack(b, was) // it did not come to an end
		return
	}
	if x, y := s.content(good, b), s.content(bad, b); x != y {
		s.violate("block %d: verify with repair leaves version %d on node %d and %d on node %d", b, x, good.index, y, bad.index)
	}
}

// replace changes a block on all legs of a node, and returns what was there.
func (n *node) replace(b int, v version) (was []cell) {
	n.track = nil
	for _, d := range n.disks {
		was = append(was, d.cells[b])
		d.write(b, v, true)
	}
	return was
}

// putBack undoes replace.
func (n *node) putBack(b int, was []cell) {
	for i, d := range n.disks {
		d.write(b, was[i].cur, true)
	}
}

// blank makes the blocks from b on equal everywhere.
func (n *node) blank(b int) {
	for _, d := range n.disks {
		for i := b; i < len(d.cells); i++ {
			d.write(i, 0, true)
		}
	}
}

// congest sends more than the link takes, and then nothing: the node that fell behind has to catch up with what it was only
// told about.
func (s *Sim) congest(*node, *wire, bool) {
	if n := s.model.primary; n == nil || n.eng == nil || !s.prof.pullAhead || s.prof.mode != engine.ModeA {
		return
	}
	for _, o := range s.nodes {
		if o != s.model.primary {
			o.pausedUntil = s.now + 50e6
		}
	}
	s.workloadUntil(100e6, func() bool { return s.inState(engine.Ahead) != nil })
	s.workload(s.rng.Int64N(20e6))
	s.quiet()
	s.runFor(3e9)
	s.quiesce()
}

// grow makes the volume larger. Where the operator says that the new blocks are equal, they are.
func (s *Sim) grow(n *node) {
	if n.eng == nil {
		return
	}
	ev := engine.Event{Cmd: engine.CmdResize, Value: uint64(s.prof.blocks+s.rng.IntN(s.prof.spare+1)) * blockSize}
	if ev.Flag = s.rng.IntN(4) == 0; ev.Flag {
		for _, o := range s.nodes {
			o.blank(int(n.eng.View().Size / blockSize))
		}
	}
	s.command(n, ev, nil)
	s.workload(s.rng.Int64N(100e6))
}

// keepMetadata remembers what a node's metadata is now, for an operator who will put it back.
func (s *Sim) keepMetadata(n *node) {
	n.kept = nil
	for _, d := range n.disks {
		n.kept = append(n.kept, d.md.clone())
	}
}

// restart ends a node and starts it with other metadata.
func (s *Sim) restart(n *node, md []mdStore) {
	s.crash(n, false)
	for i, d := range n.disks {
		d.md = md[i].clone()
	}
	n.track, n.promised, n.partial = nil, 0, false
	s.start(n)
}

// putBackMetadata puts older metadata back on a node of which another one knows that it is older: what that node had promised
// is void, and it has to be copied in full.
func (s *Sim) putBackMetadata(n *node, _ *wire, _ bool) {
	if n.kept == nil || n == s.model.last || n.primary {
		s.keepMetadata(n)
		return
	}
	for _, o := range s.running() {
		if o != n && s.knowsAsOld(o, n.kept[0].super.Current) {
			s.model.behind(n.index)
			s.restart(n, n.kept)
			n.kept = nil
			return
		}
	}
	s.keepMetadata(n)
}

// recreate gives a node new metadata: it has never seen data.
func (s *Sim) recreate(n *node) {
	s.model.behind(n.index)
	for _, o := range s.nodes {
		o.stranger = false
	}
	fresh := make([]mdStore, len(n.disks))
	for i := range fresh {
		fresh[i] = newStore()
		fresh[i].super = s.freshSuper()
	}
	s.restart(n, fresh)
}

// knowsAsOld reports that a generation is in a node's history, and further back than its bitmaps reach.
func (s *Sim) knowsAsOld(n *node, uuid uint64) bool {
	md := n.eng.Metadata()
	old := false
	for _, h := range md.History {
		old = old || h&^1 == uuid&^1
	}
	if uuid&^1 == md.Current&^1 {
		return false
	}
	for i := range s.nodes {
		if i != n.index && md.Rows[rowOf(n.index, i)].Bitmap&^1 == uuid&^1 {
			return false
		}
	}
	return old && n.eng.View().Disk == engine.UpToDate
}

// putBackPrimary keeps a Primary's metadata over a planned switch, kills both nodes and puts it back: two nodes with equal
// data and one generation say that they crashed as Primary.
func (s *Sim) putBackPrimary(*node, *wire, bool) {
	n := s.model.primary
	if n == nil || n.eng == nil || s.prof.mode != engine.ModeC || s.prof.legs > 1 {
		return // what several legs may differ in is in the activity log that would be lost
	}
	o := s.other(n)
	if o == nil || !s.inSync(n, o) || n.eng.View().Disk != engine.UpToDate {
		return
	}
	s.keepMetadata(n)
	kept := n.kept
	s.demote(n)
	s.runFor(1e9)
	if n.eng == nil || o.eng == nil || s.roleHolder() != nil {
		return
	}
	s.promote(o, false)
	s.runFor(500e6)
	s.workload(20e6)
	if o.eng == nil || s.model.primary != o || !s.inSync(o, n) || o.eng.Metadata().Current&^1 != kept[0].super.Current&^1 {
		return
	}
	s.crash(o, false)
	s.restart(n, kept)
	s.start(o)
	s.runFor(s.rng.Int64N(2e9))
}

// recreateStranger makes new metadata on a node whose data has nothing to do with that of another: nothing else helps.
func (s *Sim) recreateStranger(n *node, _ *wire, _ bool) {
	if n.stranger && n != s.model.last && !n.primary {
		s.recreate(n)
	}
}
