package reactor

import (
	"errors"
	"runtime"
	"testing"
	"time"

	"pollux/reactor/uring"
)

func start(t *testing.T, cfg Config) *Group {
	t.Helper()
	g, err := Start(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(g.Stop)
	return g
}

// statsOf reads r's counters.
func statsOf(t *testing.T, r *Reactor) (s Stats) {
	t.Helper()
	if err := r.Call(func() { s = r.Stats() }); err != nil {
		t.Fatal(err)
	}
	return s
}

// The runtime must be able to stop a reactor that spins, whether it finds work or not. A loop without a stack check lets
// two or three collections through in a second, so twenty would not come before the deadline.
func TestCollectionsGoOnWhileReactorsSpin(t *testing.T) {
	const collections = 20
	for name, busy := range map[string]bool{"idle": false, "busy": true} {
		t.Run(name, func(t *testing.T) {
			r := start(t, Config{Cores: []int{-1}, Mode: ModePoll}).Reactors()[0]
			if busy {
				op := &Op{}
				nop := func() { op.SQE().Opcode = uring.OpNop }
				if err := r.Call(func() { r.OpenOp(op, func(int32, uint32) { nop() }); nop() }); err != nil {
					t.Fatal(err)
				}
				defer func() { // The operation must not keep its function when the reactor ends.
					_ = r.Do(func(done func()) { op.fn = func(int32, uint32) { op.Close(); done() } })
				}()
			}
			before := statsOf(t, r).Passes
			for range collections {
				runtime.GC()
			}
			if after := statsOf(t, r).Passes; after-before < collections {
				t.Errorf("%d passes during %d collections: the reactor did not run", after-before, collections)
			}
		})
	}
}

func TestIdleReactorSleepsThroughOtherTimers(t *testing.T) {
	for name, mode := range map[string]Mode{"adaptive": ModeAdaptive, "interrupt": ModeInterrupt} {
		t.Run(name, func(t *testing.T) {
			g := start(t, Config{Cores: []int{-1, -1}, Mode: mode})
			idle, other := g.Reactors()[0], g.Reactors()[1]
			ticks := func(n int) {
				var timer Timer
				err := other.Do(func(done func()) {
					timer.Bind(other, func() {
						if n--; n == 0 {
							done()
							return
						}
						timer.Start(time.Millisecond)
					})
					timer.Start(time.Millisecond)
				})
				if err != nil {
					t.Fatal(err)
				}
			}
			before := statsOf(t, idle)
			ticks(50)
			after := statsOf(t, idle)
			// One sleep, which the message of statsOf ended. A first look may come before the reactor has slept at all.
			if got := after.Sleeps - before.Sleeps; got > 2 {
				t.Errorf("slept %d times although nothing happened", got)
			}
			if s := statsOf(t, other); s.Sleeps == 0 {
				t.Error("the reactor with the timer never slept")
			}
		})
	}
}

func TestPollModeNeverSleeps(t *testing.T) {
	r := start(t, Config{Cores: []int{-1}, Mode: ModePoll}).Reactors()[0]
	for statsOf(t, r).Passes < 10_000 {
		runtime.Gosched()
	}
	if s := statsOf(t, r); s.Sleeps != 0 || s.Enters > 10 {
		t.Errorf("slept %d times, entered the kernel %d times without work", s.Sleeps, s.Enters)
	}
}

func TestSleepEndsAtTheTimer(t *testing.T) {
	r := start(t, Config{Cores: []int{-1}, Mode: ModeInterrupt}).Reactors()[0]
	var timer Timer
	var early time.Duration
	const delay = 5 * time.Millisecond
	err := r.Do(func(done func()) {
		began := r.Now()
		timer.Bind(r, func() { early = delay - time.Duration(r.Now()-began); done() })
		timer.Start(delay)
	})
	if err != nil || early > 0 {
		t.Errorf("err %v, %v early", err, early)
	}
}

func TestMessagesFromManyGoroutinesAllRunInOrder(t *testing.T) {
	const senders, each = 8, 1000
	r := start(t, Config{Cores: []int{-1}}).Reactors()[0]
	last := make([]int, senders) // r's
	done := make(chan struct{})
	left := senders * each
	for s := range senders {
		msgs := make([]Message, each)
		for i := range msgs {
			msgs[i].Bind(func() {
				if last[s] != i {
					t.Errorf("sender %d: message %d ran after %d", s, i, last[s])
				}
				last[s]++
				if left--; left == 0 {
					close(done)
				}
			})
		}
		go func() {
			for i := range msgs {
				r.Send(&msgs[i])
			}
		}()
	}
	<-done
}

func TestStoppedReactorRefusesCalls(t *testing.T) {
	g, err := Start(Config{Cores: []int{-1}})
	if err != nil {
		t.Fatal(err)
	}
	r := g.Reactors()[0]
	g.Stop()
	if err := r.Call(func() { t.Error("ran") }); !errors.Is(err, ErrStopped) {
		t.Errorf("got %v", err)
	}
	g.Stop() // Twice does no harm.
}

// Waiting on a reactor, even for another one, would stop it.
func TestCallFromAReactorPanics(t *testing.T) {
	g := start(t, Config{Cores: []int{-1, -1}})
	panicked := false
	err := g.Reactors()[0].Call(func() {
		defer func() { panicked = recover() != nil }()
		_ = g.Reactors()[1].Call(func() {})
	})
	if err != nil || !panicked {
		t.Errorf("err %v, panicked %v", err, panicked)
	}
}

func TestPollersRunAndStop(t *testing.T) {
	r := start(t, Config{Cores: []int{-1}, Mode: ModeInterrupt}).Reactors()[0]
	polls := 0
	p := &Poller{Name: "test"}
	err := r.Do(func(done func()) {
		p.Poll = func() int {
			if polls++; polls == 100 {
				r.RemovePoller(p)
				done()
			}
			return 1
		}
		r.AddPoller(p)
	})
	if err != nil {
		t.Fatal(err)
	}
	for range 10 {
		_ = r.Call(func() {})
	}
	if polls != 100 {
		t.Errorf("polled %d times, want 100", polls)
	}
}

func TestPollerThatHasWorkKeepsTheReactorAwake(t *testing.T) {
	r := start(t, Config{Cores: []int{-1}, Mode: ModeInterrupt}).Reactors()[0]
	asked := 0
	p := &Poller{Name: "test", Poll: func() int { return 0 }}
	err := r.Do(func(done func()) {
		slept := r.stats.Sleeps
		p.Arm = func() bool {
			if asked++; asked == 5 {
				if r.stats.Sleeps != slept {
					t.Error("slept although Arm said no")
				}
				r.RemovePoller(p)
				done()
			}
			return false
		}
		r.AddPoller(p)
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestLateCompletionOfAnEarlierOwnerIsStale(t *testing.T) {
	r := start(t, Config{Cores: []int{-1}}).Reactors()[0]
	var first, second Op
	err := r.Call(func() {
		r.OpenOp(&first, func(int32, uint32) { t.Error("a completion reached the earlier owner") })
		late := uring.CQE{UserData: first.userData(kindOp)}
		first.Close()
		r.OpenOp(&second, func(int32, uint32) { t.Error("a completion reached the later owner") })
		r.dispatch(late)
		if r.stats.StaleCQEs != 1 {
			t.Errorf("%d stale completions", r.stats.StaleCQEs)
		}
		second.Close()
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestFullSubmissionQueueLosesNothing(t *testing.T) {
	const ops = 4 * sqEntries
	r := start(t, Config{Cores: []int{-1}}).Reactors()[0]
	var op Op
	left := ops
	err := r.Do(func(done func()) {
		r.OpenOp(&op, func(int32, uint32) {
			if left--; left == 0 {
				op.Close()
				done()
			}
		})
		for range ops {
			op.SQE().Opcode = uring.OpNop
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	if s := statsOf(t, r); s.InFlight != 0 || s.OpenOps != 0 || s.QueueFulls == 0 {
		t.Errorf("left over: %+v", s)
	}
}

func TestCancelEndsWhatIsInFlight(t *testing.T) {
	r := start(t, Config{Cores: []int{-1}}).Reactors()[0]
	event, err := uring.OpenEvent()
	if err != nil {
		t.Fatal(err)
	}
	defer event.Close()
	var op Op
	ended := 0
	err = r.Do(func(done func()) {
		r.OpenOp(&op, func(int32, uint32) {
			if ended++; ended == 3 {
				op.Close()
				done()
			}
		})
		for range 3 {
			op.SQE().PollAdd(event.Fd(), 1)
		}
		op.Cancel()
	})
	if err != nil || ended != 3 {
		t.Errorf("err %v, %d ended", err, ended)
	}
}

func TestPlaceTakesTheLeastLoaded(t *testing.T) {
	g := start(t, Config{Cores: []int{-1, -1}})
	a, b := g.Reactors()[0], g.Reactors()[1]
	if g.Place() != a {
		t.Error("between equals the first is not taken")
	}
	a.Placed(1)
	if g.Place() != b {
		t.Error("the loaded one was taken")
	}
}
