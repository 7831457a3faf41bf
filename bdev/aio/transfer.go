package aio

import (
	"syscall"

	"pollux/bdev"
)

// ended takes the kernel's answer: bytes, or a negative errno.
func (t *transfer) ended(res int64) {
	if bdev.Mutated(bdev.MutateFlushAnswersEarly) && t.request == nil {
		t.next, t.q.free = t.q.free, t
		return
	}
	if res < 0 {
		t.failed(syscall.Errno(-res))
		return
	}
	switch t.request.Op {
	case bdev.OpRead, bdev.OpWrite:
		t.moved(uint64(res))
	case bdev.OpSeekData, bdev.OpSeekHole:
		t.found(uint64(res))
	default:
		t.end(bdev.StatusOK)
	}
}

// moved goes on with what is left of a read or a write that was short.
func (t *transfer) moved(n uint64) {
	t.left -= n
	if t.left == 0 {
		t.end(bdev.StatusOK)
		return
	}
	if n == 0 { // The file ends before the device does: it was truncated.
		t.end(bdev.StatusMediumError)
		return
	}
	t.off += n
	if t.q.b.file.direct {
		t.skipIovecs(n)
	} else {
		t.skipPieces(n)
	}
	t.submit()
}

func (t *transfer) skipIovecs(n uint64) {
	for n > 0 {
		v := &t.iov[t.first]
		step := min(n, v.Len)
		v.Base, v.Len, n = v.Base+step, v.Len-step, n-step
		if v.Len == 0 {
			t.first++
		}
	}
}

func (t *transfer) skipPieces(n uint64) {
	for n > 0 {
		v := &t.vecs[t.first]
		step := min(n, uint64(len(*v)))
		*v, n = (*v)[step:], n-step
		if len(*v) == 0 {
			t.first++
		}
	}
}

// found is the answer of a seek, in bytes.
func (t *transfer) found(at uint64) {
	b := t.q.b
	if t.request.Op == bdev.OpSeekHole { // A block is in the hole if all of it is; it holds data if any of it does.
		at += 1<<b.shift - 1
	}
	t.request.Result = min(max(t.request.LBA, at>>b.shift), b.blocks.Load())
	t.end(bdev.StatusOK)
}

// failed takes an error.
func (t *transfer) failed(errno syscall.Errno) {
	switch {
	case errno == syscall.EINTR:
		t.submit()
	case errno == syscall.ENXIO && (t.request.Op == bdev.OpSeekData || t.request.Op == bdev.OpSeekHole): // None up to the end.
		t.request.Result = t.q.b.blocks.Load()
		t.end(bdev.StatusOK)
	case t.request.Op == bdev.OpFlush:
		t.q.b.failed.Store(true)
		t.end(bdev.StatusMediumError)
	case t.isFUA() && statusOf(errno) == bdev.StatusMediumError:
		// The sync of this write may have been told of the failure of another.
		t.q.b.failed.Store(true)
		t.end(bdev.StatusMediumError)
	default:
		t.end(statusOf(errno))
	}
}

// end gives the request back.
func (t *transfer) end(status bdev.Status) {
	r, q := t.request, t.q
	t.request = nil
	clear(t.vecs)
	t.next, q.free = q.free, t
	r.Complete(status)
}
