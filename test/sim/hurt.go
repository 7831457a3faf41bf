package sim

import "pollux/bdev/replicated/engine"

// hurt lets one thing go wrong, or lets the operator do one thing.
func (s *Sim) hurt() {
	r := s.rng
	n := s.nodes[r.IntN(len(s.nodes))]
	w := s.wires[r.IntN(len(s.wires))]
	power := s.prof.power && r.IntN(2) == 0
	if len(s.nodes) > 2 && r.IntN(3) == 0 {
		s.hurtSeveral()
		return
	}
	switch r.IntN(33) {
	case 27, 28, 29:
		s.decay(n)
	case 25, 26:
		s.crashAfterFlush()
	case 23, 24:
		s.promoteInResync()
	case 16, 17:
		s.crashInResync(power)
	case 18:
		s.crashAfterLegLoss(n, power)
	case 19, 20:
		s.crashAfterLinkLoss(w, power)
	case 21:
		s.stall(n, w)
	case 22:
		s.fenceOff(n)
	case 0, 1:
		s.crash(n, power)
		if r.IntN(2) == 0 {
			s.runFor(r.Int64N(2e9))
		}
		s.failover(n)
	case 2:
		for _, n := range s.nodes {
			s.crash(n, power)
		}
		s.runFor(r.Int64N(1e9))
		s.startAll()
	case 3, 4:
		s.cutWire(w, 1+r.IntN(3))
		s.workload(r.Int64N(3e9))
		if r.IntN(4) > 0 {
			s.healWire(w)
		}
	case 5:
		if w.conn != nil {
			s.closeSide(w.conn, r.IntN(2), true)
		}
	case 6:
		n.pausedUntil = s.now + r.Int64N(3e9)
		s.workload(r.Int64N(1e9))
	case 7, 8:
		s.switchover()
	case 9, 10, 11:
		s.operate(n)
	case 12:
		s.startAll()
		for _, w := range s.wires {
			s.healWire(w)
		}
	case 13:
		if s.prof.splitBrain {
			s.forcedSecond()
		}
	case 14, 30, 31, 32:
		s.hurtLegs(n, power)
	default:
		s.startAll()
		s.runFor(r.Int64N(5e9))
	}
}

// crashInResync waits for a resync to begin, or makes one, and ends source or target somewhere in it.
func (s *Sim) crashInResync(power bool) {
	r := s.rng
	states := []engine.Conn{
		engine.WFBitMapS, engine.WFBitMapT, engine.WFSyncUUID, engine.SyncSource, engine.SyncTarget, engine.SyncTarget,
	}
	want := states[r.IntN(len(states))]
	s.startAll()
	for _, w := range s.wires {
		s.healWire(w)
		if w.conn != nil && r.IntN(2) == 0 {
			s.closeSide(w.conn, 0, true)
		}
	}
	if r.IntN(2) == 0 {
		for _, n := range s.nodes {
			n.slowMetaUntil = s.now + 2e9
		}
	}
	end := s.now + 2e9
	s.workloadUntil(2e9, func() bool { return s.inState(want) != nil })
	if s.now >= end {
		return
	}
	s.workload(r.Int64N(4e6))
	if n := s.inState(want); n != nil || r.IntN(2) == 0 {
		if n == nil {
			n = s.nodes[r.IntN(len(s.nodes))]
		}
		s.crash(n, power)
		if r.IntN(3) == 0 {
			other := s.nodes[r.IntN(len(s.nodes))]
			s.crash(other, power)
		}
		if r.IntN(2) == 0 {
			s.runFor(r.Int64N(1e9))
		}
		s.startAll()
		if s.prof.lossy && r.IntN(2) == 0 {
			s.promote(n, false)
		}
	}
}

// inState finds a node of which a link is in a state.
func (s *Sim) inState(c engine.Conn) *node {
	for _, n := range s.running() {
		for j := range s.nodes {
			if j != n.index && n.eng.Peer(rowOf(n.index, j)).Conn == c {
				return n
			}
		}
	}
	return nil
}

// inStateOf reports that a node has a link in a state.
func (s *Sim) inStateOf(n *node, c engine.Conn) bool {
	for j := range s.nodes {
		if j != n.index && n.eng.Peer(rowOf(n.index, j)).Conn == c {
			return true
		}
	}
	return false
}

