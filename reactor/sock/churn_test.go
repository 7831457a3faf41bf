package sock_test

import (
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"sync"
	"testing"

	"pollux/reactor"
	"pollux/reactor/sock"
	"pollux/reactor/uring"
)

// moody is an echo that now and then ends its connection, chosen by its number.
type moody struct {
	echo
	life int // how often it receives before it ends
	way  int
}

func (m *moody) Received(b []byte) {
	m.echo.Received(b)
	if m.life--; m.life > 0 {
		return
	}
	switch m.way {
	case 0:
		m.Close()
	case 1:
		m.CloseAfterSend()
	case 2:
		m.Pause()
		m.Resume()
	}
}

// descriptors is how many the process has open.
func descriptors(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}

// Connections that come and go in every way leave nothing behind, on either kernel.
func TestChurn(t *testing.T) {
	const goroutines, each = 8, 40
	for name, cfg := range map[string]reactor.Config{
		"io_uring": {Cores: []int{-1, -1}},
		"software": {Cores: []int{-1, -1}, Without: uring.FeatureURing},
	} {
		t.Run(name, func(t *testing.T) {
			if l, err := net.Listen("tcp", "127.0.0.1:0"); err == nil {
				_ = l.Close() // From now on Go's own poller is open.
			}
			before := descriptors(t)
			g, err := reactor.Start(cfg)
			if err != nil {
				t.Fatal(err)
			}
			var open, clients sync.WaitGroup
			ended := make(chan sock.Reason, goroutines*each)
			all, err := sock.ListenAll(g, netip.MustParseAddrPort("127.0.0.1:0"), func(r *reactor.Reactor, fd int) {
				n := len(ended) + fd
				m := &moody{echo: echo{freed: ended, open: &open}, life: 1 + n%5, way: n % 4}
				open.Add(1)
				m.Open(r, fd, m)
			})
			if err != nil {
				t.Fatal(err)
			}
			for i := range goroutines {
				clients.Go(func() {
					rng := rand.New(rand.NewPCG(uint64(i), 9))
					for range each {
						misbehave(t, all[0].Addr(), rng)
					}
				})
			}
			clients.Wait()
			sock.CloseAll(all)
			open.Wait()
			nothingLeft(t, g)
			g.Stop()
			if after := descriptors(t); after != before {
				t.Errorf("%d descriptors open, before %d", after, before)
			}
		})
	}
}

// misbehave makes one connection and leaves it in one of several ways. Errors are what it is after.
func misbehave(t *testing.T, addr netip.AddrPort, rng *rand.Rand) {
	c := dial(t, addr)
	defer func() { _ = c.Close() }()
	junk := make([]byte, rng.IntN(30_000))
	for range rng.IntN(5) {
		_, _ = c.Write(junk)
		_, _ = io.ReadFull(c, junk[:rng.IntN(len(junk)+1)])
	}
	switch rng.IntN(4) {
	case 0:
		_ = c.SetLinger(0)
	case 1:
		_ = c.CloseWrite()
		_, _ = io.Copy(io.Discard, c)
	case 2:
		_, _ = c.Write(junk)
	}
}
