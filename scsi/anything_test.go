package scsi

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"pollux/bdev"
)

// chaos is a world in which everything happens at once, decided by a seed.
type chaos struct {
	b      *bench
	rng    *rand.Rand
	actors []*actor
	open   int // tasks that a nexus has
	ended  int
	quiet  bool // no new tasks
}

// actor is an initiator that keeps tasks of every kind under way.
type actor struct {
	c    *chaos
	name string
	n    *initiator
	gone bool // its nexus is being closed
}

// anyCDB is a command with what it sends.
func (c *chaos) anyCDB(key uint64) (cdb, out []byte, in int) {
	lba := uint32(c.rng.IntN(200))
	other := uint64(c.rng.IntN(3) + 1)
	switch c.rng.IntN(16) {
	case 0:
		return cdbOut(outRegisterIgnore, 0, 24), outList(0, key), 0
	case 1:
		return cdbOut(outReserve, 5, 24), outList(key, 0), 0
	case 2:
		return cdbOut(outPreemptAbort, 1, 24), outList(key, other), 0
	case 3:
		return cdbOut(outPreempt, 8, 24), outList(key, other), 0
	case 4:
		return cdbOut(outClear, 0, 24), outList(key, 0), 0
	case 5:
		return cdbSwap(uint64(lba), 2), make([]byte, 4*benchBlock), 0
	case 6:
		return cdb16(0x8b, 8, uint64(lba), 3), fill(3*benchBlock, 1), 0
	case 7:
		return cdb10(0x41, 0, lba, 100), fill(benchBlock, byte(lba)), 0
	case 8:
		list := unmapList(uint64(lba), 3, 300, 2)
		return cdbUnmap(len(list)), list, 0
	case 9:
		return []byte{0x16 + byte(c.rng.IntN(2)), 0, 0, 0, 0, 0}, nil, 0
	case 10:
		return cdb10(0x2e, 2, lba, 2), fill(2*benchBlock, 2), 0
	case 11:
		return []byte{0x1b, 0, 0, 0, byte(c.rng.IntN(2)), 0}, nil, 0
	case 12:
		return cdb10(0x28, 8, lba, 4), nil, c.rng.IntN(5 * benchBlock)
	default:
		return cdb10(0x2a, 0, lba, 4), fill(4*benchBlock, 3), 0
	}
}

// issue gives the nexus a new task; its data-out may take a while or never come.
func (a *actor) issue() {
	c := a.c
	if a.gone || c.quiet {
		return
	}
	cdb, out, in := c.anyCDB(uint64(a.name[0]))
	t := a.n.new(uint64(c.rng.IntN(2)), cdb, out, in)
	t.Attribute = Attribute(c.rng.IntN(4))
	t.onFinish = func() {
		c.open--
		c.ended++
		if t.finished != 1 {
			c.b.t.Errorf("% x finished %d times", cdb, t.finished)
		}
		a.issue()
	}
	if !a.n.Prepare(&t.Task) {
		a.later(a.issue)
		return
	}
	c.open++
	switch c.rng.IntN(6) {
	case 0:
		a.later(func() { a.goOn(t) })
	default:
		t.execute()
	}
}

// goOn executes or cancels a prepared task, unless it has been ended meanwhile.
func (a *actor) goOn(t *testTask) {
	if t.phase != phasePrepared {
		return
	}
	if a.c.rng.IntN(3) > 0 {
		t.execute()
		return
	}
	a.c.open--
	a.n.Cancel(&t.Task)
	a.later(a.issue)
}

func (a *actor) later(fn func()) {
	w := writer{n: a.n, f: &fencing{rng: a.c.rng}}
	w.later(fn)
}

func (c *chaos) join(i int) *actor {
	a := &actor{c: c, name: string(rune('\x01' + i))}
	a.n = c.b.openRaw(c.rng.IntN(len(c.b.w.Reactors)), a.name)
	c.b.must(a.n.r.Call(func() {
		for range 4 {
			a.issue()
		}
	}))
	return a
}

// event is something that happens to the target while tasks are under way.
func (c *chaos) event() {
	i := c.rng.IntN(len(c.actors))
	a := c.actors[i]
	switch c.rng.IntN(5) {
	case 0:
		a.gone = true
		a.n.close()
		c.actors[i] = c.join(i)
	case 1:
		if len(c.b.dev.LUNs()) == 2 {
			c.b.must(c.b.dev.RemoveLUN(1))
		} else {
			_, err := c.b.dev.AddLUN(1, "Disk1", LUNOptions{})
			c.b.must(err)
		}
	case 2:
		d, err := c.b.reg.Lookup("Disk0")
		c.b.must(err)
		c.b.must(d.Resize(uint64(1000 + c.rng.IntN(1000))))
	default:
		f := Function(c.rng.IntN(9) + 1)
		if a.n.manage(f, c.rng.IntN(2), uint64(c.rng.IntN(int(a.n.tag)+1))) == ResponseRejected {
			c.b.t.Errorf("function %d was rejected", f)
		}
	}
}

// TestGateAnything lets three nexuses do anything while nexuses close, LUNs come and go and change their size, and functions abort. In the end
// nothing is left: no task, no buffer, no waiting.
func TestGateAnything(t *testing.T) {
	for seed := range uint64(gateRounds / 30) {
		for _, reactors := range []int{1, 2} {
			runChaos(t, reactors, seed)
			if t.Failed() {
				t.Fatalf("%d reactors, seed %d", reactors, seed)
			}
		}
	}
}

func runChaos(t *testing.T, reactors int, seed uint64) {
	can := diskOps
	if seed%2 == 1 {
		can |= ops(bdev.OpAbort)
	}
	c := &chaos{b: newBenchSpec(t, reactors, can, bdev.Spec{WriteCache: seed%4 < 2}), rng: rand.New(rand.NewPCG(seed, 4))}
	defer c.b.w.Close()
	c.b.addDisk("Disk1", can, bdev.Spec{}).delay = randomDelay(c.rng, 20*time.Microsecond)
	c.b.disk.delay = randomDelay(c.rng, 50*time.Microsecond)
	_, err := c.b.dev.AddLUN(1, "Disk1", LUNOptions{})
	c.b.must(err)
	c.b.w.Seed(seed)
	for i := range 3 {
		c.actors = append(c.actors, c.join(i))
	}
	for range 20 {
		c.b.w.Advance(time.Duration(c.rng.IntN(200_000)))
		c.event()
	}
	c.finish()
}

// finish lets everything end, and looks for what is left.
func (c *chaos) finish() {
	c.quiet = true
	c.b.w.Advance(10 * time.Millisecond)
	if c.open != 0 || c.ended < 100 {
		c.b.t.Errorf("%d tasks are open, %d have ended", c.open, c.ended)
	}
	for _, a := range c.actors {
		a.n.close()
	}
	c.b.must(c.b.dev.Close())
	c.b.must(c.b.reg.Close())
	for i, r := range c.b.w.Reactors {
		if n := r.Buffers().Out(); n != 0 {
			c.b.t.Errorf("reactor %d: %s", i, fmt.Sprint(n, " buffers are left"))
		}
	}
}
