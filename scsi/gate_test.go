package scsi

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"pollux/bdev"
	"pollux/reactor"
)

// gateSeeds is over how many seeds the rounds are spread.
const gateSeeds = 10

// counter counts up in block 0 by READ and COMPARE AND WRITE; it goes on from callback to callback.
type counter struct {
	n                *initiator
	read, swap       *testTask
	left             int
	successes, fails int
	err              error
}

func newCounter(n *initiator, times int) *counter {
	c := &counter{n: n, left: times}
	c.read = n.new(0, cdb10(0x28, 0, 0, 1), nil, benchBlock)
	c.swap = n.new(0, cdbSwap(0, 1), make([]byte, 2*benchBlock), 0)
	c.read.Finished = func(*Task) { c.wasRead() }
	c.swap.Finished = func(*Task) { c.swapped() }
	return c
}

func (c *counter) next() {
	if c.left > 0 && c.err == nil {
		c.left--
		c.read.prepare()
		c.read.execute()
	}
}

func (c *counter) wasRead() {
	old := binary.BigEndian.Uint64(c.read.in)
	for i := 8; i < benchBlock; i += 8 {
		if binary.BigEndian.Uint64(c.read.in[i:]) != old {
			c.err = fmt.Errorf("a torn block: %d and %d", old, binary.BigEndian.Uint64(c.read.in[i:]))
		}
	}
	for i := 0; i < benchBlock; i += 8 {
		binary.BigEndian.PutUint64(c.swap.out[i:], old)
		binary.BigEndian.PutUint64(c.swap.out[benchBlock+i:], old+1)
	}
	c.swap.prepare()
	c.swap.execute()
}

func (c *counter) swapped() {
	switch (result{testTask: c.swap}).sense() {
	case Sense{}:
		c.successes++
	case senseMiscompare:
		c.fails++
	default:
		c.err = fmt.Errorf("COMPARE AND WRITE: status %#x", c.swap.Status)
	}
	c.next()
}

// countUp lets initiators on all reactors count, and says what is wrong with the sum.
func countUp(t *testing.T, reactors, times int, seed uint64) error {
	b := newBench(t, reactors)
	defer b.w.Close()
	rng := rand.New(rand.NewPCG(seed, 1))
	var all []*counter
	for i := range 2 {
		all = append(all, newCounter(b.open(i%reactors, fmt.Sprint("counter", i)), times/2))
	}
	b.w.Seed(seed)
	b.disk.delay = randomDelay(rng, 3*time.Microsecond)
	for _, c := range all {
		b.must(c.n.r.Call(c.next))
	}
	sum, fails, left := 0, 0, 1
	for left > 0 {
		b.w.Advance(time.Millisecond)
		sum, fails, left = 0, 0, 0
		for _, c := range all {
			if c.err != nil {
				return c.err
			}
			sum, fails, left = sum+c.successes, fails+c.fails, left+c.left
		}
	}
	b.w.Advance(time.Millisecond)
	sum, fails = all[0].successes+all[1].successes, all[0].fails+all[1].fails
	if got := binary.BigEndian.Uint64(b.disk.data); got != uint64(sum) {
		return fmt.Errorf("seed %d: the block says %d after %d successes and %d miscompares", seed, got, sum, fails)
	}
	if sum+fails != times || reactors > 1 && fails == 0 {
		return fmt.Errorf("seed %d: %d successes and %d miscompares of %d", seed, sum, fails, times)
	}
	return nil
}

func TestGateCounter(t *testing.T) {
	for _, reactors := range []int{1, 2} {
		for seed := range uint64(gateSeeds) {
			if err := countUp(t, reactors, gateSwaps/gateSeeds, seed); err != nil {
				t.Errorf("%d reactors: %v", reactors, err)
			}
		}
	}
}

// writer keeps stamped writes under way from one nexus. Every stamp is used once.
type writer struct {
	n     *initiator
	f     *fencing
	tasks []*testTask
	stop  bool
}

