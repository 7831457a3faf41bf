package tcmur

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"pollux/bdev"
	"pollux/reactor"
)

// The policy of restarts.
const (
	// crashWindow is how far back crashes are counted against Options.RestartsMax.
	crashWindow = time.Minute
	// backOffFirst is the pause before the second restart within the window; each further one doubles it, up to backOffMax.
	backOffFirst = 10 * time.Millisecond
	backOffMax   = 2 * time.Second
	// probeMax is how many suspects of one queue are tried alone: all that can be there.
	probeMax = ringDepth
)

// supervisor looks after the helpers of one device: one goroutine, from the device's registration to its end. Control plane.
type supervisor struct {
	d      *disk
	module *Module
	group  *reactor.Group
	dev    *bdev.Device
	log    *slog.Logger
	launch launch
	image  *image // what must be checked before a handler may write again; nil for most
	limit  int    // crashes within crashWindow

	orders   chan order
	ctx      context.Context // ends when the device is destroyed
	cancel   context.CancelFunc
	here     context.Context // ends when the device begins to be deleted, or the target to end: no more helpers
	leave    context.CancelFunc
	unfollow func() bool // of the module's end
	ended    chan struct{}
	crashes  []time.Time
	size     uint64

	mu     sync.Mutex
	report report
}

// report is what driver_specific shows.
type report struct {
	State     string // up, restarting, offline
	PID       int
	Restarts  int
	LastError string
}

// order is what an RPC method wants of the supervisor.
type order struct {
	resize  uint64 // bytes
	restart bool
	done    chan error
}

// outcome says why a helper is not in service any more.
type outcome struct {
	why        string
	died, hang bool // requests at work are to blame
	stop       bool // nobody wants another helper
}

// run looks after helpers, the first of which has been started.
func (s *supervisor) run(h *helper) {
	defer close(s.ended)
	for {
		o := s.serve(h)
		suspects := s.detach(h, o)
		if o.stop {
			s.setOffline()
			return
		}
		if s.here.Err() != nil {
			s.log.Warn("the helper was killed while the device was being closed", "reason", o.why)
			s.setOffline()
			return
		}
		s.note(o)
		if h = s.restart(o); h == nil {
			s.setOffline()
			return
		}
		s.attach(h, suspects)
	}
}

// serve returns when the helper is gone or has to go.
func (s *supervisor) serve(h *helper) outcome {
	s.setState("up", h.cmd.Process.Pid)
	for {
		select {
		case <-h.exited:
			return outcome{why: "the helper died: " + h.fate(), died: true}
		case m, ok := <-h.events:
			if !ok {
				return s.silent(h)
			}
			if o, gone := s.event(h, m); gone {
				return o
			}
		case <-s.d.kicked:
			if o, gone := s.kicks(h); gone {
				return o
			}
		case order := <-s.orders:
			order.done <- s.obey(h, order)
		case <-s.ctx.Done():
			if err := h.stop(); err != nil {
				s.log.Warn("the handler was not closed", "error", err)
			}
			return outcome{stop: true}
		}
	}
}

// silent is the end of the control socket: the process is about to be dead, or its handler has closed what it should not.
func (s *supervisor) silent(h *helper) outcome {
	select {
	case <-h.exited:
		return outcome{why: "the helper died: " + h.fate(), died: true}
	case <-time.After(time.Second):
		h.kill()
		return outcome{why: "the handler closed the helper's control socket", died: true}
	}
}

// kicks takes what reactors have reported.
func (s *supervisor) kicks(h *helper) (outcome, bool) {
	why := s.d.kicks.Swap(0)
	switch {
	case why&kickDamaged != 0:
		h.kill()
		return outcome{why: "the helper wrote what cannot be into its ring", died: true}, true
	case why&kickHang != 0:
		h.kill()
		return outcome{why: fmt.Sprintf("a request took longer than %v", s.d.patience()), died: true, hang: true}, true
	case why&kickLock != 0:
		_ = h.stop() // Whether it is closed or not, there will be another.
		return outcome{why: "the handler lost its lock"}, true
	}
	return outcome{}, false
}

