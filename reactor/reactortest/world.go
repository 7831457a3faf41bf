package reactortest

import (
	"log/slog"
	"math/rand/v2"
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
	turn  int
	order []int
}

// memory bounds the I/O buffers of a world.
const memory = 64 << 20

// New makes n reactors. They take turns until Seed is called.
func New(t testing.TB, n int) *World {
	w := &World{t: t, nanos: int64(time.Hour), Budget: iobuf.NewBudget(memory)}
	each := make([]reactor.Stepped, n)
	for i := range each {
		k := &kernel{}
		each[i] = reactor.Stepped{
			Clock: w, Ring: uring.NewRing(k, 64, 256), Bufs: iobuf.NewPool(w.Budget), Drive: w.drive,
		}
		w.order = append(w.order, i)
	}
	w.Group = reactor.NewSteppedGroup(slog.New(slog.DiscardHandler), each)
	w.Reactors = w.Group.Reactors()
	t.Cleanup(w.report)
	return w
}

// Seed makes the order of steps (and whatever else is left to chance) follow from seed.
func (w *World) Seed(seed uint64) {
	w.seed, w.rng = seed, rand.New(rand.NewPCG(seed, 0))
}

// report tells how to see a failure again.
func (w *World) report() {
	if w.t.Failed() && w.rng != nil {
		w.t.Logf("reactortest: this was seed %d", w.seed)
	}
}

// Nanos is the world's time; World is the reactors' Clock.
func (w *World) Nanos() int64 { return w.nanos }

// Step runs one pass of reactor i and reports how much work it did.
func (w *World) Step(i int) int { return w.Reactors[i].Step() }

// round steps every reactor once, in turn or in an order by chance, and reports how much work that was.
func (w *World) round() int {
	if w.rng != nil {
		w.rng.Shuffle(len(w.order), func(i, j int) { w.order[i], w.order[j] = w.order[j], w.order[i] })
	}
	work := 0
	for _, i := range w.order {
		work += w.Step(i)
		if w.Reactors[i].Pending() {
			work++
		}
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
	for _, r := range w.Reactors {
		if r.Pending() {
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
