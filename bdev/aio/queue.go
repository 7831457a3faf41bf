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
	pool  *pool
	// failed is set by whoever sees a flush fail, on any reactor, and read by every flush: the kernel reports a failure once, and
	// may have dropped the data.
	failed atomic.Bool
	blocks atomic.Uint64 // the size; written by the control plane, read by seeks

	looking chan struct{} // has the one that looks at the size
}

func newBackend(f *file) *backend {
	b := &backend{
		file: f, shift: uint8(bits.TrailingZeros32(f.blockSize)), pool: newPool(), looking: make(chan struct{}, 1),
	}
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
	b.pool.stop()
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
	made int
	all  []*transfer
}

// OpenQueue makes the path from r.
func (b *backend) OpenQueue(r *reactor.Reactor) (bdev.Queue, error) { return &queue{b: b, r: r}, nil }

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
	if q.free == nil {
		if q.made == queueDepth {
			return nil
		}
		q.made++
		q.free = newTransfer(q)
		q.all = append(q.all, q.free)
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

	// For the pool, which reads the rest of the transfer too and writes res.
	msg  reactor.Message
	res  int64
	vecs [][]byte
}

func newTransfer(q *queue) *transfer {
	t := &transfer{q: q}
	q.r.OpenOp(&t.op, func(res int32, _ uint32) { t.ended(int64(res)) })
	t.msg.Bind(func() { t.ended(t.res) })
	return t
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
		if bdev.Mutated(bdev.MutateFlushAnswersEarly) {
			t.op.SQE().Fsync(b.file.fd, true)
			t.request = nil
			r.Complete(bdev.StatusOK)
			return
		}
	default:
	}
	t.submit()
}

// setPieces describes the data for the ring or for the pool.
func (t *transfer) setPieces(pieces [][]byte) {
	if !t.q.b.file.direct {
		t.vecs = append(t.vecs[:0], pieces...)
		return
	}
	t.iov = t.iov[:0]
	for _, p := range pieces {
		var v uring.Iovec
		v.Set(p)
		t.iov = append(t.iov, v)
	}
}

// submit asks the kernel for what is left.
func (t *transfer) submit() {
	op := t.request.Op
	if !t.q.b.file.direct || op == bdev.OpSeekData || op == bdev.OpSeekHole {
		t.q.b.pool.submit(t)
		return
	}
	f := t.q.b.file
	switch op {
	case bdev.OpRead, bdev.OpWrite:
		t.move(op)
	case bdev.OpFlush:
		t.op.SQE().Fsync(f.fd, true)
	case bdev.OpUnmap, bdev.OpWriteZeroes:
		t.op.SQE().Fallocate(f.fd, t.allocateMode(), int64(t.off), int64(t.left))
	default:
		t.end(bdev.StatusUnsupported)
	}
}

// move asks the kernel to read or write. One piece alone goes without a vector, and from a registered buffer if it lies in one.
func (t *transfer) move(op bdev.Op) {
	fd, iov, e := t.q.b.file.fd, t.iov[t.first:], t.op.SQE()
	switch {
	case op == bdev.OpRead && len(iov) == 1:
		e.Read(fd, uring.Bytes(iov[0].Base, int(iov[0].Len)), int64(t.off))
	case op == bdev.OpRead:
		e.Readv(fd, iov, int64(t.off), 0)
	case len(iov) == 1:
		e.Write(fd, uring.Bytes(iov[0].Base, int(iov[0].Len)), int64(t.off))
		e.OpFlags = t.writeFlags()
	default:
		e.Writev(fd, iov, int64(t.off), t.writeFlags())
	}
	if len(iov) == 1 {
		if index, ok := t.q.r.Fixed(iov[0]); ok {
			e.Fixed(index)
		}
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