// event is a message of the helper.
func (s *supervisor) event(h *helper, m string) (outcome, bool) {
	switch {
	case strings.HasPrefix(m, "size "):
		if size, err := strconv.ParseUint(m[len("size "):], 10, 64); err == nil {
			s.resized(size)
		}
	case strings.HasPrefix(m, "lost "):
		_ = h.stop() // As above.
		return outcome{why: "the handler lost its " + m[len("lost "):]}, true
	case m == "timeout":
		s.launch.logs.write(slog.LevelWarn, "it reports a command that timed out")
	}
	return outcome{}, false
}

// detach takes the helper from the queues and frees the shared memory.
func (s *supervisor) detach(h *helper, o outcome) (suspects int) {
	s.d.state.Store(stateDown)
	s.d.helper.Store(nil)
	if !o.stop || s.d.open.Load() > 0 {
		s.each(func(q *queue) { suspects += q.detach(o.died, o.hang) })
	}
	h.kill()
	h.region.release()
	return suspects
}

// each runs fn on every queue, on its reactor. A group that has stopped has no queues.
func (s *supervisor) each(fn func(*queue)) {
	_ = s.group.Each(func(r *reactor.Reactor) {
		if q := s.d.queues[r.ID()]; q != nil {
			fn(q)
		}
	})
}

// note counts a crash and writes it down.
func (s *supervisor) note(o outcome) {
	now := time.Now()
	s.crashes = append(s.crashes, now)
	for len(s.crashes) > 0 && now.Sub(s.crashes[0]) > crashWindow {
		s.crashes = s.crashes[1:]
	}
	s.fail("restarting", o.why)
	s.log.Warn("restart the helper", "reason", o.why, "within_a_minute", len(s.crashes))
	if s.d.unflushed.Swap(false) && s.image == nil && !cachedByKernel[s.launch.subtype()] {
		s.log.Error("writes that were not flushed may be lost with the helper")
		s.lost()
	}
}

// restart starts another helper, after a pause, until one runs. Without one, when there were too many crashes, it waits for an
// order. nil is that the device is being deleted.
func (s *supervisor) restart(o outcome) *helper {
	for {
		if len(s.crashes) > s.limit {
			s.fail("offline", fmt.Sprintf("%d crashes within %v, the last: %s", len(s.crashes), crashWindow, o.why))
			if !s.awaitRestart() {
				return nil
			}
		}
		if !s.pause() {
			return nil
		}
		h, err := s.tryStart(o)
		if err == nil {
			return h
		}
		if s.here.Err() != nil {
			return nil
		}
		o = outcome{why: err.Error()}
		s.note(o)
		if errors.Is(err, errDamagedImage) {
			s.crashes = append(s.crashes, make([]time.Time, s.limit+1)...) // More attempts would not mend it.
		}
	}
}

// tryStart starts a helper, and refuses one that shows another device than before.
func (s *supervisor) tryStart(o outcome) (*helper, error) {
	if s.image != nil && o.died {
		if err := s.image.repair(s.here, s.log); err != nil {
			return nil, err
		}
	}
	l := s.launch
	l.size = s.size
	h, err := startHelper(s.here, l)
	if err != nil {
		return nil, err
	}
	if h.ready.blockSize != 1<<s.d.shift || h.ready.ops != s.d.ops {
		h.kill()
		h.region.release()
		return nil, fmt.Errorf("the handler has come back with other blocks or callouts: %w", syscall.EINVAL)
	}
	if h.ready.size != s.size {
		s.resized(h.ready.size)
	}
	return h, nil
}

// pause waits between restarts; false is that the device is being deleted.
func (s *supervisor) pause() bool {
	n := len(s.crashes)
	if n < 2 {
		return s.here.Err() == nil
	}
	timer := time.NewTimer(min(backOffFirst<<min(n-2, 20), backOffMax))
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-s.here.Done():
		return false
	}
}