// fencing watches which write reaches the device when.
type fencing struct {
	b        *bench
	rng      *rand.Rand
	stamps   uint64
	owner    map[uint64]*writer // of stamps
	forbid   map[*writer]uint64 // stamps below this one must not reach the device any more
	late     error
	reached  int
	finished int
}

const depth = 6

func newFencing(t *testing.T, reactors int, seed uint64) *fencing {
	can := diskOps
	if seed%2 == 1 {
		can |= ops(bdev.OpAbort)
	}
	f := &fencing{b: newBenchSpec(t, reactors, can, bdev.Spec{}), rng: rand.New(rand.NewPCG(seed, 2)), owner: map[uint64]*writer{}, forbid: map[*writer]uint64{}}
	f.b.w.Seed(seed)
	f.b.disk.delay = randomDelay(f.rng, 50*time.Microsecond)
	f.b.disk.hook = f.watch
	return f
}

// watch runs when the device does a request.
func (f *fencing) watch(q *bdev.Request) {
	if q.Op != bdev.OpWrite {
		return
	}
	stamp := binary.BigEndian.Uint64(q.Data[0])
	w := f.owner[stamp]
	f.reached++
	if stamp < f.forbid[w] && f.late == nil {
		f.late = fmt.Errorf("write %d, forbidden below %d, has reached the device", stamp, f.forbid[w])
	}
}

func (f *fencing) writer(n *initiator) *writer {
	w := &writer{n: n, f: f}
	for i := range depth {
		task := n.write(uint32(100+i), 0)
		task.Finished = func(*Task) {
			f.finished++
			w.issue(task)
		}
		w.tasks = append(w.tasks, task)
	}
	f.b.must(n.r.Call(func() {
		for _, task := range w.tasks {
			w.issue(task)
		}
	}))
	return w
}

// issue writes the next stamp; sometimes the data-out takes its time.
func (w *writer) issue(task *testTask) {
	if w.stop {
		return
	}
	f := w.f
	f.stamps++
	f.owner[f.stamps] = w
	binary.BigEndian.PutUint64(task.out, f.stamps)
	task.Attribute = AttributeSimple
	if f.rng.IntN(16) == 0 {
		task.Attribute = AttributeOrdered
	}
	if !w.n.Prepare(&task.Task) {
		w.later(func() { w.issue(task) })
		return
	}
	if f.rng.IntN(4) == 0 {
		w.later(func() { w.run(task) })
		return
	}
	w.run(task)
}

// run executes unless the nexus has ended the task meanwhile, as Close does.
func (w *writer) run(task *testTask) {
	if task.phase == phasePrepared {
		task.execute()
	}
}

func (w *writer) later(fn func()) {
	var timer reactor.Timer
	timer.Bind(w.n.r, fn)
	timer.Start(time.Duration(w.f.rng.IntN(50_000) + 1))
}

// settle lets writes flow for a while.
func (f *fencing) settle() { f.b.w.Advance(time.Duration(f.rng.IntN(100_000))) }

// fenceKind is a way to end what others have under way.
type fenceKind struct {
	name   string
	own    bool // it ends the tasks of the nexus that asks
	others bool // and of the others
	// run makes the fence from a, against w, and returns when it has answered. Afterwards w may write nothing if it returns true.
	run   func(f *fencing, a *initiator, w *writer) bool
	again func(f *fencing, a *initiator, w *writer) // makes w able to write again
}

func manageFence(fn Function) func(*fencing, *initiator, *writer) bool {
	return func(f *fencing, a *initiator, _ *writer) bool {
		m, done := a.startManage(fn, 0, 0)
		for !*done {
			f.b.w.Advance(time.Microsecond)
		}
		if m.Response != ResponseComplete {
			f.late = fmt.Errorf("function %d: response %d", fn, m.Response)
		}
		return false
	}
}

func preemptFence(action byte) func(*fencing, *initiator, *writer) bool {
	return func(f *fencing, a *initiator, w *writer) bool {
		if r := f.outcome(a, cdbOut(action, 1, 24), outList(1, 2)); r.Status != StatusGood {
			f.late = fmt.Errorf("preempt: status %#x", r.Status)
		}
		return true
	}
}

