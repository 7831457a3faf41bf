package reactor

import (
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"

	"pollux/reactor/iobuf"
	"pollux/reactor/uring"
)

// DefaultMemory bounds the I/O buffers of a group whose Config names no Budget.
const DefaultMemory = 1 << 30

// The sizes of a reactor's ring and of its receive buffers.
const (
	sqEntries = 1024
	cqEntries = 8192

	recvGroup      = 1
	recvIncSize    = 256 << 10
	recvIncCount   = 16
	recvPlainSize  = 64 << 10
	recvPlainCount = 64
)

// Group is all reactors of one target.
type Group struct {
	reactors []*Reactor
	restore  func() // gives the process's other threads their cores back
}

// newReactor is what real and stepped reactors have in common.
func newReactor(g *Group, id, core int, cfg Config, clock Clock) *Reactor {
	r := &Reactor{
		id: id, core: core, mode: cfg.Mode, spin: int64(cfg.Spin), log: cfg.Log, clock: clock, group: g,
		locals: map[any]any{},
	}
	if r.spin == 0 {
		r.spin = int64(DefaultSpin)
	}
	if r.log == nil {
		r.log = slog.New(slog.DiscardHandler)
	}
	r.stamp = clock.Nanos()
	return r
}

// Start makes the group: each reactor pins its thread, makes its ring there, and runs.
func Start(cfg Config) (*Group, error) {
	if len(cfg.Cores) == 0 {
		return nil, errors.New("no cores for reactors")
	}
	if cfg.Budget == nil {
		cfg.Budget = iobuf.NewBudget(DefaultMemory)
	}
	where, err := place(cfg.Cores)
	if err != nil {
		return nil, err
	}
	g := &Group{}
	if where.pinned {
		if err := confine(&where.house); err != nil {
			return nil, err
		}
		g.restore = func() { _ = confine(&where.allowed) }
	}
	spareProcs(len(cfg.Cores))
	clock := newMachineClock()
	for id, core := range where.cores {
		r := newReactor(g, id, core, cfg, clock)
		r.bufs = iobuf.NewPool(cfg.Budget)
		r.ended = make(chan struct{})
		ready := make(chan error)
		go onOwnThread(func() { r.main(cfg, where, ready) })
		if err := <-ready; err != nil {
			g.Stop()
			return nil, fmt.Errorf("reactor %d: %w", id, err)
		}
		g.reactors = append(g.reactors, r)
	}
	return g, nil
}

// onOwnThread runs fn on a thread that ends with it. The process's first thread cannot end, and its name is the process's
// name, so that it is left alone.
func onOwnThread(fn func()) {
	runtime.LockOSThread()
	if unix.Gettid() != unix.Getpid() {
		fn() // Never unlocked: the thread ends with the goroutine.
		return
	}
	elsewhere := make(chan struct{})
	go func() {
		runtime.LockOSThread()
		close(elsewhere)
		fn()
	}()
	<-elsewhere
	runtime.UnlockOSThread()
}

// main is all that a reactor's thread does.
func (r *Reactor) main(cfg Config, where *placement, ready chan<- error) {
	defer close(r.ended)
	err := r.setUp(cfg, where)
	ready <- err
	if err != nil {
		if r.ring != nil {
			r.free()
		}
		return
	}
	r.loop()
	r.tearDown()
}

// setUp makes what must be made on the reactor's own thread.
func (r *Reactor) setUp(cfg Config, where *placement) error {
	if err := pin(r.id, r.core); err != nil {
		return err
	}
	r.tid = unix.Gettid()
	if err := r.openRing(cfg); err != nil {
		return err
	}
	if k, ok := r.Kernel().(interface {
		WorkersOn(*unix.CPUSet) syscall.Errno
	}); ok && where.pinned {
		_ = k.WorkersOn(&where.house) // Since 5.14; without it punted work shares the reactor's core.
	}
	if err := r.openRecv(r.recvSizes()); err != nil {
		return err
	}
	r.registerSlabs()
	return r.wake.open(r)
}

