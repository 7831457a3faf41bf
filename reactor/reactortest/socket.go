package reactortest

import (
	"net/netip"
	"syscall"

	"golang.org/x/sys/unix"

	"pollux/reactor/uring"
)

// DefaultWindow is how many bytes a simulated connection holds in one direction before its sender has to wait.
const DefaultWindow = 256 << 10

// stream is one direction of a connection.
type stream struct {
	bytes  []byte
	window int
	fin    bool // the writer has ended it
	gone   bool // the reader will not read any more
	reset  bool
}

func (s *stream) room() int { return max(0, s.window-len(s.bytes)) }

// socket is one end of a connection.
type socket struct {
	in, out       *stream
	local, remote netip.AddrPort
}

func (s *socket) readable() bool { return len(s.in.bytes) > 0 || s.in.fin || s.in.reset || s.in.gone }

func (s *socket) writable() bool { return s.out.room() > 0 || s.out.fin || s.out.reset || s.out.gone }

// close ends both directions. As with TCP, the peer is told by a reset if bytes are left unread, else by an end.
func (s *socket) close() {
	if len(s.in.bytes) > 0 {
		s.abort()
	}
	s.in.gone, s.out.fin = true, true
}

// abort resets both directions.
func (s *socket) abort() { s.in.reset, s.out.reset = true, true }

// From says where the far ends of connections that are made from now on are; it is 192.0.2.2 until then.
func (w *World) From(addr netip.Addr) { w.from = addr }

// pair makes two ends.
func (w *World) pair() (a, b *socket) {
	w.ports++
	ab, ba := &stream{window: DefaultWindow}, &stream{window: DefaultWindow}
	here := netip.MustParseAddrPort("192.0.2.1:3260")
	there := netip.AddrPortFrom(w.from, uint16(40000+w.ports))
	return &socket{in: ba, out: ab, local: here, remote: there}, &socket{in: ab, out: ba, local: there, remote: here}
}

// descriptor gives s a number that no real descriptor has.
func (w *World) descriptor() int32 {
	w.fds++
	return w.fds
}

// Connect makes a connection: a descriptor for sock.Conn, and the far end in the test's hand.
func (w *World) Connect() (fd int, far *Peer) {
	a, b := w.pair()
	n := w.descriptor()
	w.sockets[n] = a
	return int(n), &Peer{s: b}
}

// ConnectBoth makes a connection of two descriptors, one for the target (its port is 3260) and one for an initiator.
func (w *World) ConnectBoth() (target, initiator int) {
	a, b := w.pair()
	n, m := w.descriptor(), w.descriptor()
	w.sockets[n], w.sockets[m] = a, b
	return int(n), int(m)
}

// Peer is the far end of a simulated connection.
type Peer struct{ s *socket }

// Write makes b arrive.
func (p *Peer) Write(b []byte) { p.s.out.bytes = append(p.s.out.bytes, b...) }

// Read takes everything that has been sent, nil if nothing has.
func (p *Peer) Read() []byte { return p.ReadAtMost(len(p.s.in.bytes)) }

// ReadAtMost takes up to n bytes of what has been sent.
func (p *Peer) ReadAtMost(n int) []byte {
	n = min(n, len(p.s.in.bytes))
	b := p.s.in.bytes[:n:n]
	p.s.in.bytes = p.s.in.bytes[n:]
	return b
}

// SetWindow bounds how many unread bytes are taken from the sender; 0 blocks it.
func (p *Peer) SetWindow(n int) { p.s.in.window = n }

// CloseWrite ends our direction and goes on reading.
func (p *Peer) CloseWrite() { p.s.out.fin = true }

// Close ends both directions, as close(2) would.
func (p *Peer) Close() { p.s.close() }

// Reset aborts the connection.
func (p *Peer) Reset() { p.s.abort() }

// Ended reports whether the other side has ended its direction and all of it has been read.
func (p *Peer) Ended() bool { return p.s.in.fin && len(p.s.in.bytes) == 0 }

// WasReset reports whether the connection was aborted.
func (p *Peer) WasReset() bool { return p.s.in.reset }

// attemptSocket tries an operation that canEnd has found possible.
func (w *World) attemptSocket(o *operation, s *socket) {
	switch o.e.Opcode {
	case uring.OpRecv:
		w.receive(o, s)
	case uring.OpSendmsg:
		w.sendmsg(o, s)
	case uring.OpShutdown:
		if how := o.e.Len; how == unix.SHUT_WR || how == unix.SHUT_RDWR {
			s.out.fin = true
		}
		if how := o.e.Len; how == unix.SHUT_RD || how == unix.SHUT_RDWR {
			s.in.gone = true
		}
		o.complete(0, 0, false)
	default:
		o.fail(syscall.EOPNOTSUPP)
	}
}

// SendNow takes what has room, by chance less or nothing. An error that an entry would meet is left to the entry.
func (k *kernel) SendNow(fd int, m *uring.Msghdr) int32 {
	w, s := k.w, k.w.sockets[int32(fd)]
	if s == nil || s.out.reset || s.out.fin || s.out.gone || !s.writable() || w.chance(4) {
		return -int32(syscall.EAGAIN)
	}
	b := gather(uring.Iovecs(m.Iov, int(m.Iovlen)))
	n := min(s.out.room(), len(b))
	if n > 0 && w.chance(3) {
		n = 1 + w.rng.IntN(n)
	}
	if n == 0 {
		return -int32(syscall.EAGAIN)
	}
	s.out.bytes = append(s.out.bytes, b[:n]...)
	return int32(n)
}

// receive moves what has arrived into a provided buffer or into the entry's own.
func (w *World) receive(o *operation, s *socket) {
	switch {
	case s.in.reset:
		o.fail(syscall.ECONNRESET)
		return
	case len(s.in.bytes) == 0:
		o.complete(0, 0, false)
		return
	}
	if o.e.Flags&uring.SQEBufferSelect == 0 {
		o.complete(int32(w.move(uring.Bytes(o.e.Addr, int(o.e.Len)), s.in)), 0, false)
		return
	}
	b := o.k.bufs[o.e.BufIndex]
	room := b.Pick()
	if room == nil {
		w.exhausted++
		o.fail(syscall.ENOBUFS)
		return
	}
	n := w.move(room, s.in)
	o.complete(int32(n), b.Commit(n), o.e.Ioprio&uring.RecvMultishot != 0 && !w.chance(16))
}

// move takes bytes off s: all that fit, or by chance fewer.
func (w *World) move(to []byte, s *stream) int {
	n := min(len(to), len(s.bytes))
	if w.chance(2) {
		n = 1 + w.rng.IntN(n)
	}
	copy(to, s.bytes[:n])
	s.bytes = s.bytes[n:]
	return n
}

// sendmsg moves what the window takes. With MSG_WAITALL it goes on until all has left; by chance it ends short.
func (w *World) sendmsg(o *operation, s *socket) {
	w.unchanged(o)
	if s.out.reset || s.out.fin || s.out.gone {
		if o.done > 0 {
			o.complete(int32(o.done), 0, false)
		} else if s.out.reset {
			o.fail(syscall.ECONNRESET)
		} else {
			o.fail(syscall.EPIPE)
		}
		return
	}
	n := min(s.out.room(), len(o.data)-o.done)
	if w.chance(3) {
		n = 1 + w.rng.IntN(n)
	}
	s.out.bytes = append(s.out.bytes, o.data[o.done:o.done+n]...)
	o.done += n
	if o.done == len(o.data) || o.e.OpFlags&unix.MSG_WAITALL == 0 || w.chance(8) {
		o.complete(int32(o.done), 0, false)
	}
}
