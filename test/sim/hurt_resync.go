package sim

import "pollux/bdev/replicated/engine"

// quietResync is beginResync where, half of the time, the source is Secondary by then, so that nobody starts a new generation
// when the other one goes.
func (s *Sim) quietResync() (source, target *node) { return s.beginResync(s.rng.IntN(2) == 0) }

// beginResync lets a node fall behind the Primary and begin to resync, while the front end is silent: nothing flushes the
// target's disks but the resync itself. It returns source and target, or nil.
func (s *Sim) beginResync(demoted bool) (source, target *node) {
	s.startAll()
	s.healAll()
	n := s.model.primary
	if n == nil || n.eng == nil {
		return nil, nil
	}
	o := s.other(n)
	if o == nil {
		return nil, nil
	}
	w := s.wire(n.index, o.index)
	s.sever(w)
	s.workload(20e6 + s.rng.Int64N(60e6))
	s.quiet()
	if demoted && n.eng != nil {
		s.demote(n)
		s.runFor(500e6)
	}
	s.healWire(w)
	if !s.runUntil(3e9, func() bool { return s.linkIs(o, n, engine.SyncTarget) }) || n.eng == nil {
		return nil, nil
	}
	return n, o
}

// linkIs reports the state of n's link to o.
func (s *Sim) linkIs(n, o *node, c engine.Conn) bool {
	return n.eng != nil && n.eng.Peer(rowOf(n.index, o.index)).Conn == c
}

// crashInQuietResync takes the power from a target that has a part of the data in its disks' caches, and perhaps ends the
// source, too.
func (s *Sim) crashInQuietResync(*node, *wire, bool) {
	source, target := s.quietResync()
	if target == nil {
		return
	}
	s.runFor(s.rng.Int64N(30e6))
	s.crashBoth(target, source)
	s.quiesceSoon()
}

// crashAtResyncEnd takes the power from a target that has just become equal; sometimes the source goes with it and does not
// come back at once.
func (s *Sim) crashAtResyncEnd(*node, *wire, bool) {
	source, target := s.quietResync()
	if target == nil {
		return
	}
	ends := target
	if s.rng.IntN(2) == 0 {
		ends = source
	}
	peer := target
	if ends == target {
		peer = source
	}
	s.runUntil(2e9, func() bool { return s.linkIs(ends, peer, engine.Connected) })
	if s.rng.IntN(2) == 0 {
		s.runFor(s.rng.Int64N(4e6))
	}
	s.crashBoth(target, source)
	s.quiesceSoon()
}

// crashBoth takes the power from the target and, one time in three, ends the source; the target is up again first.
func (s *Sim) crashBoth(target, source *node) {
	s.crash(target, s.prof.power)
	if s.rng.IntN(3) == 0 {
		s.crash(source, s.prof.power && s.rng.IntN(2) == 0)
		s.start(target)
		s.runFor(s.rng.Int64N(1e9))
		if s.newest(target) {
			s.promote(target, false)
			s.runFor(500e6)
		}
	}
	s.startAll()
}

// quiesceSoon compares the replicas when they have had time to become equal, without a word from the front end.
func (s *Sim) quiesceSoon() {
	s.runUntil(5e9, func() bool {
		for _, n := range s.running() {
			if n.eng.View().Disk != engine.UpToDate {
				return false
			}
		}
		return true
	})
	s.quiesce()
}

// reconnectStalled loses and makes a connection while writes that came over the old one are still on their way to a slow
// disk, and lets newer writes to the same blocks overtake them.
func (s *Sim) reconnectStalled(*node, *wire, bool) {
	n := s.model.primary
	if n == nil || n.eng == nil {
		return
	}
	o := s.other(n)
	if o == nil {
		return
	}
	w := s.wire(n.index, o.index)
	s.hot = 3
	defer func() { s.hot = 0 }()
	o.slowUntil = s.now + 15e6
	s.workload(15e6)
	s.sever(w)
	s.hot = 0
	s.workload(20e6) // much falls behind
	s.healWire(w)
	s.hot = 3
	s.workloadUntil(1e9, func() bool { return s.linkIs(o, n, engine.SyncTarget) })
	s.workload(s.rng.Int64N(15e6))
	s.runFor(1e9) // what was slow arrives
	s.quiesce()
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
	if s.workload(s.rng.Int64N(200e6)); s.rng.IntN(2) == 0 {
		for _, w := range s.wires {
			s.sever(w) // what only the target has does not count
		}
		s.workload(10e6)
		s.healAll()
		s.workload(500e6)
	}
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
