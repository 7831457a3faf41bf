package reactortest

import (
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"syscall"
	"testing"
	"time"

	"pollux/reactor"
	"pollux/reactor/iobuf"
	"pollux/reactor/uring"
)

// passesMax is how many passes Run makes before it gives the test up: something keeps itself busy for ever.
const passesMax = 10_000_000

// World is a group of reactors and everything around them that a test controls. One goroutine uses it.
type World struct {
	Group    *reactor.Group
	Reactors []*reactor.Reactor
	Budget   *iobuf.Budget

	t     testing.TB
	nanos int64
	seed  uint64
	rng   *rand.Rand // nil: round robin
	order []int

	kernels []*kernel
	sockets map[int32]*socket
	files   map[int32]*File
	fds     int32
	ports   int
	from    netip.Addr // of far ends
	fail    func(op uint8, fd int) syscall.Errno

	exhausted int
}

// firstFd is larger than any real descriptor, so that a real system call on a simulated one fails.
const firstFd = 1 << 30

// memory bounds the I/O buffers of a world.
const memory = 64 << 20

// New makes n reactors. They take turns until Seed is called.
func New(t testing.TB, n int) *World { return NewWithout(t, n, 0) }

// NewWithout is New with some kernel features masked off.
func NewWithout(t testing.TB, n int, without uring.Features) *World {
	w := &World{
		t: t, nanos: int64(time.Hour), Budget: iobuf.NewBudget(memory),
		sockets: map[int32]*socket{}, files: map[int32]*File{}, fds: firstFd, from: netip.MustParseAddr("192.0.2.2"),
	}
	each := make([]reactor.Stepped, n)
	for i := range each {
		k := &kernel{w: w, features: uring.FeaturesAll &^ without, bufs: map[uint16]*uring.BufRing{}, fixed: map[int][]byte{}}
		k.q = uring.NewRing(k, sqEntries, cqEntries)
		w.kernels = append(w.kernels, k)
		each[i] = reactor.Stepped{Clock: w, Ring: k.q, Bufs: iobuf.NewPool(w.Budget), Drive: w.drive}
		w.order = append(w.order, i)
	}
	group, err := reactor.NewSteppedGroup(slog.New(slog.DiscardHandler), each)
	if err != nil {
		t.Fatal(err)
	}
	w.Group, w.Reactors = group, group.Reactors()
	t.Cleanup(w.report)
	return w
}

// The rings are small, so that full ones are met.
const (
	sqEntries = 16
	cqEntries = 32
)

// Close gives the reactors' memory back; what runs in them must have ended. A test that makes few worlds need not.
func (w *World) Close() { w.Group.Stop() }

// Seed makes the order of steps (and whatever else is left to chance) follow from seed.
func (w *World) Seed(seed uint64) {
	w.seed, w.rng = seed, rand.New(rand.NewPCG(seed, 0))
}

// report tells how to see a failure again.
func (w *World) report() {
	if w.t.Failed() && w.rng != nil {
		w.t.Logf("reactortest: this was seed %d; %s=%d runs it alone", w.seed, SeedVariable, w.seed)
	}
}

// Nanos is the world's time; World is the reactors' Clock.
func (w *World) Nanos() int64 { return w.nanos }

// Step runs one pass of reactor i and reports how much work it did.
func (w *World) Step(i int) int {
	w.kernels[i].poke()
	return w.Reactors[i].Step()
}

// round steps every reactor once, in turn or in an order by chance, and reports how much work that was.
func (w *World) round() int {
	if w.rng != nil {
		w.rng.Shuffle(len(w.order), func(i, j int) { w.order[i], w.order[j] = w.order[j], w.order[i] })
	}
	work := 0
	for _, i := range w.order {
		work += w.Step(i)
	}
	return work
}

// Run steps all reactors until none has anything to do at this instant.
func (w *World) Run() {
	w.t.Helper()
	for range passesMax {
		if w.round() == 0 && !w.anyPending() {
			return
		}
	}
	w.t.Fatalf("reactortest: still busy after %d rounds", passesMax)
}

func (w *World) anyPending() bool {
	for i, r := range w.Reactors {
		if r.Pending() || w.kernels[i].poke() {
			return true
		}
	}
	return false
}

// Advance lets d go by: the clock stops at each timer on the way, and the world runs.
func (w *World) Advance(d time.Duration) {
	w.t.Helper()
	end := w.nanos + int64(d)
	w.Run()
	for {
		at, ok := w.nextTimer()
		if !ok || at > end {
			break
		}
		w.nanos = max(w.nanos, at)
		w.Run()
	}
	w.nanos = end
	w.Run()
}

// nextTimer is the earliest timer of all reactors.
func (w *World) nextTimer() (at int64, ok bool) {
	for _, r := range w.Reactors {
		if nanos, armed := r.NextTimer(); armed && (!ok || nanos < at) {
			at, ok = nanos, true
		}
	}
	return at, ok
}

// drive makes the world go on while something waits, and reports whether anything was left to do.
func (w *World) drive() bool {
	if w.round() > 0 || w.anyPending() {
		return true
	}
	at, ok := w.nextTimer()
	if ok {
		w.nanos = max(w.nanos, at)
	}
	return ok
}
