package tcmur

import (
	"pollux/bdev"
)

// What the supervisor does to a queue when a helper comes or goes. All on the queue's reactor.

// attach gives the queue a ring. With probing, nothing is issued but what issueSuspect is told to.
func (q *queue) attach(r *ring, probing bool) {
	if q.ring == nil {
		q.ring, q.broken, q.pushed = r, false, 0
	}
	q.probing = probing
	if probing {
		return
	}
	for i := range q.slots {
		if q.slots[i].state == slotHeld {
			q.issue(i)
		}
	}
}

// issueSuspect issues one request that was at work when a helper died, and reports whether there was one.
func (q *queue) issueSuspect() bool {
	for i := range q.slots {
		if s := &q.slots[i]; s.state == slotHeld && s.crashes > 0 {
			q.push(i)
			return true
		}
	}
	return false
}

// detach takes the ring away after its helper has gone: what has ended, ends; the rest is held for the next helper, since reads,
// writes, unmaps and flushes can be done twice. What cannot, and what a helper has died over for the second time, fails.
// With hang, only requests that have taken too long are to blame.
func (q *queue) detach(died, hang bool) (suspects int) {
	if q.ring == nil {
		return 0
	}
	q.drain()
	for i := range q.slots {
		s := &q.slots[i]
		if s.state != slotInRing {
			continue
		}
		s.state = slotHeld
		began := q.ring.isRunning(i)
		if died && began && (!hang || q.r.Now()-s.issued > int64(q.d.patience())) {
			s.crashes++
		}
		if s.program.steps[s.program.at].op == opFlush {
			q.d.unflushed.Store(true)
		}
		switch {
		case s.crashes >= crashesMax:
			q.end(i, bdev.StatusHardwareError)
		case began && s.req.Op == bdev.OpCompareAndWrite:
			q.end(i, bdev.StatusAborted) // Done or not, nobody knows, and it cannot be done again.
		case s.crashes > 0:
			suspects++
		}
	}
	q.ring, q.inRing, q.probing, q.broken, q.pushed = nil, 0, false, false, 0
	return suspects
}

// drain takes the completions that the helper has left.
func (q *queue) drain() {
	q.probing = true // Nothing more into this ring.
	for !q.broken && q.inRing > 0 {
		n, ok := q.ring.ready()
		if !ok || n == 0 {
			return
		}
		q.reap(int(n))
	}
}
