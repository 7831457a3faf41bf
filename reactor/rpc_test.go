package reactor

import (
	"encoding/json"
	"os"
	"testing"

	"pollux/rpc"
)

// missing reports members that clients look for and that v, an object, does not have.
func missing(t *testing.T, v any, want map[string]any) {
	t.Helper()
	object, ok := v.(map[string]any)
	if !ok {
		t.Fatalf("%v is no object", v)
	}
	for key, inner := range want {
		got, ok := object[key]
		if !ok {
			t.Errorf("%q is missing", key)
			continue
		}
		if inner == nil {
			continue
		}
		list, ok := got.([]any)
		if !ok || len(list) == 0 {
			t.Errorf("%q is %v, want a list with something in it", key, got)
			continue
		}
		missing(t, list[0], inner.(map[string]any))
	}
}

func TestMethodsAnswerAsSPDKDoes(t *testing.T) {
	g := start(t, Config{Cores: []int{-1, -1}})
	p := &Poller{Name: "test_poll", Poll: func() int { return 0 }}
	if err := g.Reactors()[0].Call(func() { g.Reactors()[0].AddPoller(p) }); err != nil {
		t.Fatal(err)
	}
	s := rpc.New(rpc.Options{})
	RegisterRPC(s, g)
	if err := s.StartInit(t.Context()); err != nil {
		t.Fatal(err)
	}
	poller := map[string]any{"name": nil, "id": nil, "state": nil, "run_count": nil, "busy_count": nil}
	for method, want := range map[string]map[string]any{
		"framework_get_reactors": {
			"tick_rate": nil, "pid": nil, "reactors": map[string]any{
				"lcore": nil, "numa_id": nil, "tid": nil, "busy": nil, "idle": nil, "in_interrupt": nil, "irq": nil,
				"sys": nil, "usr": nil, "lw_threads": map[string]any{"name": nil, "id": nil, "cpumask": nil, "elapsed": nil},
			},
		},
		"reactor_get_usage": {
			"tick_rate": nil, "threads": map[string]any{
				"name": nil, "id": nil, "ring_slots": nil, "in_flight": nil, "backlog": nil, "buffers": nil, "timers": nil, "pollers": nil,
			},
		},
		"thread_get_stats": {
			"tick_rate": nil, "threads": map[string]any{
				"name": nil, "id": nil, "cpumask": nil, "busy": nil, "idle": nil, "active_pollers_count": nil,
				"timed_pollers_count": nil, "paused_pollers_count": nil,
			},
		},
		"thread_get_pollers": {
			"tick_rate": nil, "threads": map[string]any{
				"name": nil, "id": nil, "active_pollers": poller, "timed_pollers": nil, "paused_pollers": nil,
			},
		},
	} {
		raw, err := s.Call(t.Context(), method, nil)
		if err != nil {
			t.Fatalf("%s: %v", method, err)
		}
		var v any
		if err := json.Unmarshal(raw, &v); err != nil {
			t.Fatal(err)
		}
		missing(t, v, want)
	}
}

func TestReactorsAreToldApart(t *testing.T) {
	g := start(t, Config{Cores: []int{-1, -1}})
	result, err := g.describeReactors()
	if err != nil || len(result.Reactors) != 2 || result.PID != os.Getpid() {
		t.Fatalf("%+v, %v", result, err)
	}
	a, b := result.Reactors[0], result.Reactors[1]
	if a.LCore == b.LCore || a.TID == b.TID || a.Threads[0].ID == b.Threads[0].ID {
		t.Errorf("two reactors look the same: %+v, %+v", a, b)
	}
	if a.Busy+a.Idle != a.Threads[0].Elapsed {
		t.Errorf("times do not add up: %+v", a)
	}
}

func TestCPUMask(t *testing.T) {
	for core, want := range map[int]string{-1: "1", 0: "1", 1: "2", 3: "8", 4: "10", 65: "20000000000000000"} {
		if got := (&Reactor{core: core}).cpuMask(); got != want {
			t.Errorf("core %d: mask %s, want %s", core, got, want)
		}
	}
}