// outcome runs a command of a, past unit attention conditions.
func (f *fencing) outcome(a *initiator, cdb, out []byte) result {
	for {
		task := a.new(0, cdb, out, 0).start()
		for task.finished == 0 {
			f.b.w.Advance(time.Microsecond)
		}
		if r := (result{testTask: task}); r.Status != StatusCheckCondition || r.sense().Key != KeyUnitAttention {
			return r
		}
	}
}

// registerBoth makes a the holder of a reservation for registrants, with w's nexus registered.
func registerBoth(f *fencing, a *initiator, w *writer) {
	f.outcome(a, cdbOut(outClear, 0, 24), outList(1, 0))
	f.outcome(w.n, cdbOut(outRegisterIgnore, 0, 24), outList(0, 2))
	f.outcome(a, cdbOut(outRegisterIgnore, 0, 24), outList(0, 1))
	f.outcome(a, cdbOut(outReserve, 5, 24), outList(1, 0))
}

var fenceKinds = []fenceKind{
	{name: "ABORT TASK SET", own: true, run: manageFence(FunctionAbortTaskSet)},
	{name: "CLEAR TASK SET", own: true, others: true, run: manageFence(FunctionClearTaskSet)},
	{name: "LOGICAL UNIT RESET", own: true, others: true, run: manageFence(FunctionLogicalUnitReset)},
	{name: "TARGET WARM RESET", own: true, others: true, run: manageFence(FunctionTargetWarmReset)},
	{name: "PREEMPT", others: true, run: preemptFence(outPreempt), again: registerBoth},
	{name: "PREEMPT AND ABORT", others: true, run: preemptFence(outPreemptAbort), again: registerBoth},
	{
		name: "close", others: true,
		run: func(f *fencing, a *initiator, w *writer) bool {
			w.stop = true
			w.n.close()
			return true
		},
	},
	{
		name: "LUN removal", own: true, others: true,
		run: func(f *fencing, a *initiator, w *writer) bool {
			f.b.must(f.b.dev.RemoveLUN(0))
			return true
		},
		again: func(f *fencing, a *initiator, w *writer) {
			if len(f.b.dev.LUNs()) == 0 {
				_, err := f.b.dev.AddLUN(0, "Disk0", LUNOptions{})
				f.b.must(err)
			}
		},
	},
}

// fenceRounds makes rounds fences of one kind while writes flow from two nexuses, and says which write came too late.
func fenceRounds(t *testing.T, k fenceKind, reactors, rounds int, seed uint64) error {
	f := newFencing(t, reactors, seed)
	defer f.b.w.Close()
	a := f.b.openRaw(0, "a")
	mine := f.writer(a)
	theirs := f.writer(f.b.openRaw(reactors-1, "b"))
	for round := range rounds {
		clear(f.forbid)
		if k.again != nil {
			k.again(f, a, theirs)
		}
		if theirs.stop {
			theirs = f.writer(f.b.openRaw((reactors-1)*(round%2), "b"))
		}
		f.settle()
		before := f.stamps + 1
		none := k.run(f, a, theirs)
		if none {
			before = 1 << 62
		}
		if k.own {
			f.forbid[mine] = before
		}
		if k.others {
			f.forbid[theirs] = before
		}
		f.settle()
		if f.late != nil {
			return fmt.Errorf("%s, seed %d, round %d: %w", k.name, seed, round, f.late)
		}
	}
	if f.reached < rounds {
		return fmt.Errorf("%s, seed %d: only %d writes in %d rounds", k.name, seed, f.reached, rounds)
	}
	mine.stop, theirs.stop = true, true
	f.b.w.Advance(time.Millisecond)
	return nil
}

func TestGateFencing(t *testing.T) {
	for _, k := range fenceKinds {
		t.Run(k.name, func(t *testing.T) {
			for _, reactors := range []int{1, 2} {
				for seed := range uint64(gateSeeds) {
					if err := fenceRounds(t, k, reactors, gateRounds/gateSeeds, seed); err != nil {
						t.Fatalf("%d reactors: %v", reactors, err)
					}
				}
			}
		})
	}
}
