package main

import (
	"io"
	"strings"
	"testing"
	"time"

	"pollux/test/target"
)

// TestOneRound shows that a comparison runs from end to end; what it measures is not looked at.
func TestOneRound(t *testing.T) {
	target.NeedProgram(t, "iscsi-perf", "taskset")
	for _, cfg := range target.UnderTest(t) {
		if cfg.Reactors > 1 {
			continue
		}
		t.Run(cfg.String(), func(t *testing.T) {
			b := bench{
				targets: []target.Kind{cfg.Kind}, loads: []load{loads[1]}, rounds: 1, duration: time.Second,
				serverCores: "0", clientCores: "0", generator: generators["libiscsi"], progress: io.Discard,
			}
			if cfg.Kind == target.Pollux {
				b.generator, b.loads = generators["pollux"], []load{loads[1], loads[4]}
			}
			results, err := b.run(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			var text strings.Builder
			report(&text, b, results)
			if !strings.Contains(text.String(), "| 4k-read-32 | "+string(cfg.Kind)+" |") {
				t.Errorf("no row for the load in:\n%s", text.String())
			}
		})
	}
}

func TestReport(t *testing.T) {
	samples := func(iops ...float64) (all []sample) {
		for _, v := range iops {
			all = append(all, sample{iops: v, cpu: 1e6 / v, lat: map[string]float64{"p50": 7}})
		}
		return all
	}
	b := bench{targets: []target.Kind{target.Pollux, target.Tgt}, loads: []load{loads[0]}}
	var text strings.Builder
	report(&text, b, results{"4k-read-1": {target.Pollux: samples(1000, 3000, 2000), target.Tgt: samples(500, 400)}})
	for _, want := range []string{
		"| 4k-read-1 | pollux | 2000 (1000-3000) | 7 (7-7) | - | 500.00 (333.33-1000.00) | - | - |",
		"| 4k-read-1 | tgt | 450 (400-500) |", "0.22 of tgt",
	} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("no %q in:\n%s", want, text.String())
		}
	}
}

func TestGeneratorsAreRead(t *testing.T) {
	o, err := readPollux([]byte(`{"iops": 1234.5, "lat_us": {"p50": 20, "p99": 31.5}, "errors": 0}`))
	if err != nil || o.IOPS != 1234.5 || o.Latency["p99"] != 31.5 {
		t.Errorf("pollux bench: %+v, %v", o, err)
	}
	o, err = readPerf([]byte("iops current 5, \riops average 17 (68 KB/s) \riops average 42 (168 KB/s)\nfinished.\n"))
	if err != nil || o.IOPS != 42 {
		t.Errorf("iscsi-perf: %+v, %v", o, err)
	}
	if _, err := choose("4k-*-32,nothing"); err != nil {
		t.Error(err)
	}
	if _, err := choose("nothing"); err == nil {
		t.Error("a pattern that matches nothing is accepted")
	}
}

// TestTcmurRound shows that the comparison of handlers runs from end to end; what it measures is not looked at.
func TestTcmurRound(t *testing.T) {
	target.NeedProgram(t, "gcc", "make")
	target.Run(t, time.Minute, "make", "-s", "-C", target.Root(), "helper")
	b := bench{tcmur: true, loads: loads, dir: t.TempDir(), rounds: 2, duration: 50 * time.Millisecond, progress: io.Discard}
	var text strings.Builder
	if err := b.compare(t.Context(), &text); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"| 4k-read-32 | null | ", "| 4k-write-1 | aio | ", "- 4k-write-32, file: "} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("no %q in:\n%s", want, text.String())
		}
	}
}
