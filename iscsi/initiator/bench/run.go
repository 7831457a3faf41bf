package bench

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"io"
	"math"
	"os"
	"os/signal"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"pollux/iscsi/initiator"
	"pollux/reactor"
	"pollux/reactor/iobuf"
)

// Bounds of the control plane's waiting.
const (
	dialTimeout    = 30 * time.Second
	drainTimeout   = 30 * time.Second // for commands in flight at the end; then the connection is closed
	logoutTimeout  = 5 * time.Second
	reconnectPause = 100 * time.Millisecond
	readyTries     = 30 // TEST UNIT READY until the unit attentions are told
)

// Main is `pollux bench`: it returns the exit status.
func Main(args []string, stdout, stderr io.Writer) int {
	o, err := parse(args, stdout, stderr)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case err != nil:
		return 2
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	b := &bench{Options: o, stderr: stderr}
	report, err := b.run(ctx)
	if report != nil {
		err = errors.Join(err, report.write(stdout, o.JSON))
	}
	if err != nil {
		fmt.Fprintf(stderr, "pollux bench: %v\n", err)
		return 1
	}
	return 0
}

// bench is one run. Control plane.
type bench struct {
	*Options
	stderr  io.Writer
	r       *reactor.Reactor
	workers []*worker

	mu      sync.Mutex
	clients []*initiator.Client // by worker; replaced when it reconnects
	over    bool                // no more reconnecting

	geometry
	reconnects atomic.Uint64
	alive      atomic.Int64
	allDead    chan struct{}
	keepers    sync.WaitGroup
}

// geometry is that of the LUN.
type geometry struct {
	blockLength int64
	blocks      uint64
}

func (b *bench) run(ctx context.Context) (*Report, error) {
	mode := reactor.ModeInterrupt
	if b.Spin {
		mode = reactor.ModePoll
	}
	g, err := reactor.Start(reactor.Config{Cores: []int{b.Core}, Mode: mode})
	if err != nil {
		return nil, err
	}
	defer g.Stop()
	b.r = g.Reactors()[0]
	if err := b.findTarget(ctx); err != nil {
		return nil, err
	}
	if err := b.connectAll(ctx); err != nil {
		b.logout()
		return nil, err
	}
	if err := b.makeWorkers(); err != nil {
		b.logout()
		return nil, err
	}
	report := b.load(ctx)
	if b.Verify {
		b.lastPass(ctx)
	}
	b.logout()
	return report, b.verdict(report)
}

// units is how many there are, for all workers.
func (b *bench) units() uint64 {
	bytes := b.blocks * uint64(b.blockLength)
	if b.blocks > math.MaxUint64/uint64(b.blockLength) {
		bytes = math.MaxUint64
	}
	if b.Span > 0 {
		bytes = min(bytes, uint64(b.Span))
	}
	return bytes / uint64(b.BlockSize)
}

func (b *bench) checkGeometry() error {
	perWorker := uint64(1)
	if b.Verify {
		perWorker = uint64(b.Depth) + 1
	}
	switch {
	case b.blockLength <= 0 || b.blockLength > b.BlockSize || b.BlockSize%b.blockLength != 0:
		return fmt.Errorf("--block-size %d: LUN %d has blocks of %d bytes", b.BlockSize, b.LUN, b.blockLength)
	case b.units() < uint64(b.Connections)*perWorker:
		return fmt.Errorf("LUN %d (or --span) has %d units of %d bytes, too few for %d connections", b.LUN, b.units(), b.BlockSize, b.Connections)
	case b.Verify && b.units() > unitsMax:
		return fmt.Errorf("--verify keeps a record per unit: use --span up to %d bytes", unitsMax*b.BlockSize)
	}
	return nil
}

// makeWorkers allocates everything that the loop needs.
func (b *bench) makeWorkers() error {
	var run [8]byte
	rand.Read(run[:])
	b.allDead = make(chan struct{})
	b.alive.Store(int64(b.Connections))
	for i := range b.Connections {
		w := &worker{id: i, r: b.r, lun: lunField(b.LUN), length: uint32(b.BlockSize), readShare: b.ReadShare, verify: b.Verify}
		w.units = units{
			first: uint64(i), step: uint64(b.Connections), count: b.units() / uint64(b.Connections),
			blocks: uint64(b.BlockSize / b.blockLength), blockLength: int(b.blockLength), run: binary.BigEndian.Uint64(run[:]),
			sequential: b.Sequential, random: mix(b.Seed + uint64(i)<<32),
		}
		w.quota = math.MaxUint64
		if b.Count > 0 {
			w.quota = (b.Count + uint64(b.Connections-1-i)) / uint64(b.Connections)
		}
		if err := b.allocate(w); err != nil {
			return err
		}
		b.workers = append(b.workers, w)
	}
	return nil
}

// allocate makes a worker's slots and buffers. Buffers that are sent must not be in the Go heap.
func (b *bench) allocate(w *worker) error {
	size := int(b.BlockSize)
	pieces := 1
	if b.Verify {
		w.records = make([]record, w.count)
		pieces = b.Depth
	}
	mem, err := iobuf.Map(size * pieces)
	if err != nil {
		return err
	}
	w.payload = mem[:size]
	rand.Read(w.payload)
	w.slots = make([]slot, b.Depth)
	for i := range w.slots {
		s := &w.slots[i]
		s.worker = w
		s.command.Done = s.done
		if b.Verify {
			s.buf = mem[i*size : (i+1)*size]
		}
		w.idle = append(w.idle, s)
	}
	return nil
}

