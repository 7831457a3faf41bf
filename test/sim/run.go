package sim

import (
	"fmt"
	"math/rand/v2"
	"runtime/debug"

	"pollux/bdev/replicated/engine"
)

// Run plays a whole seed: a cluster comes up, is hurt, and must recover.
func (s *Sim) Run() (failure string) {
	defer func() {
		if x := recover(); x != nil {
			failure = fmt.Sprintf("panic: %v\n%s", x, debug.Stack())
		}
	}()
	for _, n := range s.nodes {
		s.format(n)
		s.start(n)
	}
	s.begin()
	for round := range s.prof.rounds {
		// Every round has its own source of randomness, so that a round can be left out without changing the others.
		s.rng = rand.New(rand.NewPCG(s.Seed, uint64(round)+1))
		if s.Skip[round] {
			continue
		}
		s.trace("round %d", round)
		s.workload(5e6 + s.rng.Int64N(60e6))
		if s.Failure != "" {
			return s.Failure
		}
		s.hurt(round)
		if s.rng.IntN(3) == 0 {
			s.runFor(s.rng.Int64N(3e9))
		}
		if s.rng.IntN(6) == 0 {
			s.quiesce()
		}
	}
	s.rng = rand.New(rand.NewPCG(s.Seed, 1<<32))
	s.recovery()
	return s.Failure
}

// begin makes the first Primary: by force, since nobody has good data yet; or after the operator has said that the disks are
// equal; or all of them, before they have ever met; or one that is made anew, besides the first.
func (s *Sim) begin() {
	first := s.nodes[s.rng.IntN(len(s.nodes))]
	switch s.rng.IntN(12) {
	case 0:
		if s.prof.splitBrain {
			if s.rng.IntN(2) == 0 {
				s.strangers()
			} else {
				s.newcomer(first, s.other(first))
			}
		}
		s.runFor(500e6)
	case 1, 2:
		s.runFor(500e6)
		o := s.other(first)
		s.command(first, engine.Event{Cmd: engine.CmdNewGeneration, Peer: rowOf(first.index, o.index), Flag: true}, nil)
		s.runFor(100e6)
	default:
		s.runFor(500e6)
	}
	if s.roleHolder() == nil {
		s.promote(first, first.eng.View().Disk != engine.UpToDate)
	}
	if s.rng.IntN(3) > 0 {
		s.runFor(2e9)
	}
}

// strangers promotes all nodes before they have met: their data has nothing to do with each other.
func (s *Sim) strangers() {
	for _, w := range s.wires {
		s.sever(w)
	}
	for _, n := range s.nodes {
		s.promote(n, true)
		s.workload(10e6)
	}
	s.healAll()
}

// newcomer makes a node anew and promotes it before it has met the others again: unlike those of strangers, its bitmap does not even
// begin where theirs do.
func (s *Sim) newcomer(first, n *node) {
	s.runFor(500e6)
	s.promote(first, true)
	s.runFor(2e9)
	for _, w := range s.wires {
		s.sever(w)
	}
	s.workload(10e6)
	s.recreate(n)
	s.promote(n, true)
	s.workload(10e6)
	s.healAll()
}

// workload keeps the front end busy until stop says so.
func (s *Sim) workload(d int64) { s.workloadUntil(d, func() bool { return false }) }

// workloadUntil is workload that ends early when done says so.
func (s *Sim) workloadUntil(d int64, done func() bool) {
	end := s.now + d
	var issue func()
	issue = func() {
		if s.now >= end {
			return
		}
		if n := s.model.primary; n != nil && n.eng != nil && len(s.model.requests) < s.prof.depth {
			s.randomRequest()
		}
		s.after(20e3+s.rng.Int64N(1500e3), issue)
	}
	for range 1 + s.prof.depth/3 {
		s.after(s.rng.Int64N(1e6), issue)
	}
	s.runUntil(d, done)
	end = s.now
}

func (s *Sim) randomRequest() {
	r := s.rng
	lo := r.IntN(s.prof.blocks)
	if s.hot > 0 {
		lo = s.prof.blocks - 1 - r.IntN(s.hot)
	} else if r.IntN(2) == 0 {
		lo = r.IntN(min(12, s.prof.blocks)) // a hot corner, so that writes overlap
	}
	hi := min(s.prof.blocks, lo+1+r.IntN(4))
	switch x := r.IntN(20); {
	case x < 5:
		s.submit(engine.EvRead, lo, hi, 0, false)
	case x < 6:
		s.submit(engine.EvFlush, 0, 0, 0, false)
	case x < 7:
		s.submit(engine.EvWrite, lo, hi, engine.OpUnmap, false)
	case x < 8:
		s.submit(engine.EvWrite, lo, hi, engine.OpZeroes, false)
	default:
		s.submit(engine.EvWrite, lo, hi, engine.OpData, r.IntN(10) == 0)
	}
}
