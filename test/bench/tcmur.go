package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"pollux/bdev"
	"pollux/bdev/aio"
	"pollux/bdev/tcmur"
	"pollux/reactor"
	"pollux/reactor/iobuf"
	"pollux/test/target"
)

// What the helper of bdev/tcmur costs, without initiators: 4 KiB blocks at random, on one reactor, through two handlers in their
// helpers and through aio on the file of one of them. Each load visits them in turn, round after round, and so do the handlers'
// callouts alone, in a process with nothing else in it.

const (
	tcmurSize     = 256 << 20 // of the file
	tcmurBlock    = 4096
	tcmurDepthMax = 32
	tcmurOwn      = 100_000 // callouts of a handler alone, per round
	tcmurAim      = 1.5     // µs of processor time per I/O beside the handler's own work
	// latenciesMax is how many are kept of a visit.
	latenciesMax = 1 << 20
)

// tcmurLoads are those of the loads that visit each device; latency is told at depth 1.
func (b bench) tcmurLoads() (chosen []load) {
	for _, l := range b.loads {
		if l.block == tcmurBlock && l.depth <= tcmurDepthMax {
			chosen = append(chosen, l)
		}
	}
	return chosen
}

// op is what a load of one kind of command does.
func (l load) op() bdev.Op {
	if l.read == 0 {
		return bdev.OpWrite
	}
	return bdev.OpRead
}

// tcmurDevices are what is compared, in the order of their turns.
var tcmurDevices = []string{"null", "file", "aio"}

// visit is what one turn came to, in µs per I/O.
type visit struct {
	iops     float64
	reactor  float64 // processor time of the reactor's thread while it was busy
	threads  float64 // processor time of the other threads of the process
	helper   float64 // and of the helper
	own      float64 // and of the handler alone, for as many callouts; 0: not a handler
	p50, p99 float64 // at depth 1
}

func (v visit) together() float64 { return v.reactor + v.threads + v.helper }

func (v visit) more() float64 { return v.together() - v.own }

// tcmurBench is the comparison under way.
type tcmurBench struct {
	bench
	dir      string // a temporary folder: the file, the handlers, the program own
	group    *reactor.Group
	registry *bdev.Registry
	r        *reactor.Reactor
	thread   int            // of the reactor
	helpers  map[string]int // process IDs by device
}

// runTcmur compares, and prints a table.
func (b bench) runTcmur(ctx context.Context, w io.Writer) (err error) {
	t := tcmurBench{bench: b, helpers: map[string]int{}}
	if t.dir, err = os.MkdirTemp(b.dir, "plx"); err != nil {
		return err
	}
	defer os.RemoveAll(t.dir)
	if err := t.build(ctx); err != nil {
		return err
	}
	if t.group, err = reactor.Start(reactor.Config{Cores: []int{-1}, Mode: reactor.ModeAdaptive}); err != nil {
		return err
	}
	defer t.group.Stop()
	t.r = t.group.Reactors()[0]
	t.registry = bdev.NewRegistry(t.group, slog.New(slog.DiscardHandler))
	defer func() { err = errors.Join(err, t.registry.Close()) }()
	if err := errors.Join(t.r.Call(func() { t.thread = unix.Gettid() }), t.open(ctx)); err != nil {
		return err
	}
	all, err := t.visits(ctx)
	if err != nil {
		return err
	}
	t.report(w, all)
	return nil
}

