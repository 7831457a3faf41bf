package sim

import (
	"math/bits"
	"strings"

	"pollux/bdev/replicated/engine"
	"pollux/bdev/replicated/leg"
)

// node is one machine: an engine while it runs, and what survives it.
type node struct {
	sim            *Sim
	index          int
	eng            *engine.Engine
	cfg            engine.Config
	set            *leg.Set // its legs' metadata
	inc            int      // counts starts
	disks          []*disk
	wants          []bool      // per node: a connection is wanted
	before         engine.Disk // the state of its disk before this step
	pausedUntil    int64
	slowUntil      int64
	slowMetaUntil  int64
	failReadsUntil int64             // every other read of a leg fails
	missed         bool              // as Primary it has acknowledged what its own disks did not get, and has not been resynced since
	refused        bool              // its legs cannot be trusted as they are: it serves what its peers have
	partial        bool              // in the middle of a resync, or thrown away, whatever happens to its engine
	pulled         []version         // what was acknowledged when the last block of its resync was still missing
	track          []version         // what its disk held when its tracker was reset; nil is not known
	asked          map[uint64]uint64 // fencing epochs that peers want accepted, by question
	whole          []*disk           // its legs, if all were in sync when it ended
	promised       uint64            // highest fencing epoch that it has said yes to
	suspends       int               // commands to suspend its I/O
	spare          []version         // what its disks hold where the volume may grow
	solo           []version         // by block: the newest write that this node has acknowledged alone
	frozen         bool              // it has said that its I/O is suspended and drained
	begun          []uint64          // generations that it has told others of as Primary
	settled        uint16            // peers with which a policy has just settled a split brain
	strangers      uint16            // nodes that it has met and that have unrelated data
	kept           *keptMetadata     // metadata of an earlier time
	fence          uint64            // highest fencing epoch that it has accepted
	target         bool              // a resync from another node is under way
	primary        bool              // it has answered a promotion, and no demotion since
	replies        map[uint64]func(engine.Err)
	ticking        int64
	depth          int
	queue          []engine.Event
	out            []engine.Action // reused by every step
}

// metaWrite is a metadata write to several legs.
type metaWrite struct {
	left   int
	failed uint16
}

// step gives an event to the engine and performs what it asks for. Events that arise meanwhile wait.
func (s *Sim) step(n *node, ev *engine.Event) {
	if n.eng == nil {
		return
	}
	if n.depth > 0 {
		n.queue = append(n.queue, *ev)
		return
	}
	n.depth++
	s.stepOne(n, ev)
	for len(n.queue) > 0 && n.eng != nil && s.Failure == "" {
		e := n.queue[0]
		n.queue = n.queue[:copy(n.queue, n.queue[1:])]
		s.stepOne(n, &e)
	}
	n.depth--
	if s.onStep != nil {
		s.onStep(n)
	}
	s.observe(n)
	s.armTick(n)
}

func (s *Sim) stepOne(n *node, ev *engine.Event) {
	s.Steps++
	s.traceEvent(n, ev)
	n.out = n.eng.Step(s.now, ev, n.out[:0])
	inc := n.inc
	for i := range n.out {
		if n.inc != inc || n.eng == nil {
			return
		}
		s.do(n, n.out[i])
	}
}

func (s *Sim) armTick(n *node) {
	if n.eng == nil {
		return
	}
	d := n.eng.Deadline()
	if d == 0 || (n.ticking != 0 && n.ticking <= d && n.ticking > s.now) {
		return
	}
	n.ticking = max(d, s.now+1)
	inc, at := n.inc, n.ticking
	s.at(at, func() {
		if n.inc == inc && n.eng != nil {
			if n.ticking == at {
				n.ticking = 0
			}
			s.step(n, &engine.Event{Kind: engine.EvTick})
		}
	})
}

