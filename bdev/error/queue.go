package error

import (
	"slices"

	"pollux/bdev"
	"pollux/reactor"
)

// queue is a reactor's path to the device.
type queue struct {
	below    *bdev.BaseQueue
	d        *device
	r        *reactor.Reactor
	inFlight uint64 // at the base, and those that hang
	pending  []*bdev.Request
	corrupt  []corruption // at the base

	ended, endedCorrupt func(*bdev.Request, bdev.Status)
}

// corruption is a request whose data is changed: of a read when it has ended, of a write for as long as it lasts.
type corruption struct {
	r *bdev.Request
	i *injection
}

// Close ends the path.
func (q *queue) Close() {
	delete(queues(q.r), q)
	q.below.Close()
}

// Submit hands r on, or does to it what was asked for.
func (q *queue) Submit(r *bdev.Request) {
	switch r.Op {
	case bdev.OpAbort:
		q.abort(r)
		return
	case bdev.OpReset:
		q.endPending(bdev.StatusAborted)
	default:
	}
	i := q.injected(r)
	q.inFlight++
	switch {
	case i == nil:
		q.below.ForwardThen(r, q.ended)
	case i.Kind == Failure:
		q.end(r, bdev.StatusMediumError)
	case i.Kind == NoMemory:
		q.end(r, bdev.StatusNoMemory)
	case i.Kind == Pending:
		q.pending = append(q.pending, r)
	default:
		if r.Op == bdev.OpWrite {
			i.exchange(r)
		}
		q.corrupt = append(q.corrupt, corruption{r, i})
		q.below.ForwardThen(r, q.endedCorrupt)
	}
}

// injected is the error that r is to have, if any.
func (q *queue) injected(r *bdev.Request) *injection {
	i := q.d.injections[r.Op].Load()
	if i == nil || q.inFlight < i.QueueDepth {
		return nil
	}
	if i.left.Add(-1) < 0 {
		i.left.Add(1)
		return nil
	}
	return i
}

func (q *queue) end(r *bdev.Request, status bdev.Status) {
	q.inFlight--
	r.Complete(status)
}

// endCorrupt changes what was read, or puts right what was changed to be written.
func (q *queue) endCorrupt(r *bdev.Request, status bdev.Status) {
	at := slices.IndexFunc(q.corrupt, func(c corruption) bool { return c.r == r })
	q.corrupt[at].i.exchange(r)
	q.corrupt = slices.Delete(q.corrupt, at, at+1)
	q.end(r, status)
}

// exchange changes a byte of the data to another; doing it twice changes nothing.
func (i *injection) exchange(r *bdev.Request) {
	off := i.Offset
	for _, piece := range r.Data {
		if off < uint64(len(piece)) {
			piece[off] ^= i.Value
			return
		}
		off -= uint64(len(piece))
	}
}

// resume carries out what hangs.
func (q *queue) resume() {
	pending := q.pending
	q.pending = nil
	for _, r := range pending {
		q.below.ForwardThen(r, q.ended)
	}
}

func (q *queue) endPending(status bdev.Status) {
	pending := q.pending
	q.pending = nil
	for _, r := range pending {
		q.end(r, status)
	}
}

// abort ends the target if it hangs here, and asks the base otherwise.
func (q *queue) abort(r *bdev.Request) {
	if i := slices.Index(q.pending, r.Target); i >= 0 {
		q.pending = slices.Delete(q.pending, i, i+1)
		q.end(r.Target, bdev.StatusAborted)
		r.Complete(bdev.StatusOK)
		return
	}
	q.below.Forward(r)
}
