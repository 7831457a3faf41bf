package sim

import (
	"fmt"
	"slices"

	"pollux/bdev/replicated/engine"
)

// trouble is one thing that can go wrong, or that the operator can do. n, w and power are chosen by chance; not every
// trouble needs them. One of weight 0 happens only where there is nothing else (Sim.Only).
type trouble struct {
	name   string
	weight int
	make   func(s *Sim, n *node, w *wire, power bool)
	fits   func(*profile) bool // worlds in which it happens; nil is all
}

// troubles is what a round chooses from. Those of rare worlds weigh more there.
var troubles []trouble

func init() { // the functions reach the table through Sim.hurt
	troubles = []trouble{
		{"crash and fail over", 2, (*Sim).crashAndFailOver, nil},
		{"crash of all", 1, (*Sim).crashOfAll, nil},
		{"cut", 2, (*Sim).cut, nil},
		{"reset of a connection", 1, (*Sim).resetConnection, nil},
		{"pause", 1, (*Sim).pause, nil},
		{"switchover", 2, func(s *Sim, _ *node, _ *wire, _ bool) { s.switchover() }, nil},
		{"command", 4, func(s *Sim, n *node, _ *wire, _ bool) { s.operate(n) }, nil},
		{"repair", 4, (*Sim).repair, nil},
		{"forced second Primary", 8, func(s *Sim, _ *node, _ *wire, _ bool) { s.forcedSecond() }, splits},
		{"legs", 5, func(s *Sim, n *node, _ *wire, power bool) { s.hurtLegs(n, power) }, hasLegs},
		{"crash after the loss of a leg", 2, func(s *Sim, n *node, _ *wire, power bool) { s.crashAfterLegLoss(n, power) }, hasLegs},
		{"decay", 3, func(s *Sim, n *node, _ *wire, _ bool) { s.decay(n) }, nil},
		{"crash in a resync", 2, func(s *Sim, _ *node, _ *wire, power bool) { s.crashInResync(power) }, nil},
		{"crash in a quiet resync", 2, (*Sim).crashInQuietResync, nil},
		{"crash at the end of a resync", 2, (*Sim).crashAtResyncEnd, nil},
		{"promotion in a resync", 3, func(s *Sim, _ *node, _ *wire, _ bool) { s.promoteInResync() }, nil},
		{"reconnection with slow writes", 2, (*Sim).reconnectStalled, nil},
		{"crash after the loss of a link", 3, func(s *Sim, _ *node, w *wire, power bool) { s.crashAfterLinkLoss(w, power) }, nil},
		{"crash after the loss of all disks", 2, (*Sim).crashAfterDiskLoss, func(p *profile) bool { return p.diskless }},
		{"crash after a flush", 2, func(s *Sim, _ *node, _ *wire, _ bool) { s.crashAfterFlush() }, losesPower},
		{"flush after a reconnection", 2, (*Sim).flushAfterReconnection, func(p *profile) bool { return p.diskless && p.power }},
		{"kill and power loss", 2, (*Sim).killThenPowerLoss, losesPower},
		{"fencing", 2, func(s *Sim, n *node, _ *wire, _ bool) { s.fenceOff(n) }, fences},
		{"crash after fencing", 1, (*Sim).crashAfterFencing, fences},
		{"corruption and verify", 1, (*Sim).corruptAndVerify, nil},
		{"crash in an invalidation", 2, (*Sim).crashInInvalidation, nil},
		{"congestion", 10, (*Sim).congest, func(p *profile) bool { return p.pullAhead && p.mode == engine.ModeA }},
		{"growth", 1, func(s *Sim, n *node, _ *wire, _ bool) { s.grow(n) }, nil},
		{"older metadata put back", 1, (*Sim).putBackMetadata, nil},
		{"metadata of a Primary put back", 1, (*Sim).putBackPrimary, func(p *profile) bool { return p.mode == engine.ModeC }},
		{"several nodes", 15, func(s *Sim, _ *node, _ *wire, power bool) { s.hurtSeveral(power) }, func(p *profile) bool { return p.nodes > 2 }},
		{"crash with bad metadata", 1, (*Sim).crashWithBadMetadata, nil},
		{"diskless Primary and older nodes", 1, (*Sim).disklessMeetsOlder, func(p *profile) bool { return p.diskless }},
		{"power loss after a promotion", 1, (*Sim).powerLossAfterPromotion, func(p *profile) bool { return p.power && p.nodes > 2 }},
		{"reads of bad blocks", 1, (*Sim).readBadBlocks, nil},
		{"second promotion", 1, (*Sim).promoteSecond, func(p *profile) bool { return !p.fencing }},
		{"loss of metadata on a leg", 1, (*Sim).loseMetadataWrites, func(p *profile) bool { return hasLegs(p) && p.eio == 0 }},
		{"leg back in a resync", 1, (*Sim).legBackInResync, func(p *profile) bool { return hasLegs(p) && p.power }},
		{"new metadata", 1, (*Sim).recreateStranger, splits},
		// From hurt_switches.go:
		{"writes alone after a resync", 0, (*Sim).aloneAfterResync, func(p *profile) bool { return p.nodes == 2 && p.lossy }},
		{"crash with a diskless Primary", 0, (*Sim).crashWithDisklessPrimary, func(p *profile) bool { return p.nodes > 2 && p.diskless }},
		{"crash in a chain", 0, (*Sim).crashInAChain, func(p *profile) bool { return p.nodes > 2 && p.eio == 0 && !p.rot }},
		{"resize without a Primary", 0, (*Sim).resizeWithoutPrimary, dropsChanges},
		{"Ahead after a resync", 0, (*Sim).aheadAfterResync, func(p *profile) bool { return p.nodes == 2 && p.pullAhead && p.mode == engine.ModeA }},
		{"source becomes a target", 0, (*Sim).sourceBecomesTarget, func(p *profile) bool { return p.nodes > 2 }},
		{"unnoticed crash of a Primary", 0, (*Sim).unnoticedCrash, func(p *profile) bool { return p.nodes > 2 }},
		{"long away", 0, (*Sim).longAway, func(p *profile) bool { return p.nodes > 2 }},
		{"generation at the end of a resync", 0, (*Sim).generationAtResyncEnd, func(p *profile) bool { return p.nodes > 2 }},
		{"links of a diskless Primary", 0, (*Sim).linksOfDisklessPrimary, func(p *profile) bool { return p.diskless }},
		{"promotion between two that differ", 0, (*Sim).promoteBetween, func(p *profile) bool {
			return p.nodes > 2 && p.diskless && p.mode == engine.ModeC
		}},
	}
}

