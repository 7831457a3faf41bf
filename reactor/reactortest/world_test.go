package reactortest

import (
	"slices"
	"testing"
	"time"

	"pollux/reactor"
)

func TestMessagesRunInOrderOfSending(t *testing.T) {
	w := New(t, 2)
	var got []int
	msgs := make([]reactor.Message, 5)
	for i := range msgs {
		msgs[i].Bind(func() { got = append(got, i) })
		w.Reactors[1].Send(&msgs[i])
	}
	if w.Step(0); len(got) != 0 {
		t.Fatalf("reactor 0 ran messages of reactor 1: %v", got)
	}
	if w.Step(1); !slices.Equal(got, []int{0, 1, 2, 3, 4}) {
		t.Fatalf("order %v", got)
	}
}

func TestDeferRunsAfterTheCallerInTheSamePass(t *testing.T) {
	w := New(t, 1)
	r := w.Reactors[0]
	var trace []string
	var first, deferred, flushed, late reactor.Message
	deferred.Bind(func() { trace = append(trace, "deferred") })
	late.Bind(func() { trace = append(trace, "deferred by flush") })
	flushed.Bind(func() { r.Defer(&late); trace = append(trace, "flush") })
	first.Bind(func() {
		r.AtPassEnd(&flushed)
		r.Defer(&deferred)
		trace = append(trace, "message")
	})
	r.Send(&first)
	w.Step(0)
	want := []string{"message", "deferred", "flush", "deferred by flush"}
	if !slices.Equal(trace, want) {
		t.Fatalf("got %v, want %v", trace, want)
	}
}

func TestTimersRunByTimeThenByStart(t *testing.T) {
	w := New(t, 2)
	var got []string
	start := func(i int, name string, d time.Duration) *reactor.Timer {
		timer := &reactor.Timer{}
		timer.Bind(w.Reactors[i], func() { got = append(got, name) })
		timer.Start(d)
		return timer
	}
	start(0, "c", 3*time.Second)
	start(1, "b", 2*time.Second)
	start(0, "a1", time.Second)
	start(0, "a2", time.Second)
	stopped := start(0, "stopped", time.Second)
	stopped.Stop()
	w.Advance(time.Second - 1)
	if len(got) != 0 {
		t.Fatalf("ran early: %v", got)
	}
	w.Advance(2*time.Second + 1)
	if want := []string{"a1", "a2", "b", "c"}; !slices.Equal(got, want) {
		t.Fatalf("got %v, want %v", got, want)
	}
}

func TestDoStepsTheWorldUntilTheAnswer(t *testing.T) {
	w := New(t, 2)
	var timer reactor.Timer
	answered := false
	err := w.Reactors[0].Do(func(done func()) {
		timer.Bind(w.Reactors[0], func() {
			var back reactor.Message
			back.Bind(func() { answered = true; done() })
			w.Reactors[1].Send(&back)
		})
		timer.Start(time.Minute)
	})
	if err != nil || !answered {
		t.Fatalf("err %v, answered %v", err, answered)
	}
}

func TestSameSeedSameOrder(t *testing.T) {
	order := func(seed uint64) (got []int) {
		w := New(t, 4)
		w.Seed(seed)
		msgs := make([]reactor.Message, 4)
		for i := range msgs {
			msgs[i].Bind(func() { got = append(got, i) })
			w.Reactors[i].Send(&msgs[i])
		}
		w.Run()
		return got
	}
	differ := false
	for seed := range uint64(20) {
		a, b := order(seed), order(seed)
		if !slices.Equal(a, b) {
			t.Fatalf("seed %d: %v and %v", seed, a, b)
		}
		differ = differ || !slices.Equal(a, []int{0, 1, 2, 3})
	}
	if !differ {
		t.Fatal("twenty seeds, all in turn")
	}
}

func TestSecondSendPanics(t *testing.T) {
	w := New(t, 1)
	var m reactor.Message
	m.Bind(func() {})
	w.Reactors[0].Send(&m)
	defer func() {
		if recover() == nil {
			t.Fatal("no panic")
		}
	}()
	w.Reactors[0].Defer(&m)
}
