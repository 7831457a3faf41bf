package gate

import (
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"sync"
	"syscall"
	"testing"
	"time"

	"pollux/iscsi/initiator"
	"pollux/reactor"
	"pollux/reactor/iobuf"
	"pollux/reactor/sock"
	"pollux/test/target"
)

const (
	blockSize = 512
	// limit bounds a test; nothing is measured by it.
	limit = 4 * time.Minute
)

// bed is a running Pollux and a reactor for initiators.
type bed struct {
	t   *testing.T
	ctx context.Context
	srv *target.Server
	r   *reactor.Reactor
	lun func(i int) uint64
}

// onEach runs a test on every server under test, with one LUN "disk" in memory.
func onEach(t *testing.T, test func(*bed)) {
	for _, cfg := range target.UnderTest(t) {
		t.Run(cfg.String(), func(t *testing.T) {
			cfg.Nodes = []target.Node{{Name: "disk", LUNs: []target.LUN{{Backing: target.Malloc, Size: 16 << 20}}}}
			test(newBed(t, cfg))
		})
	}
}

func newBed(t *testing.T, cfg target.Config) *bed {
	t.Helper()
	srv := target.Start(t, cfg)
	g, err := reactor.Start(reactor.Config{Cores: []int{-1}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(g.Stop)
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	t.Cleanup(cancel)
	return &bed{t: t, ctx: ctx, srv: srv, r: g.Reactors()[0], lun: func(i int) uint64 { return uint64(srv.LUN(i)) << 48 }}
}

// rpc calls a method that must succeed.
func (b *bed) rpc(method string, params, result any) {
	b.t.Helper()
	if err := b.srv.RPC(method, params, result); err != nil {
		b.t.Fatal(err)
	}
}

type object = map[string]any

// login is how an initiator differs from the usual one.
type login func(*initiator.Config)

func named(name string) login {
	return func(c *initiator.Config) { c.Offers.InitiatorName = "iqn.2026-01.test:" + name }
}

// dial logs in to a node; the session is closed at the test's end.
func (b *bed) dial(node string, options ...login) *initiator.Client {
	b.t.Helper()
	c, err := b.tryDial(node, options...)
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(c.Close)
	return c
}

func (b *bed) config(node string, options ...login) initiator.Config {
	cfg := initiator.Config{Offers: initiator.Offers("iqn.2026-01.test:gate", target.IQN(node)), CmdSN: target.NearWrap, Strict: true, Batch: true}
	for _, o := range options {
		o(&cfg)
	}
	return cfg
}

func (b *bed) tryDial(node string, options ...login) (*initiator.Client, error) {
	return initiator.Dial(b.ctx, b.r, b.srv.Portal(), b.config(node, options...))
}

// dialNarrow logs in with a receive buffer of a few KiB, so that what it reads leaves the target slowly.
func (b *bed) dialNarrow(node string, options ...login) *initiator.Client {
	b.t.Helper()
	const window = 4 << 10
	dialer := net.Dialer{Control: func(_, _ string, c syscall.RawConn) (err error) {
		controlled := c.Control(func(fd uintptr) { err = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF, window) })
		if controlled != nil {
			return controlled
		}
		return err
	}}
	nc, err := dialer.DialContext(b.ctx, "tcp", b.srv.Portal())
	if err != nil {
		b.t.Fatal(err)
	}
	fd, err := sock.TakeOver(nc)
	if err != nil {
		b.t.Fatal(err)
	}
	c, err := initiator.Open(b.ctx, b.r, fd, b.config(node, options...))
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(c.Close)
	return c
}

// must executes a command that has to end GOOD, and returns its data. Unit attentions are taken note of first.
func (b *bed) must(c *initiator.Client, lun uint64, cdb, out []byte, in int) []byte {
	b.t.Helper()
	const attentionsMax = 8
	for range attentionsMax {
		a, err := c.Do(b.ctx, lun, cdb, out, in)
		if err != nil {
			b.t.Fatalf("CDB % x: %v", cdb, err)
		}
		if a.Status == statusGood {
			return a.In
		}
		if a.Status != statusCheck || senseOf(a.Sense).key != keyUnitAttention {
			b.t.Fatalf("CDB % x: status %#x, sense %+v", cdb, a.Status, senseOf(a.Sense))
		}
	}
	b.t.Fatalf("CDB % x: unit attentions without end", cdb)
	return nil
}

// ready takes note of all unit attentions.
func (b *bed) ready(c *initiator.Client, lun uint64) {
	b.t.Helper()
	b.must(c, lun, testUnitReady(), nil, 0)
}

// loop keeps one command going on c's reactor: next prepares cmd, having looked at what came of it the time before (i is 0 the
// first time), and returns false to end. loop returns then.
func loop(c *initiator.Client, cmd *initiator.Command, next func(i int) bool) error {
	return c.Reactor.Do(func(done func()) {
		i := 0
		step := func() {
			if !next(i) {
				done()
				return
			}
			i++
			c.Session.Submit(cmd)
		}
		cmd.Done = func(*initiator.Command) {
			if cmd.Result == initiator.ResultLost {
				done() // there is no session to submit to
				return
			}
			step()
		}
		step()
	})
}

// memory is a buffer that can be sent, until the test's end.
func memory(t *testing.T, size int) []byte {
	t.Helper()
	mem, err := iobuf.Map(size)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { iobuf.Unmap(mem) })
	return mem[:size]
}

// stamp fills a buffer with one number; stampOf returns it, or an error when the block holds more than one.
func stamp(b []byte, v uint64) {
	for i := 0; i < len(b); i += 8 {
		binary.LittleEndian.PutUint64(b[i:], v)
	}
}

func stampOf(block []byte) (uint64, error) {
	v := binary.LittleEndian.Uint64(block)
	for i := 8; i < len(block); i += 8 {
		if w := binary.LittleEndian.Uint64(block[i:]); w != v {
			return 0, fmt.Errorf("stamp %#x at its start and %#x at byte %d", v, w, i)
		}
	}
	return v, nil
}

// together runs the functions at the same time and waits for them.
func together(functions ...func()) {
	var all sync.WaitGroup
	for _, f := range functions {
		all.Go(f)
	}
	all.Wait()
}

// eventually asks until the answer is nil.
func (b *bed) eventually(what string, ask func() error) {
	b.t.Helper()
	for {
		err := ask()
		if err == nil {
			return
		}
		select {
		case <-b.ctx.Done():
			b.t.Fatalf("%s: %v", what, err)
		case <-time.After(20 * time.Millisecond):
		}
	}
}
