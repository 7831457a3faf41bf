package sim

import "pollux/bdev/replicated/engine"

// observe looks at a node after each of its steps.
func (s *Sim) observe(n *node) {
	if n.eng == nil || s.Failure != "" {
		return
	}
	v := n.eng.View()
	n.fence = max(n.fence, v.Fence)
	n.before = v.Disk
	m := &s.model
	s.observeTarget(n, &v)
	if len(s.nodes) > 2 && v.Disk == engine.Inconsistent && v.Role == engine.Secondary {
		m.behind(n.index) // fenced with writes that must not be kept: it promises nothing
	}
	s.watchRoles(n, &v)
	if m.primary == n && v.Role != engine.Primary {
		m.primary = nil // fenced
		m.endRequests()
	}
	if m.primary == n {
		if v.Disk == engine.UpToDate && !m.floor(0, n.index).valid {
			s.resynced(n)
		}
		for i, other := range s.nodes {
			if other == n {
				continue
			}
			in := s.inSync(n, other)
			if in && !m.floor(0, i).valid && other.eng != nil && other.eng.View().Disk == engine.UpToDate {
				s.resynced(other)
			}
			if !in && s.prof.mode != engine.ModeC {
				m.behind(i)
			}
		}
	}
}

// observeTarget: a node that takes another's data over keeps none of its promises. That is only right if the other keeps its
// own, or this one has nothing that the other lacks.
func (s *Sim) observeTarget(n *node, v *engine.View) {
	source := -1
	for j := range s.nodes {
		if j != n.index {
			if c := n.eng.Peer(rowOf(n.index, j)).Conn; c == engine.SyncTarget || c == engine.PausedSyncT {
				source = j
			}
		}
	}
	s.watchResync(n, v, source)
	if m := &s.model; m.primary == n && !n.target && s.inStateOf(n, engine.WFBitMapT) {
		m.primary = nil // rr-conflict violently: its front end sees other data from now on
		clear(m.requests)
	}
	if source < 0 {
		n.target = false
		return
	}
	if n.target {
		return
	}
	n.target = true
	m := &s.model
	byPolicy := s.settledByPolicy(n, s.nodes[source])
	if byPolicy {
		n.solo = nil
	}
	s.watchAlone(n, s.nodes[source])
	if o := s.nodes[source]; o.eng != nil && !byPolicy && !s.prof.splitBrain && !s.forgiven && s.prof.mode == engine.ModeC {
		for b := range m.blocks {
			f, g := m.floor(b, n.index), m.floor(b, source)
			c := s.lowest(s.content(o, b))
			if f.valid && !g.valid && c < f.cur {
				s.violate("block %d: node %d holds version %d and is overwritten by node %d, which holds %d and missed writes", b, n.index, f.cur, source, c)
				return
			}
		}
	}
	if m.primary == n { // rr-conflict violently: its front end sees other data from now on
		m.primary = nil
		clear(m.requests)
	}
	m.behind(n.index)
}

// idle waits until nothing is under way on the running nodes.
func (s *Sim) idle(limit int64) bool { return s.runUntil(limit, s.silent) }

func (s *Sim) silent() bool {
	for _, n := range s.running() {
		if !n.eng.View().Quiet {
			return false
		}
	}
	return true
}

// quiesce stops the front end and compares the replicas that call themselves equal.
func (s *Sim) quiesce() {
	if s.idle(5e9) {
		s.comparePairs()
	}
}

func (s *Sim) comparePairs() {
	for _, n := range s.running() {
		v := n.eng.View()
		s.compareLegs(n, v)
		s.compareTracker(n, &v)
		if v.Disk != engine.UpToDate {
			continue
		}
		for _, o := range s.running() {
			if o.index <= n.index {
				continue
			}
			p, q := n.eng.Peer(rowOf(n.index, o.index)), o.eng.Peer(rowOf(o.index, n.index))
			if p.Conn == engine.Connected && q.Conn == engine.Connected && p.Disk == engine.UpToDate &&
				o.eng.View().Disk == engine.UpToDate && n.eng.View().InFlight == 0 && o.eng.View().InFlight == 0 && settled(n, o) {
				s.compareNodes(n, o)
			}
		}
	}
}

// settled reports that two nodes have nothing of a Primary whose end they have yet to notice.
func settled(n, o *node) bool {
	v, w := n.eng.View(), o.eng.View()
	return v.Role == engine.Primary || w.Role == engine.Primary || !v.Unsettled && !w.Unsettled
}

func (s *Sim) compareNodes(n, o *node) {
	for b := range int(min(n.eng.View().Size, o.eng.View().Size) / blockSize) {
		blk := uint64(b) * blockSize >> s.prof.bitShift
		if n.eng.Dirty(rowOf(n.index, o.index), blk) && o.eng.Dirty(rowOf(o.index, n.index), blk) {
			continue // found by verify
		}
		if x, y := s.content(n, b), s.content(o, b); x != y {
			s.violate("block %d: nodes %d and %d are Connected and UpToDate but hold versions %d and %d", b, n.index, o.index, x, y)
			return
		}
	}
}

func (s *Sim) compareLegs(n *node, v engine.View) {
	first := -1
	for i := range n.disks {
		if !v.Legs[i].InSync {
			continue
		}
		if first < 0 {
			first = i
			continue
		}
		for b := range s.prof.blocks {
			if x, y := s.under(b, n.disks[first].cells[b].cur), s.under(b, n.disks[i].cells[b].cur); x != y && v.Quiet && v.Disk == engine.UpToDate {
				s.violate("block %d: legs %d and %d of node %d are in sync but hold versions %d and %d", b, first, i, n.index, x, y)
				return
			}
		}
	}
}

// metStranger: two nodes have found that they have nothing in common. Nothing but a split brain may bring them so far, after which
// each side starts more generations than the other's history reaches back: everybody else has his data from the first Primary, or
// has none.
func (s *Sim) metStranger(n, o *node) {
	n.strangers |= 1 << o.index
	if !s.prof.splitBrain && !s.prof.lossy {
		s.violate("nodes %d and %d have unrelated data, and there was no split brain", n.index, o.index)
	}
}