// mark is a moment of the run.
type mark struct {
	time  time.Time
	cpu   time.Duration
	busy  int64
	count counts
}

// mark reads all counters at one moment, on the reactor.
func (b *bench) mark(reset bool) (m mark) {
	_ = b.r.Call(func() {
		var u unix.Rusage
		_ = unix.Getrusage(unix.RUSAGE_SELF, &u) // It cannot fail with these arguments.
		m.time = time.Now()
		m.cpu = time.Duration(u.Utime.Nano() + u.Stime.Nano())
		m.busy = b.r.Stats().BusyNanos
		for _, w := range b.workers {
			if reset {
				w.counts = counts{mismatches: w.mismatches, checked: w.checked, shown: w.shown}
			}
			m.count.add(&w.counts)
		}
	})
	return m
}

// load runs the closed loop and measures it.
func (b *bench) load(ctx context.Context) *Report {
	for i, w := range b.workers {
		b.keepers.Add(1)
		go b.keep(ctx, i)
		_ = b.r.Call(func() {
			w.going = true
			w.begin(b.clients[i].Session)
		})
	}
	if b.Warmup > 0 {
		b.wait(ctx, b.Warmup)
	}
	first := b.mark(b.Warmup > 0)
	if b.Count > 0 {
		b.quiet(ctx, false)
	} else {
		b.wait(ctx, b.Duration)
	}
	last := b.mark(false)
	_ = b.r.Call(func() {
		for _, w := range b.workers {
			w.going = false
		}
	})
	b.quiet(ctx, true)
	return b.report(&first, &last)
}

// wait lets time go by, unless the user or the target ends the run.
func (b *bench) wait(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	case <-b.allDead:
	}
}

// quiet waits until every worker has nothing in flight and nothing to do. What does not end is cut off: after drainTimeout if bounded, or when
// the user gives up.
func (b *bench) quiet(ctx context.Context, bounded bool) {
	stop := context.AfterFunc(ctx, func() {
		_ = b.r.Call(func() {
			for _, w := range b.workers {
				w.going, w.final = false, false
				w.checkQuiet()
			}
		})
	})
	defer stop()
	if bounded || ctx.Err() != nil {
		t := time.AfterFunc(drainTimeout, b.cut)
		defer t.Stop()
	}
	for _, w := range b.workers {
		_ = b.r.Do(func(done func()) {
			w.whenQuiet = done
			w.checkQuiet()
		})
	}
}

// cut closes all connections and gives up reconnecting.
func (b *bench) cut() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.over = true
	for _, c := range b.clients {
		_ = b.r.Call(c.Session.Close)
	}
}

// lastPass reads every unit that was written.
func (b *bench) lastPass(ctx context.Context) {
	_ = b.r.Call(func() {
		for _, w := range b.workers {
			w.final = true
			if w.session != nil {
				w.kick()
			}
		}
	})
	b.quiet(ctx, false)
}

func (b *bench) report(first, last *mark) *Report {
	p := &Report{
		Target: b.Target, Connections: b.Connections, Depth: b.Depth, BlockSize: b.BlockSize, ReadShare: b.ReadShare, Batch: b.Batch,
		Seconds: last.time.Sub(first.time).Seconds(), Reconnects: b.reconnects.Load(),
	}
	c := last.count
	p.fill(&c, b.BlockSize)
	if p.Commands > 0 {
		p.CPUPerIO = float64((last.cpu - first.cpu).Nanoseconds()) / 1e3 / float64(p.Commands)
		p.BusyPerIO = float64(last.busy-first.busy) / 1e3 / float64(p.Commands)
	}
	return p
}

// verdict is what the exit status says. It brings the report up to what the last pass has found.
func (b *bench) verdict(p *Report) error {
	end := b.mark(false).count
	p.Checked, p.Mismatches, p.Reconnects = end.checked, end.mismatches, b.reconnects.Load()
	for _, s := range end.shown {
		fmt.Fprintf(b.stderr, "pollux bench: %s\n", s)
	}
	unread := 0
	for _, w := range b.workers {
		if b.Verify && w.dead && w.nextFinal < w.count {
			unread++
		}
	}
	switch {
	case p.Mismatches > 0:
		return fmt.Errorf("%d reads did not find what was acknowledged", p.Mismatches)
	case unread > 0:
		return fmt.Errorf("%d connections were lost before everything could be read again", unread)
	case p.Errors > 0:
		return fmt.Errorf("%d commands failed (the last one with status %#02x, sense key %#x, reject reason %#02x)", p.Errors, end.lastStatus, end.lastSense, end.lastReason)
	case p.Commands == 0:
		return errors.New("no command has completed")
	case p.Lost > 0 && b.Reconnect == 0:
		return fmt.Errorf("%d commands were lost with their connections", p.Lost)
	}
	return nil
}
