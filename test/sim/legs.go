package sim

import (
	"pollux/bdev/replicated/engine"
	"pollux/bdev/replicated/leg"
)

// hurtLegs pulls a leg of a node, or puts another disk in its place, while the node runs or while it is down.
func (s *Sim) hurtLegs(n *node, power bool) {
	if len(n.disks) == 1 || n.eng == nil || n.refused {
		return
	}
	i := s.rng.IntN(len(n.disks))
	switch s.rng.IntN(4) {
	case 0:
		s.replaceLeg(n, i, power)
	case 1:
		s.startWithoutLeg(n, i, power)
	default:
		n.disks[i].gone = true
		s.workload(20e6 + s.rng.Int64N(50e6))
		n.disks[i].gone = false
		s.addLeg(n, i)
	}
}

// replaceLeg takes a disk away for good, if it is not the last one with the node's data. A node that runs is told of it.
func (s *Sim) replaceLeg(n *node, i int, power bool) {
	n.disks[i].gone = true
	s.workload(s.rng.Int64N(50e6))
	if !s.othersInSync(n, i) {
		n.disks[i].gone = false
		return
	}
	down := s.rng.IntN(2) == 0
	if down {
		s.crash(n, power)
	} else {
		s.command(n, engine.Event{Cmd: engine.CmdLegRemove, Leg: i}, nil)
		s.runFor(100e6)
	}
	if n.eng != nil && n.eng.View().Legs[i].Written {
		n.disks[i].gone = false // the last one stays
		return
	}
	n.disks[i] = s.newDisk(n)
	s.createLeg(n, i, true)
	s.trace("n%d leg %d is another disk", n.index, i)
	if down {
		s.start(n)
	}
	s.addLeg(n, i)
	s.workload(s.rng.Int64N(50e6))
}

// othersInSync reports that a node has its data on another leg.
func (s *Sim) othersInSync(n *node, i int) bool {
	if n.eng == nil {
		return false
	}
	v := n.eng.View()
	for j := range n.disks {
		if j != i && v.Legs[j].InSync && !n.disks[j].gone {
			return true
		}
	}
	return false
}

// startWithoutLeg starts a node of which a leg turns up later; what is here may have fallen behind without knowing.
func (s *Sim) startWithoutLeg(n *node, i int, power bool) {
	if s.rng.IntN(2) == 0 {
		for j, d := range n.disks {
			d.gone = j != i
		}
		s.workload(20e6 + s.rng.Int64N(50e6))
	}
	s.crash(n, power)
	for _, d := range n.disks {
		d.gone = false
	}
	n.disks[i].gone = true
	s.start(n)
	s.workload(s.rng.Int64N(1e9))
	if s.rng.IntN(2) == 0 {
		s.promoteAny()
		s.workload(s.rng.Int64N(50e6))
	}
	n.disks[i].gone = false
	if s.rng.IntN(2) == 0 {
		s.crash(n, power)
		s.start(n)
	}
	s.addLeg(n, i)
	s.runFor(100e6)
	if n.eng == nil || n.refused || !n.eng.View().Legs[i].Written {
		s.dropLeg(n, i)
	}
}

// dropLeg is the operator who has gone on without a leg and makes sure that it never comes back: started alone, it would not
// know that it was set aside.
func (s *Sim) dropLeg(n *node, i int) {
	s.crash(n, false)
	s.forgiven = true
	s.model.behind(n.index)
	n.disks[i] = s.newDisk(n)
	s.createLeg(n, i, true)
	s.start(n)
}

// giveUpDisks is what an operator does when no leg can be trusted. If a peer has the data, the node begins anew; if none has,
// the leg that has been used last is declared right, and the others are new disks.
func (s *Sim) giveUpDisks(n *node) {
	s.trace("n%d: its disks are given up", n.index)
	s.forgiven = true
	s.model.behind(n.index)
	n.forget()
	for _, o := range s.running() {
		if o.eng.View().Disk == engine.UpToDate {
			s.format(n)
			return
		}
	}
	last, seq := -1, uint64(0)
	for i, d := range n.disks {
		if l, err := leg.Open(d.md, d.md.size()); err == nil && l.Seq() > seq {
			last, seq = i, l.Seq()
		}
	}
	for i := range n.disks {
		if i != last {
			n.disks[i] = s.newDisk(n)
			s.createLeg(n, i, last >= 0)
		}
	}
}

// addLeg gives the engine a disk that it does without, after reading its metadata anew.
func (s *Sim) addLeg(n *node, i int) {
	inc, d := n.inc, n.disks[i]
	without := func() bool { return n.eng != nil && n.inc == inc && !n.eng.View().Legs[i].Written }
	if !without() || !s.runUntil(2e9, func() bool { return len(d.flight) == 0 || !without() }) || !without() {
		return
	}
	l, err := leg.Open(d.md, d.md.size())
	if err != nil {
		l = s.createLeg(n, i, true)
	}
	isNew := n.set.Join(i, l)
	if isNew && n.eng.View().Disk != engine.UpToDate {
		s.model.behind(n.index) // what the leg alone may have had is given up
		s.forgiven = true
	}
	s.command(n, engine.Event{Cmd: engine.CmdLegAdd, Leg: i, Flag: isNew}, nil)
}

// crashAfterLegLoss pulls a leg and ends the node a moment later: what it acknowledged in between must not be forgotten
// when the leg is back at the next start.
func (s *Sim) crashAfterLegLoss(n *node, power bool) {
	if len(n.disks) == 1 || n.eng == nil {
		return
	}
	leg := s.rng.IntN(len(n.disks))
	s.workload(5e6)
	n.disks[leg].gone = true
	n.slowMetaUntil = s.now + 100e6
	before, more := s.model.acked, s.rng.IntN(3)
	s.workloadUntil(20e6, func() bool { return s.model.acked > before+more })
	s.crash(n, power && s.rng.IntN(2) == 0)
	n.disks[leg].gone = false
	s.start(n)
	if s.rng.IntN(2) == 0 {
		s.runFor(s.rng.Int64N(1e9))
		s.promoteAny()
	}
}
