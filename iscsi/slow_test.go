package iscsi_test

import (
	"encoding/binary"
	"math/rand/v2"
	"time"

	"pollux/bdev"
	"pollux/reactor"
)

// slowDisk is a block device whose requests take a while, by chance, and which remembers what reached it.
type slowDisk struct {
	g       *rig
	rng     *rand.Rand
	data    []byte
	longest time.Duration
	writes  func(stamp uint64) // told of each write as it takes effect, with the first eight bytes of its data
	queues  int
}

const slowBlocks = 4096

// addSlowDisk registers a slow disk under name.
func (g *rig) addSlowDisk(name string, seed uint64) *slowDisk {
	d := &slowDisk{
		g: g, rng: rand.New(rand.NewPCG(seed, 1)), longest: 3 * time.Millisecond,
		data: make([]byte, slowBlocks*rigBlockSize),
	}
	_, err := g.registry.Register(bdev.Spec{Name: name, ProductName: "Slow disk", BlockSize: rigBlockSize, Blocks: slowBlocks, Backend: d})
	g.must(err)
	return d
}

// OpenQueue makes the path of a reactor (bdev.Backend).
func (d *slowDisk) OpenQueue(r *reactor.Reactor) (bdev.Queue, error) {
	d.queues++
	return &slowQueue{d: d, r: r}, nil
}

// Supports is true of what the generic layer cannot emulate.
func (d *slowDisk) Supports(op bdev.Op) bool {
	return op == bdev.OpRead || op == bdev.OpWrite || op == bdev.OpFlush
}

// Destroy does nothing.
func (d *slowDisk) Destroy() error { return nil }

// slowQueue is one reactor's path.
type slowQueue struct {
	d *slowDisk
	r *reactor.Reactor
	n int
}

// Submit carries the request out after a while: a write takes effect only then.
func (q *slowQueue) Submit(b *bdev.Request) {
	q.n++
	timer := new(reactor.Timer)
	timer.Bind(q.r, func() {
		q.n--
		q.d.carryOut(b)
		b.Complete(bdev.StatusOK)
	})
	timer.Start(time.Duration(q.d.rng.Int64N(int64(q.d.longest))))
}

// Close gives the path back.
func (q *slowQueue) Close() {
	if q.n > 0 {
		panic("slow disk: a queue is closed with requests in flight")
	}
	q.d.queues--
}

func (d *slowDisk) carryOut(b *bdev.Request) {
	at := d.data[b.LBA*rigBlockSize:]
	if b.Op == bdev.OpWrite && d.writes != nil {
		d.writes(binary.BigEndian.Uint64(b.Data[0]))
	}
	for _, p := range b.Data {
		switch b.Op {
		case bdev.OpRead:
			copy(p, at)
		case bdev.OpWrite:
			copy(at, p)
		default: // a flush
		}
		at = at[len(p):]
	}
}
