package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"time"

	"pollux/test/target"
)

// outcome is what a generator says of a run.
type outcome struct {
	IOPS    float64            `json:"iops"`
	Latency map[string]float64 `json:"lat_us"` // mean, p50, p99, ...
	Errors  int64              `json:"errors"`
}

// generator makes the command that puts a load on a server's LUN for a time, and reads what it printed.
type generator struct {
	command func(s *target.Server, l load, d time.Duration) (*exec.Cmd, error)
	read    func(output []byte) (outcome, error)
	writes  bool // can it write?
}

var generators = map[string]generator{
	"pollux":   {polluxCommand, readPollux, true},
	"libiscsi": {perfCommand, readPerf, false},
}

// polluxCommand is Pollux's own generator. It sends one command per system call, as libiscsi does, and waits by spinning.
func polluxCommand(s *target.Server, l load, d time.Duration) (*exec.Cmd, error) {
	binary, err := target.PolluxBinary()
	if err != nil {
		return nil, err
	}
	return exec.Command(binary, "bench", "--json", "--depth", strconv.Itoa(l.depth), "--block-size", strconv.Itoa(l.block),
		"--read-share", strconv.Itoa(l.read), "--duration", d.String(), s.URL("disk", 0)), nil
}

// fill writes all of the LUN once, so that nothing is measured that was never written: its first write makes a server's
// memory, which costs a hundred times what it costs later.
func fill(ctx context.Context, cores string, s *target.Server) error {
	binary, err := target.PolluxBinary()
	if err != nil {
		return err
	}
	const block = 256 << 10
	cmd := exec.CommandContext(ctx, "taskset", "-c", cores, binary, "bench", "--json", "--sequential", "--read-share", "0",
		"--block-size", strconv.Itoa(block), "--depth", "16", "--count", strconv.Itoa(lunSize/block), s.URL("disk", 0))
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("%w\n%s", err, out)
	}
	return nil
}

func readPollux(output []byte) (outcome, error) {
	var o outcome
	if err := json.Unmarshal(output, &o); err != nil {
		return o, fmt.Errorf("pollux bench: %w: %s", err, output)
	}
	return o, nil
}

// perfCommand is libiscsi's iscsi-perf, which can read alone; a second opinion.
func perfCommand(s *target.Server, l load, d time.Duration) (*exec.Cmd, error) {
	path, err := target.Program("iscsi-perf")
	if err != nil {
		return nil, err
	}
	seconds := max(1, int(d.Round(time.Second)/time.Second))
	return exec.Command(path, "-r", "-m", strconv.Itoa(l.depth), "-b", strconv.Itoa(l.block/blockSize),
		"-t", strconv.Itoa(seconds), s.URL("disk", 0)), nil
}

var perfIOPS = regexp.MustCompile(`iops average (\d+)`)

func readPerf(output []byte) (outcome, error) {
	all := perfIOPS.FindAllSubmatch(output, -1)
	if all == nil {
		return outcome{}, fmt.Errorf("iscsi-perf: no figure in %q", output)
	}
	iops, err := strconv.ParseFloat(string(all[len(all)-1][1]), 64)
	return outcome{IOPS: iops}, err
}

// generation is a generator that runs.
type generation struct {
	done chan struct{}
	out  outcome
	err  error
}

// start runs the generator on cores, in the background.
func (g generator) start(ctx context.Context, cores string, s *target.Server, l load, d time.Duration) (*generation, error) {
	cmd, err := g.command(s, l, d)
	if err != nil {
		return nil, err
	}
	pinned := exec.CommandContext(ctx, "taskset", append([]string{"-c", cores, cmd.Path}, cmd.Args[1:]...)...)
	pinned.Stderr = os.Stderr
	run := &generation{done: make(chan struct{})}
	go func() {
		defer close(run.done)
		output, err := pinned.Output()
		if err != nil {
			run.err = fmt.Errorf("generator: %w", err)
			return
		}
		run.out, run.err = g.read(output)
		if run.err == nil && run.out.Errors > 0 {
			run.err = fmt.Errorf("generator: %d commands failed", run.out.Errors)
		}
	}()
	return run, nil
}
