package sock_test

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"pollux/reactor"
	"pollux/reactor/sock"
	"pollux/reactor/uring"
)

// echo sends back what it receives, from memory that the reactor's pool gave.
type echo struct {
	sock.Conn
	pending []byte
	freed   chan<- sock.Reason
	open    *sync.WaitGroup // nil or counts this one
}

func (e *echo) Received(b []byte) {
	e.pending = append(e.pending, b...)
	e.Dirty()
}

func (e *echo) Fill() {
	rest := e.pending
	for len(rest) > 0 {
		n := min(len(rest), 4096)
		if !e.Room(n, 0) {
			break
		}
		copy(e.Header(n), rest)
		rest = rest[n:]
	}
	e.pending = e.pending[:copy(e.pending, rest)] // In place: nothing is allocated in the long run.
}

func (e *echo) Closed(reason sock.Reason) {
	e.freed <- reason
	if e.open != nil {
		e.open.Done()
	}
}

// echoServer listens on a free port with one echo per connection.
func echoServer(t testing.TB, cfg reactor.Config) (*reactor.Group, netip.AddrPort, <-chan sock.Reason) {
	t.Helper()
	g, err := reactor.Start(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan sock.Reason, 1000)
	open := &sync.WaitGroup{}
	all, err := sock.ListenAll(g, netip.MustParseAddrPort("127.0.0.1:0"), func(r *reactor.Reactor, fd int) {
		if fd < 0 { // Descriptors have run out.
			return
		}
		e := &echo{freed: ended, open: open}
		open.Add(1)
		e.Open(r, fd, e)
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		sock.CloseAll(all)
		open.Wait() // The test's ends are closed by now, as their clean-ups ran before.
		nothingLeft(t, g)
		g.Stop()
	})
	return g, all[0].Addr(), ended
}

// nothingLeft asserts that no reactor holds anything of a connection any more.
func nothingLeft(t testing.TB, g *reactor.Group) {
	t.Helper()
	err := g.Each(func(r *reactor.Reactor) {
		if s := r.Stats(); s.OpenOps != 0 || s.InFlight != 0 || s.BufsOut != 0 || s.Backlog != 0 {
			t.Errorf("reactor %d: left over: %+v", r.ID(), s)
		}
		if s := sock.StatsOf(r); s.Conns != 0 || s.SendSets != 0 {
			t.Errorf("reactor %d: left over: %+v", r.ID(), s)
		}
	})
	if err != nil {
		t.Error(err)
	}
}

// roundTrip sends total bytes in pieces of random length and wants them back.
func roundTrip(addr netip.AddrPort, seed uint64, total int) error {
	c, err := net.Dial("tcp", addr.String())
	if err != nil {
		return err
	}
	defer func() { _ = c.Close() }()
	_ = c.SetDeadline(time.Now().Add(60 * time.Second))
	rng := rand.New(rand.NewPCG(seed, 1))
	out := make([]byte, total)
	for i := range out {
		out[i] = byte(rng.Uint32())
	}
	go func() {
		for rest := out; len(rest) > 0; {
			n := min(len(rest), 1+rng.IntN(100_000))
			if _, err := c.Write(rest[:n]); err != nil {
				return
			}
			rest = rest[n:]
		}
	}()
	in := make([]byte, total)
	if n, err := io.ReadFull(c, in); err != nil {
		return fmt.Errorf("after %d bytes: %w", n, err)
	}
	if !bytes.Equal(in, out) {
		return fmt.Errorf("echo differs")
	}
	return nil
}

func TestEcho(t *testing.T) {
	const conns, total = 8, 300_000
	cases := map[string]reactor.Config{
		"one reactor":         {Cores: []int{-1}},
		"two reactors":        {Cores: []int{-1, -1}},
		"interrupt":           {Cores: []int{-1}, Mode: reactor.ModeInterrupt},
		"without defer":       {Cores: []int{-1}, Without: uring.FeatureDeferTaskrun},
		"without multishot":   {Cores: []int{-1}, Without: uring.FeatureRecvMultishot | uring.FeatureAcceptMultishot},
		"without buffer ring": {Cores: []int{-1}, Without: uring.FeatureBufferRing},
		"software":            {Cores: []int{-1}, Without: uring.FeatureURing},
		"software, two":       {Cores: []int{-1, -1}, Without: uring.FeatureURing},
		"software, interrupt": {Cores: []int{-1}, Without: uring.FeatureURing, Mode: reactor.ModeInterrupt},
		"software, one by one": {Cores: []int{-1}, Without: uring.FeatureURing | uring.FeatureRecvMultishot |
			uring.FeatureAcceptMultishot | uring.FeatureBufferRing},
		"as Linux 6.1": {Cores: []int{-1}, Without: uring.FeatureBufferRingInc | uring.FeatureNoSQArray},
	}
	for name, cfg := range cases {
		t.Run(name, func(t *testing.T) {
			_, addr, ended := echoServer(t, cfg)
			var wg sync.WaitGroup
			for i := range conns {
				wg.Go(func() {
					if err := roundTrip(addr, uint64(i), total); err != nil {
						t.Error(err)
					}
				})
			}
			wg.Wait()
			for range conns {
				if reason := <-ended; reason != sock.ReasonEOF {
					t.Errorf("connection ended: %v", reason)
				}
			}
		})
	}
}

// In the long run a request and its reply allocate nothing, on any kernel.
func TestEchoAllocatesNothing(t *testing.T) {
	for name, without := range map[string]uring.Features{"io_uring": 0, "software": uring.FeatureURing} {
		t.Run(name, func(t *testing.T) {
			_, addr, _ := echoServer(t, reactor.Config{Cores: []int{-1}, Without: without, Mode: reactor.ModeInterrupt})
			c := dial(t, addr)
			b := make([]byte, 48)
			turn := func() {
				if _, err := c.Write(b); err != nil {
					t.Fatal(err)
				}
				if _, err := io.ReadFull(c, b); err != nil {
					t.Fatal(err)
				}
			}
			for range 100 {
				turn()
			}
			if n := testing.AllocsPerRun(500, turn); n != 0 {
				t.Errorf("%v allocations per request", n)
			}
		})
	}
}
