package bdevtest

import (
	"math/rand/v2"
	"testing"
	"time"

	"pollux/bdev"
	"pollux/reactor"
)

// load keeps reads and writes in flight from both reactors until it is stopped, and counts how they end.
type load struct {
	*run
	ops     []*Op
	busy    int
	stopped bool
	ended   [bdev.StatusCount]int
}

// loadOps is what the load does: plain I/O, and what takes range locks and buffers where it is emulated.
var loadOps = []bdev.Op{
	bdev.OpRead, bdev.OpRead, bdev.OpWrite, bdev.OpWrite, bdev.OpCompareAndWrite, bdev.OpCopy, bdev.OpWriteZeroes, bdev.OpFlush,
}

func (r *run) startLoad(clients [2]*Client, size uint64) *load {
	l := &load{run: r}
	rng := rand.New(rand.NewPCG(r.seed, 4))
	for i := range 8 {
		c, mem, expected := clients[i%2], r.Memory(8*int(r.blockSize)), r.Memory(8*int(r.blockSize))
		o := NewOp(bdev.Request{})
		again := func() {
			o.Op = loadOps[rng.IntN(len(loadOps))]
			o.Flags = bdev.Flags(rng.IntN(4))
			o.Blocks = 1 + rng.Uint64N(8)
			o.LBA, o.SrcLBA = rng.Uint64N(size-o.Blocks+1), rng.Uint64N(size-o.Blocks+1)
			o.Data = [][]byte{mem[:o.Blocks*uint64(r.blockSize)]}
			o.Compare = [][]byte{expected[:o.Blocks*uint64(r.blockSize)]}
			c.Submit(o)
		}
		var next reactor.Timer // So that the clock goes on, and a device that ends everything at once does not fill a pass.
		next.Bind(c.R, func() {
			if l.stopped || c.Closed {
				l.busy--
				return
			}
			again()
		})
		o.After = func() {
			l.ended[o.Status]++
			if o.Ended != 1 {
				r.T.Errorf("%v ended %d times", o.Op, o.Ended)
			}
			o.Ended = 0
			next.Start(time.Microsecond)
		}
		l.busy++
		again()
		l.ops = append(l.ops, o)
	}
	return l
}

// stop waits for the end of what is in flight.
func (l *load) stop() {
	l.T.Helper()
	l.stopped = true
	l.Until(func() bool { return l.busy == 0 })
}

// want fails the test if any request ended with another status than these, or a miscompare.
func (l *load) want(statuses ...bdev.Status) {
	l.T.Helper()
	all, some := 0, l.ended[bdev.StatusMiscompare]
	for _, n := range l.ended {
		all += n
	}
	for _, s := range statuses {
		some += l.ended[s]
	}
	if all != some || all == 0 {
		l.T.Fatalf("requests ended: %v, want only %v", l.ended, statuses)
	}
}

// steps lets each reactor do n passes.
func (r *run) steps(n int) {
	for range n {
		r.World.Step(0)
		r.World.Step(1)
	}
}

// testAbortReset: aborts and resets complete when what they are about has.
func testAbortReset(r *run) {
	_, clients := r.open(64)
	l := r.startLoad(clients, 64)
	for i := range r.rounds(100) {
		c := clients[i%2]
		r.steps(1)
		target := c.Start(bdev.Request{Op: bdev.OpRead, LBA: 3, Blocks: 1, Data: r.blocksOf(1, 0)})
		abort := c.Start(bdev.Request{Op: bdev.OpAbort, Target: &target.Request})
		abort.After = func() {
			if target.Ended != 1 {
				r.T.Errorf("the abort ended before its target")
			}
		}
		r.Wait(abort)
		before := c.Start(bdev.Request{Op: bdev.OpRead, LBA: 3, Blocks: 1, Data: r.blocksOf(1, 0)})
		reset := c.Start(bdev.Request{Op: bdev.OpReset})
		reset.After = func() {
			if before.Ended != 1 {
				r.T.Errorf("the reset ended before a request that was in flight")
			}
		}
		r.Wait(reset)
		r.Want(reset, bdev.StatusOK)
	}
	l.stop()
	l.want(bdev.StatusOK, bdev.StatusAborted)
}

// testRemove: removal with I/O outstanding ends each request once and returns when nothing is left.
func testRemove(r *run) {
	name, clients := r.open(64)
	l := r.startLoad(clients, 64)
	k := clients[1].newLock()
	k.grant.Bind(k.unlock)
	k.lock(0, 64)
	r.steps(2)
	if err := r.Registry.Unregister(name); err != nil {
		r.T.Fatalf("unregister: %v", err)
	}
	r.World.Advance(time.Millisecond)
	l.want(bdev.StatusOK, bdev.StatusRemoved, bdev.StatusAborted)
	if l.busy != 0 || !k.released {
		r.T.Fatalf("unregistered with %d requests in flight, lock released: %v", l.busy, k.released)
	}
	if _, err := r.Registry.Open(name, bdev.OpenOptions{}); err == nil {
		r.T.Fatal("the device can still be opened")
	}
}