// openRing makes the ring, on the kernel's io_uring or, where that is not to be had, in software. The first reactor tells
// what is missing.
func (r *Reactor) openRing(cfg Config) error {
	want := uring.Config{SQEntries: sqEntries, CQEntries: cqEntries, Without: cfg.Without}
	ring, cause := uring.Open(want)
	if cause != nil {
		var err error
		if ring, err = uring.OpenSoft(want); err != nil {
			return errors.Join(cause, err)
		}
	}
	r.ring = ring
	if r.id == 0 {
		r.tellMissing(cfg.Without, cause)
	}
	return nil
}

// tellMissing says once, in one line, what is not there or not used, and why that may be.
func (r *Reactor) tellMissing(without uring.Features, cause error) {
	missing := uring.FeaturesAll &^ (r.Features() | without)
	pins := pinLimit()
	switch {
	case without.Has(uring.FeatureURing):
		r.log.Info("io_uring is masked off; epoll and threads are used")
	case cause != nil:
		r.log.Warn("no io_uring; epoll and threads are used, which is slower", "cause", cause)
	case missing != 0:
		r.log.Warn("kernel features are missing; slower ways are used", "missing", missing, "cause", missing.Cause())
	case without != 0:
		r.log.Info("kernel features are masked off; slower ways are used", "masked", without)
	case pins < uint64(r.bufs.Limit()):
		r.log.Info("not all I/O buffers can be registered with the kernel; the rest is used as it is", "missing", uring.FeatureRegisteredBuffers,
			"cause", fmt.Sprintf("RLIMIT_MEMLOCK is %d KiB, less than the %d KiB of I/O buffers", pins>>10, r.bufs.Limit()>>10))
	}
}

// recvSizes are the receive buffers that the kernel's features ask for.
func (r *Reactor) recvSizes() (size, count int) {
	if r.Features().Has(uring.FeatureBufferRingInc) {
		return recvIncSize, recvIncCount
	}
	return recvPlainSize, recvPlainCount
}

// openRecv makes the ring of receive buffers, if the kernel has such a thing.
func (r *Reactor) openRecv(size, count int) error {
	if !r.Features().Has(uring.FeatureBufferRing) {
		return nil
	}
	mem, err := iobuf.Map(size * count)
	if err != nil {
		return err
	}
	iobuf.Populate(mem)
	r.recvMem = mem
	r.recv, err = r.ring.NewBufRing(recvGroup, mem, count, r.Features().Has(uring.FeatureBufferRingInc))
	return err
}

// tearDown runs what was sent last, and gives everything back.
func (r *Reactor) tearDown() {
	r.box.closeTo(&r.inbox)
	for !r.inbox.empty() {
		r.inbox.pop().run()
	}
	r.wake.event.Close()
	r.free()
}

// free gives all memory back: the kernel first, since it may still write to the rest.
func (r *Reactor) free() {
	r.ring.Close()
	if r.recv != nil {
		r.recv.Free()
		iobuf.Unmap(r.recvMem)
		r.recv = nil
	}
	for _, fn := range r.onStop {
		fn()
	}
	r.onStop = nil
	r.bufs.Close()
}

// Reactors is the list, by ID. It never changes.
func (g *Group) Reactors() []*Reactor { return g.reactors }

// Each runs fn on every reactor in turn and returns when all have returned. Control plane only.
func (g *Group) Each(fn func(*Reactor)) error {
	for _, r := range g.reactors {
		if err := r.Call(func() { fn(r) }); err != nil {
			return fmt.Errorf("reactor %d: %w", r.id, err)
		}
	}
	return nil
}

// Place picks the reactor with the least load (connections placed there), in the order of IDs between equals.
func (g *Group) Place() *Reactor {
	best := g.reactors[0]
	for _, r := range g.reactors[1:] {
		if r.placed.Load() < best.placed.Load() {
			best = r
		}
	}
	return best
}

// Placed counts n more (or, negative, fewer) connections on r, for Place.
func (r *Reactor) Placed(n int) { r.placed.Add(int64(n)) }

// Stop ends all reactors. Everything that uses them must have been closed.
func (g *Group) Stop() {
	for _, r := range g.reactors {
		if r.drive != nil {
			r.free()
			continue
		}
		if r.Call(func() { r.stopping = true }) == nil {
			<-r.ended
		}
	}
	if g.restore != nil {
		g.restore()
	}
}
