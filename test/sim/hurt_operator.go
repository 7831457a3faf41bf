package sim

import (
	"bytes"

	"pollux/bdev/replicated/engine"
)

// corruptAndVerify changes a block behind a node's back, and lets verify find and repair it from a node that is good. That one can
// read all of its blocks: where it cannot, it takes the whole range from the other, and with it the spoilt block.
func (s *Sim) corruptAndVerify(*node, *wire, bool) {
	good, bad := s.quietPair()
	if bad == nil {
		return
	}
	b := s.rng.IntN(s.prof.blocks)
	if !good.readsAll() {
		return
	}
	spoilt := s.garbage()
	was := bad.replace(b, spoilt)
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
		s.putBackCopies(bad, b, spoilt)
		return
	}
	if x, y := s.content(good, b), s.content(bad, b); x != y {
		s.violate("block %d: verify with repair leaves version %d on node %d and %d on node %d", b, x, good.index, y, bad.index)
	}
}

// pairOfAll starts and connects everything, has a Primary, and is quietPair.
func (s *Sim) pairOfAll() (primary, other *node) {
	s.startAll()
	s.healAll()
	s.promoteAny()
	return s.quietPair()
}

// quietPair is the Primary and a node in sync with it, with nothing under way.
func (s *Sim) quietPair() (primary, other *node) {
	n := s.model.primary
	if n == nil || n.eng == nil || !s.quiet() || !s.idle(1e9) {
		return nil, nil
	}
	o := s.other(n)
	if o == nil || !s.linkIs(n, o, engine.Connected) || !s.inSync(n, o) || o.eng.View().Disk != engine.UpToDate ||
		n.eng.View().Disk != engine.UpToDate {
		return nil, nil
	}
	return n, o
}

// crashInInvalidation spoils a block of a node, lets the operator invalidate it, and kills everybody on the way: a node that
// comes back Inconsistent has to be copied in full. Its data counts as that of a resync that has been broken off: whatever happens to
// the other node, the operator does not declare good what he has just thrown away.
func (s *Sim) crashInInvalidation(*node, *wire, bool) {
	good, bad := s.quietPair()
	if bad == nil {
		return
	}
	b := s.rng.IntN(s.prof.blocks)
	was := bad.replace(b, s.garbage())
	bad.slowMetaUntil = s.now + 100e6
	s.command(bad, engine.Event{Cmd: engine.CmdInvalidate, Peer: rowOf(bad.index, good.index)}, nil)
	s.runUntil(1e9, func() bool { return bad.eng.View().Disk == engine.Inconsistent })
	s.runFor(s.rng.Int64N(30e6))
	s.crash(good, false)
	s.crash(bad, false)
	s.start(bad)
	if bad.partial = bad.eng.View().Disk == engine.Inconsistent; !bad.partial {
		bad.putBack(b, was) // it is as if he had said nothing
	}
	s.start(good)
	s.quiesceSoon()
}

