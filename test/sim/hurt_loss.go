package sim

import "pollux/bdev/replicated/engine"

// crashAfterLinkLoss ends a Primary shortly after it has lost its peer.
func (s *Sim) crashAfterLinkLoss(w *wire, power bool) {
	n := s.model.primary
	if n == nil || n.eng == nil || w.conn == nil {
		return
	}
	row := rowOf(n.index, w.node(1-w.side(n.index)))
	if s.rng.IntN(2) == 0 {
		s.cutWire(w, 3)
		s.workloadUntil(5e9, func() bool { return n.eng == nil || n.eng.Peer(row).Conn < engine.Connected })
	} else {
		s.workload(20e6)
		n.slowMetaUntil = s.now + 20e6 // what has been promised already is not durable for a while
		before := s.model.acked
		s.sever(w)
		s.runUntil(10e6, func() bool { return s.model.acked > before })
	}
	before, more := s.model.acked, s.rng.IntN(3)
	s.workloadUntil(s.rng.Int64N(20e6), func() bool { return s.model.acked >= before+more })
	s.crash(n, power)
	s.healWire(w)
	s.runFor(s.rng.Int64N(1e9))
	if list := s.running(); s.prof.lossy && len(list) > 0 {
		s.promote(list[0], false)
		s.runFor(500e6)
		if s.rng.IntN(2) == 0 {
			s.workload(s.rng.Int64N(50e6))
		}
	}
	s.start(n)
}

// crashAfterDiskLoss takes the disks from a Primary, lets it acknowledge writes that only its peers have, and kills everybody:
// the disks that come back with it must not count as good.
func (s *Sim) crashAfterDiskLoss(*node, *wire, bool) {
	n := s.model.primary
	if n == nil || n.eng == nil {
		return
	}
	s.workload(5e6)
	for _, o := range s.nodes {
		o.slowMetaUntil = s.now + 100e6
	}
	before, more := s.model.acked, s.rng.IntN(3)
	if s.rng.IntN(2) == 0 {
		s.command(n, engine.Event{Cmd: engine.CmdDetach}, nil)
	} else {
		for _, d := range n.disks {
			d.gone = true // with what is under way
		}
	}
	s.workloadUntil(20e6, func() bool { return s.model.acked > before+more })
	for _, o := range s.nodes {
		s.crash(o, false)
	}
	for _, d := range n.disks {
		d.gone = false
	}
	s.startAll()
	s.runFor(s.rng.Int64N(2e9))
}

// crashAfterFlush cuts the power of all nodes in the moment in which a flush is acknowledged: each of those that were in sync
// has to have everything.
func (s *Sim) crashAfterFlush() {
	n := s.model.primary
	if n == nil || n.eng == nil {
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

// flushAfterReconnection breaks a link in the moment in which the last write of a Primary without disks is acknowledged, makes
// it again, lets the front end flush, and takes the power: the write came over the old connection.
func (s *Sim) flushAfterReconnection(*node, *wire, bool) {
	n, o := s.quietPair()
	if o == nil {
		return
	}
	s.command(n, engine.Event{Cmd: engine.CmdDetach}, nil)
	s.runFor(100e6)
	s.workload(10e6)
	s.quiet()
	w := s.wire(n.index, o.index)
	s.sever(w)
	s.healWire(w)
	s.runUntil(3e9, func() bool { return s.linkIs(n, o, engine.Connected) && s.linkIs(o, n, engine.Connected) })
	if s.model.primary != n || n.eng == nil {
		return
	}
	s.submit(engine.EvFlush, 0, 0, 0, false)
	s.quiet()
	s.crash(o, true)
	s.crash(n, true)
	s.start(o)
	s.runFor(500e6)
	if s.newest(o) {
		s.promote(o, false)
	}
	s.runFor(s.rng.Int64N(1e9))
	s.startAll()
}

// killThenPowerLoss kills a Primary, lets it come back as if nothing had happened, and takes its power a while later: what
// the killed process had left in the cache was read and relied on meanwhile.
func (s *Sim) killThenPowerLoss(*node, *wire, bool) {
	n := s.model.primary
	if n == nil || n.eng == nil {
		return
	}
	s.workload(5e6)
	s.crash(n, false)
	s.start(n)
	s.runUntil(3e9, func() bool {
		for j, o := range s.nodes {
			if j != n.index && !s.linkIs(n, o, engine.Connected) {
				return false
			}
		}
		return true
	})
	s.runFor(s.rng.Int64N(5e6))
	s.crash(n, true)
	s.start(n)
	s.quiesceSoon()
}

// crashAfterFencing ends a node in the moment in which it has accepted a fencing epoch.
func (s *Sim) crashAfterFencing(n *node, _ *wire, power bool) {
	if n.eng == nil {
		return
	}
	n.slowMetaUntil = s.now + 100e6
	s.fence++
	epoch, accepted := s.fence, false
	s.command(n, engine.Event{Cmd: engine.CmdFence, Value: s.fence}, func(err engine.Err) {
		if accepted = true; err == engine.OK {
			n.promise(epoch)
		}
	})
	s.runUntil(1e9, func() bool { return accepted })
	s.crash(n, power)
	s.start(n)
}
