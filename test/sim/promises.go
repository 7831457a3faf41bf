package sim

import (
	"math/bits"
	"slices"

	"pollux/bdev/replicated/engine"
	"pollux/bdev/replicated/leg"
	"pollux/bdev/replicated/meta"
)

// watchResync keeps in mind how far a resync has come, and looks at its end.
func (s *Sim) watchResync(n *node, v *engine.View, source int) {
	if source >= 0 && v.Disk == engine.Inconsistent {
		n.partial = n.eng.Peer(rowOf(n.index, source)).Dirty > 0
		if n.partial && s.nodes[source] == s.model.primary {
			n.pulled = n.pulled[:0]
			for b := range s.model.blocks {
				n.pulled = append(n.pulled, s.model.ackedOrBase(b, s))
			}
		}
	}
	if source < 0 && n.target && v.Disk == engine.UpToDate {
		s.watchResyncEnd(n)
		n.missed = false
		for _, o := range s.nodes {
			o.solo = nil
		}
	}
	if source < 0 && v.Disk != engine.UpToDate {
		n.pulled = nil
	}
}

// watchResyncEnd: who has just become equal to the Primary has all that was acknowledged, once nothing is under way between
// them.
func (s *Sim) watchResyncEnd(n *node) {
	for _, o := range s.running() {
		if o == n || o != s.model.last || !s.linkIs(n, o, engine.Connected) || !s.linkIs(o, n, engine.SyncSource) ||
			n.eng.View().InFlight+o.eng.View().InFlight > 0 {
			continue
		}
		for b := range s.prof.blocks {
			x, y := s.lowest(s.content(n, b)), s.lowest(s.content(o, b))
			if acked := s.model.blocks[b].acked; x < acked && y >= acked {
				s.violate("block %d: the resync of node %d ends with version %d; its source, node %d, holds %d", b, n.index, x, o.index, y)
				return
			}
		}
	}
}

// acknowledgedAlone notes a write that no other node has a part in (M3).
func (s *Sim) acknowledgedAlone(n *node, r *request) {
	if n.solo == nil {
		n.solo = make([]version, s.prof.blocks)
	}
	for b := r.lo; b < r.hi; b++ {
		n.solo[b] = max(n.solo[b], r.vers[b-r.lo])
	}
}

// watchAlone: who has acknowledged alone is not overwritten by a node that missed it, whoever was promoted since: that is a
// split brain, and somebody has to decide.
func (s *Sim) watchAlone(n, source *node) {
	if n.solo == nil || s.prof.splitBrain || s.forgiven {
		return
	}
	for b, v := range n.solo {
		if c := s.lowest(s.content(source, b)); c < v {
			s.violate("block %d: node %d has acknowledged version %d alone and is overwritten by node %d, which holds %d", b, n.index, v, source.index, c)
			return
		}
	}
}

// settledByPolicy: a Primary that is lost right after it has begun a generation without a peer may have acknowledged writes in it alone,
// or none at all: nobody can tell the one from the other. If the others have gone on without it, that is a split brain although no
// operator has made it, and a policy may decide for the crashed Primary. It may as well decide for a node that followed it into that
// generation and is still of it: who was left out was promoted without its data, too. Of a Primary that had no disk there are only
// these.
func (s *Sim) settledByPolicy(n, source *node) bool {
	if n.settled>>rowOf(n.index, source.index)&1 == 0 || source.eng == nil {
		return false
	}
	return source.eng.Peer(rowOf(source.index, n.index)).Crashed || s.ownerLost[source.eng.View().Current&^1]
}

// noteLostPrimary remembers which generations a node has begun that ends as Primary.
func (s *Sim) noteLostPrimary(n *node) {
	if n.eng.View().Role != engine.Primary {
		return
	}
	for _, uuid := range n.begun {
		s.ownerLost[uuid&^1] = true
	}
}

// watchStart: a node that was ended in the middle of a resync does not come back with good data, and it remembers the
// fencing epochs that it has accepted.
func (s *Sim) watchStart(n *node) {
	v := n.eng.View()
	if n.partial && v.Disk > engine.Inconsistent {
		s.violate("node %d was ended in the middle of a resync and starts %v", n.index, v.Disk)
	}
	switch {
	case v.Disk < engine.Inconsistent || v.Fence >= n.promised:
	case n.goneLegsRemember(n.promised):
		n.promised = v.Fence
	default:
		s.violate("node %d has accepted fencing epoch %d and starts with %d", n.index, n.promised, v.Fence)
	}
}

// noteWhole keeps in mind, at the end of a node, which disks its legs are if all of them are in sync.
func (n *node) noteWhole() {
	n.whole = slices.Clone(n.disks)
	for i, d := range n.disks {
		if d.gone || !n.eng.View().Legs[i].InSync {
			n.whole = nil
		}
	}
}

// watchLegs: a node that has all of its legs, and had all of them in sync when it ended, misses none. A leg of which both superblocks
// are bad is not here.
func (s *Sim) watchLegs(n *node, md *engine.Loaded) {
	for _, d := range n.disks {
		if _, err := leg.Open(d.md, d.md.size()); d.gone || err != nil {
			return
		}
	}
	if slices.Equal(n.whole, n.disks) && (md == nil || md.Missing) {
		s.violate("node %d has all of its legs, which were in sync, and does not trust them", n.index)
	}
}