// awaitRestart keeps the device offline until an order; false is that it is being deleted.
func (s *supervisor) awaitRestart() bool {
	s.log.Error("the device is offline until bdev_tcmur_restart", "error", s.copyReport().LastError)
	s.setOffline()
	for {
		select {
		case o := <-s.orders:
			if !o.restart {
				o.done <- fmt.Errorf("bdev %s is offline: %w", s.d.name, syscall.ENODEV)
				continue
			}
			s.crashes = nil
			s.d.state.Store(stateDown)
			s.fail("restarting", s.copyReport().LastError)
			o.done <- nil
			return true
		case <-s.here.Done():
			return false
		}
	}
}

// setOffline fails what waits and what will come.
func (s *supervisor) setOffline() {
	s.d.state.Store(stateOffline)
	if s.d.open.Load() > 0 {
		s.each(func(q *queue) { q.endHeld(s.d.offlineStatus()) })
	}
}

// attach puts a new helper into service. Requests that were at work when the last one died are tried alone first, one after the
// other, so that one which kills its helper is found and those that were there by chance are not blamed.
func (s *supervisor) attach(h *helper, suspects int) {
	s.mu.Lock()
	s.report.Restarts++
	s.mu.Unlock()
	s.d.kicks.Store(0)
	if suspects > 0 && !s.probe(h) {
		return // serve sees why.
	}
	s.d.helper.Store(h)
	s.d.state.Store(stateUp)
	s.each(func(q *queue) { q.attach(&h.region.rings[q.r.ID()], false) })
}

// probe has every suspect tried; false is that the helper is gone or has to go.
func (s *supervisor) probe(h *helper) bool {
	s.each(func(q *queue) { q.attach(&h.region.rings[q.r.ID()], true) })
	for _, r := range s.group.Reactors() {
		for range probeMax {
			issued := false
			s.emptyProbed()
			if err := r.Call(func() {
				if q := s.d.queues[r.ID()]; q != nil {
					issued = q.issueSuspect()
				}
			}); err != nil || !issued {
				break
			}
			if !s.awaitProbed(h) {
				return false
			}
		}
	}
	return true
}

func (s *supervisor) emptyProbed() {
	select {
	case <-s.d.probed:
	default:
	}
}

// awaitProbed waits for the end of the suspect, or of the helper. A kick is left for serve.
func (s *supervisor) awaitProbed(h *helper) bool {
	for {
		select {
		case <-s.d.probed:
			return true
		case <-h.exited:
			return false
		case <-s.ctx.Done():
			return false
		case <-s.d.kicked:
			if s.d.kicks.Load() != 0 {
				s.d.kick(0)
				return false
			}
		}
	}
}

// tellMax is how long the next helper waits until everybody has been told of lost writes: whoever removes the device meanwhile
// may be waiting for a helper.
const tellMax = time.Second

// lost tells who uses the device that unflushed writes may be gone, before the next helper serves it.
func (s *supervisor) lost() {
	told := make(chan struct{})
	go func() {
		s.dev.TellWritesLost()
		close(told)
	}()
	select {
	case <-told:
	case <-time.After(tellMax):
	case <-s.here.Done():
	}
}

// depart is told that the device is to go: from now on nobody waits long for a handler that hangs, and there are no more helpers.
func (s *supervisor) depart() {
	s.d.leaving.Store(true)
	s.leave()
}

// end stops the helper and returns when it and the supervisor are gone.
func (s *supervisor) end() {
	s.unfollow()
	s.cancel()
	<-s.ended
	s.d.closePipes()
}

func (s *supervisor) setState(state string, pid int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.report.State, s.report.PID = state, pid
}

func (s *supervisor) fail(state, why string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.report.State, s.report.PID, s.report.LastError = state, 0, why
}

func (s *supervisor) copyReport() report {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.report
}

// give hands an order to the supervisor and waits for its answer.
func (s *supervisor) give(o order) error {
	o.done = make(chan error, 1)
	select {
	case s.orders <- o:
	case <-s.ended:
		return fmt.Errorf("bdev %s: %w", s.d.name, syscall.ENODEV)
	}
	select {
	case err := <-o.done:
		return err
	case <-s.ended:
		return fmt.Errorf("bdev %s: %w", s.d.name, syscall.ENODEV)
	}
}
