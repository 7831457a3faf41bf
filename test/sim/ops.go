package sim

import (
	"fmt"
	"math/rand/v2"
	"runtime/debug"

	"pollux/bdev/replicated/engine"
)

// observe looks at a node after each of its steps.
func (s *Sim) observe(n *node) {
	if n.eng == nil || s.Failure != "" {
		return
	}
	v := n.eng.View()
	n.fence = max(n.fence, v.Fence)
	m := &s.model
	s.observeTarget(n, &v)
	if m.primary == n && v.Role != engine.Primary {
		m.primary = nil // fenced
		clear(m.requests)
	}
	if m.primary == n {
		if v.Disk == engine.UpToDate && !m.floor(0, n.index).valid {
			s.resynced(n)
		}
		for i, other := range s.nodes {
			if other == n {
				continue
			}
			in := s.inSync(n, other)
			if in && !m.floor(0, i).valid && other.eng != nil && other.eng.View().Disk == engine.UpToDate {
				s.resynced(other)
			}
			if !in && s.prof.mode != engine.ModeC {
				m.behind(i)
			}
		}
	}
}

// observeTarget: a node that takes another's data over keeps none of its promises. That is only right if the other keeps its
// own, or this one has nothing that the other lacks.
func (s *Sim) observeTarget(n *node, v *engine.View) {
	source := -1
	for j := range s.nodes {
		if j != n.index {
			if c := n.eng.Peer(rowOf(n.index, j)).Conn; c == engine.SyncTarget || c == engine.PausedSyncT {
				source = j
			}
		}
	}
	n.partial = n.partial && v.Disk != engine.UpToDate || source >= 0 && v.Disk == engine.Inconsistent
	if m := &s.model; m.primary == n && !n.target && s.inStateOf(n, engine.WFBitMapT) {
		m.primary = nil // rr-conflict violently: its front end sees other data from now on
		clear(m.requests)
	}
	if source < 0 {
		n.target = false
		return
	}
	if n.target {
		return
	}
	n.target = true
	m := &s.model
	if o := s.nodes[source]; o.eng != nil && !s.prof.splitBrain && !s.forgiven && s.prof.mode == engine.ModeC {
		for b := range m.blocks {
			f, g := m.floor(b, n.index), m.floor(b, source)
			c := s.lowest(s.content(o, b))
			if f.valid && !g.valid && c < f.cur {
				s.violate("block %d: node %d holds version %d and is overwritten by node %d, which holds %d and missed writes", b, n.index, f.cur, source, c)
				return
			}
		}
	}
	if m.primary == n { // rr-conflict violently: its front end sees other data from now on
		m.primary = nil
		clear(m.requests)
	}
	m.behind(n.index)
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
			s.beginTenure(n)
		}
	})
}

