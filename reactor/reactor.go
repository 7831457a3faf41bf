package reactor

import (
	"log/slog"
	"time"

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
	Log     *slog.Logger
}

// DefaultSpin is how long an adaptive reactor looks for work before it sleeps. A sleep and its wake-up cost about 20 µs
// of CPU, so spinning two to ten times that is cheap while I/O flows.
const DefaultSpin = 100 * time.Microsecond

// Reactor is one polling loop. It belongs to the data plane; its own goroutine is the only one that may use methods
// marked "on r".
type Reactor struct{ id int }

// ID is the reactor's index in its group.
func (r *Reactor) ID() int { return r.id }

// Message is a piece of work for a reactor, embedded in the object it is about and bound once. It is in at most one
// list at a time: sending or deferring it again before it has run is a broken invariant and panics.
type Message struct {
	fn   func()
	next *Message
}

// Bind sets what the message does. It is called once, when the object is made.
func (m *Message) Bind(fn func()) { m.fn = fn }

// Queued reports whether m was sent or deferred and has not begun to run. Only its owner may ask.
func (m *Message) Queued() bool { panic("api") }

// Send queues m for r. Any goroutine or reactor may call it; m runs on r in a later pass, after messages sent
// earlier by the same sender.
func (r *Reactor) Send(m *Message) { panic("api") }

// Defer runs m later in this pass, after everything that is running now has returned (on r).
func (r *Reactor) Defer(m *Message) { panic("api") }

// AtPassEnd runs m in the flush step of this pass (on r). Connections send from here, once per pass.
func (r *Reactor) AtPassEnd(m *Message) { panic("api") }

// Now is the monotonic time in nanoseconds, read at most once per pass (on r).
func (r *Reactor) Now() int64 { panic("api") }

// Call runs fn on r and returns when it has returned. Control plane only. It returns ErrStopped when r has ended.
func (r *Reactor) Call(fn func()) error { panic("api") }

// Do runs fn on r and returns when fn or anything it started has called done. Control plane only.
func (r *Reactor) Do(fn func(done func())) error { panic("api") }

// Poller is called once per pass. Poll does a bounded batch and says how much it did. Arm, if not nil, is asked before the
// reactor sleeps: it arranges a wake-up through the ring (an eventfd, say) and returns false if there is work already.
type Poller struct {
	Name string
	Poll func() int
	Arm  func() bool
}

// AddPoller and RemovePoller take effect in the next pass (on r).
func (r *Reactor) AddPoller(p *Poller)    { panic("api") }
func (r *Reactor) RemovePoller(p *Poller) { panic("api") }

// Timer calls its function once, on its reactor, when its time has come. It is embedded in its owner and bound once.
type Timer struct{ fn func() }

// Bind gives the timer its reactor and function; Start arms it (again), Stop disarms it, Active tells (all on r).
func (t *Timer) Bind(r *Reactor, fn func()) { panic("api") }
func (t *Timer) Start(d time.Duration)      { panic("api") }
func (t *Timer) Stop()                      { panic("api") }
func (t *Timer) Active() bool               { panic("api") }

// Op is a source of operations on r's ring: it owns a slot of the completion table. user_data is its slot and
// generation, so that a late completion of an earlier owner is recognised and only gives back what it carries.
type Op struct{ fn func(res int32, flags uint32) }

// OpenOp takes a slot for op; fn is called for each completion (on r).
func (r *Reactor) OpenOp(op *Op, fn func(res int32, flags uint32)) { panic("api") }

// SQE takes a submission entry that completes to op. It never fails: a full queue is submitted first (on r).
func (op *Op) SQE() *uring.SQE { panic("api") }

// InFlight is the number of submissions whose last completion has not come.
func (op *Op) InFlight() int { panic("api") }

// Cancel asks the kernel to cancel everything in flight of op; the completions still come.
func (op *Op) Cancel() { panic("api") }

// Close gives the slot back. Nothing may be in flight.
func (op *Op) Close() { panic("api") }

// Group is all reactors of one target.
type Group struct{ reactors []*Reactor }

// Start makes the group: each reactor pins its thread, makes its ring there, and runs.
func Start(cfg Config) (*Group, error) { panic("api") }

// Reactors is the list, by ID. It never changes.
func (g *Group) Reactors() []*Reactor { return g.reactors }

// Each runs fn on every reactor in turn and returns when all have returned. Control plane only.
func (g *Group) Each(fn func(*Reactor)) error { panic("api") }

// Place picks the reactor with the least load (connections placed there), in the order of IDs between equals.
func (g *Group) Place() *Reactor { panic("api") }

// Stop ends all reactors. Everything that uses them must have been closed.
func (g *Group) Stop() { panic("api") }
