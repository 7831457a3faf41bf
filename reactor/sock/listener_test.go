package sock_test

import (
	"bytes"
	"errors"
	"io"
	"net"
	"net/netip"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"pollux/reactor"
	"pollux/reactor/iobuf"
	"pollux/reactor/sock"
	"pollux/reactor/uring"
)

func dial(t testing.TB, addr netip.AddrPort) *net.TCPConn {
	t.Helper()
	c, err := net.Dial("tcp", addr.String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	_ = c.SetDeadline(time.Now().Add(60 * time.Second))
	return c.(*net.TCPConn)
}

// sayAndHear sends b and wants it back.
func sayAndHear(t *testing.T, c net.Conn, b []byte) {
	t.Helper()
	if _, err := c.Write(b); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, len(b))
	if _, err := io.ReadFull(c, got); err != nil || !bytes.Equal(got, b) {
		t.Fatalf("got %q, %v", got, err)
	}
}

func TestPortInUseIsAnError(t *testing.T) {
	g, addr, _ := echoServer(t, reactor.Config{Cores: []int{-1}})
	_, err := sock.ListenAll(g, addr, nil)
	if !errors.Is(err, syscall.EADDRINUSE) || !strings.Contains(err.Error(), addr.String()) {
		t.Errorf("got %v, want one that names %v and the cause", err, addr)
	}
	_, err = sock.ListenAll(g, netip.MustParseAddrPort("192.0.2.77:3260"), nil)
	if !errors.Is(err, syscall.EADDRNOTAVAIL) {
		t.Errorf("got %v", err)
	}
}

// A port that is still a dead process's is waited for.
func TestPortThatBecomesFree(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	g, err := reactor.Start(reactor.Config{Cores: []int{-1}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(g.Stop)
	time.AfterFunc(50*time.Millisecond, func() { _ = l.Close() })
	all, err := sock.ListenAll(g, netip.MustParseAddrPort(l.Addr().String()), nil)
	if err != nil {
		t.Fatal(err)
	}
	sock.CloseAll(all)
}

func TestEndsOfAConnectionAreKnown(t *testing.T) {
	for _, without := range []uring.Features{0, uring.FeatureURing} {
		g, err := reactor.Start(reactor.Config{Cores: []int{-1}, Without: without})
		if err != nil {
			t.Fatal(err)
		}
		ends := make(chan [2]netip.AddrPort, 1)
		all, err := sock.ListenAll(g, netip.MustParseAddrPort("[::1]:0"), func(r *reactor.Reactor, fd int) {
			e := &echo{freed: make(chan sock.Reason, 1)}
			e.Open(r, fd, e)
			ends <- [2]netip.AddrPort{e.LocalAddr(), e.RemoteAddr()}
			e.Close()
		})
		if errors.Is(err, syscall.EADDRNOTAVAIL) {
			g.Stop()
			t.Skip("no IPv6 here")
		}
		if err != nil {
			t.Fatal(err)
		}
		c := dial(t, all[0].Addr())
		want := [2]string{c.RemoteAddr().String(), c.LocalAddr().String()}
		if got := <-ends; got[0].String() != want[0] || got[1].String() != want[1] {
			t.Errorf("got %v, want %v", got, want)
		}
		if _, err := c.Read(make([]byte, 1)); err != io.EOF {
			t.Errorf("after Close the peer got %v, want EOF", err)
		}
		sock.CloseAll(all)
		nothingLeft(t, g)
		g.Stop()
	}
}

func TestResetOfThePeer(t *testing.T) {
	for _, without := range []uring.Features{0, uring.FeatureURing} {
		_, addr, ended := echoServer(t, reactor.Config{Cores: []int{-1}, Without: without})
		c := dial(t, addr)
		sayAndHear(t, c, []byte("x"))
		_ = c.SetLinger(0)
		_ = c.Close()
		if reason := <-ended; reason != sock.ReasonReset {
			t.Errorf("got %v", reason)
		}
	}
}

// fewDescriptors lowers the limit of the process until the test ends.
func fewDescriptors(t *testing.T, limit uint64) {
	t.Helper()
	var before unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &before); err != nil {
		t.Fatal(err)
	}
	if err := unix.Prlimit(0, unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: limit, Max: before.Max}, nil); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Prlimit(0, unix.RLIMIT_NOFILE, &before, nil) })
}

