package bdevtest

import (
	"encoding/binary"
	"math/rand/v2"

	"pollux/bdev"
	"pollux/reactor"
)

// stamp fills every 8 bytes of each block with one value.
func stamp(b []byte, v uint64) {
	for i := 0; i < len(b); i += 8 {
		binary.LittleEndian.PutUint64(b[i:], v)
	}
}

// stampOf is the value of a stamped block, and false when it has two.
func stampOf(block []byte) (v uint64, ok bool) {
	v = binary.LittleEndian.Uint64(block)
	for i := 8; i < len(block); i += 8 {
		if binary.LittleEndian.Uint64(block[i:]) != v {
			return 0, false
		}
	}
	return v, true
}

// testAtomicBlocks: while both reactors write, zero and unmap the same blocks, no reader sees two stamps in one block.
func testAtomicBlocks(r *run) {
	const size, long = 64, 16
	_, clients := r.open(size)
	rng := rand.New(rand.NewPCG(r.seed, 2))
	var next uint64
	left := r.rounds(400)
	busy := 0
	for i := range 8 {
		c, mem := clients[i%2], r.Memory(long*int(r.blockSize))
		o := NewOp(bdev.Request{})
		again := func() {
			if left--; left < 0 {
				return
			}
			o.Op, o.Flags = bdev.OpWrite, 0
			o.Blocks = 1 + rng.Uint64N(long)
			o.LBA = rng.Uint64N(size - o.Blocks + 1)
			o.Data = [][]byte{mem[:o.Blocks*uint64(r.blockSize)]}
			switch next++; rng.IntN(6) {
			case 0:
				o.Op, o.Flags = bdev.OpWriteZeroes, bdev.FlagUnmap
			case 1:
				o.Op, o.Flags = bdev.OpWriteZeroes, 0
			case 2, 3:
				o.Op = bdev.OpRead
			default:
				stamp(o.Data[0], next)
			}
			busy++
			c.Submit(o)
		}
		o.After = func() {
			busy--
			if o.Status != bdev.StatusOK {
				r.T.Errorf("%v: %v", o.Op, o.Status)
			}
			if o.Op == bdev.OpRead {
				r.checkStamps(o)
			}
			o.Ended = 0
			again()
		}
		again()
	}
	r.Until(func() bool { return busy == 0 })
}

// checkStamps looks at every block that was read.
func (r *run) checkStamps(o *Op) {
	for lba, b := o.LBA, o.Data[0]; len(b) > 0; lba, b = lba+1, b[r.blockSize:] {
		if _, ok := stampOf(b[:r.blockSize]); !ok {
			r.T.Errorf("block %d holds two stamps", lba)
		}
	}
}

// counter counts up in one block by read and compare-and-write.
type counter struct {
	c         *Client
	old, new  []byte
	read, caw *Op
	left      int
	successes uint64
}

// testCounter: what two reactors count up in one block is the number of their successes.
func testCounter(r *run) {
	_, clients := r.open(64)
	var counters []*counter
	running := 0
	for i := range 4 {
		n := &counter{c: clients[i%2], old: r.Memory(int(r.blockSize)), new: r.Memory(int(r.blockSize)), left: r.rounds(100)}
		n.start(&running)
		counters = append(counters, n)
	}
	r.Until(func() bool { return running == 0 })
	var want uint64
	for _, n := range counters {
		want += n.successes
	}
	block := r.blocksOf(1, 0)
	r.Want(clients[0].Do(bdev.Request{Op: bdev.OpRead, LBA: 5, Blocks: 1, Data: block}), bdev.StatusOK)
	if got, ok := stampOf(block[0]); !ok || got != want || want == 0 {
		r.T.Fatalf("the counter is %d (whole block: %v), the successes are %d", got, ok, want)
	}
}

func (n *counter) start(running *int) {
	*running++
	n.read = NewOp(bdev.Request{Op: bdev.OpRead, LBA: 5, Blocks: 1, Data: [][]byte{n.old}})
	n.caw = NewOp(bdev.Request{
		Op: bdev.OpCompareAndWrite, LBA: 5, Blocks: 1, Compare: [][]byte{n.old}, Data: [][]byte{n.new},
	})
	n.read.After = func() {
		v, _ := stampOf(n.old)
		stamp(n.new, v+1)
		n.c.Submit(n.caw)
	}
	n.caw.After = func() {
		if n.caw.Status == bdev.StatusOK {
			n.successes++
		}
		if n.left--; n.left == 0 {
			*running--
			return
		}
		n.c.Submit(n.read)
	}
	n.c.Submit(n.read)
}