func (s *Sim) demote(n *node) {
	s.command(n, engine.Event{Cmd: engine.CmdSecondary}, func(err engine.Err) {
		s.trace("n%d: demotion: %v", n.index, err)
		if err == engine.OK {
			n.primary = false
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
	s.runFor(500e6)
	s.promote(s.nodes[s.rng.IntN(len(s.nodes))], true)
	if s.rng.IntN(3) > 0 {
		s.runFor(2e9)
	}
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
		s.hurt()
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

// hurt lets one thing go wrong, or lets the operator do one thing.
func (s *Sim) hurt() {
	r := s.rng
	n := s.nodes[r.IntN(len(s.nodes))]
	w := s.wires[r.IntN(len(s.wires))]
	power := s.prof.power && r.IntN(2) == 0
	switch r.IntN(27) {
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
	case 14:
		s.removeLeg(n)
	default:
		s.startAll()
		s.runFor(r.Int64N(5e9))
	}
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
// brain, which only some seeds want.
func (s *Sim) newest(n *node) bool {
	last := s.model.last
	if last == nil || n == last {
		return true
	}
	if s.prof.mode == engine.ModeC {
		for b := range s.model.blocks {
			if !s.model.floor(b, n.index).valid {
				return false
			}
		}
		return true
	}
	p := n.eng.Peer(rowOf(n.index, last.index))
	return p.Conn == engine.Connected && p.Disk == engine.UpToDate
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
	w := s.wires[s.rng.IntN(len(s.wires))]
	s.cutWire(w, 3)
	s.runFor(4e9)
	for _, n := range s.running() {
		if n.eng.View().Role != engine.Primary && n.eng.Metadata().Current != engine.JustCreated {
			s.promote(n, s.rng.IntN(2) == 0)
			break
		}
	}
	s.workload(50e6)
	for _, n := range s.running() {
		if s.rng.IntN(2) == 0 && n.eng != nil {
			s.demote(n)
		}
	}
	s.runFor(1e9)
	s.healWire(w)
}

func (s *Sim) removeLeg(n *node) {
	if s.prof.legs == 1 || n.eng == nil {
		return
	}
	leg := s.rng.IntN(s.prof.legs)
	n.disks[leg].gone = true
	s.workload(20e6 + s.rng.Int64N(50e6))
	n.disks[leg].gone = false
	s.command(n, engine.Event{Cmd: engine.CmdLegAdd, Leg: leg}, nil)
}

// operate gives one random command.
func (s *Sim) operate(n *node) {
	if n.eng == nil {
		return
	}
	other := s.nodes[(n.index+1+s.rng.IntN(len(s.nodes)-1))%len(s.nodes)]
	row := rowOf(n.index, other.index)
	ev := engine.Event{Peer: row}
	switch s.rng.IntN(13) {
	case 12:
		ev.Cmd, ev.Value = engine.CmdResize, uint64(s.prof.blocks+s.rng.IntN(s.prof.spare+1))*blockSize
		ev.Flag = s.rng.IntN(4) == 0
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
		ev.Cmd, ev.Value = engine.CmdSuspendIO, uint64(s.rng.Int64N(2e9)+1)
	case 9:
		ev.Cmd = engine.CmdOutdate
	case 10:
		ev.Cmd = engine.CmdTrackerReset
		ev.Peer = 15
	case 11:
		if !s.prof.diskless {
			return
		}
		ev.Cmd = engine.CmdDetach
	}
	s.command(n, ev, nil)
	s.workload(s.rng.Int64N(100e6))
}

// idle waits until nothing is under way on the running nodes.
func (s *Sim) idle(limit int64) bool {
	return s.runUntil(limit, func() bool {
		for _, n := range s.running() {
			if !n.eng.View().Quiet {
				return false
			}
		}
		return true
	})
}

// quiesce stops the front end and compares the replicas that call themselves equal.
func (s *Sim) quiesce() {
	if s.idle(5e9) {
		s.comparePairs()
	}
}

func (s *Sim) comparePairs() {
	for _, n := range s.running() {
		v := n.eng.View()
		s.compareLegs(n, v)
		if v.Disk != engine.UpToDate {
			continue
		}
		for _, o := range s.running() {
			if o.index <= n.index {
				continue
			}
			p, q := n.eng.Peer(rowOf(n.index, o.index)), o.eng.Peer(rowOf(o.index, n.index))
			if p.Conn == engine.Connected && q.Conn == engine.Connected && p.Disk == engine.UpToDate &&
				o.eng.View().Disk == engine.UpToDate && n.eng.View().InFlight == 0 && o.eng.View().InFlight == 0 {
				s.compareNodes(n, o)
			}
		}
	}
}

func (s *Sim) compareNodes(n, o *node) {
	for b := range int(min(n.eng.View().Size, o.eng.View().Size) / blockSize) {
		blk := uint64(b) * blockSize >> s.prof.bitShift
		if n.eng.Dirty(rowOf(n.index, o.index), blk) && o.eng.Dirty(rowOf(o.index, n.index), blk) {
			continue // found by verify
		}
		if x, y := s.content(n, b), s.content(o, b); x != y {
			s.violate("block %d: nodes %d and %d are Connected and UpToDate but hold versions %d and %d", b, n.index, o.index, x, y)
			return
		}
	}
}

func (s *Sim) compareLegs(n *node, v engine.View) {
	first := -1
	for i := range n.disks {
		if !v.Legs[i].InSync {
			continue
		}
		if first < 0 {
			first = i
			continue
		}
		for b := range s.prof.blocks {
			if x, y := n.disks[first].cells[b].cur, n.disks[i].cells[b].cur; x != y && v.Quiet && v.Disk == engine.UpToDate {
				s.violate("block %d: legs %d and %d of node %d are in sync but hold versions %d and %d", b, first, i, n.index, x, y)
				return
			}
		}
	}
}