func splits(p *profile) bool     { return p.splitBrain }
func fences(p *profile) bool     { return p.fencing }
func losesPower(p *profile) bool { return p.power }
func hasLegs(p *profile) bool    { return slices.Max(p.legs[:p.nodes]) > 1 }

// dropsChanges reports two nodes of which one gives up its changes if both have some and none is Primary.
func dropsChanges(p *profile) bool {
	return p.nodes == 2 && !p.splitBrain && p.afterSB[0] != engine.PolicyDisconnect
}

// weightIn is how often a trouble happens in the world of a seed. Alone it always does.
func (s *Sim) weightIn(t *trouble) int {
	if t.fits != nil && !t.fits(&s.prof) || s.Only != "" && s.Only != t.name {
		return 0
	}
	if s.Only != "" {
		return max(1, t.weight)
	}
	return t.weight
}

// hurt lets one thing go wrong, or lets the operator do one thing.
func (s *Sim) hurt(round int) {
	r := s.rng
	n := s.nodes[r.IntN(len(s.nodes))]
	w := s.wires[r.IntN(len(s.wires))]
	power := s.prof.power && r.IntN(2) == 0
	sum := 0
	for i := range troubles {
		sum += s.weightIn(&troubles[i])
	}
	if sum == 0 {
		return // the one trouble there is does not fit this world
	}
	x := r.IntN(sum)
	for i := range troubles {
		t := &troubles[i]
		if x -= s.weightIn(t); x < 0 {
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
	if n.eng == nil {
		return
	}
	s.fence++
	s.command(n, engine.Event{Cmd: engine.CmdFence, Value: s.fence}, nil)
	s.workload(s.rng.Int64N(100e6))
}
