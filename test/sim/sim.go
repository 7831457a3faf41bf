package sim

import (
	"fmt"
	"math/rand/v2"

	"pollux/bdev/replicated/engine"
	"pollux/bdev/replicated/meta"
)

const blockSize = 4096

// nodesMax bounds the nodes of a seed.
const nodesMax = 4

// trackerRow is the row of a node's tracker.
const trackerRow = 15

var oneLeg = [nodesMax]int{1, 1, 1, 1}

// profile is what a seed decides about its world.
type profile struct {
	nodes        int
	legs         [nodesMax]int
	blocks       int
	extentBlocks int
	alSlots      int
	alPages      int
	bitShift     uint8
	mode         engine.Mode
	afterSB      [3]engine.Policy
	rrConflict   engine.Policy
	minAcks      int
	csums        bool
	pullAhead    bool
	splitBrain   bool // the operator may promote a second Primary
	lossy        bool // the operator may promote a node that misses acknowledged writes; that has to end in a split brain
	fencing      bool // promotions carry fencing epochs
	diskless     bool // single legs may fail
	power        bool
	tracker      bool // nodes have one; between two nodes and with single legs a Secondary does without the activity log else
	rot          bool // one leg of the first node spoils what it holds
	eio          int  // per thousand
	slow         int  // per cent
	depth        int
	diskJitter   int64
	netBase      int64
	netJitter    int64
	spare        int // blocks by which the volume may grow
	rounds       int
}

// Sim is one world. Everything in it happens on one goroutine, in an order that the seed alone decides.
type Sim struct {
	Seed       uint64
	Cover      engine.Coverage
	Steps      int
	Trace      func(string)
	Skip       map[int]bool // rounds that are left out
	Failure    string
	Script     []string // what went wrong in each round
	Only       string   // the one trouble that there is; empty is all
	mut        engine.MutationSet
	rng        *rand.Rand
	now        int64
	order      uint64
	events     int // taken from the heap
	heap       eventHeap
	prof       profile
	nodes      []*node
	wires      []*wire
	model      model
	calm       bool            // no more faults
	hot        int             // requests go to the first blocks only; 0 is everywhere
	ownerLost  map[uint64]bool // generations of which the Primary that began them was lost
	forgiven   bool            // the operator has told somebody to discard his data
	commands   uint64
	onStep     func(*node)
	onNotify   func(*node, int, string)
	onComplete func(*node, *engine.Action)
	fence      uint64
	disksMade  int
	spareCells [][]cell // of flushes that have ended
}

// eventsMax bounds a run: a seed takes some 28,000 events, and five times that when many nodes and legs are resynced. Whoever needs
// more is in a circle.
const eventsMax = 1e6

type timed struct {
	at    int64
	order uint64
	f     func()
}

// eventHeap has the first event in front. It is written out because container/heap allocates for each.
type eventHeap []timed

func (h eventHeap) less(i, j int) bool {
	return h[i].at < h[j].at || h[i].at == h[j].at && h[i].order < h[j].order
}

func (h *eventHeap) push(x timed) {
	*h = append(*h, x)
	q := *h
	for i := len(q) - 1; i > 0 && q.less(i, (i-1)/2); i = (i - 1) / 2 {
		q[i], q[(i-1)/2] = q[(i-1)/2], q[i]
	}
}

func (h *eventHeap) pop() timed {
	q := *h
	x := q[0]
	n := len(q) - 1
	q[0], q[n] = q[n], timed{}
	q = q[:n]
	for i := 0; ; {
		child := 2*i + 1
		if child+1 < n && q.less(child+1, child) {
			child++
		}
		if child >= n || !q.less(child, i) {
			break
		}
		q[i], q[child] = q[child], q[i]
		i = child
	}
	*h = q
	return x
}

func (s *Sim) at(t int64, f func()) {
	s.order++
	s.heap.push(timed{t, s.order, f})
}

func (s *Sim) after(d int64, f func()) { s.at(s.now+d, f) }

