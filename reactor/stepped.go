package reactor

import (
	"log/slog"

	"pollux/reactor/iobuf"
	"pollux/reactor/uring"
)

// Stepped describes a reactor that has no goroutine of its own: package reactortest calls Step.
type Stepped struct {
	Clock Clock
	Ring  *uring.Ring
	Bufs  *iobuf.Pool
	Drive func() bool // makes the world go on while Call or Do waits; reports whether anything happened
}

// A stepped reactor's receive buffers are few and small, so that tests run out of them.
const (
	steppedRecvSize  = 4 << 10
	steppedRecvCount = 4
)

// NewSteppedGroup makes a group of reactors that run only when stepped, all on the caller's goroutine.
func NewSteppedGroup(log *slog.Logger, each []Stepped) (*Group, error) {
	g := &Group{}
	for i, s := range each {
		r := newReactor(g, i, -1, Config{Log: log}, s.Clock)
		r.ring, r.bufs, r.drive = s.Ring, s.Bufs, s.Drive
		r.registerSlabs()
		if err := r.openRecv(steppedRecvSize, steppedRecvCount); err != nil {
			return nil, err
		}
		g.reactors = append(g.reactors, r)
	}
	return g, nil
}

// Step runs one pass and reports how much work it did (stepped reactors only).
func (r *Reactor) Step() int {
	if r.drive == nil || r.inPass {
		panic("reactor: Step of a reactor that is running")
	}
	work := r.pass()
	r.account(work > 0)
	return work
}

// Pending reports whether a pass would find a message (stepped reactors only).
func (r *Reactor) Pending() bool { return r.pending() }

// NextTimer is when the next timer is due, and false if none is armed (stepped reactors only).
func (r *Reactor) NextTimer() (nanos int64, ok bool) {
	if len(r.timers) == 0 {
		return 0, false
	}
	return r.timers[0].at, true
}
