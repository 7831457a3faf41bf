package sim

import (
	"fmt"
	"strings"

	"pollux/bdev/replicated/engine"
)

// recovery ends all faults, does what an operator would do, and then everything has to become equal in bounded time.
func (s *Sim) recovery() {
	s.trace("recovery")
	s.calm = true
	for _, w := range s.wires {
		s.healWire(w)
	}
	for _, n := range s.nodes {
		n.pausedUntil = 0
		for _, d := range n.disks {
			d.heal()
		}
		if n.eng == nil {
			s.start(n)
		}
	}
	s.resumeAll()
	if !s.untilHealthy(60e9) {
		s.checkResyncsEnd()
		for try := range 12 {
			if n := s.roleHolder(); n != nil && try > 4 {
				s.crash(n, false) // the policies say that the Primary gives in, and it may not while it is Primary
				s.start(n)
			}
			s.help()
			if s.untilHealthy(20e9) {
				break
			}
		}
	}
	if s.Failure != "" {
		return
	}
	if !s.healthy() {
		s.violate("no progress: %s", s.describe())
		return
	}
	s.finalCheck()
}

// checkResyncsEnd: without faults every resync comes to its end, whatever else may need the operator. A minute is enough for the
// slowest of them. One that is paused is the operator's: his word to go on may have come while a demotion was under way.
func (s *Sim) checkResyncsEnd() {
	for _, n := range s.nodes {
		for j := range s.nodes {
			if j == n.index {
				continue
			}
			switch c := n.eng.Peer(rowOf(n.index, j)).Conn; {
			case c <= engine.Connected, c == engine.PausedSyncS, c == engine.PausedSyncT:
			default:
				s.violate("a resync does not end: %s", s.describe())
			}
		}
	}
}

// resumeAll ends every pause.
func (s *Sim) resumeAll() {
	for _, n := range s.nodes {
		for j := range s.nodes {
			if j != n.index {
				s.command(n, engine.Event{Cmd: engine.CmdResumeSync, Peer: rowOf(n.index, j)}, nil)
			}
		}
	}
}

func (s *Sim) untilHealthy(d int64) bool { return s.runUntil(d, s.healthy) }

func (s *Sim) healthy() bool {
	for _, n := range s.nodes {
		if n.eng == nil {
			return false
		}
		v := n.eng.View()
		if v.Disk != engine.UpToDate || v.Suspended {
			return false
		}
		for i := range n.disks {
			if !v.Legs[i].InSync {
				return false
			}
		}
		for j := range s.nodes {
			if j == n.index {
				continue
			}
			p := n.eng.Peer(rowOf(n.index, j))
			if p.Conn != engine.Connected || p.Disk != engine.UpToDate {
				return false
			}
		}
	}
	return true
}

func (s *Sim) describe() string {
	var b strings.Builder
	for _, n := range s.nodes {
		if n.eng == nil {
			continue
		}
		v := n.eng.View()
		fmt.Fprintf(&b, "n%d %v/%v in flight %d quiet %v legs %v", n.index, v.Role, v.Disk, v.InFlight, v.Quiet, v.Legs[:len(n.disks)])
		for j := range s.nodes {
			if j != n.index {
				p := n.eng.Peer(rowOf(n.index, j))
				fmt.Fprintf(&b, " [to n%d %v/%v dirty %d]", j, p.Conn, p.Disk, p.Dirty)
			}
		}
		b.WriteString(" " + n.eng.Debug() + "; ")
	}
	return b.String()
}