// build makes the handlers null and file, and the program that calls them alone.
func (t *tcmurBench) build(ctx context.Context) error {
	folder := filepath.Join(target.Root(), "bdev", "tcmur")
	gcc := func(out string, args ...string) error {
		args = slices.Concat([]string{"-std=gnu11", "-O2", "-pthread", "-I" + filepath.Join(folder, "helper"), "-o", filepath.Join(t.dir, out)}, args)
		if said, err := exec.CommandContext(ctx, "gcc", args...).CombinedOutput(); err != nil {
			return fmt.Errorf("gcc: %w\n%s", err, said)
		}
		return nil
	}
	sources, err := filepath.Glob(filepath.Join(folder, "helper", "*.c"))
	if err != nil {
		return err
	}
	sources = slices.DeleteFunc(sources, func(s string) bool { return filepath.Base(s) == "main.c" })
	helper := slices.Concat([]string{"-rdynamic", filepath.Join(folder, "testdata", "own.c")}, sources, []string{"-ldl"})
	handler := func(name string) error {
		return gcc("handler_"+name+".so", "-shared", "-fPIC", filepath.Join(folder, "testdata", "handlers", name+".c"))
	}
	return errors.Join(gcc("own", helper...), handler("null"), handler("file"))
}

// cfg is the configuration string of a handler's device.
func (t *tcmurBench) cfg(handler string) string { return handler + "/" + filepath.Join(t.dir, "disk") }

// open makes the devices; file and aio have the same file.
func (t *tcmurBench) open(ctx context.Context) error {
	path := filepath.Join(t.dir, "disk")
	if err := os.WriteFile(path, make([]byte, tcmurSize), 0o600); err != nil {
		return err
	}
	if err := aio.New(t.registry).Create(aio.Options{Name: "aio", Filename: path, BlockSize: blockSize}); err != nil {
		return err
	}
	m := tcmur.New(t.registry, tcmur.Config{Helper: filepath.Join(target.Root(), "bin", "pollux-tcmur-helper"), Dirs: []string{t.dir}})
	for _, name := range []string{"null", "file"} {
		if _, err := m.Create(ctx, tcmur.Options{Name: name, Cfg: t.cfg(name), Size: tcmurSize, BlockSize: blockSize}); err != nil {
			return err
		}
		pid, err := m.PID(name)
		if err != nil {
			return err
		}
		t.helpers[name] = pid
	}
	return nil
}

// tcmurResults holds the visits of each load by device, one per round.
type tcmurResults map[string]map[string][]visit

func (t *tcmurBench) visits(ctx context.Context) (tcmurResults, error) {
	all := tcmurResults{}
	for _, l := range t.tcmurLoads() {
		all[l.name] = map[string][]visit{}
		for round := range t.rounds {
			for _, name := range tcmurDevices {
				v, err := t.visit(name, l.op(), l.depth)
				if err == nil && t.helpers[name] != 0 {
					v.own, err = t.own(ctx, name, l.op())
				}
				if err := errors.Join(err, ctx.Err()); err != nil {
					return nil, fmt.Errorf("%s, %s: %w", name, l.name, err)
				}
				all[l.name][name] = append(all[l.name][name], v)
			}
			fmt.Fprintf(t.progress, "\r%-14s round %d of %d ", l.name, round+1, t.rounds)
		}
	}
	fmt.Fprint(t.progress, "\r\033[K")
	return all, nil
}

// own is the processor time of a handler's callout alone, in µs.
func (t *tcmurBench) own(ctx context.Context, handler string, op bdev.Op) (float64, error) {
	out, err := exec.CommandContext(ctx, filepath.Join(t.dir, "own"), filepath.Join(t.dir, "handler_"+handler+".so"), t.cfg(handler),
		strconv.Itoa(tcmurSize), op.String(), strconv.Itoa(tcmurOwn)).Output()
	if err != nil {
		return 0, fmt.Errorf("the handler alone: %w", err)
	}
	nanos, err := strconv.ParseFloat(strings.TrimSpace(string(out)), 64)
	return nanos / 1e3, err
}

// times are processor times so far, in ns.
type times struct{ busy, reactor, threads, helper int64 }

func (t *tcmurBench) times(name string) (now times, err error) {
	callErr := t.r.Call(func() { now.busy = t.r.Stats().BusyNanos })
	var all int64
	var errs [3]error
	now.reactor, errs[0] = cpuOf(t.thread, cpuOfThread)
	all, errs[1] = cpuOf(os.Getpid(), cpuOfProcess)
	now.threads = all - now.reactor
	if pid := t.helpers[name]; pid != 0 {
		now.helper, errs[2] = cpuOf(pid, cpuOfProcess)
	}
	return now, errors.Join(callErr, errors.Join(errs[:]...))
}