// readsAll reports that all legs of a node can read all of their blocks.
func (n *node) readsAll() bool {
	for _, d := range n.disks {
		for _, c := range d.cells {
			if c.unreadable || c.worn {
				return false
			}
		}
	}
	return true
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

// putBackCopies undoes what others have copied of a block that was spoilt on one node and is right there again: a node may have been
// lost meanwhile that they were behind, too.
func (s *Sim) putBackCopies(from *node, b int, spoilt version) {
	for _, n := range s.nodes {
		for i, d := range n.disks {
			if n != from && d.cells[b].cur == spoilt {
				n.track = nil
				d.write(b, from.disks[min(i, len(from.disks)-1)].cells[b].cur, true)
			}
		}
	}
}

// blank makes the blocks from b on equal everywhere.
func (n *node) blank(b int) {
	clear(n.spare)
	for _, d := range n.disks {
		for i := b; i < len(d.cells); i++ {
			d.write(i, 0, true)
		}
	}
}

// congest sends more than the link takes, and then nothing: the node that fell behind has to catch up with what it was only
// told about.
func (s *Sim) congest(_ *node, _ *wire, power bool) {
	if n := s.model.primary; n == nil || n.eng == nil {
		return
	}
	if s.rng.IntN(4) > 0 { // at the end of a resync, whose last acknowledgements are late
		if n, o := s.beginResync(false); o != nil {
			s.hot = 3
			s.workloadUntil(200e6, func() bool { return o.eng == nil || o.eng.Peer(rowOf(o.index, n.index)).Dirty < 4 })
			o.slowUntil = s.now + 4e6
			s.workload(60e6)
		}
	} else {
		for _, o := range s.nodes {
			if o != s.model.primary {
				o.pausedUntil = s.now + 50e6
			}
		}
	}
	s.workloadUntil(100e6, func() bool { return s.inState(engine.Ahead) != nil })
	s.workload(s.rng.Int64N(20e6)) // to the same blocks as before: what is acknowledged now may be older
	s.hot = 0
	s.quiet()
	if o := s.inState(engine.Behind); o != nil && s.rng.IntN(4) > 0 {
		s.runFor(s.rng.Int64N(1e9))
		s.crash(o, power)
		s.start(o)
	}
	s.runFor(3e9)
	s.quiesce()
}

// grow makes the volume larger. Where the operator says that the new blocks are equal, they are.
func (s *Sim) grow(n *node) {
	if p := s.roleHolder(); p != nil {
		n = p
	}
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

// keptMetadata is a copy of a node's metadata, as an operator makes it with pollux replicated md dump.
type keptMetadata struct {
	current uint64
	legs    [][]byte
}

// keepMetadata copies the metadata of a node that has nothing under way; nil is not now.
func (n *node) keepMetadata() *keptMetadata {
	if n.eng == nil || !n.eng.View().Quiet {
		return nil
	}
	k := &keptMetadata{current: n.eng.Metadata().Current &^ 1}
	for _, d := range n.disks {
		k.legs = append(k.legs, bytes.Clone(d.md.bytes))
	}
	return k
}

// restart kills a node and starts it with other metadata.
func (s *Sim) restart(n *node, change func()) {
	s.crash(n, false)
	change()
	n.forget()
	s.start(n)
}

// forget voids what a node was to remember: its metadata has been replaced, and nothing else remembers it.
func (n *node) forget() {
	n.track, n.solo, n.promised, n.partial, n.missed, n.kept, n.whole = nil, nil, 0, false, false, nil, nil
}

// putBack writes the copy over what is there.
func (k *keptMetadata) putBack(n *node) {
	for i, d := range n.disks {
		copy(d.md.bytes, k.legs[i])
		clear(d.md.cached)
	}
}

// putBackMetadata puts older metadata back on a node of which another one knows that it is older: what that node had promised
// is void, and it has to be copied in full.
func (s *Sim) putBackMetadata(n *node, _ *wire, _ bool) {
	if k := n.kept; k != nil && n != s.model.last && !n.primary {
		for _, o := range s.running() {
			if o != n && s.knowsAsOld(o, k.current) {
				s.model.behind(n.index)
				s.restart(n, func() { k.putBack(n) })
				return
			}
		}
	}
	if k := n.keepMetadata(); k != nil {
		n.kept = k
	}
}

// recreate gives a node new metadata: it has never seen data.
func (s *Sim) recreate(n *node) {
	s.model.behind(n.index)
	for _, o := range s.nodes {
		o.strangers &^= 1 << n.index
	}
	n.strangers = 0
	s.restart(n, func() { s.format(n) })
}

// knowsAsOld reports that a generation is in a node's history, and further back than its bitmaps reach.
func (s *Sim) knowsAsOld(n *node, uuid uint64) bool {
	md := n.eng.Metadata()
	old := false
	for _, h := range md.History {
		old = old || h&^1 == uuid
	}
	if uuid == md.Current&^1 {
		return false
	}
	for i := range s.nodes {
		if i != n.index && md.Rows[rowOf(n.index, i)].Bitmap&^1 == uuid {
			return false
		}
	}
	return old && n.eng.View().Disk == engine.UpToDate
}

// putBackPrimary keeps a Primary's metadata over a planned switch, kills both nodes and puts it back: two nodes with equal
// data and one generation say that they crashed as Primary.
func (s *Sim) putBackPrimary(*node, *wire, bool) {
	n := s.model.primary
	if n == nil || n.eng == nil || len(n.disks) > 1 || len(s.nodes) > 2 {
		return // what several legs, or two that are not Primary, may differ in is in the activity log that would be lost
	}
	o := s.other(n)
	if o == nil || !s.inSync(n, o) || n.eng.View().Disk != engine.UpToDate {
		return
	}
	s.quiet()
	s.idle(1e9)
	kept := n.keepMetadata()
	if kept == nil || s.model.primary != n {
		return
	}
	s.demote(n)
	s.runFor(1e9)
	if n.eng == nil || o.eng == nil || s.roleHolder() != nil {
		return
	}
	s.promote(o, false)
	s.runFor(500e6)
	s.workload(20e6)
	if o.eng == nil || s.model.primary != o || !s.inSync(o, n) || o.eng.Metadata().Current&^1 != kept.current {
		return
	}
	s.crash(o, false)
	s.restart(n, func() { kept.putBack(n) })
	s.start(o)
	s.runFor(s.rng.Int64N(2e9))
}

// recreateStranger makes new metadata on a node whose data has nothing to do with that of another: nothing else helps.
func (s *Sim) recreateStranger(n *node, _ *wire, _ bool) {
	if n.strangers != 0 && n != s.model.last && !n.primary {
		s.recreate(n)
	}
}