// do performs one action.
func (s *Sim) do(n *node, a engine.Action) {
	s.traceAction(n, &a)
	switch a.Kind {
	case engine.ActLegRead, engine.ActLegWrite, engine.ActLegFlush:
		s.perform(n, a, a.Leg, nil)
	case engine.ActMetaSuper, engine.ActMetaAL, engine.ActMetaBitmap:
		part := &metaWrite{left: bits.OnesCount16(a.Mask)}
		for leg := range n.disks {
			if a.Mask>>leg&1 != 0 {
				s.perform(n, a, leg, part)
			}
		}
	case engine.ActSend:
		s.watchSent(n, &a.Msg)
		s.sendMsg(n, a.Peer, a.Msg)
	case engine.ActLinkStart:
		n.wants[nodeOf(n.index, a.Peer)] = true
	case engine.ActLinkStop:
		peer := nodeOf(n.index, a.Peer)
		if a.Flag {
			n.wants[peer] = false
		}
		w := s.wire(n.index, peer)
		if w.conn != nil {
			s.closeSide(w.conn, w.side(n.index), false)
		}
	case engine.ActSuspended:
		n.frozen = a.OK
	case engine.ActNotify:
		switch {
		case a.Text == "StandAlone: unrelated data":
			s.metStranger(n, s.nodes[nodeOf(n.index, a.Peer)])
		case strings.HasPrefix(a.Text, "uuid compare"):
			n.settled &^= 1 << a.Peer
		case strings.HasPrefix(a.Text, "split brain: resolved"):
			n.settled |= 1 << a.Peer
		}
		if s.onNotify != nil {
			s.onNotify(n, a.Peer, a.Text)
		}
	case engine.ActComplete:
		if s.onComplete != nil {
			s.onComplete(n, &a)
		}
		s.model.complete(s, n, &a)
	case engine.ActReply:
		if f := n.replies[a.ID]; f != nil {
			delete(n.replies, a.ID)
			f(a.Err)
		}
	}
}

// metaPart ends one leg's share of a metadata write; the last one tells the engine.
func (n *node) metaPart(io *diskIO, ok bool) {
	m := io.meta
	if !ok {
		m.failed |= 1 << io.leg
	}
	if m.left--; m.left == 0 {
		n.sim.step(n, &engine.Event{Kind: engine.EvMetaDone, ID: io.act.ID, Mask: m.failed, OK: m.failed == 0})
	}
}

// start boots a node from what its legs hold.
func (s *Sim) start(n *node) {
	n.inc++
	n.queue, n.ticking = nil, 0
	n.replies, n.asked = map[uint64]func(engine.Err){}, map[uint64]uint64{}
	n.primary, n.frozen, n.begun = false, false, nil
	n.cfg = s.config(n)
	md := s.load(n)
	n.refused = md == nil
	s.watchLegs(n, md)
	eng, out := engine.New(s.now, n.cfg, md, nil)
	n.eng = eng
	n.fence, n.before = eng.View().Fence, eng.View().Disk
	s.trace("n%d started: disk %v", n.index, n.before)
	s.watchStart(n)
	n.depth++
	for i := range out {
		s.do(n, out[i])
	}
	n.depth--
	for j := range s.nodes {
		if j != n.index {
			s.command(n, engine.Event{Cmd: engine.CmdConnect, Peer: rowOf(n.index, j)}, nil)
		}
	}
}

// crash ends a node: a killed process leaves the disks' caches alone, a power loss does not.
func (s *Sim) crash(n *node, power bool) {
	if n.eng == nil {
		return
	}
	if power {
		n.track, n.solo = nil, nil // what goes back to what it was does not count as a change, nor as a promise
	}
	s.trace("n%d crashes, power loss %v", n.index, power)
	n.noteWhole()
	s.noteLostPrimary(n)
	n.eng = nil
	n.inc++
	n.primary = false
	n.queue = nil
	n.replies = nil
	s.model.crashed(s, n, power)
	for _, d := range n.disks {
		d.crash(s, power)
	}
	for _, w := range s.wires {
		if c := w.conn; c != nil && (w.a == n.index || w.b == n.index) {
			side := w.side(n.index)
			if s.rng.IntN(2) == 0 {
				c.queue[side] = [2][]packet{} // what was sent last never left
			}
			s.closeSide(c, side, false)
		}
	}
	if power {
		// The volatile cache of the only disk of a diskless Primary is gone: that is a broken disk, not a failover.
		for _, m := range s.nodes {
			if m != n && m.eng != nil && m.eng.View().Role == engine.Primary && m.eng.View().Disk < engine.Consistent {
				s.crash(m, false)
			}
		}
	}
}

func (s *Sim) command(n *node, ev engine.Event, done func(engine.Err)) {
	if n.eng == nil {
		return
	}
	s.commands++
	ev.Kind, ev.ID = engine.EvCommand, s.commands
	if done != nil {
		n.replies[ev.ID] = done
	}
	s.step(n, &ev)
}
