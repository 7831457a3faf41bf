package reactor

import (
	"errors"
	"log/slog"
	"sync/atomic"
	"time"

	"pollux/reactor/iobuf"
	"pollux/reactor/uring"
)

// Mode says what a reactor does when it finds no work.
type Mode uint8

// The modes of --mode.
const (
	ModeAdaptive  Mode = iota // spin for Config.Spin, then sleep in the ring
	ModePoll                  // never sleep
	ModeInterrupt             // sleep at once
)

// Config describes a group of reactors. Cores has one entry per reactor; -1 leaves it unpinned.
type Config struct {
	Cores   []int
	Mode    Mode
	Spin    time.Duration  // adaptive mode: how long to spin without work; 0 means DefaultSpin
	Without uring.Features // features to leave unused although the kernel has them
	Budget  *iobuf.Budget  // bounds the I/O buffers of all reactors; nil means DefaultMemory of its own
	Log     *slog.Logger
}

// DefaultSpin is how long an adaptive reactor looks for work before it sleeps. A sleep and its wake-up cost about 20 µs
// of CPU, so spinning two to ten times that is cheap while I/O flows.
const DefaultSpin = 100 * time.Microsecond

// The bounds of one step of a pass. What is left over runs in the next pass, which then comes without a sleep.
const (
	MailboxBatch  = 1024
	TimerBatch    = 1024
	DeferredBatch = 4096
	FlushBatch    = 4096
)

// ErrStopped is returned by Call and Do on a reactor that has ended.
var ErrStopped = errors.New("reactor has stopped")

// Reactor is one polling loop. It belongs to the data plane; its own goroutine is the only one that may use methods
// marked "on r".
type Reactor struct {
	id    int
	core  int // -1 when not pinned
	tid   int // of its thread; set before Start returns
	mode  Mode
	spin  int64 // nanoseconds
	log   *slog.Logger
	clock Clock
	ring  *uring.Ring
	bufs  *iobuf.Pool
	group *Group

	now      int64 // of this pass; 0 until somebody asks
	box      mailbox
	inbox    list // taken from the mailbox, in order of arrival
	deferred list
	flush    list

	timers     timerHeap
	timerSeq   uint64
	pollers    []*Poller
	pollersNew []*Poller
	pollersGap bool

	recvMem   []byte
	slots     slotTable
	fixed     map[uint64]fixedSlab // by address / iobuf.SlabSize
	backlog   []*uring.SQE         // entries that the ring had no room for
	recv      *uring.BufRing       // nil without FeatureBufferRing
	locals    map[any]any
	onStop    []func()
	asleep    atomic.Uint32 // a wakeState; the reactor and the senders write it
	wake      waker
	stopping  bool
	ended     chan struct{} // closed when its thread has nothing left to do; nil in stepped reactors
	inPass    bool
	wasBusy   bool
	stamp     int64 // when wasBusy last changed
	stats     Stats
	placed    atomic.Int64 // connections placed here; written by any goroutine
	drive     func() bool  // stepped reactors only: makes the world go on while the control plane waits
	idleSpins uint32
	idleSince int64
}

// ID is the reactor's index in its group.
func (r *Reactor) ID() int { return r.id }

// Core is the core that the reactor is pinned to, -1 for none.
func (r *Reactor) Core() int { return r.core }

// Group is what the reactor is a part of.
func (r *Reactor) Group() *Group { return r.group }

// Buffers is the reactor's pool of I/O buffers (on r).
func (r *Reactor) Buffers() *iobuf.Pool { return r.bufs }

// RecvBuffers is the ring of buffers that receives on this reactor share, nil without FeatureBufferRing (on r).
func (r *Reactor) RecvBuffers() *uring.BufRing { return r.recv }

// Features are what the reactor's kernel offers.
func (r *Reactor) Features() uring.Features { return r.ring.Kernel().Features() }

// Kernel answers the reactor's ring.
func (r *Reactor) Kernel() uring.Kernel { return r.ring.Kernel() }

// Local returns what a package keeps once per reactor under key, which is made at the first call (on r; not for hot paths).
func (r *Reactor) Local(key any, make func() any) any {
	v, ok := r.locals[key]
	if !ok {
		v = make()
		r.locals[key] = v
	}
	return v
}

// OnStop has fn called when r ends, after everything else there (on r). It gives back memory that a package keeps per reactor.
func (r *Reactor) OnStop(fn func()) { r.onStop = append(r.onStop, fn) }

// Send queues m for r. Any goroutine or reactor may call it; m runs on r in a later pass, after messages sent
// earlier by the same sender. A reactor that has ended drops it.
func (r *Reactor) Send(m *Message) { r.send(m) }

// send is Send that reports whether m will run.
func (r *Reactor) send(m *Message) bool {
	m.enqueue()
	if !r.box.push(m) {
		m.queued = false
		return false
	}
	r.wakeUp()
	return true
}

// Defer runs m later in this pass, after everything that is running now has returned (on r).
func (r *Reactor) Defer(m *Message) {
	m.enqueue()
	r.deferred.push(m)
}

// AtPassEnd runs m in the flush step of this pass (on r). Connections send from here, once per pass.
func (r *Reactor) AtPassEnd(m *Message) {
	m.enqueue()
	r.flush.push(m)
}

// Now is the monotonic time in nanoseconds, read at most once per pass (on r).
func (r *Reactor) Now() int64 {
	if r.now == 0 {
		r.now = r.clock.Nanos()
	}
	return r.now
}

// pass does everything that there is to do once, and reports how much that was.
func (r *Reactor) pass() int {
	r.inPass = true
	r.now = 0
	r.stats.Passes++
	work := r.reap()
	r.box.drainTo(&r.inbox)
	work += r.inbox.runAtMost(MailboxBatch)
	work += r.runTimers()
	work += r.runPollers()
	work += r.deferred.runAtMost(DeferredBatch)
	work += r.flush.runAtMost(FlushBatch)
	work += r.deferred.runAtMost(DeferredBatch) // What flushing has deferred.
	work += r.enter()
	if r.stats.Passes%trimCheck == 0 {
		r.trim()
	}
	r.inPass = false
	return work
}

// trimCheck is how many passes go by between two looks whether another reactor is short of buffers.
const trimCheck = 1024

// trim gives idle memory to reactors that have asked for some in vain.
func (r *Reactor) trim() {
	if r.bufs.Short() {
		r.bufs.Trim()
	}
}

// pending reports whether a list was longer than its batch, so that the next pass has work already.
func (r *Reactor) pending() bool {
	return len(r.backlog) > 0 || !r.inbox.empty() || !r.deferred.empty() || !r.flush.empty() || !r.box.empty()
}

// timeToTimer is how long the reactor may sleep, and false if no timer is armed.
func (r *Reactor) timeToTimer() (time.Duration, bool) {
	if len(r.timers) == 0 {
		return 0, false
	}
	return time.Duration(max(0, r.timers[0].at-r.clock.Nanos())), true
}
