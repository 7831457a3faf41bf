package iscsi_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"runtime"
	"testing"
	"time"

	"pollux/bdev"
	"pollux/bdev/malloc"
	"pollux/iscsi"
	"pollux/iscsi/initiator"
	"pollux/reactor"
	"pollux/reactor/iobuf"
	"pollux/scsi"
)

// live is a server over real reactors and a real port.
type live struct {
	t      *testing.T
	group  *reactor.Group
	server *iscsi.Server
	portal string
	client *reactor.Reactor
	ctx    context.Context
}

const liveTimeout = 60 * time.Second

func newLive(t *testing.T, reactors int) *live {
	t.Helper()
	cores := make([]int, reactors+1) // one more, for the initiators
	for i := range cores {
		cores[i] = -1
	}
	g, err := reactor.Start(reactor.Config{Cores: cores})
	if err != nil {
		t.Skipf("no reactor can be started: %v", err)
	}
	l := &live{t: t, group: g, client: g.Reactors()[reactors]}
	var cancel context.CancelFunc
	l.ctx, cancel = context.WithTimeout(t.Context(), liveTimeout)
	registry := bdev.NewRegistry(g, slog.New(slog.DiscardHandler))
	if _, err := malloc.New(registry).Create(malloc.Options{Name: "Malloc0", BlockSize: rigBlockSize, Blocks: rigBlocks}); err != nil {
		t.Fatal(err)
	}
	l.server = iscsi.NewServer(g, scsi.NewDevices(g, registry, slog.New(slog.DiscardHandler)), iscsi.Config{InitialStatSN: nearWrap})
	portals, err := iscsi.NewPortalGroup(1, []iscsi.Portal{{Host: "127.0.0.1", Port: "0"}}, false)
	l.must(err)
	initiators, err := iscsi.NewInitiatorGroup(1, []string{"ANY"}, []string{"127.0.0.0/8"})
	l.must(err)
	l.must(l.server.Start())
	l.must(l.server.AddPortalGroup(portals, false))
	l.must(l.server.AddInitiatorGroup(initiators))
	l.must(l.server.AddTarget(&iscsi.TargetSpec{
		Name: "disk1", Maps: []iscsi.Map{{PortalGroup: 1, InitiatorGroup: 1}}, LUNs: []iscsi.LUNSpec{{BdevName: "Malloc0"}},
	}))
	l.portal = l.server.Portals(1)[0].String()
	t.Cleanup(func() {
		defer cancel()
		l.must(l.server.Close())
		l.must(registry.Unregister("Malloc0"))
		if held := l.server.Held(); len(held) > 0 {
			t.Errorf("left after the end: %v", held)
		}
		g.Stop()
	})
	return l
}

func (l *live) must(err error) {
	l.t.Helper()
	if err != nil {
		l.t.Fatal(err)
	}
}

func (l *live) dial(isid byte, edit func(*initiator.Config)) *initiator.Client {
	l.t.Helper()
	cfg := initiator.Config{
		Offers: initiator.Offers(rigInitiator, rigTarget), ISID: iscsi.ISID{0x80, 0, 0, 0, 0, isid}, CmdSN: nearWrap, Strict: true, Batch: true,
	}
	if edit != nil {
		edit(&cfg)
	}
	c, err := initiator.Dial(l.ctx, l.client, l.portal, cfg)
	l.must(err)
	l.t.Cleanup(c.Close) // before the server ends, which would wait for its logout
	for range 4 {
		_, err := c.Do(l.ctx, 0, make([]byte, 6), nil, 0)
		l.must(err)
	}
	return c
}

func TestLiveDiscovery(t *testing.T) {
	l := newLive(t, 2)
	targets, err := initiator.Discover(l.ctx, l.client, l.portal, initiator.Config{Offers: initiator.Offers(rigInitiator, "")})
	if err != nil || len(targets) != 1 || targets[0].Name != rigTarget || len(targets[0].Addresses) != 1 || targets[0].Addresses[0] != l.portal+",1" {
		t.Errorf("discovered %v, %v", targets, err)
	}
}