// The low bits of the numbers that the kernel has for the clocks of others' processor times (clock_getcpuclockid(3)).
const (
	cpuOfProcess = 2
	cpuOfThread  = 6
)

// cpuOf is the processor time of a process with the threads that it had, or of a thread, in ns.
func cpuOf(id int, kind int32) (int64, error) {
	var t unix.Timespec
	if err := unix.ClockGettime(^int32(id)<<3|kind, &t); err != nil {
		return 0, fmt.Errorf("processor time of %d: %w", id, err)
	}
	return t.Nano(), nil
}

// since is the difference. The reactor's thread also waits for work, and its busy time is also that of others if it has to give
// them its core: what it needed is the lesser.
func (t times) since(before times) times {
	return times{
		reactor: min(t.busy-before.busy, t.reactor-before.reactor), threads: t.threads - before.threads, helper: t.helper - before.helper,
	}
}

// visit puts a load on a device for the time of a turn.
func (t *tcmurBench) visit(name string, op bdev.Op, depth int) (visit, error) {
	desc, err := t.registry.Open(name, bdev.OpenOptions{Write: true})
	if err != nil {
		return visit{}, err
	}
	defer desc.Close()
	g, err := newGenerated(t.r, desc, op, depth)
	if err != nil {
		return visit{}, err
	}
	defer g.close()
	g.run(settle)
	before, err1 := t.times(name)
	began := time.Now()
	n := g.run(t.duration)
	took := time.Since(began)
	after, err2 := t.times(name)
	if err := errors.Join(err1, err2, g.failed); err != nil || n == 0 {
		return visit{}, fmt.Errorf("%d requests: %w", n, err)
	}
	spent := after.since(before)
	per := func(nanos int64) float64 { return float64(nanos) / float64(n) / 1e3 }
	return visit{
		iops: float64(n) / took.Seconds(), reactor: per(spent.reactor), threads: per(spent.threads), helper: per(spent.helper),
		p50: g.percentile(50), p99: g.percentile(99),
	}, nil
}

// generated keeps requests in flight. All but its making and closing happens on the reactor.
type generated struct {
	r       *reactor.Reactor
	c       *bdev.Channel
	mem     []byte
	reqs    []*bdev.Request
	x       uint64
	until   time.Time
	over    bool
	inUse   int
	ended   int
	done    func()
	failed  error
	clocked bool // one request at a time: its latency is told
	started time.Time
	took    []int64 // ns
}

func newGenerated(r *reactor.Reactor, desc *bdev.Desc, op bdev.Op, depth int) (*generated, error) {
	mem, err := iobuf.Map(depth * tcmurBlock)
	if err != nil {
		return nil, err
	}
	g := &generated{r: r, mem: mem, x: 88172645463325252, clocked: depth == 1, took: make([]int64, 0, latenciesMax)}
	for i := range depth {
		q := &bdev.Request{Op: op, Blocks: tcmurBlock / blockSize, Data: [][]byte{mem[i*tcmurBlock:][:tcmurBlock]}}
		q.Done = g.end
		g.reqs = append(g.reqs, q)
	}
	callErr := r.Call(func() { g.c, err = desc.OpenChannel(r) })
	return g, errors.Join(callErr, err)
}

func (g *generated) close() {
	_ = g.r.Do(func(done func()) { g.c.Close(done) })
	iobuf.Unmap(g.mem)
}

// run has the requests in flight for d, and returns how many have ended.
func (g *generated) run(d time.Duration) int {
	_ = g.r.Do(func(done func()) {
		g.until, g.over, g.ended, g.done, g.took = time.Now().Add(d), false, 0, done, g.took[:0]
		for _, q := range g.reqs {
			g.start(q)
		}
	})
	return g.ended
}

