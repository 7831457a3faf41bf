package reactor

import (
	"time"

	"golang.org/x/sys/unix"

	"pollux/reactor/uring"
)

// The states of Reactor.asleep.
const (
	awake    = 0
	sleeping = 1 // a sender must write the eventfd; the reactor sets it
	woken    = 2 // a sender has; the others need not
)

// spinCheck is how many idle passes go by between two looks at the clock.
const spinCheck = 64

// waker ends a sleep from another thread: an eventfd that the ring polls.
type waker struct {
	event uring.Event
	op    Op // the poll, armed before a sleep and left armed until it fires
}

// open makes the eventfd (on r).
func (w *waker) open(r *Reactor) error {
	event, err := uring.OpenEvent()
	if err != nil {
		return err
	}
	w.event = event
	r.OpenOp(&w.op, func(int32, uint32) { event.Reset() })
	return nil
}

// arm has the ring complete when a sender signals.
func (w *waker) arm() {
	if w.op.InFlight() == 0 {
		w.op.SQE().PollAdd(w.event.Fd(), unix.POLLIN)
	}
}

// wakeUp ends r's sleep, if it sleeps (any goroutine, after the message has been pushed).
func (r *Reactor) wakeUp() {
	if r.asleep.Load() == sleeping && r.asleep.CompareAndSwap(sleeping, woken) {
		r.wake.event.Signal()
	}
}

// loop runs passes until stopping is set, and sleeps as the mode allows.
func (r *Reactor) loop() {
	for !r.stopping {
		if r.pass() > 0 || r.pending() {
			r.account(true)
			r.idleSpins = 0
			checkpoint(int(r.stats.Passes))
			continue
		}
		r.account(false)
		if r.spunEnough() {
			r.sleep()
			r.idleSpins = 0
		}
		checkpoint(int(r.stats.Passes))
	}
}

// spunEnough reports whether it is time to sleep. While spinning it looks at the clock now and then only.
func (r *Reactor) spunEnough() bool {
	switch r.mode {
	case ModePoll:
		return false
	case ModeInterrupt:
		return true
	case ModeAdaptive:
	}
	r.idleSpins++
	if r.idleSpins%spinCheck != 1 {
		return false
	}
	if r.idleSpins == 1 {
		r.idleSince = r.Now()
	}
	return r.Now()-r.idleSince >= r.spin
}

// sleepMin is the shortest sleep: going to sleep and waking up takes about as long.
const sleepMin = 20 * time.Microsecond

// sleep waits in the kernel for a completion, a message or the next timer. The order matters: who sends after asleep is
// set writes the eventfd, and who sent before is seen by the look into the mailbox.
func (r *Reactor) sleep() {
	r.trim()
	if !r.armPollers() {
		return
	}
	r.wake.arm()
	timeout, limited := r.timeToTimer()
	switch {
	case !limited:
		timeout = -1
	case timeout < sleepMin:
		return
	}
	r.asleep.Store(sleeping)
	if !r.pending() && r.ring.Ready() == 0 && timeout != 0 {
		r.stats.Sleeps++
		r.ringWait(timeout)
	}
	if r.asleep.Swap(awake) == woken {
		r.stats.WakeUps++
	}
}

// ringWait enters the kernel to wait.
func (r *Reactor) ringWait(timeout time.Duration) {
	if r.recv != nil {
		r.recv.Publish()
	}
	_, errno := r.ring.Wait(timeout)
	r.entered(errno)
}

// checkpoint is a call that the compiler may not inline and whose frame is large enough to need a stack check: there the
// runtime can stop the goroutine. A loop of RawSyscall and inlined code alone cannot be stopped (see doc.go).
//
//go:noinline
func checkpoint(i int) byte {
	var frame [256]byte
	frame[i&255] = byte(i)
	return frame[(i+1)&255]
}