// lock is a range lock with what it tells its user.
type lock struct {
	bdev.RangeLock
	c                 *Client
	granted, released bool
	grant, release    reactor.Message
}

func (c *Client) newLock() *lock {
	k := &lock{c: c}
	k.grant.Bind(func() { k.granted = true })
	k.release.Bind(func() { k.released = true })
	return k
}

func (k *lock) lock(lba, blocks uint64) {
	k.granted, k.released = false, false
	k.c.C.Lock(&k.RangeLock, lba, blocks, &k.grant)
}

func (k *lock) unlock() { k.c.C.Unlock(&k.RangeLock, &k.release) }

// testRangeLock: while a lock is held, overlapping requests of both reactors wait, others and its own do not.
func testRangeLock(r *run) {
	_, clients := r.open(64)
	a, b := r.blocksOf(4, 0xaa), r.blocksOf(4, 0xbb)
	k := clients[0].newLock()
	for range 3 { // A lock is used again.
		k.lock(10, 10)
		r.Until(func() bool { return k.granted })
		var waiting []*Op
		for _, c := range clients {
			waiting = append(waiting,
				c.Start(bdev.Request{Op: bdev.OpWrite, LBA: 19, Blocks: 4, Data: b}),
				c.Start(bdev.Request{Op: bdev.OpRead, LBA: 7, Blocks: 4, Data: r.blocksOf(4, 0)}),
				c.Start(bdev.Request{Op: bdev.OpCopy, LBA: 40, SrcLBA: 15, Blocks: 2}))
			r.Want(c.Do(bdev.Request{Op: bdev.OpWrite, LBA: 6, Blocks: 4, Data: a}), bdev.StatusOK)
			r.Want(c.Do(bdev.Request{Op: bdev.OpWrite, LBA: 20, Blocks: 4, Data: a}), bdev.StatusOK)
		}
		mine := clients[0].Do(bdev.Request{Op: bdev.OpWrite, LBA: 16, Blocks: 4, Data: a, Lock: &k.RangeLock})
		r.Want(mine, bdev.StatusOK)
		caw := clients[0].Do(bdev.Request{
			Op: bdev.OpCompareAndWrite, LBA: 16, Blocks: 4, Compare: a, Data: b, Lock: &k.RangeLock,
		})
		r.Want(caw, bdev.StatusOK)
		r.World.Run()
		for _, o := range waiting {
			if o.Ended != 0 {
				r.T.Fatalf("%v at %d ended under the lock of another", o.Op, o.LBA)
			}
		}
		k.unlock()
		r.Wait(waiting...)
		r.Until(func() bool { return k.released })
	}
}

// testRangeLockOrder: locks that overlap are held one after the other, and each waits for what is in flight.
func testRangeLockOrder(r *run) {
	_, clients := r.open(64)
	rng := rand.New(rand.NewPCG(r.seed, 3))
	holders, rounds := 0, 0
	for i := range 6 {
		c := clients[i%2]
		k := &lock{c: c}
		io := NewOp(bdev.Request{Op: bdev.OpRead, LBA: 20, Blocks: 2, Data: r.blocksOf(2, 0), Lock: &k.RangeLock})
		left := 10
		before := NewOp(bdev.Request{Op: bdev.OpRead, LBA: 19, Blocks: 2, Data: r.blocksOf(2, 0)})
		next := func() {
			before.Ended = 0
			c.Submit(before)
			k.lock(rng.Uint64N(20), 21) // All contain LBA 20, and so does the read before.
		}
		k.grant.Bind(func() {
			if holders++; holders != 1 {
				r.T.Errorf("%d overlapping locks are held at once", holders)
			}
			if before.Ended != 1 {
				r.T.Errorf("a lock is held while a request from before it is in flight")
			}
			c.Submit(io)
		})
		io.After = func() {
			holders--
			rounds++
			io.Ended = 0
			k.unlock()
		}
		k.release.Bind(func() {
			if left--; left > 0 {
				next()
			}
		})
		next()
	}
	r.Until(func() bool { return rounds == 60 })
	r.World.Run()
}