// runUntil lets the world go on until done says so, or the time is over; it reports whether done did.
func (s *Sim) runUntil(limit int64, done func() bool) bool {
	end := s.now + limit
	for s.Failure == "" {
		if done() {
			return true
		}
		if len(s.heap) == 0 || s.heap[0].at > end {
			s.now = max(s.now, end)
			return false
		}
		x := s.heap.pop()
		s.now = x.at
		if s.events++; s.events > eventsMax {
			s.violate("no end: %d events: %s", s.events, s.describe())
			return false
		}
		x.f()
	}
	return false
}

func (s *Sim) runFor(d int64) { s.runUntil(d, func() bool { return false }) }

func (s *Sim) violate(format string, args ...any) {
	if s.Failure == "" {
		s.Failure = fmt.Sprintf(format, args...)
		s.trace("VIOLATION %s", s.Failure)
	}
}

func (s *Sim) trace(format string, args ...any) {
	if s.Trace != nil {
		s.Trace(fmt.Sprintf("%12.6f ", float64(s.now)/1e9) + fmt.Sprintf(format, args...))
	}
}

// New makes the world of a seed.
func New(seed uint64, mut engine.MutationSet) *Sim { return newSim(seed, mut, func(*profile) {}) }

// newSim makes the world of a seed, but for what adjust changes of it.
func newSim(seed uint64, mut engine.MutationSet, adjust func(*profile)) *Sim {
	s := &Sim{Seed: seed, mut: mut, rng: rand.New(rand.NewPCG(seed, 0x706f6c6c7578)), ownerLost: map[uint64]bool{}}
	s.prof = s.chooseProfile()
	s.prof.chooseNodes(seed)
	adjust(&s.prof)
	s.prof.minAcks = min(s.prof.minAcks, s.prof.nodes)
	s.build()
	return s
}

// chooseNodes makes most worlds of two and three nodes, and half of them with trackers. It has a source of its own, so that the rest of a seed's world does
// not depend on it.
func (p *profile) chooseNodes(seed uint64) {
	r := rand.New(rand.NewPCG(seed, 0x6e6f646573))
	switch x := r.IntN(16); {
	case x < 7:
		p.nodes = 2
	case x < 14:
		p.nodes = 3
	default:
		p.nodes = 4
	}
	if p.minAcks > 1 {
		p.minAcks = 2 + r.IntN(p.nodes-1)
	}
	p.tracker = r.IntN(2) == 0
}

// profilePolicies are the split-brain policies that seeds choose from, by the number of Primaries.
var profilePolicies = [3][]engine.Policy{
	{
		engine.PolicyDisconnect, engine.DiscardYoungerPrimary, engine.DiscardOlderPrimary, engine.DiscardZeroChanges,
		engine.DiscardLeastChanges, engine.DiscardLocal, // which the other side calls discard-remote
	},
	{engine.PolicyDisconnect, engine.Consensus, engine.ViolentlyAs0p, engine.DiscardSecondary, engine.CallPriLost},
	{engine.PolicyDisconnect, engine.ViolentlyAs0p, engine.CallPriLost},
}

var rrPolicies = []engine.Policy{engine.PolicyDisconnect, engine.Violently, engine.CallPriLost}

