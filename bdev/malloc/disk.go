package malloc

import (
	"fmt"
	"math/bits"
	"os"
	"sync/atomic"

	"pollux/bdev"
	"pollux/reactor"
)

// requestMax is the largest request that a disk takes at once, in bytes: it is carried out inside Submit.
const requestMax = 4 << 20

// disk is one device. All reactors use it; what they share is the sequence words, the extents and the memory these guard.
type disk struct {
	mem     []byte
	shift   uint8 // log2 of the block size
	page    uint64
	stripes stripes
	extents extents
	queues  atomic.Int32 // written by the reactors that open and close them
	pausing
}

func newDisk(blocks uint64, blockSize uint32) (*disk, error) {
	size := blocks * uint64(blockSize)
	mem, err := allocate(size)
	if err != nil {
		return nil, err
	}
	page := uint64(os.Getpagesize())
	return &disk{
		mem: mem, shift: uint8(bits.TrailingZeros32(blockSize)), page: page,
		stripes: newStripes(size), extents: newExtents(size, max(page, uint64(blockSize))),
	}, nil
}

// queue is a reactor's path to the disk. It has no state: everything is done inside Submit.
type queue struct{ d *disk }

// OpenQueue makes the path from r.
func (d *disk) OpenQueue(*reactor.Reactor) (bdev.Queue, error) {
	d.queues.Add(1)
	return &queue{d}, nil
}

// Supports: flush is not needed, copy and the rest are made of reads and writes.
func (d *disk) Supports(op bdev.Op) bool {
	switch op {
	case bdev.OpRead, bdev.OpWrite, bdev.OpUnmap, bdev.OpWriteZeroes, bdev.OpCompare, bdev.OpCompareAndWrite,
		bdev.OpSeekData, bdev.OpSeekHole:
		return true
	default:
		return false
	}
}

// Destroy gives the memory back.
func (d *disk) Destroy() error {
	if n := d.queues.Load(); n != 0 {
		panic(fmt.Sprintf("malloc: memory freed under %d open queues", n))
	}
	mem := d.mem
	d.mem = nil
	return free(mem)
}

func (q *queue) Close() { q.d.queues.Add(-1) }

// Submit does the request at once.
func (q *queue) Submit(r *bdev.Request) { r.Complete(q.d.do(r)) }

func (d *disk) do(r *bdev.Request) bdev.Status {
	off, n := r.LBA<<d.shift, r.Blocks<<d.shift
	switch r.Op {
	case bdev.OpRead:
		return d.read(off, n, r.Data)
	case bdev.OpWrite:
		return d.write(off, n, r.Data)
	case bdev.OpCompare:
		return d.compare(off, n, r)
	case bdev.OpCompareAndWrite:
		return d.compareAndWrite(off, n, r)
	case bdev.OpUnmap:
		return d.unmap(off, n)
	case bdev.OpWriteZeroes:
		if r.Flags&bdev.FlagUnmap != 0 {
			return d.unmap(off, n)
		}
		return d.zero(off, n)
	case bdev.OpSeekData, bdev.OpSeekHole:
		return d.seek(r)
	default:
		return bdev.StatusUnsupported
	}
}

// span is the bytes from off to the end of its stripe, at most n.
func span(off, n uint64) uint64 { return min(n, stripeSize-off&(stripeSize-1)) }

func (d *disk) read(off, n uint64, data [][]byte) bdev.Status {
	at := bdev.CursorOf(data)
	for n > 0 {
		m := span(off, n)
		if !d.readStripe(off, m, &at) {
			return bdev.StatusNoMemory
		}
		off, n = off+m, n-m
	}
	return bdev.StatusOK
}

// readStripe copies from one stripe until nothing has changed meanwhile. It fails when that does not come about.
func (d *disk) readStripe(off, n uint64, at *bdev.Cursor) bool {
	for range rereadMax {
		v, ok := d.stripes.beginRead(off)
		if !ok {
			return false
		}
		try := *at
		for src := d.mem[off : off+n]; len(src) > 0; {
			piece := try.Next(len(src))
			d.copy(piece, src[:len(piece)])
			src = src[len(piece):]
		}
		if d.stripes.endRead(off, v) {
			*at = try
			return true
		}
	}
	return false
}

