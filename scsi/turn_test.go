package scsi

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"pollux/bdev"
)

// with sets the task attribute.
func (t *testTask) with(a Attribute) *testTask {
	t.Attribute = a
	return t
}

// TestOrderBetweenNexuses: an ordered task waits for what other nexuses have under way, and holds back what they send next; head of
// queue tasks pass.
func TestOrderBetweenNexuses(t *testing.T) {
	b := newBench(t, 2)
	a, c, d := b.open(0, "a"), b.open(1, "c"), b.open(0, "d")
	b.disk.held = true
	inDevice := func(want int, when string) {
		t.Helper()
		b.w.Run()
		if len(b.disk.kept) != want {
			t.Fatalf("%s: the device has %d requests, want %d", when, len(b.disk.kept), want)
		}
	}
	older := c.write(1, '1').start()
	inDevice(1, "a simple task of another nexus")
	ordered := a.write(2, '2').with(AttributeOrdered).start()
	younger, mine := d.write(3, '3'), a.write(4, '4')
	inDevice(1, "an ordered task behind it")
	younger.start()
	mine.start()
	inDevice(1, "simple tasks behind that one")
	b.releaseAndHold()
	inDevice(1, "the older one has ended")
	if older.finished != 1 || ordered.finished != 0 {
		t.Fatal("the ordered task has not waited")
	}
	c.write(5, '5').with(AttributeHeadOfQueue).start()
	inDevice(2, "a head of queue task")
	e := b.openRaw(1, "e") // a nexus that comes now waits too
	late := e.new(0, tur, nil, 0).start()
	inDevice(2, "a new nexus")
	if late.finished != 1 || late.Status != StatusCheckCondition {
		t.Error("a unit attention is no task that waits")
	}
	late = e.write(6, '6').start()
	inDevice(2, "a write of the new nexus")
	b.release()
	for _, w := range []*testTask{ordered, younger, mine, late} {
		if w.finished != 1 || w.Status != StatusGood {
			t.Errorf("LBA %d: finished %d, status %#x", w.CDB[5], w.finished, w.Status)
		}
	}
	b.wantNoTurns()
}

func (b *bench) wantNoTurns() {
	b.t.Helper()
	b.w.Run()
	for _, l := range b.dev.luns {
		if len(l.turns) > 0 {
			b.t.Errorf("%d turns are left", len(l.turns))
		}
		for _, p := range l.paths {
			if p.turn != nil {
				b.t.Error("a reactor holds tasks back")
			}
		}
	}
}

// TestTurnsThatEndEarly: whatever ends an ordered task lets the others go on, in each state of its turn.
func TestTurnsThatEndEarly(t *testing.T) {
	ends := map[string]func(b *bench, a *initiator, w *testTask){
		"abort": func(b *bench, a *initiator, w *testTask) { a.startManage(FunctionAbortTask, 0, w.Tag) },
		"reset by another": func(b *bench, _ *initiator, _ *testTask) {
			b.openRaw(1, "other").startManage(FunctionLogicalUnitReset, 0, 0)
		},
		"close": func(b *bench, a *initiator, _ *testTask) {
			b.must(a.r.Call(func() { a.Nexus.Close(func() {}) }))
		},
	}
	for name, end := range ends {
		for _, waits := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, waits=%v", name, waits), func(t *testing.T) {
				b := newBenchSpec(t, 2, diskOps|ops(bdev.OpAbort), bdev.Spec{})
				a, c := b.open(0, "a"), b.open(1, "c")
				b.disk.held = true
				var older *testTask
				if waits {
					older = c.write(1, '1').start()
				}
				first := a.write(2, '2').with(AttributeOrdered).start()
				second := c.write(3, '3').with(AttributeOrdered).start()
				b.w.Run()
				end(b, a, first)
				b.w.Run()
				b.release()
				if first.finished != 1 || waits && older.finished != 1 || second.finished != 1 {
					t.Errorf("finished: the ended one %d, the next %d", first.finished, second.finished)
				}
				b.wantNoTurns()
				c.lun(0, tur) // a unit attention of the reset
				c.lun(0, tur).wantGood()
			})
		}
	}
}

// TestRemovalEndsTurns: a LUN goes away under an ordered task and those that wait for it.
func TestRemovalEndsTurns(t *testing.T) {
	b := newBench(t, 2)
	a, c := b.open(0, "a"), b.open(1, "c")
	b.disk.delay = func() time.Duration { return time.Millisecond }
	all := []*testTask{
		a.write(1, '1').with(AttributeOrdered).start(), c.write(2, '2').start(), c.write(3, '3').with(AttributeOrdered).start(),
	}
	b.must(b.dev.RemoveLUN(0))
	b.w.Run()
	for i, w := range all {
		if w.finished != 1 {
			t.Errorf("task %d: finished %d", i, w.finished)
		}
	}
	a.close()
	c.close()
}

// TestGateOrder: with simple, ordered and head of queue tasks of three nexuses on two reactors, nothing is at the device beside another
// nexus's ordered task but what may pass it.
func TestGateOrder(t *testing.T) {
	for seed := range uint64(gateSeeds) {
		if err := orderRound(t, seed); err != nil {
			t.Error(err)
		}
	}
}

func orderRound(t *testing.T, seed uint64) (wrong error) {
	const tasks, rounds = 4, 60
	b := newBench(t, 2)
	b.w.Seed(seed)
	rng := rand.New(rand.NewPCG(seed, 5))
	b.disk.delay = randomDelay(rng, 50*time.Microsecond)
	owner, inside := map[*bdev.Request]*testTask{}, map[*testTask]bool{}
	b.disk.enter = func(q *bdev.Request) {
		w := owner[q]
		for o := range inside {
			orders := w.Attribute == AttributeOrdered || o.Attribute == AttributeOrdered
			passes := w.Attribute == AttributeHeadOfQueue || o.Attribute == AttributeHeadOfQueue
			if o.n != w.n && orders && !passes {
				wrong = fmt.Errorf("seed %d: attribute %d of %s beside attribute %d of %s", seed, w.Attribute, w.n.initiator.Name, o.Attribute, o.n.initiator.Name)
			}
		}
		inside[w] = true
	}
	left := 0
	for i, name := range []string{"a", "b", "c"} {
		n := b.open(i%2, name)
		for lba := range uint32(tasks) {
			w := n.write(lba, 'x')
			owner[&w.Request] = w
			count := 0
			issue := func() {
				w.Attribute = AttributeSimple + Attribute(rng.IntN(3))
				if rng.IntN(3) > 0 {
					w.Attribute = AttributeSimple
				}
				if w.prepare() {
					w.execute()
				}
			}
			w.onFinish = func() {
				delete(inside, w)
				if count++; count < rounds {
					issue()
					return
				}
				left--
			}
			left++
			b.must(n.r.Call(issue))
		}
	}
	b.w.Run()
	for range 1000 {
		b.w.Advance(time.Millisecond)
	}
	if left > 0 {
		return fmt.Errorf("seed %d: %d tasks are stuck", seed, left)
	}
	b.wantNoTurns()
	return wrong
}