func (s *Sim) chooseProfile() profile {
	r := s.rng
	p := profile{
		nodes: 2, legs: oneLeg, blocks: 64, spare: 16, extentBlocks: 8, alSlots: 2 + r.IntN(5), alPages: 4 + r.IntN(5), bitShift: 12,
		mode: engine.Mode(1 + r.IntN(3)), minAcks: 1, depth: 1 + r.IntN(12), power: r.IntN(3) > 0,
		diskJitter: 100e3 + r.Int64N(3e6), netBase: 20e3 + r.Int64N(500e3), netJitter: 100e3 + r.Int64N(2e6),
		rounds: 6 + r.IntN(10),
	}
	if r.IntN(3) == 0 {
		p.legs[0] = 2 + r.IntN(engine.LegsMax-1)
		for i := range p.legs[1:] {
			p.legs[1+i] = 1 + r.IntN(engine.LegsMax)
		}
	}
	if r.IntN(4) == 0 {
		p.bitShift = 13
	}
	if r.IntN(2) == 0 {
		p.mode = engine.ModeC
	}
	p.csums = r.IntN(4) == 0
	p.pullAhead = r.IntN(2) == 0
	p.splitBrain = r.IntN(4) == 0
	p.fencing = r.IntN(3) == 0
	p.diskless = r.IntN(3) == 0
	if r.IntN(3) == 0 {
		p.eio = 1 + r.IntN(4)
	}
	if r.IntN(3) == 0 {
		p.slow = 5
	}
	if r.IntN(6) == 0 {
		p.minAcks = 2
		p.mode = engine.ModeC
	}
	p.rot = r.IntN(3) == 0
	zero, one, two, rr := profilePolicies[0], profilePolicies[1], profilePolicies[2], rrPolicies
	p.afterSB = [3]engine.Policy{zero[r.IntN(len(zero))], one[r.IntN(len(one))], two[r.IntN(len(two))]}
	p.rrConflict = rr[r.IntN(len(rr))]
	if p.lossy = !p.splitBrain && p.mode == engine.ModeC && r.IntN(2) == 0; p.lossy {
		p.afterSB = [3]engine.Policy{}
		p.rrConflict = engine.PolicyDisconnect
	}
	if p.rrConflict == engine.Violently && !p.splitBrain {
		p.rrConflict = engine.PolicyDisconnect
	}
	return p
}

func (s *Sim) build() {
	s.model.init(s.prof.blocks)
	for i := range s.prof.nodes {
		n := &node{sim: s, index: i, wants: make([]bool, s.prof.nodes)}
		for range s.prof.spare {
			n.spare = append(n.spare, s.garbage()) // something else on every node
		}
		for range s.prof.legs[i] {
			n.disks = append(n.disks, s.newDisk(n))
		}
		s.nodes = append(s.nodes, n)
	}
	for i := range s.nodes {
		for j := i + 1; j < len(s.nodes); j++ {
			w := &wire{a: i, b: j, rng: rand.New(rand.NewPCG(s.Seed, 0x77697265+uint64(len(s.wires))))}
			s.wires = append(s.wires, w)
			s.after(w.rng.Int64N(50e6), func() { s.tryConnect(w) })
		}
	}
}

// config is the engine's view of a node.
func (s *Sim) config(n *node) engine.Config {
	p := &s.prof
	c := engine.Config{
		Node: n.index, Size: uint64(p.blocks) * blockSize, Capacity: uint64(p.blocks+p.spare) * blockSize,
		BlockShift: p.bitShift, ExtentShift: 15, ALSlots: p.alSlots, PageBits: meta.PageBits, MaxEpoch: 8,
		Legs: p.legs[n.index], LegRow: 8, MinAcks: p.minAcks, ResyncMax: 4 * blockSize, ResyncDepth: 4,
		Seed: s.rng.Uint64(), Mutations: s.mut, Cover: &s.Cover,
	}
	for j := range s.nodes {
		if j == n.index {
			continue
		}
		r := engine.RowConfig{
			Kind: engine.KindPeer, Node: j, Mode: p.mode, AfterSB: p.afterSB, RRConflict: p.rrConflict,
			Csums: p.csums, PullAhead: p.pullAhead, Congestion: 8 * blockSize,
		}
		if r.AfterSB[0] == engine.DiscardLocal && j < n.index {
			r.AfterSB[0] = engine.DiscardRemote
		}
		c.Rows[rowOf(n.index, j)] = r
	}
	for i := range p.legs[n.index] {
		c.Rows[8+i].Kind = engine.KindLeg
	}
	if p.tracker {
		c.Rows[trackerRow].Kind = engine.KindTracker
	}
	return c
}