// crashAfterLinkLoss ends a Primary shortly after it has lost its peer.
func (s *Sim) crashAfterLinkLoss(w *wire, power bool) {
	n := s.model.primary
	if n == nil || n.eng == nil || w.conn == nil {
		return
	}
	row := rowOf(n.index, w.node(1-w.side(n.index)))
	s.cutWire(w, 3)
	s.workloadUntil(5e9, func() bool { return n.eng == nil || n.eng.Peer(row).Conn < engine.Connected })
	before := s.model.acked
	more := s.rng.IntN(3)
	s.workloadUntil(s.rng.Int64N(20e6), func() bool { return s.model.acked > before+more })
	s.crash(n, power)
	s.healWire(w)
	s.runFor(s.rng.Int64N(1e9))
	if s.prof.lossy {
		for _, o := range s.running() {
			s.promote(o, false)
			s.runFor(500e6)
			s.workload(s.rng.Int64N(50e6))
			break
		}
	}
	s.start(n)
}

// stall makes a node's disks slow and lets a connection break and come back meanwhile.
func (s *Sim) stall(n *node, w *wire) {
	n.slowUntil = s.now + 1e9
	s.hot = 3
	defer func() { s.hot = 0 }()
	s.workload(20e6 + s.rng.Int64N(50e6))
	s.hot = 0
	if w.conn != nil {
		s.closeSide(w.conn, s.rng.IntN(2), true)
	}
	s.workload(40e6) // much falls behind
	s.hot = 3
	s.workload(1200e6)
}

// fenceOff tells a node of a fencing epoch that somebody else was given.
func (s *Sim) fenceOff(n *node) {
	if !s.prof.fencing || n.eng == nil {
		return
	}
	s.fence++
	s.command(n, engine.Event{Cmd: engine.CmdFence, Value: s.fence}, nil)
	s.workload(s.rng.Int64N(100e6))
}

// promoteInResync makes a target Primary: it must read at its source what it has not got yet.
func (s *Sim) promoteInResync() {
	s.startAll()
	s.hot = 8
	defer func() { s.hot = 0 }()
	if n := s.model.primary; n != nil && n.eng != nil {
		for _, w := range s.wires {
			s.cutWire(w, 3)
		}
		s.workload(4e9) // the others fall behind
		for _, w := range s.wires {
			s.healWire(w)
		}
		if n.eng == nil {
			return
		}
		s.demote(n)
		s.runUntil(2e9, func() bool { return s.targetOfNewest() != nil })
	}
	n := s.targetOfNewest()
	if n == nil || s.roleHolder() != nil {
		return
	}
	for j := range s.nodes {
		if j != n.index {
			s.command(n, engine.Event{Cmd: engine.CmdPauseSync, Peer: rowOf(n.index, j)}, nil)
		}
	}
	s.promote(n, false)
	s.workload(200e6)
	if n.eng == nil {
		return
	}
	for j := range s.nodes {
		if j != n.index {
			s.command(n, engine.Event{Cmd: engine.CmdResumeSync, Peer: rowOf(n.index, j)}, nil)
		}
	}
	s.workload(50e6)
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

// crashAfterFlush cuts the power of all nodes in the moment in which a flush is acknowledged: each of those that were in sync
// has to have everything.
func (s *Sim) crashAfterFlush() {
	n := s.model.primary
	if n == nil || n.eng == nil || !s.prof.power {
		return
	}
	s.workload(5e6)
	if s.model.primary != n || n.eng == nil || !n.eng.View().Open {
		return
	}
	s.runUntil(2e9, func() bool { return len(s.model.requests) == 0 })
	if s.model.primary != n || n.eng == nil {
		return
	}
	lo := s.rng.IntN(s.prof.blocks)
	s.submit(engine.EvWrite, lo, lo+1, engine.OpData, false)
	s.runUntil(2e9, func() bool { return len(s.model.requests) == 0 })
	if s.model.primary != n || n.eng == nil {
		return
	}
	s.submit(engine.EvFlush, 0, 0, 0, false)
	s.runUntil(2e9, func() bool { return len(s.model.requests) == 0 })
	for _, m := range s.nodes {
		s.crash(m, true)
	}
	for _, m := range s.nodes {
		if m != n {
			s.start(m)
			s.runFor(500e6)
			if s.newest(m) {
				s.promote(m, false)
			}
			break
		}
	}
	s.runFor(s.rng.Int64N(1e9))
	s.startAll()
}
