package sock

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"syscall"
	"time"

	"github.com/libp2p/go-reuseport"
	"golang.org/x/sys/unix"

	"pollux/reactor"
	"pollux/reactor/uring"
)

// acceptPause is how long a listener rests after an error such as EMFILE, which would otherwise repeat at once.
const acceptPause = 100 * time.Millisecond

// Listener accepts on one address on one reactor. Its methods are for the control plane.
type Listener struct {
	r      *reactor.Reactor
	host   *host
	fd     int
	addr   netip.AddrPort
	accept func(r *reactor.Reactor, fd int)
	op     reactor.Op
	pause  reactor.Timer
	multi  bool
	closed func() // set by Close
}

// ListenAll binds addr once per reactor of the group (SO_REUSEPORT, after a plain bind that proves the port free) and calls accept,
// on the reactor that accepted, with each new descriptor, and with a negative errno when none could be had. Control plane; an
// error names address and cause.
func ListenAll(g *reactor.Group, addr netip.AddrPort, accept func(r *reactor.Reactor, fd int)) ([]*Listener, error) {
	if err := probe(addr, lingerMax); err != nil {
		return nil, fmt.Errorf("listen on %v: %w", addr, err)
	}
	var all []*Listener
	for _, r := range g.Reactors() {
		fd, bound, err := listen(addr)
		if err != nil {
			CloseAll(all)
			return nil, fmt.Errorf("listen on %v: %w", addr, err)
		}
		addr = bound // A port of 0 is chosen once.
		l := &Listener{r: r, fd: fd, addr: addr, accept: accept}
		if err := r.Call(l.start); err != nil {
			_ = unix.Close(fd)
			CloseAll(all)
			return nil, fmt.Errorf("listen on %v: %w", addr, err)
		}
		all = append(all, l)
	}
	return all, nil
}

// CloseAll closes every listener of the list.
func CloseAll(all []*Listener) {
	for _, l := range all {
		l.Close()
	}
}

// network keeps an IPv4 wildcard from becoming a listener for both families.
func network(addr netip.AddrPort) string {
	if addr.Addr().Is4() {
		return "tcp4"
	}
	return "tcp"
}

// A process that was killed keeps its port until the kernel has taken its rings apart, which happens after it has gone, usually within
// 50 ms. Its successor looks every lingerStep whether the port is free, for lingerMax.
const (
	lingerMax  = 2 * time.Second
	lingerStep = 5 * time.Millisecond
)

// probe binds without SO_REUSEPORT, and lets go again: otherwise a second process would share the port silently.
func probe(addr netip.AddrPort, linger time.Duration) error {
	if addr.Port() == 0 {
		return nil
	}
	for until := time.Now().Add(linger); ; time.Sleep(lingerStep) {
		l, err := net.Listen(network(addr), addr.String())
		if err == nil {
			return l.Close()
		}
		if !errors.Is(err, syscall.EADDRINUSE) || time.Now().After(until) {
			return cause(err)
		}
	}
}

// cause strips what net says again: the operation and the address.
func cause(err error) error {
	if e := (*net.OpError)(nil); errors.As(err, &e) {
		return e.Err
	}
	return err
}

// listen makes a listening descriptor of our own, in blocking mode: the ring waits by itself.
func listen(addr netip.AddrPort) (fd int, bound netip.AddrPort, err error) {
	l, err := reuseport.Listen(network(addr), addr.String())
	if err != nil {
		return -1, addr, cause(err)
	}
	defer func() { _ = l.Close() }()
	tcp := l.(*net.TCPListener)
	if fd, err = duplicate(tcp); err != nil {
		return -1, addr, err
	}
	port := uint16(tcp.Addr().(*net.TCPAddr).Port)
	return fd, netip.AddrPortFrom(addr.Addr(), port), nil
}

// duplicate is a descriptor for the same socket that Go's runtime does not know.
func duplicate(c syscall.Conn) (fd int, err error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return -1, err
	}
	ctlErr := raw.Control(func(old uintptr) {
		if fd, err = unix.FcntlInt(old, unix.F_DUPFD_CLOEXEC, 3); err == nil {
			err = unix.SetNonblock(fd, false)
		}
	})
	return fd, errors.Join(err, ctlErr)
}

// TakeOver turns a connection of package net (after a Dial, say) into a descriptor for Conn.Open, and closes the
// connection. Control plane.
func TakeOver(c net.Conn) (fd int, err error) {
	defer func() { _ = c.Close() }()
	sc, ok := c.(syscall.Conn)
	if !ok {
		return -1, fmt.Errorf("take over connection: %T has no descriptor", c)
	}
	if fd, err = duplicate(sc); err != nil {
		return -1, fmt.Errorf("take over connection: %w", err)
	}
	return fd, nil
}

// start arms the accept (on r).
func (l *Listener) start() {
	l.host = hostOf(l.r)
	l.multi = l.r.Features().Has(uring.FeatureAcceptMultishot)
	l.r.OpenOp(&l.op, l.onAccept)
	l.pause.Bind(l.r, l.arm)
	l.arm()
}

func (l *Listener) arm() { l.op.SQE().Accept(l.fd, unix.SOCK_CLOEXEC, l.multi) }

// onAccept is a completion of the accept: a descriptor, or an error.
func (l *Listener) onAccept(res int32, flags uint32) {
	ended := flags&uring.CQEMore == 0
	switch {
	case l.closed != nil:
		if res >= 0 {
			_ = unix.Close(int(res))
		}
		if ended {
			l.finish()
		}
	case res >= 0:
		l.accept(l.r, int(res))
		if ended && l.closed == nil {
			l.arm()
		}
	default:
		l.host.stats.AcceptErrors++
		l.accept(l.r, int(res))
		if ended && l.closed == nil {
			l.pause.Start(acceptPause)
		}
	}
}

// finish gives everything back (on r).
func (l *Listener) finish() {
	l.pause.Stop()
	l.op.Close()
	_ = unix.Close(l.fd)
	l.closed()
}

// Addr is the bound address; a port of 0 has been resolved.
func (l *Listener) Addr() netip.AddrPort { return l.addr }

// Close stops accepting and returns when the last completion has come. It is called once.
func (l *Listener) Close() {
	_ = l.r.Do(func(done func()) { // A reactor that has ended has closed the ring, and nothing is in flight.
		l.closed = done
		if l.op.InFlight() == 0 {
			l.finish()
			return
		}
		l.op.Cancel()
	})
}