// help is the operator: whoever lost his disk is restarted, whoever stands alone is connected, and where two sides cannot
// agree, one gives up its changes. Where they have met and found that they have nothing in common, not even that helps: all that
// are strangers to the survivor are made anew, at once, since one that is left would hand its data to those that are new. Others
// that are strangers to one another only get the survivor's data, or wait for it.
func (s *Sim) help() {
	s.trace("help: %s", s.describe())
	survivor := s.survivor()
	for _, n := range s.nodes {
		v := n.eng.View()
		switch {
		case n.strangers>>survivor.index&1 != 0:
			s.recreate(n)
		case v.Role == engine.Primary && n != survivor, v.Disk < engine.Inconsistent:
			s.crash(n, false)
			if !s.usable(n) {
				s.giveUpDisks(n)
			}
			s.start(n)
		}
	}
	for _, n := range s.nodes {
		for i := range n.disks {
			if v := n.eng.View(); !v.Legs[i].Written {
				s.addLeg(n, i)
				s.runFor(100e6)
			}
		}
		s.command(n, engine.Event{Cmd: engine.CmdResumeIO}, nil)
		for j := range s.nodes {
			if j != n.index {
				s.reconnect(n, j, n != survivor)
			}
		}
	}
	s.runFor(3e9)
	// Nobody has good data: the survivor is declared good.
	good := false
	for _, n := range s.nodes {
		good = good || n.eng.View().Disk == engine.UpToDate
	}
	if v := survivor.eng.View(); !good && v.Role == engine.Secondary && v.Disk >= engine.Inconsistent {
		s.promote(survivor, true)
		s.runFor(1e9)
	}
}

func (s *Sim) reconnect(n *node, j int, discard bool) {
	row := rowOf(n.index, j)
	s.command(n, engine.Event{Cmd: engine.CmdResumeSync, Peer: row}, nil)
	if n.eng.Peer(row).Conn == engine.StandAlone {
		s.forgiven = s.forgiven || discard
		s.command(n, engine.Event{Cmd: engine.CmdConnect, Peer: row, Flag: discard}, nil)
	}
}

// survivor is the node whose data counts: the Primary of the running tenure, else the best disk. If none is good, it is rather one
// that misses a leg than one that has never had all of the data.
func (s *Sim) survivor() *node {
	if n := s.model.primary; n != nil && n.eng != nil {
		return n
	}
	best := s.nodes[0]
	for _, n := range s.nodes {
		if n.eng == nil {
			continue
		}
		v, w := n.eng.View(), best.eng.View()
		switch {
		case v.Role != w.Role:
			if v.Role == engine.Primary {
				best = n
			}
		case v.Disk > w.Disk, v.Disk == w.Disk && n.hadAll() && !best.hadAll():
			best = n
		}
	}
	return best
}

// hadAll reports that a node has had all of the data at some time: it is neither new nor in the middle of a resync.
func (n *node) hadAll() bool { return !n.partial && n.eng.Metadata().Current != engine.JustCreated }

// ensurePrimary sees to it that somebody is Primary.
func (s *Sim) ensurePrimary() {
	for try := 0; try < 20 && s.model.primary == nil; try++ {
		if n := s.roleHolder(); n != nil {
			s.demote(n) // the other one of two Primaries, whose tenure has ended
			s.runFor(1e9)
		}
		s.promoteAny()
		s.runFor(1e9)
	}
}

// finalCheck: everything is equal, and the Primary still has what it acknowledged.
func (s *Sim) finalCheck() {
	s.idle(30e9)
	s.ensurePrimary()
	s.workload(30e6)
	s.ensurePrimary() // the first write may have told of a fencing epoch
	if !s.idle(30e9) {
		s.violate("the front end's requests do not end: %s", s.describe())
		return
	}
	s.resumeAll()
	if !s.untilHealthy(30e9) || !s.idle(5e9) {
		s.violate("no progress after the last writes: %s", s.describe())
		return
	}
	s.comparePairs()
	if n := s.model.primary; n != nil && n.eng != nil {
		for b := range s.prof.blocks {
			s.checkValue(b, s.content(n, b), s.model.blocks[b].acked, "final state")
		}
	} else {
		s.violate("nobody could be promoted at the end: %s", s.describe())
	}
	s.scrub()
}