func TestLiveDataIsKept(t *testing.T) {
	for name, edit := range sessionKinds {
		t.Run(name, func(t *testing.T) {
			l := newLive(t, 2)
			c := l.dial(1, edit)
			for _, blocks := range []int{1, 8, 100, 3000} {
				out, ok := outBuffer(l, blocks)
				if !ok {
					t.Fatal("no buffer")
				}
				copy(out, pattern(blocks, byte(blocks)))
				w := rw(opWrite10, 9, blocks)
				w.Out = out
				l.must(c.Submit(l.ctx, w))
				r := readOf(9, blocks)
				l.must(c.Submit(l.ctx, r))
				if w.Status != scsi.StatusGood || r.Status != scsi.StatusGood || !bytes.Equal(r.In, out) {
					t.Fatalf("%d blocks: status %#x and %#x, or the data came back changed", blocks, w.Status, r.Status)
				}
			}
			l.must(c.Logout(l.ctx))
		})
	}
}

// outBuffer is off-heap memory for blocks, which lives as long as the process: the initiator sends from it.
func outBuffer(l *live, blocks int) ([]byte, bool) {
	mem, err := iobuf.Map(blocks * rigBlockSize)
	if err != nil {
		return nil, false
	}
	return mem[:blocks*rigBlockSize], true
}

// TestNothingIsAllocatedPerIO counts allocations of the whole process, initiator included.
func TestNothingIsAllocatedPerIO(t *testing.T) {
	const warm, measured, most = 4000, 40000, 1000
	l := newLive(t, 1)
	var loops []*loop
	for i := range 2 {
		loops = append(loops, newLoop(l, l.dial(byte(i+1), nil), 16))
	}
	run := func(n int) {
		for _, p := range loops {
			p.left = n / 2
		}
		l.must(l.client.Do(func(done func()) {
			running := len(loops)
			for _, p := range loops {
				p.start(func() {
					running--
					if running == 0 {
						done()
					}
				})
			}
		}))
	}
	run(warm)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	run(measured)
	runtime.ReadMemStats(&after)
	if n := after.Mallocs - before.Mallocs; n > most {
		t.Errorf("%d allocations in %d I/Os", n, measured)
	}
	for _, p := range loops {
		if p.failed > 0 {
			t.Errorf("%d commands failed", p.failed)
		}
	}
}

// loop keeps commands of one client in flight: reads and writes of one to eight blocks in turn.
type loop struct {
	client   *initiator.Client
	commands []*initiator.Command
	left     int
	busy     int
	failed   int
	done     func()
}

func newLoop(l *live, c *initiator.Client, depth int) *loop {
	p := &loop{client: c}
	for i := range depth {
		blocks := 1 + i%8
		cmd := rw(opRead10, i*16, blocks)
		if i%2 == 0 {
			out, ok := outBuffer(l, blocks)
			if !ok {
				l.t.Fatal("no buffer")
			}
			cmd = rw(opWrite10, i*16, blocks)
			cmd.Out = out
		} else {
			cmd.Discard = uint32(blocks * rigBlockSize)
		}
		cmd.Done = p.next
		p.commands = append(p.commands, cmd)
	}
	return p
}

func (p *loop) start(done func()) {
	p.done = done
	for _, c := range p.commands {
		p.busy++
		p.left--
		p.client.Session.Submit(c)
	}
}

func (p *loop) next(c *initiator.Command) {
	if c.Result != initiator.ResultAnswered || c.Status != scsi.StatusGood {
		p.failed++
	}
	if p.left > 0 {
		p.left--
		p.client.Session.Submit(c)
		return
	}
	if p.busy--; p.busy == 0 {
		p.done()
	}
}

// TestLiveCuts ends connections under load, and has them come back with the same ISID.
func TestLiveCuts(t *testing.T) {
	l := newLive(t, 2)
	for i := range int(rounds(60)) {
		c := l.dial(byte(i%3), nil)
		p := newLoop(l, c, 24)
		p.left = 1 << 30
		l.must(l.client.Call(func() { p.start(func() {}) }))
		if _, err := c.Ping(l.ctx, fmt.Append(nil, i)); err != nil {
			t.Fatal(err)
		}
		if i%2 == 0 {
			l.must(l.client.Call(func() { p.left = 0; c.Session.Close() }))
			<-c.Ended()
		}
		// Otherwise the next session with the ISID ends it.
		l.must(l.client.Call(func() { p.left = 0 }))
	}
}
