package bdevtest

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"pollux/bdev"
	"pollux/reactor"
)

// Disk is a device in memory for tests of what is above it: it can hold requests back, refuse them, fail them, and lose what
// was not flushed. It supports what it is told to and checks that it gets nothing else. Under stepped reactors only.
type Disk struct {
	Native map[bdev.Op]bool
	Limits bdev.Limits
	Cache  bool // writes are durable after a flush
	FUA    bool

	// Hold keeps requests until Release; Later completes them after up to laterMax, in any order; otherwise they are completed
	// inside Submit.
	Hold, Later bool
	// Refuse, if not nil, is asked for every request; anything but StatusOK is the answer, once.
	Refuse func(*bdev.Request) bdev.Status

	Log       *[]string // if not nil, every request that reaches the disk is added, in order
	Held      []*bdev.Request
	Destroyed bool
	Queues    int

	blockSize uint64
	data      []byte    // what reads see
	durable   []byte    // what survives Crash
	model     Model     // over data
	dirty     [2]uint64 // the bytes from and to which data and durable may differ
}

// Everything is all operations that a module may support.
func Everything() map[bdev.Op]bool {
	m := map[bdev.Op]bool{}
	for op := range bdev.OpCount {
		m[op] = true
	}
	return m
}

// Only is a set of operations.
func Only(ops ...bdev.Op) map[bdev.Op]bool {
	m := map[bdev.Op]bool{}
	for _, op := range ops {
		m[op] = true
	}
	return m
}

// Register makes d a device of the registry.
func (d *Disk) Register(e *Env, name string, blockSize uint32, blocks uint64) *bdev.Device {
	e.T.Helper()
	d.blockSize = uint64(blockSize)
	d.data = make([]byte, blocks*d.blockSize)
	d.durable = make([]byte, blocks*d.blockSize)
	d.model = Model{BlockSize: d.blockSize, Data: d.data}
	dev, err := e.Registry.Register(bdev.Spec{
		Name: name, ProductName: "Test disk", BlockSize: blockSize, Blocks: blocks,
		WriteCache: d.Cache, FUA: d.FUA, Limits: d.Limits, Backend: d,
	})
	if err != nil {
		e.T.Fatal(err)
	}
	return dev
}

// Bytes is the medium as reads see it.
func (d *Disk) Bytes() []byte { return d.data }

// Crash loses what was not made durable.
func (d *Disk) Crash() {
	if d.Cache {
		copy(d.data, d.durable)
	}
}

// OpenQueue makes the path from r.
func (d *Disk) OpenQueue(r *reactor.Reactor) (bdev.Queue, error) {
	if d.Destroyed {
		return nil, errors.New("destroyed")
	}
	d.Queues++
	return &diskQueue{d: d, r: r, rng: rand.New(rand.NewPCG(uint64(r.ID()), 5))}, nil
}

// Supports says what Native says.
func (d *Disk) Supports(op bdev.Op) bool { return d.Native[op] }

// Destroy checks that the disk is not in use.
func (d *Disk) Destroy() error {
	if d.Queues != 0 {
		panic(fmt.Sprintf("bdevtest: disk destroyed under %d open queues", d.Queues))
	}
	if d.Destroyed {
		panic("bdevtest: disk destroyed twice")
	}
	d.Destroyed = true
	return nil
}

// Release does the i-th request that was held back. It may be called outside of a pass.
func (d *Disk) Release(i int) {
	q := d.Held[i]
	d.Held = slices.Delete(d.Held, i, i+1)
	q.Complete(d.do(q))
}

// ReleaseAll does everything that is held back, also what comes meanwhile.
func (d *Disk) ReleaseAll() {
	for len(d.Held) > 0 {
		d.Release(0)
	}
}

// laterMax is the longest that a request takes, in nanoseconds.
const laterMax = 20_000

type diskQueue struct {
	d    *Disk
	r    *reactor.Reactor
	rng  *rand.Rand
	free []*later
}

// later is a request that ends at its time.
type later struct {
	q       *diskQueue
	timer   reactor.Timer
	request *bdev.Request
}