// testResize: a smaller size holds for what is submitted afterwards and waits for what is in flight. The layer is told, not the
// module, which has the larger size.
func testResize(r *run) {
	name, clients := r.open(64)
	d, err := r.Registry.Lookup(name)
	if err != nil {
		r.T.Fatal(err)
	}
	l := r.startLoad(clients, 32)
	events := 0
	r.Open(0, name, bdev.OpenOptions{Event: func(e bdev.Event) {
		if e == bdev.EventResize {
			events++
		}
	}})
	late := clients[1].Start(bdev.Request{Op: bdev.OpRead, LBA: 60, Blocks: 1, Data: r.blocksOf(1, 0)})
	full := d.Blocks()
	if err := d.Resize(32); err != nil {
		r.T.Fatalf("resize: %v", err)
	}
	if late.Ended != 1 {
		r.T.Fatal("resized while a request was in flight beyond the new end")
	}
	r.Want(clients[0].Do(bdev.Request{Op: bdev.OpWrite, LBA: 32, Blocks: 1, Data: r.blocksOf(1, 0)}), bdev.StatusOutOfRange)
	if err := d.Resize(full); err != nil {
		r.T.Fatalf("resize: %v", err)
	}
	r.Want(clients[0].Do(bdev.Request{Op: bdev.OpRead, LBA: 32, Blocks: 1, Data: r.blocksOf(1, 0)}), bdev.StatusOK)
	l.stop()
	l.want(bdev.StatusOK)
	if events != 2 {
		r.T.Fatalf("%d resize events, want 2", events)
	}
}

// testAllocations: after a warm-up, plain I/O and emulated operations allocate nothing.
func testAllocations(r *run) {
	_, clients := r.open(64)
	c := clients[0]
	ended := 0
	mem := r.blocksOf(8, 0)
	cmp := r.blocksOf(8, 0)
	ops := []bdev.Op{bdev.OpRead, bdev.OpWrite, bdev.OpFlush, bdev.OpWriteZeroes, bdev.OpCompareAndWrite, bdev.OpCopy}
	var reqs []*bdev.Request
	for _, op := range ops {
		q := &bdev.Request{Op: op, Flags: bdev.FlagFUA, LBA: 8, SrcLBA: 24, Blocks: 8, Data: mem, Compare: cmp}
		q.Done = func(*bdev.Request) { ended++ }
		reqs = append(reqs, q)
	}
	once := func() {
		for _, q := range reqs {
			ended = 0
			c.C.Submit(q)
			for ended == 0 {
				if r.World.Step(0)+r.World.Step(1) == 0 {
					r.idle()
				}
			}
		}
	}
	once()
	if n := testing.AllocsPerRun(r.rounds(50), once); n != 0 {
		r.T.Fatalf("%v allocations for %d requests", n, len(ops))
	}
}

// testDurable: what was written with FUA, or flushed, is there after a power failure; and of what was neither, nothing torn.
func testDurable(r *run) {
	name, clients := r.open(64)
	a, b, z := r.blocksOf(2, 0xaa), r.blocksOf(2, 0xbb), r.blocksOf(2, 0)
	do := func(i int, q bdev.Request) {
		r.T.Helper()
		q.Blocks = 2
		if q.Op == bdev.OpFlush {
			q.Blocks = 0
		}
		r.Want(clients[i].Do(q), bdev.StatusOK)
	}
	for lba := uint64(0); lba < 64; lba += 2 {
		do(0, bdev.Request{Op: bdev.OpWrite, LBA: lba, Data: a})
	}
	do(1, bdev.Request{Op: bdev.OpFlush}) // Of another reactor.
	do(0, bdev.Request{Op: bdev.OpWrite, Flags: bdev.FlagFUA, LBA: 2, Data: b})
	do(0, bdev.Request{Op: bdev.OpWriteZeroes, Flags: bdev.FlagFUA, LBA: 4})
	do(0, bdev.Request{Op: bdev.OpCompareAndWrite, Flags: bdev.FlagFUA, LBA: 6, Compare: a, Data: b})
	do(0, bdev.Request{Op: bdev.OpCopy, Flags: bdev.FlagFUA, LBA: 8, SrcLBA: 2})
	want := map[uint64][][]byte{0: a, 2: b, 4: z, 6: b, 8: b, 12: a}
	if clients[0].Desc.Device().Supports(bdev.OpUnmap) {
		do(0, bdev.Request{Op: bdev.OpUnmap, Flags: bdev.FlagFUA, LBA: 10})
		want[10] = z
	}
	do(0, bdev.Request{Op: bdev.OpWrite, LBA: 20, Data: b}) // May be lost.
	r.suite.Crash()
	got := r.blocksOf(2, 0x11)
	for lba, data := range want {
		r.Want(clients[1].Do(bdev.Request{Op: bdev.OpRead, LBA: lba, Blocks: 2, Data: got}), bdev.StatusOK)
		if at := bdev.Difference(got[0], data[0]); at >= 0 {
			r.T.Fatalf("%s: after a power failure byte %d at LBA %d is %#x, want %#x", name, at, lba, got[0][at], data[0][at])
		}
	}
}
