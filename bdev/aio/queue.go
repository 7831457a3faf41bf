package aio

import (
	"errors"
	"math/bits"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"pollux/bdev"
	"pollux/reactor"
	"pollux/reactor/uring"
)

const (
	// queueDepth is how many requests of one device and reactor the kernel has at once; more wait in the generic layer.
	queueDepth = 256
	// iovecsMax is the kernel's bound of pieces in one call (IOV_MAX).
	iovecsMax = 1024
	// transferMax is the largest request to the kernel, in bytes. One call moves at most 2 GiB less a page.
	transferMax = 16 << 20
	// punchMax is the largest range given to fallocate at once, in bytes: it must not keep a thread for long.
	punchMax = 1 << 30
)

// backend is one device. Fixed when it is made, but for failed.
type backend struct {
	file  *file
	shift uint8
	// failed is set by whoever sees a flush fail, on any reactor, and read by every flush: the kernel reports a failure once, and
	// may have dropped the data.
	failed atomic.Bool
	blocks atomic.Uint64 // the size; written by the control plane, read by seeks
}

func newBackend(f *file) *backend {
	b := &backend{file: f, shift: uint8(bits.TrailingZeros32(f.blockSize))}
	b.blocks.Store(f.size >> b.shift)
	return b
}

// Supports: what the file can do. Everything else is made of reads and writes.
func (b *backend) Supports(op bdev.Op) bool {
	switch op {
	case bdev.OpRead, bdev.OpFlush:
		return true
	case bdev.OpWrite:
		return !b.file.readOnly
	case bdev.OpUnmap:
		return b.file.punches
	case bdev.OpWriteZeroes:
		return b.file.zeroes
	case bdev.OpSeekData, bdev.OpSeekHole:
		return b.file.seeks
	default:
		return false
	}
}

// Destroy makes everything durable and closes the file.
func (b *backend) Destroy() error {
	var err error
	if !b.file.readOnly {
		err = b.file.sync()
	}
	return errors.Join(err, b.file.close())
}

// queue is a reactor's path to the device.
type queue struct {
	b    *backend
	r    *reactor.Reactor
	free *transfer
	all  []*transfer

	seeks int // that are going on
}

// OpenQueue makes the path from r.
func (b *backend) OpenQueue(r *reactor.Reactor) (bdev.Queue, error) {
	q := &queue{b: b, r: r}
	if err := q.grow(); err != nil {
		return nil, err
	}
	return q, nil
}

// grow adds a free transfer. It fails only when it is the first, for want of threads.
func (q *queue) grow() error {
	t := &transfer{q: q}
	done := func(res int32, _ uint32) { t.ended(int64(res)) }
	if q.b.file.direct {
		q.r.OpenOp(&t.op, done)
	} else if err := q.r.OpenThreadOp(&t.op, done); err != nil {
		return err
	}
	t.msg.Bind(t.sought)
	q.free = t
	q.all = append(q.all, t)
	return nil
}

// Close gives the places on the ring back.
func (q *queue) Close() {
	for _, t := range q.all {
		t.op.Close()
	}
}

// Submit begins a request.
func (q *queue) Submit(r *bdev.Request) {
	t := q.take()
	if t == nil {
		r.Complete(bdev.StatusNoMemory)
		return
	}
	t.begin(r)
}

// take is a free transfer, nil when queueDepth are busy.
func (q *queue) take() *transfer {
	if q.free == nil && (len(q.all) == queueDepth || q.grow() != nil) {
		return nil
	}
	t := q.free
	q.free, t.next = t.next, nil
	return t
}

// transfer is a request at the kernel.
type transfer struct {
	q    *queue
	op   reactor.Op
	next *transfer // in queue.free

	request *bdev.Request
	off     uint64
	left    uint64 // bytes
	iov     []uring.Iovec
	first   int // of iov, that is not done

	// For a seek, which is made elsewhere and writes res.
	msg reactor.Message
	res int64
}

// begin turns the request into what the kernel is asked for.
func (t *transfer) begin(r *bdev.Request) {
	b := t.q.b
	t.request, t.off, t.left, t.first = r, r.LBA<<b.shift, r.Blocks<<b.shift, 0
	switch r.Op {
	case bdev.OpRead, bdev.OpWrite:
		t.setPieces(r.Data)
	case bdev.OpFlush:
		if b.failed.Load() && !bdev.Mutated(bdev.MutateFlushForgetsFailure) {
			t.end(bdev.StatusMediumError)
			return
		}
		if bdev.Mutated(bdev.MutateFlushDoesNothing) {
			t.end(bdev.StatusOK)
			return
		}
	default:
	}
	t.submit()
}

// setPieces describes the data for the kernel.
func (t *transfer) setPieces(pieces [][]byte) {
	t.iov = t.iov[:0]
	for _, p := range pieces {
		var v uring.Iovec
		v.Set(p)
		t.iov = append(t.iov, v)
	}
}

// submit asks the kernel for what is left.
func (t *transfer) submit() {
	f := t.q.b.file
	switch t.request.Op {
	case bdev.OpRead:
		t.op.SQE().Readv(f.fd, t.iov[t.first:], int64(t.off), 0)
	case bdev.OpWrite:
		t.op.SQE().Writev(f.fd, t.iov[t.first:], int64(t.off), t.writeFlags())
	case bdev.OpFlush:
		t.op.SQE().Fsync(f.fd, true)
	case bdev.OpUnmap, bdev.OpWriteZeroes:
		t.op.SQE().Fallocate(f.fd, t.allocateMode(), int64(t.off), int64(t.left))
	case bdev.OpSeekData, bdev.OpSeekHole:
		t.seek()
	default:
		t.end(bdev.StatusUnsupported)
	}
}

// writeFlags is RWF_DSYNC for FUA.
func (t *transfer) writeFlags() uint32 {
	if t.isFUA() && !bdev.Mutated(bdev.MutateFUAIgnored) {
		return unix.RWF_DSYNC
	}
	return 0
}

func (t *transfer) isFUA() bool {
	return t.request.Op == bdev.OpWrite && t.request.Flags&bdev.FlagFUA != 0
}

// allocateMode is fallocate's: a hole, or zeroes that stay allocated.
func (t *transfer) allocateMode() uint32 {
	if t.request.Op == bdev.OpUnmap || t.request.Flags&bdev.FlagUnmap != 0 && t.q.b.file.punches {
		return unix.FALLOC_FL_PUNCH_HOLE | unix.FALLOC_FL_KEEP_SIZE
	}
	return unix.FALLOC_FL_ZERO_RANGE | unix.FALLOC_FL_KEEP_SIZE
}
