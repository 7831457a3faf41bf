package tcmur

import (
	"math/rand/v2"
	"testing"
	"time"
	"unsafe"

	"pollux/bdev"
	"pollux/bdev/bdevtest"
)

// fake is a disk without a helper: the test plays that side of the ring.
type fake struct {
	*disk
	e      *bdevtest.Env
	region *region
	c      *bdevtest.Client
}

// Destroy has no helper to end.
func (f *fake) Destroy() error {
	f.closePipes()
	return nil
}

func newFake(t testing.TB) *fake {
	e := bdevtest.NewEnv(t, 1)
	d, err := newDisk("fake", 1)
	if err != nil {
		t.Fatal(err)
	}
	g, err := newRegion(1)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(g.release)
	d.shift, d.timeout, d.ops = 9, time.Minute, opSet{write: true}
	d.helper.Store(&helper{region: g})
	d.state.Store(stateUp)
	f := &fake{disk: d, e: e, region: g}
	if _, err := e.Registry.Register(bdev.Spec{Name: "fake", ProductName: "fake", BlockSize: 512, Blocks: 1 << 20, Backend: f}); err != nil {
		t.Fatal(err)
	}
	f.c = e.Open(0, "fake", bdev.OpenOptions{Write: true})
	return f
}

func (f *fake) start(lba uint64) *bdevtest.Op {
	return f.c.Start(bdev.Request{Op: bdev.OpWrite, LBA: lba, Blocks: 8, Data: [][]byte{make([]byte, 4096)}})
}

// complete writes a completion as a helper does.
func (f *fake) complete(at uint32, e cqe) {
	r := &f.region.rings[0]
	r.cq[at%ringDepth] = e
	r.shared.cqTail.Store(at + 1)
}

// TestCompletionsAreChecked: a completion that no helper can have meant ends nothing, and is reported.
func TestCompletionsAreChecked(t *testing.T) {
	for name, harm := range map[string]func(f *fake){
		"slot beyond":        func(f *fake) { f.complete(0, cqe{slot: ringDepth, gen: 1}) },
		"slot far beyond":    func(f *fake) { f.complete(0, cqe{slot: 1<<32 - 1, gen: 1}) },
		"slot not in use":    func(f *fake) { f.complete(0, cqe{slot: 5, gen: 1}) },
		"generation":         func(f *fake) { f.complete(0, cqe{slot: 0, gen: 2}) },
		"generation of zero": func(f *fake) { f.complete(0, cqe{slot: 0}) },
		"tail beyond":        func(f *fake) { f.region.rings[0].shared.cqTail.Store(ringDepth + 1) },
		"tail before":        func(f *fake) { f.region.rings[0].shared.cqTail.Store(1<<32 - 1) },
	} {
		t.Run(name, func(t *testing.T) {
			f := newFake(t)
			op := f.start(0)
			f.e.World.Step(0)
			harm(f)
			f.e.World.Step(0)
			f.e.World.Step(0)
			if op.Ended != 0 || f.kicks.Load()&kickDamaged == 0 {
				t.Errorf("ended %d times, reported %#x", op.Ended, f.kicks.Load())
			}
			f.queues[0].detach(true, false)
			f.queues[0].endHeld(bdev.StatusNotReady)
			f.e.World.Run()
			if op.Ended != 1 || op.Status != bdev.StatusNotReady {
				t.Errorf("afterwards: ended %d times with %v", op.Ended, op.Status)
			}
		})
	}
}

// TestCompletedTwice: the second completion of a request is not believed, also when its slot has a new one.
func TestCompletedTwice(t *testing.T) {
	f := newFake(t)
	first := f.start(0)
	f.e.World.Step(0)
	f.complete(0, cqe{slot: 0, gen: 1})
	f.e.World.Step(0)
	second := f.start(8)
	f.e.World.Step(0)
	f.complete(1, cqe{slot: 0, gen: 1})
	f.e.World.Step(0)
	if first.Ended != 1 || second.Ended != 0 || f.kicks.Load()&kickDamaged == 0 {
		t.Errorf("ended %d and %d times, reported %#x", first.Ended, second.Ended, f.kicks.Load())
	}
	f.queues[0].detach(true, false)
	f.queues[0].endHeld(bdev.StatusNotReady)
	f.e.World.Run()
}

// TestScribbledRing: whatever a helper writes into the memory that it shares, every request ends once, and nothing else happens.
func TestScribbledRing(t *testing.T) {
	for seed := range uint64(200) {
		f := newFake(t)
		rng := rand.New(rand.NewPCG(seed, 5))
		var ops []*bdevtest.Op
		queues := f.region.mem[regionPage:][:ringStride()]
		for range 30 {
			ops = append(ops, f.start(rng.Uint64N(1<<20-8)))
			f.e.World.Step(0)
			for range rng.IntN(20) {
				queues[rng.IntN(len(queues))] = byte(rng.Uint32())
			}
			if rng.IntN(3) == 0 {
				f.complete(uint32(rng.IntN(8)), cqe{slot: rng.Uint32N(8), gen: 1 + rng.Uint32N(3), status: rng.Uint32N(40), info: rng.Uint64()})
			}
			f.e.World.Step(0)
		}
		f.queues[0].detach(true, false)
		f.queues[0].endHeld(bdev.StatusNotReady)
		f.e.World.Run()
		for i, op := range ops {
			if op.Ended != 1 {
				t.Fatalf("seed %d: request %d has ended %d times", seed, i, op.Ended)
			}
		}
		f.region.release()
	}
}

// TestSuspectsFailAtLast: a request that was at work when two helpers died fails; those that waited in the ring are held.
func TestSuspectsFailAtLast(t *testing.T) {
	f := newFake(t)
	q := f.queues[0]
	guilty, waiting := f.start(0), f.start(8)
	f.e.World.Step(0)
	slotOf := func(op *bdevtest.Op) int {
		for i := range q.slots {
			if q.slots[i].req == &op.Request {
				return i
			}
		}
		return -1
	}
	for round := range crashesMax {
		r := &f.region.rings[0]
		r.running[slotOf(guilty)] = 1
		if n := q.detach(true, false); n != min(1, crashesMax-1-round) {
			t.Fatalf("round %d: %d suspects", round, n)
		}
		if round == crashesMax-1 {
			break
		}
		*r = f.region.ring(0, 1)
		clear(unsafe.Slice((*byte)(unsafe.Pointer(r.shared)), ringStride()))
		q.attach(r, true)
		if !q.issueSuspect() || q.inRing != 1 || q.issueSuspect() {
			t.Fatalf("%d suspects in the ring, want 1", q.inRing)
		}
	}
	f.e.World.Run()
	f.e.Want(guilty, bdev.StatusHardwareError)
	if waiting.Ended != 0 {
		t.Errorf("the other request: %v", waiting.Status)
	}
	q.endHeld(bdev.StatusNotReady)
	f.e.World.Run()
}