func (g *generated) start(q *bdev.Request) {
	g.x ^= g.x << 13
	g.x ^= g.x >> 7
	g.x ^= g.x << 17
	q.LBA = g.x % (tcmurSize / tcmurBlock) * (tcmurBlock / blockSize)
	g.inUse++
	if g.clocked {
		g.started = time.Now()
	}
	g.c.Submit(q)
}

// clockEvery is how many requests end between two looks at the clock.
const clockEvery = 64

func (g *generated) end(q *bdev.Request) {
	g.inUse--
	g.ended++
	if q.Status != bdev.StatusOK {
		g.failed, g.over = fmt.Errorf("%v at %d: %v", q.Op, q.LBA, q.Status), true
	}
	if g.clocked && len(g.took) < latenciesMax {
		g.took = append(g.took, int64(time.Since(g.started)))
	}
	if g.ended%clockEvery == 0 && time.Now().After(g.until) {
		g.over = true
	}
	switch {
	case !g.over:
		g.start(q)
	case g.inUse == 0:
		g.done()
	}
}

// percentile is of the latencies, in µs; 0 where none were told.
func (g *generated) percentile(p int) float64 {
	if !g.clocked {
		return 0
	}
	slices.Sort(g.took)
	return float64(g.took[(len(g.took)-1)*p/100]) / 1e3
}

// report prints what was measured, and what the aim asks.
func (t *tcmurBench) report(w io.Writer, all tcmurResults) {
	fmt.Fprintf(w, "\nHandlers of tcmu-runner in helper processes (bdev/tcmur) against aio. %s, %d rounds of %s in turn, one reactor, 4 KiB blocks of a file "+
		"of %d MiB in %s.\n", machine(), t.rounds, t.duration, tcmurSize>>20, filepath.Dir(t.dir))
	fmt.Fprintf(w, "Medians (lowest-highest round). Processor time per I/O in µs: the reactor while it was busy, its process's other threads, the helper. "+
		"Alone is a callout of the handler in a process with nothing else, more is what is above that. aio has O_DIRECT where the file system has it, "+
		"the handler file the page cache.\n\n")
	fmt.Fprintln(w, "| load | device | IOPS | reactor | threads | helper | together | alone | more | p50 µs | p99 µs |")
	fmt.Fprintln(w, "|---|---|---|---|---|---|---|---|---|---|---|")
	for _, l := range t.tcmurLoads() {
		for _, name := range tcmurDevices {
			v := all[l.name][name]
			more := "-"
			if t.helpers[name] != 0 {
				more = spread(v, "%.2f", visit.more)
			}
			fmt.Fprintf(w, "| %s | %s | %s | %s | %s | %s | %s | %s | %s | %s | %s |\n", l.name, name,
				spread(v, "%.0f", func(v visit) float64 { return v.iops }),
				spread(v, "%.2f", func(v visit) float64 { return v.reactor }),
				spread(v, "%.2f", func(v visit) float64 { return v.threads }),
				spread(v, "%.2f", func(v visit) float64 { return v.helper }),
				spread(v, "%.2f", visit.together),
				spread(v, "%.2f", func(v visit) float64 { return v.own }),
				more,
				spread(v, "%.1f", func(v visit) float64 { return v.p50 }),
				spread(v, "%.1f", func(v visit) float64 { return v.p99 }))
		}
	}
	fmt.Fprintf(w, "\nThe aim: at depth 32 at most %.1f µs more than the handler alone.\n", tcmurAim)
	for _, l := range t.tcmurLoads() {
		if l.depth == 1 {
			continue
		}
		for _, name := range tcmurDevices {
			if t.helpers[name] == 0 {
				continue
			}
			more := median(all[l.name][name], visit.more)
			verdict := "met"
			if more > tcmurAim {
				verdict = "missed"
			}
			fmt.Fprintf(w, "- %s, %s: %.2f µs more than alone, %s; together %.2f of aio\n", l.name, name, more, verdict,
				median(all[l.name][name], visit.together)/median(all[l.name]["aio"], visit.together))
		}
	}
}