func (d *disk) write(off, n uint64, data [][]byte) bdev.Status {
	at := bdev.CursorOf(data)
	for n > 0 {
		m := span(off, n)
		if !d.stripes.lock(off) {
			return bdev.StatusNoMemory
		}
		d.writeLocked(off, m, &at)
		d.stripes.unlock(off)
		off, n = off+m, n-m
	}
	return bdev.StatusOK
}

// writeLocked copies into memory whose words the caller has.
func (d *disk) writeLocked(off, n uint64, at *bdev.Cursor) {
	d.extents.set(off, n)
	for dst := d.mem[off : off+n]; len(dst) > 0; {
		piece := at.Next(len(dst))
		d.copy(dst[:len(piece)], piece)
		dst = dst[len(piece):]
	}
}

func (d *disk) compare(off, n uint64, r *bdev.Request) bdev.Status {
	at, begin := bdev.CursorOf(r.Data), off
	for n > 0 {
		m := span(off, n)
		diff, ok := d.compareStripe(off, m, &at)
		switch {
		case !ok:
			return bdev.StatusNoMemory
		case diff >= 0:
			r.Result = off - begin + uint64(diff)
			return bdev.StatusMiscompare
		}
		off, n = off+m, n-m
	}
	return bdev.StatusOK
}

func (d *disk) compareStripe(off, n uint64, at *bdev.Cursor) (diff int, ok bool) {
	for range rereadMax {
		v, ok := d.stripes.beginRead(off)
		if !ok {
			return 0, false
		}
		try := *at
		diff = try.Compare(d.mem[off : off+n])
		if d.stripes.endRead(off, v) {
			*at = try
			return diff, true
		}
	}
	return 0, false
}

// compareAndWrite has all its stripes to itself, so that it is one instant.
func (d *disk) compareAndWrite(off, n uint64, r *bdev.Request) bdev.Status {
	if !d.stripes.lockRange(off, n) {
		return bdev.StatusNoMemory
	}
	defer d.stripes.unlockRange(off, n)
	expected, at := bdev.CursorOf(r.Compare), bdev.CursorOf(r.Data)
	if diff := expected.Compare(d.mem[off : off+n]); diff >= 0 {
		r.Result = uint64(diff)
		return bdev.StatusMiscompare
	}
	d.halfWay()
	d.writeLocked(off, n, &at)
	return bdev.StatusOK
}

func (d *disk) zero(off, n uint64) bdev.Status {
	for n > 0 {
		m := span(off, n)
		if !d.stripes.lock(off) {
			return bdev.StatusNoMemory
		}
		d.extents.set(off, m)
		clear(d.mem[off : off+m])
		d.stripes.unlock(off)
		off, n = off+m, n-m
	}
	return bdev.StatusOK
}

// unmap gives whole pages back and zeroes what is left at the ends.
func (d *disk) unmap(off, n uint64) bdev.Status {
	if !d.extents.any(off, n) || bdev.Mutated(bdev.MutateUnmapKeeps) {
		return bdev.StatusOK
	}
	if !d.stripes.lockRange(off, n) {
		return bdev.StatusNoMemory
	}
	defer d.stripes.unlockRange(off, n)
	begin, end := (off+d.page-1)&^(d.page-1), (off+n)&^(d.page-1)
	if begin >= end {
		clear(d.mem[off : off+n])
	} else {
		clear(d.mem[off:begin])
		forget(d.mem[begin:end])
		clear(d.mem[end : off+n])
	}
	d.extents.clear(off, n)
	return bdev.StatusOK
}

func (d *disk) seek(r *bdev.Request) bdev.Status {
	r.Result = uint64(len(d.mem)) >> d.shift
	if r.LBA >= r.Result {
		return bdev.StatusOK
	}
	if at, ok := d.extents.seek(r.LBA<<d.shift, r.Op == bdev.OpSeekHole); ok {
		r.Result = min(r.Result, at>>d.shift)
	}
	return bdev.StatusOK
}