// wait ends r later.
func (q *diskQueue) wait(r *bdev.Request) {
	if len(q.free) == 0 {
		p := &later{q: q}
		p.timer.Bind(q.r, p.over)
		q.free = append(q.free, p)
	}
	p := q.free[len(q.free)-1]
	q.free = q.free[:len(q.free)-1]
	p.request = r
	p.timer.Start(time.Duration(q.rng.IntN(laterMax)))
}

func (p *later) over() {
	r := p.request
	p.request = nil
	p.q.free = append(p.q.free, p)
	r.Complete(p.q.d.do(r))
}

// Close ends the path.
func (q *diskQueue) Close() { q.d.Queues-- }

// Submit takes a request, which must be one that the disk can do.
func (q *diskQueue) Submit(r *bdev.Request) {
	d := q.d
	d.check(r)
	if d.Refuse != nil {
		if s := d.Refuse(r); s != bdev.StatusOK {
			r.Complete(s)
			return
		}
	}
	if d.Log != nil {
		*d.Log = append(*d.Log, fmt.Sprintf("%v %d+%d", r.Op, r.LBA, r.Blocks))
	}
	switch {
	case r.Op == bdev.OpAbort:
		d.abort(r)
	case d.Hold:
		d.Held = append(d.Held, r)
	case d.Later:
		q.wait(r)
	default:
		r.Complete(d.do(r))
	}
}

func (d *Disk) abort(r *bdev.Request) {
	if i := slices.Index(d.Held, r.Target); i >= 0 {
		d.Held = slices.Delete(d.Held, i, i+1)
		r.Target.Complete(bdev.StatusAborted)
	}
	r.Complete(bdev.StatusOK)
}

// check panics on what the generic layer must not let through.
func (d *Disk) check(r *bdev.Request) {
	size := uint64(len(d.data)) / d.blockSize
	bad := ""
	lim := d.Limits
	most := uint64(lim.MaxTransferBlocks)
	switch r.Op {
	case bdev.OpUnmap:
		most = lim.MaxUnmapBlocks
	case bdev.OpWriteZeroes:
		most = lim.MaxWriteZeroesBlocks
	case bdev.OpFlush, bdev.OpReset, bdev.OpAbort, bdev.OpSeekData, bdev.OpSeekHole:
		most = 0
	default:
	}
	switch {
	case !d.Native[r.Op]:
		bad = "not supported"
	case r.LBA+r.Blocks > size:
		bad = "out of range"
	case most != 0 && r.Blocks > most:
		bad = "too large"
	case lim.MaxSegments != 0 && len(r.Data) > int(lim.MaxSegments):
		bad = "too many pieces"
	case lim.SplitAtBoundary && r.Blocks > 0 && r.LBA/uint64(lim.OptimalBoundaryBlocks) != (r.LBA+r.Blocks-1)/uint64(lim.OptimalBoundaryBlocks):
		bad = "across a boundary"
	case d.Destroyed:
		bad = "after Destroy"
	}
	if bad != "" {
		panic(fmt.Sprintf("bdevtest: the disk got %v %d+%d: %s", r.Op, r.LBA, r.Blocks, bad))
	}
}

// do carries out a request on the medium.
func (d *Disk) do(r *bdev.Request) bdev.Status {
	status := d.model.Do(r)
	switch {
	case !d.Cache: // Nothing is lost at Crash.
	case r.Op == bdev.OpFlush:
		copy(d.durable[d.dirty[0]:d.dirty[1]], d.data[d.dirty[0]:d.dirty[1]])
		d.dirty = [2]uint64{}
	case d.FUA && r.Op == bdev.OpWrite && r.Flags&bdev.FlagFUA != 0:
		off, n := r.LBA*d.blockSize, r.Blocks*d.blockSize
		copy(d.durable[off:off+n], d.data[off:off+n])
	case r.Blocks > 0:
		if d.dirty[1] == 0 {
			d.dirty[0] = r.LBA * d.blockSize
		}
		d.dirty = [2]uint64{min(d.dirty[0], r.LBA*d.blockSize), max(d.dirty[1], (r.LBA+r.Blocks)*d.blockSize)}
	}
	return status
}
