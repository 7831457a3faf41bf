package reactor

import (
	"fmt"

	"golang.org/x/sys/unix"

	"pollux/reactor/uring"
)

// threads is a second ring, answered in software, for files that io_uring would hand to workers of its own anyway: those
// of tmpfs, and those that are not opened with O_DIRECT. Its threads are bounded. A reactor makes it when it is first asked for.
type threads struct {
	ring *uring.Ring
	doze uring.Dozer
	bell Op // polls, in the main ring, what the threads ring while the reactor sleeps
}

// OpenThreadOp is OpenOp for an op whose entries run on a bounded pool of threads instead of in the ring (on r). Only
// entries for files may be submitted. Where the main ring is in software already, or simulated, it is the same.
func (r *Reactor) OpenThreadOp(op *Op, fn func(res int32, flags uint32)) error {
	ring := r.ring
	if r.Features().Has(uring.FeatureURing) && r.drive == nil {
		if err := r.openThreads(); err != nil {
			return err
		}
		ring = r.threads.ring
	}
	r.OpenOp(op, fn)
	op.ring = ring
	return nil
}

// openThreads makes the second ring, once.
func (r *Reactor) openThreads() error {
	if r.threads != nil {
		return nil
	}
	ring, err := uring.OpenSoft(uring.Config{SQEntries: sqEntries, CQEntries: cqEntries})
	if err != nil {
		return fmt.Errorf("pool of threads: %w", err)
	}
	t := &threads{ring: ring, doze: ring.Kernel().(uring.Dozer)}
	r.OpenOp(&t.bell, func(int32, uint32) { t.doze.Reset() })
	r.threads = t
	return nil
}

// reapThreads fetches what the threads have ended.
func (r *Reactor) reapThreads() int {
	t := r.threads
	if t == nil {
		return 0
	}
	if t.ring.NeedsEnter() {
		_, _ = t.ring.Enter()
	}
	return r.reapRing(t.ring) // Submitting may have brought completions too.
}

// enterThreads hands what has gathered in this pass to the threads.
func (r *Reactor) enterThreads() int {
	if t := r.threads; t != nil && t.ring.Prepared() > 0 {
		n, _ := t.ring.Enter()
		return n
	}
	return 0
}

// armThreads prepares for a sleep: a thread that ends something from now on rings the bell. It returns false if one has
// ended something already.
func (r *Reactor) armThreads() bool {
	t := r.threads
	if t == nil {
		return true
	}
	if t.ring.Ready() > 0 {
		return false
	}
	if !t.ring.NeedsEnter() {
		return true
	}
	if t.bell.InFlight() == 0 {
		t.bell.SQE().PollAdd(t.doze.Fd(), unix.POLLIN)
	}
	return t.doze.Doze()
}

// disarmThreads ends armThreads.
func (r *Reactor) disarmThreads() {
	if r.threads != nil {
		r.threads.doze.Wake()
	}
}
