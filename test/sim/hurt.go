package sim

import (
	"fmt"

	"pollux/bdev/replicated/engine"
)

// trouble is one thing that can go wrong, or that the operator can do. n, w and power are chosen by chance; not every
// trouble needs them.
type trouble struct {
	name   string
	weight int
	make   func(s *Sim, n *node, w *wire, power bool)
}

// troubles is what a round chooses from.
var troubles []trouble

func init() { // the functions reach the table through Sim.hurt
	troubles = []trouble{
		{"crash and fail over", 2, (*Sim).crashAndFailOver},
		{"crash of all", 1, (*Sim).crashOfAll},
		{"cut", 2, (*Sim).cut},
		{"reset of a connection", 1, (*Sim).resetConnection},
		{"pause", 1, (*Sim).pause},
		{"switchover", 2, func(s *Sim, _ *node, _ *wire, _ bool) { s.switchover() }},
		{"command", 3, func(s *Sim, n *node, _ *wire, _ bool) { s.operate(n) }},
		{"repair", 4, (*Sim).repair},
		{"forced second Primary", 1, (*Sim).splitBrain},
		{"legs", 2, func(s *Sim, n *node, _ *wire, power bool) { s.hurtLegs(n, power) }},
		{"decay", 3, func(s *Sim, n *node, _ *wire, _ bool) { s.decay(n) }},
		{"crash in a resync", 2, func(s *Sim, _ *node, _ *wire, power bool) { s.crashInResync(power) }},
		{"crash in a quiet resync", 2, (*Sim).crashInQuietResync},
		{"crash at the end of a resync", 2, (*Sim).crashAtResyncEnd},
		{"promotion in a resync", 2, func(s *Sim, _ *node, _ *wire, _ bool) { s.promoteInResync() }},
		{"crash after the loss of a leg", 1, func(s *Sim, n *node, _ *wire, power bool) { s.crashAfterLegLoss(n, power) }},
		{"crash after the loss of a link", 2, func(s *Sim, _ *node, w *wire, power bool) { s.crashAfterLinkLoss(w, power) }},
		{"crash after the loss of all disks", 1, (*Sim).crashAfterDiskLoss},
		{"crash after a flush", 2, func(s *Sim, _ *node, _ *wire, _ bool) { s.crashAfterFlush() }},
		{"kill and power loss", 1, (*Sim).killThenPowerLoss},
		{"reconnection with slow writes", 2, (*Sim).reconnectStalled},
		{"fencing", 1, func(s *Sim, n *node, _ *wire, _ bool) { s.fenceOff(n) }},
		{"crash after fencing", 1, (*Sim).crashAfterFencing},
		{"corruption and verify", 1, (*Sim).corruptAndVerify},
		{"congestion", 1, (*Sim).congest},
		{"growth", 1, func(s *Sim, n *node, _ *wire, _ bool) { s.grow(n) }},
		{"older metadata put back", 1, (*Sim).putBackMetadata},
		{"metadata of a Primary put back", 1, (*Sim).putBackPrimary},
		{"new metadata", 1, (*Sim).recreateStranger},
	}
}

// hurt lets one thing go wrong, or lets the operator do one thing.
func (s *Sim) hurt(round int) {
	r := s.rng
	n := s.nodes[r.IntN(len(s.nodes))]
	w := s.wires[r.IntN(len(s.wires))]
	power := s.prof.power && r.IntN(2) == 0
	sum := 0
	for i := range troubles {
		if s.Only == "" || s.Only == troubles[i].name {
			sum += troubles[i].weight
		}
	}
	x := r.IntN(sum)
	for i := range troubles {
		t := &troubles[i]
		if s.Only != "" && s.Only != t.name {
			continue
		}
		if x -= t.weight; x < 0 {
			line := fmt.Sprintf("round %d: %s (n%d, link n%d-n%d, power loss %v)", round, t.name, n.index, w.a, w.b, power)
			s.Script = append(s.Script, line)
			s.trace("%s", line)
			t.make(s, n, w, power)
			return
		}
	}
}

func (s *Sim) crashAndFailOver(n *node, _ *wire, power bool) {
	s.crash(n, power)
	if s.rng.IntN(2) == 0 {
		s.runFor(s.rng.Int64N(2e9))
	}
	s.failover(n)
}

func (s *Sim) crashOfAll(_ *node, _ *wire, power bool) {
	for _, n := range s.nodes {
		s.crash(n, power)
	}
	s.runFor(s.rng.Int64N(1e9))
	s.startAll()
}

func (s *Sim) cut(_ *node, w *wire, _ bool) {
	s.cutWire(w, 1+s.rng.IntN(3))
	s.workload(s.rng.Int64N(3e9))
	if s.rng.IntN(4) > 0 {
		s.healWire(w)
	}
}

func (s *Sim) resetConnection(_ *node, w *wire, _ bool) {
	if w.conn != nil {
		s.closeSide(w.conn, s.rng.IntN(2), true)
	}
}

func (s *Sim) splitBrain(*node, *wire, bool) {
	if s.prof.splitBrain {
		s.forcedSecond()
	}
}

func (s *Sim) pause(n *node, _ *wire, _ bool) {
	n.pausedUntil = s.now + s.rng.Int64N(3e9)
	s.workload(s.rng.Int64N(1e9))
}

// repair starts what is down; sometimes it heals what is cut, too, and sometimes there is just time.
func (s *Sim) repair(*node, *wire, bool) {
	s.startAll()
	if s.rng.IntN(4) == 0 {
		s.healAll()
		return
	}
	s.runFor(s.rng.Int64N(5e9))
}

func (s *Sim) healAll() {
	for _, w := range s.wires {
		s.healWire(w)
	}
}

// sever cuts a link so that both sides know at once.
func (s *Sim) sever(w *wire) {
	w.cut = [2]bool{true, true}
	if c := w.conn; c != nil {
		s.closeSide(c, 0, true)
		s.closeSide(c, 1, true)
	}
}

// other is a node other than n that runs; nil is none.
func (s *Sim) other(n *node) *node {
	var list []*node
	for _, o := range s.running() {
		if o != n {
			list = append(list, o)
		}
	}
	if len(list) == 0 {
		return nil
	}
	return list[s.rng.IntN(len(list))]
}

// quiet waits until the front end has nothing under way.
func (s *Sim) quiet() bool {
	return s.runUntil(2e9, func() bool { return len(s.model.requests) == 0 })
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