// A listener that cannot accept for want of descriptors rests, and goes on when there are some.
func TestAcceptGoesOnAfterRunningOutOfDescriptors(t *testing.T) {
	fewDescriptors(t, 100) // io_uring notes the limit when the accept is armed.
	for _, without := range []uring.Features{0, uring.FeatureAcceptMultishot, uring.FeatureURing} {
		g, addr, _ := echoServer(t, reactor.Config{Cores: []int{-1}, Without: without})
		sayAndHear(t, dial(t, addr), []byte("everything is set up"))
		var fds []int
		for fd, err := unix.Dup(0); err == nil; fd, err = unix.Dup(0) {
			fds = append(fds, fd)
		}
		_ = unix.Close(fds[0]) // For our end of the connection; none is left for the other end.
		c := dial(t, addr)
		for failed := uint64(0); failed == 0; {
			_ = g.Reactors()[0].Call(func() { failed = sock.StatsOf(g.Reactors()[0]).AcceptErrors })
		}
		for _, fd := range fds[1:] {
			_ = unix.Close(fd)
		}
		sayAndHear(t, c, []byte("late but well"))
	}
}

// torrent sends more than any socket holds.
type torrent struct {
	echo
	mem []byte
}

func (s *torrent) Fill() {
	if s.mem != nil && s.Room(0, 1) {
		s.Attach(s.mem)
		s.mem = nil
	}
}

func TestBlockedSendTimesOut(t *testing.T) {
	for _, without := range []uring.Features{0, uring.FeatureURing} {
		g, err := reactor.Start(reactor.Config{Cores: []int{-1}, Without: without})
		if err != nil {
			t.Fatal(err)
		}
		ended := make(chan sock.Reason, 1)
		mem, err := iobuf.Map(64 << 20)
		if err != nil {
			t.Fatal(err)
		}
		all, err := sock.ListenAll(g, netip.MustParseAddrPort("127.0.0.1:0"), func(r *reactor.Reactor, fd int) {
			e := &torrent{echo: echo{freed: ended}, mem: mem}
			e.SetSendTimeout(20 * time.Millisecond)
			e.Open(r, fd, e)
			e.Dirty()
		})
		if err != nil {
			t.Fatal(err)
		}
		_ = dial(t, all[0].Addr()) // It never reads.
		if reason := <-ended; reason != sock.ReasonTimeout {
			t.Errorf("got %v", reason)
		}
		iobuf.Unmap(mem)
		sock.CloseAll(all)
		nothingLeft(t, g)
		g.Stop()
	}
}

// A descriptor of package net may be taken over, and a connection may move between reactors.
func TestTakeOverAndMove(t *testing.T) {
	for _, without := range []uring.Features{0, uring.FeatureRecvMultishot, uring.FeatureURing} {
		g, err := reactor.Start(reactor.Config{Cores: []int{-1, -1}, Without: without})
		if err != nil {
			t.Fatal(err)
		}
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		go func() {
			c, err := net.Dial("tcp", l.Addr().String())
			if err != nil {
				t.Error(err)
				return
			}
			fd, err := sock.TakeOver(c)
			if err != nil {
				t.Error(err)
				return
			}
			moveAround(t, g, fd)
		}()
		peer, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		_ = peer.SetDeadline(time.Now().Add(60 * time.Second))
		for i := range 40 {
			sayAndHear(t, peer, bytes.Repeat([]byte{byte(i)}, 1000))
		}
		_ = peer.Close()
		_ = l.Close()
		for range 2 {
			<-moved
		}
		nothingLeft(t, g)
		g.Stop()
	}
	if _, err := sock.TakeOver(struct{ net.Conn }{&net.TCPConn{}}); err == nil {
		t.Error("a connection without a descriptor was taken over")
	}
}

// moved gets one value when the mover has ended and one when its connection has.
var moved = make(chan struct{}, 2)

// moveAround echoes on one reactor, and every now and then moves the connection to the other.
func moveAround(t *testing.T, g *reactor.Group, fd int) {
	rest := []byte(nil)
	for hop := 0; ; hop++ {
		r := g.Reactors()[hop%2]
		e := &echo{freed: make(chan sock.Reason, 1)}
		next := -1
		err := r.Do(func(done func()) {
			e.SetSendTimeout(time.Minute)
			e.Open(r, fd, e)
			if len(rest) > 0 {
				e.Received(rest)
			}
			var poll reactor.Timer
			poll.Bind(r, func() {
				switch {
				case len(e.freed) > 0:
					done()
				case len(e.pending) > 0:
					poll.Start(time.Millisecond)
				default:
					e.Detach(func(fd int, b []byte) {
						next, rest = fd, bytes.Clone(b)
						done()
					})
					poll.Start(time.Millisecond) // The connection may end before it can move.
				}
			})
			poll.Start(time.Millisecond)
		})
		if err != nil {
			t.Error(err)
		}
		if next < 0 {
			break
		}
		fd = next
	}
	moved <- struct{}{}
	moved <- struct{}{}
}
