package sim

import "pollux/bdev/replicated/engine"

// hurtSeveral is what can go wrong only where there are more than two nodes, or goes wrong for several at once.
func (s *Sim) hurtSeveral(power bool) {
	r := s.rng
	switch r.IntN(10) {
	case 0, 1, 2:
		s.partition()
	case 3, 4:
		s.crashSome(power)
	case 5, 6:
		s.loseThePrimary(power)
	case 7:
		for _, n := range s.nodes {
			if r.IntN(2) == 0 {
				n.pausedUntil = s.now + r.Int64N(3e9)
			}
		}
		s.workload(r.Int64N(1e9))
	case 8:
		n := s.nodes[r.IntN(len(s.nodes))]
		for _, w := range s.wires {
			if w.conn != nil && (w.a == n.index || w.b == n.index) {
				s.closeSide(w.conn, r.IntN(2), true)
			}
		}
		s.workload(r.Int64N(100e6))
	default:
		w := s.wires[r.IntN(len(s.wires))]
		w.stretch(w.node(r.IntN(2)), s.now+r.Int64N(2e9))
		s.workload(r.Int64N(500e6))
	}
}

// partition splits the nodes into two or three groups that do not hear one another, or only in one direction.
func (s *Sim) partition() {
	r := s.rng
	groups := make([]int, len(s.nodes))
	for i := range groups {
		groups[i] = r.IntN(2 + r.IntN(2))
	}
	dirs := 3
	if r.IntN(4) == 0 {
		dirs = 1 + r.IntN(2)
	}
	s.trace("partition %v, directions %d", groups, dirs)
	for _, w := range s.wires {
		if groups[w.a] != groups[w.b] {
			s.cutWire(w, dirs)
		}
	}
	before, more := s.model.acked, r.IntN(300) // enough for whoever is cut off to fall behind
	s.workloadUntil(r.Int64N(5e9), func() bool { return s.model.acked > before+more })
	s.runFor(r.Int64N(3e9))
	if n := s.model.primary; n != nil && r.IntN(3) == 0 {
		s.crash(n, s.prof.power && r.IntN(2) == 0)
		s.runFor(r.Int64N(3e9))
		s.promoteAny()
		s.workload(r.Int64N(500e6))
	}
	for _, w := range s.wires {
		if r.IntN(4) > 0 { // in pieces
			s.healWire(w)
			s.workload(r.Int64N(300e6))
		}
	}
}

// crashSome ends several nodes together, and starts them again in any order, perhaps not all.
func (s *Sim) crashSome(power bool) {
	r := s.rng
	s.workload(r.Int64N(20e6))
	order := r.Perm(len(s.nodes))
	down := order[:1+r.IntN(len(order))]
	for _, i := range down {
		s.crash(s.nodes[i], power && r.IntN(4) > 0)
	}
	if r.IntN(2) == 0 {
		s.runFor(r.Int64N(2e9))
		s.promoteAny()
		s.workload(r.Int64N(200e6))
	}
	for _, i := range down {
		if n := s.nodes[i]; n.eng == nil && r.IntN(5) > 0 {
			s.start(n)
			s.runFor(r.Int64N(1e9))
		}
	}
}

// loseThePrimary ends it in the middle of writes that have reached some nodes only. The others have to become equal among
// themselves, before or after one of them is promoted.
func (s *Sim) loseThePrimary(power bool) {
	r, n := s.rng, s.model.primary
	if n == nil || n.eng == nil {
		return
	}
	for _, w := range s.wires {
		if (w.a == n.index || w.b == n.index) && r.IntN(2) == 0 {
			w.stretch(n.index, s.now+1e9)
		}
	}
	s.workload(r.Int64N(30e6))
	s.crash(n, power)
	if r.IntN(2) == 0 {
		s.runFor(4e9)
		s.quiesce()
	}
	s.runFor(r.Int64N(2e9))
	s.promoteAny()
	s.workload(r.Int64N(100e6))
	if r.IntN(3) > 0 {
		s.start(n)
	}
}

// checkCopies: an acknowledged write is on as many nodes as were asked for. Where disks lose writes only the count is checked.
// A node that has lost power since it said that it has the write may not have it any more; the Primary has yet to hear of that.
// Nor has it heard of one that has lost its last disk since: what counts there is what the disks hold that it has lost.
func (s *Sim) checkCopies(n *node, r *request, mask uint16) {
	copies := 0
	for i := range s.nodes {
		if s.model.has(s, n, mask, i) {
			copies++
		}
	}
	if copies < s.prof.minAcks {
		s.violate("request %d is acknowledged with %d copies, not %d", r.id, copies, s.prof.minAcks)
	}
	for i, o := range s.nodes {
		if s.prof.rot || s.prof.mode != engine.ModeC || i == n.index || o.eng == nil || o.inc != r.incs[i] ||
			!s.model.has(s, n, mask, i) || !s.inSync(n, o) {
			continue
		}
		for b := r.lo; b < r.hi; b++ {
			if c := s.copyOn(o, b); s.lowest(c) < r.vers[b-r.lo] && s.prof.minAcks > 1 {
				s.violate("block %d: request %d is acknowledged for node %d, which holds version %d", b, r.id, i, c)
			}
		}
	}
}

// copyOn is what a node itself has of a block.
func (s *Sim) copyOn(n *node, b int) version {
	if n.eng.View().Disk >= engine.Inconsistent {
		return s.content(n, b)
	}
	newest := s.under(b, n.disks[0].cells[b].cur)
	for _, d := range n.disks {
		if v := s.under(b, d.cells[b].cur); s.lowest(v) > s.lowest(newest) {
			newest = v
		}
	}
	return newest
}

// targetOfNewest finds a target that reads at its source what was acknowledged last: of several nodes, two that are behind may be
// in a resync with one another.
func (s *Sim) targetOfNewest() *node {
	for _, n := range s.running() {
		for j, o := range s.nodes {
			if j != n.index && o.eng != nil && n.eng.Peer(rowOf(n.index, j)).Conn == engine.SyncTarget && (len(s.nodes) == 2 || s.newest(o)) {
				return n
			}
		}
	}
	return nil
}
