package main

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"

	"pollux/test/target"
)

// report prints what was measured and on what.
func report(w io.Writer, b bench, all results) {
	fmt.Fprintf(w, "%s. Server on core %s, generator on core %s, %d rounds of %s in turn, one %d MiB memory LUN, random blocks.\n",
		machine(), b.serverCores, b.clientCores, b.rounds, b.duration, lunSize>>20)
	fmt.Fprintf(w, "Medians (lowest-highest round). CPU is the server's processor time per I/O by the kernel's accounting; "+
		"busy is the same by the reactors' busy ticks.\n\n")
	table(w, b, all)
	ratios(w, b, all)
}

func table(w io.Writer, b bench, all results) {
	fmt.Fprintln(w, "| load | server | IOPS | p50 µs | p99 µs | CPU µs/IO | busy µs/IO | core |")
	fmt.Fprintln(w, "|---|---|---|---|---|---|---|---|")
	for _, l := range b.loads {
		for _, kind := range b.targets {
			s := all[l.name][kind]
			if len(s) == 0 {
				continue
			}
			fmt.Fprintf(w, "| %s | %s | %s | %s | %s | %s | %s | %s |\n", l.name, kind,
				spread(s, "%.0f", func(s sample) float64 { return s.iops }),
				spread(s, "%.0f", func(s sample) float64 { return s.lat["p50"] }),
				spread(s, "%.0f", func(s sample) float64 { return s.lat["p99"] }),
				spread(s, "%.2f", func(s sample) float64 { return s.cpu }),
				spread(s, "%.2f", func(s sample) float64 { return s.busy }),
				spread(s, "%.2f", func(s sample) float64 { return s.atCore }))
		}
	}
}

// ratios prints Pollux's processor time per I/O as a share of each peer's.
func ratios(w io.Writer, b bench, all results) {
	if !slices.Contains(b.targets, target.Pollux) || len(b.targets) < 2 {
		return
	}
	cpu := func(s sample) float64 { return s.cpu }
	fmt.Fprintln(w, "\nPollux's CPU per I/O as a share of the peer's:")
	for _, l := range b.loads {
		ours := all[l.name][target.Pollux]
		if len(ours) == 0 {
			continue
		}
		var shares []string
		for _, kind := range b.targets {
			if kind != target.Pollux {
				shares = append(shares, fmt.Sprintf("%.2f of %s", median(ours, cpu)/median(all[l.name][kind], cpu), kind))
			}
		}
		fmt.Fprintf(w, "- %s: %s\n", l.name, strings.Join(shares, ", "))
	}
}

// spread is "median (lowest-highest)", or "-" for what was not measured.
func spread[S any](samples []S, format string, of func(S) float64) string {
	v := sorted(samples, of)
	if v[len(v)-1] == 0 {
		return "-"
	}
	return fmt.Sprintf(format+" ("+format+"-"+format+")", median(samples, of), v[0], v[len(v)-1])
}

func median[S any](samples []S, of func(S) float64) float64 {
	v := sorted(samples, of)
	n := len(v)
	if n == 0 {
		return 0
	}
	return (v[(n-1)/2] + v[n/2]) / 2
}

func sorted[S any](samples []S, of func(S) float64) []float64 {
	v := make([]float64, 0, len(samples))
	for _, s := range samples {
		v = append(v, of(s))
	}
	slices.Sort(v)
	return v
}

// machine is what it was measured on.
func machine() string {
	return fmt.Sprintf("%s, %d cores, Linux %s, %s", cpuModel(), runtime.NumCPU(), kernel(), runtime.Version())
}

func cpuModel() string {
	text, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return "unknown processor"
	}
	for line := range strings.Lines(string(text)) {
		if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return runtime.GOARCH
}

func kernel() string {
	out, err := exec.Command("uname", "-r").Output()
	if err != nil {
		return "unknown"
	}
	return strings.TrimSpace(string(out))
}