// goneLegsRemember reports a fencing epoch that is on a leg which is not here. A node that is started without the leg on which it has gone
// on alone cannot know of it, just as it cannot know of the data.
func (n *node) goneLegsRemember(epoch uint64) bool {
	for _, d := range n.disks {
		if d.gone {
			if m, err := meta.Open(d.md, d.md.size()); err == nil && m.Super.Fence >= epoch {
				return true
			}
		}
	}
	return false
}

// watchRoles: of two nodes that see each other one is Primary.
func (s *Sim) watchRoles(n *node, v *engine.View) {
	if v.Role != engine.Primary || !v.Open {
		return
	}
	for _, o := range s.running() {
		if o == n {
			continue
		}
		if w := o.eng.View(); w.Role == engine.Primary && w.Open &&
			n.eng.Peer(rowOf(n.index, o.index)).Conn >= engine.Connected && o.eng.Peer(rowOf(o.index, n.index)).Conn >= engine.Connected {
			s.violate("nodes %d and %d are connected and both Primary", n.index, o.index)
		}
	}
}

// watchPromotion: data that is known not to be the newest takes force. What counts is the data before the step that ends the
// promotion: in the same step the new Primary may meet a peer, and by the policies give in.
func (s *Sim) watchPromotion(n *node, force bool) {
	switch d := max(n.before, n.eng.View().Disk); {
	case force:
		n.partial = false // the operator says that this is good
	case d == engine.Outdated || d == engine.Consistent:
		s.violate("node %d is %v and promoted without force", n.index, d)
	case n.partial && d >= engine.Outdated:
		s.violate("node %d is promoted in the middle of a resync", n.index)
	}
}

// watchAck: a write is acknowledged with as many copies as it needs, and not while I/O is suspended.
func (s *Sim) watchAck(n *node, mask uint16) {
	if c := bits.OnesCount16(mask); c < s.prof.minAcks {
		s.violate("node %d acknowledges a write with %d copies of %d", n.index, c, s.prof.minAcks)
	}
	if n.frozen {
		s.violate("node %d acknowledges a write although its I/O is suspended and drained", n.index)
	}
}

// watchSent notes what a node promises to a peer, and the generations into which it takes its peers along.
func (s *Sim) watchSent(n *node, m *engine.Msg) {
	switch {
	case m.Type == engine.MsgStateReply && engine.Err(m.Count) == engine.OK:
		n.promise(n.asked[m.Block])
	case m.Type == engine.MsgUUIDs && n.eng.View().Role == engine.Primary:
		n.begun = append(n.begun, m.UUID)
	}
}

// promise notes that a node accepts a fencing epoch. One without a disk has nowhere to remember it.
func (n *node) promise(epoch uint64) {
	if n.eng.View().Disk >= engine.Inconsistent {
		n.promised = max(n.promised, epoch)
	}
}

// watchArrived notes what a node is asked.
func (n *node) watchArrived(m *engine.Msg) {
	if m.Type == engine.MsgStateReq && engine.Command(m.Count) == engine.CmdPrimary {
		n.asked[m.Block] = m.Fence
	}
}

// suspend holds I/O back on a node until a deadline, at which it has to go on by itself.
func (s *Sim) suspend(n *node, d int64) {
	inc := n.inc
	n.suspends++
	nth := n.suspends
	s.command(n, engine.Event{Cmd: engine.CmdSuspendIO, Value: uint64(d)}, nil)
	s.after(d+1e6, func() {
		if n.inc == inc && n.eng != nil && n.suspends == nth && n.eng.View().Suspended {
			s.violate("node %d is suspended beyond its deadline", n.index)
		}
	})
}

// resetTracker lets a node's tracker begin anew.
func (s *Sim) resetTracker(n *node) {
	s.command(n, engine.Event{Cmd: engine.CmdTrackerReset, Peer: trackerRow}, func(err engine.Err) {
		n.track = nil
		if d := n.goodLeg(); err == engine.OK && d != nil {
			for b := range s.prof.blocks {
				n.track = append(n.track, d.cells[b].cur)
			}
		}
	})
}

// compareTracker: every block that has changed since the tracker was reset is in it. What has rotted has not: nobody but the disk
// knows of that.
func (s *Sim) compareTracker(n *node, v *engine.View) {
	d := n.goodLeg()
	if n.track == nil || d == nil || !v.Quiet {
		return
	}
	for b, was := range n.track {
		if now := d.cells[b].cur; s.under(b, now) != s.under(b, was) && !n.eng.Dirty(trackerRow, uint64(b)*blockSize>>s.prof.bitShift) {
			s.violate("block %d: node %d held version %d when its tracker was reset, holds %d, and the tracker has not seen it", b, n.index, was, now)
			return
		}
	}
}

// goodLeg is a disk of which a node says that it is in sync; nil is none.
func (n *node) goodLeg() *disk {
	for i, d := range n.disks {
		if n.eng.View().Legs[i].InSync {
			return d
		}
	}
	return nil
}
