package sim

import "pollux/bdev/replicated/engine"

// promote asks a node to become Primary, and starts a tenure when it does.
func (s *Sim) promote(n *node, force bool) {
	if n.eng == nil {
		return
	}
	var fence uint64
	if s.prof.fencing {
		s.fence++
		fence = s.fence
	}
	s.command(n, engine.Event{Cmd: engine.CmdPrimary, Flag: force, Value: fence}, func(err engine.Err) {
		s.trace("n%d: promotion: %v", n.index, err)
		if err == engine.OK {
			n.primary = true
			n.promise(fence)
			s.watchPromotion(n, force)
			s.beginTenure(n)
		}
	})
}

func (s *Sim) demote(n *node) {
	s.command(n, engine.Event{Cmd: engine.CmdSecondary}, func(err engine.Err) {
		s.trace("n%d: demotion: %v", n.index, err)
		if err == engine.OK {
			n.primary, n.begun = false, nil
			if s.model.primary == n {
				s.model.primary = nil
				clear(s.model.requests)
			}
		}
	})
}

// running returns the nodes that run.
func (s *Sim) running() (list []*node) {
	for _, n := range s.nodes {
		if n.eng != nil {
			list = append(list, n)
		}
	}
	return list
}

func (s *Sim) roleHolder() *node {
	for _, n := range s.nodes {
		if n.eng != nil && n.eng.View().Role == engine.Primary {
			return n
		}
	}
	return nil
}

func (s *Sim) startAll() {
	for _, n := range s.nodes {
		if n.eng == nil {
			s.start(n)
		}
	}
	if s.roleHolder() == nil && s.rng.IntN(2) == 0 {
		s.runFor(1e9)
		s.promoteAny()
	}
}

// failover promotes another node after one has died.
func (s *Sim) failover(dead *node) {
	if s.rng.IntN(2) == 0 {
		s.runFor(s.rng.Int64N(3e9))
	}
	if s.rng.IntN(3) > 0 {
		s.start(dead)
		return
	}
	s.promoteAny()
}

func (s *Sim) promoteAny() {
	if s.roleHolder() != nil {
		return
	}
	var up []*node
	for _, n := range s.running() {
		if s.prof.splitBrain || s.newest(n) {
			up = append(up, n)
		}
	}
	if len(up) == 0 {
		return
	}
	s.promote(up[s.rng.IntN(len(up))], false)
	s.runFor(500e6)
}

// newest reports a node that has everything that was ever acknowledged: an operator who promotes another one makes a split
// brain, which only some seeds want. The last Primary has it, unless it acknowledged writes that its own disk did not get: that disk
// does not know of them, and only who serves them can say so.
func (s *Sim) newest(n *node) bool {
	last := s.model.last
	switch {
	case last == nil:
		return true
	case n == last:
		return !n.refused && !n.missed || s.isServed(n)
	case n.eng.View().Disk < engine.Inconsistent && !s.isServed(n):
		return false // it has had everything, and its disk has been taken away
	case s.prof.mode == engine.ModeC:
		return s.hasAll(n)
	}
	p := n.eng.Peer(rowOf(n.index, last.index))
	return p.Conn == engine.Connected && p.Disk == engine.UpToDate
}

// hasAll reports a node that promises to keep everything that was acknowledged.
func (s *Sim) hasAll(n *node) bool {
	for b := range s.model.blocks {
		if !s.model.floor(b, n.index).valid {
			return false
		}
	}
	return true
}

// isServed reports a node that is connected to one with good data.
func (s *Sim) isServed(n *node) bool {
	for _, o := range s.running() {
		if o == n {
			continue
		}
		p := n.eng.Peer(rowOf(n.index, o.index))
		if p.Conn == engine.Connected && p.Disk == engine.UpToDate {
			return true
		}
	}
	return false
}

// switchover demotes the Primary and promotes another node.
func (s *Sim) switchover() {
	n := s.roleHolder()
	if n == nil {
		s.promoteAny()
		return
	}
	s.demote(n)
	s.runFor(1e9)
	s.promoteAny()
}

// forcedSecond promotes a node although another may be Primary that it cannot see.
func (s *Sim) forcedSecond() {
	n := s.nodes[s.wires[s.rng.IntN(len(s.wires))].a]
	var cut []*wire
	for _, w := range s.wires {
		if w.a == n.index || w.b == n.index {
			s.cutWire(w, 3)
			cut = append(cut, w)
		}
	}
	s.runFor(4e9)
	alone := n.eng != nil && n.eng.View().Role == engine.Primary
	for _, o := range s.running() {
		if (o != n) == alone && o.eng.View().Role != engine.Primary && o.eng.Metadata().Current != engine.JustCreated {
			s.promote(o, s.rng.IntN(2) == 0)
			break
		}
	}
	s.workload(50e6)
	for _, o := range s.running() {
		if s.rng.IntN(2) == 0 && o.eng != nil {
			s.demote(o)
		}
	}
	s.runFor(1e9)
	for _, w := range cut {
		s.healWire(w)
	}
}

// operate gives one random command.
func (s *Sim) operate(n *node) {
	if n.eng == nil {
		return
	}
	other := s.nodes[(n.index+1+s.rng.IntN(len(s.nodes)-1))%len(s.nodes)]
	row := rowOf(n.index, other.index)
	ev := engine.Event{Peer: row}
	switch s.rng.IntN(14) {
	case 13:
		ev.Cmd, ev.Leg, ev.Flag = engine.CmdReadExclude, s.rng.IntN(len(n.disks)), s.rng.IntN(2) == 0
	case 12:
		s.grow(n)
		return
	case 0:
		ev.Cmd = engine.CmdInvalidate
	case 1:
		ev.Cmd = engine.CmdInvalidatePeer
	case 2, 3:
		ev.Cmd = engine.CmdVerify
	case 4:
		ev.Cmd = engine.CmdPauseSync
	case 5:
		ev.Cmd = engine.CmdResumeSync
	case 6:
		ev.Cmd = engine.CmdDisconnect
	case 7:
		ev.Cmd = engine.CmdConnect
	case 8:
		s.suspend(n, s.rng.Int64N(2e9)+1)
		s.workload(s.rng.Int64N(100e6))
		return
	case 9:
		ev.Cmd = engine.CmdOutdate
	case 10:
		s.resetTracker(n)
		s.workload(s.rng.Int64N(100e6))
		return
	case 11:
		if !s.prof.diskless {
			return
		}
		ev.Cmd = engine.CmdDetach
	}
	s.command(n, ev, nil)
	if w := s.wire(n.index, other.index); ev.Cmd == engine.CmdVerify && w.conn != nil && s.rng.IntN(4) == 0 {
		s.workload(s.rng.Int64N(5e6))
		s.sever(w)
		s.healWire(w)
	}
	s.workload(s.rng.Int64N(100e6))
	if ev.Cmd == engine.CmdVerify && s.rng.IntN(4) == 0 {
		s.command(n, engine.Event{Cmd: engine.CmdVerifyStop, Peer: row}, nil)
	}
}
