package sock

import (
	"net/netip"
	"syscall"
	"time"

	"pollux/reactor"
	"pollux/reactor/uring"
)

// Handler is the protocol above a connection: the iSCSI target's, the initiator's, a later frontend's.
// All methods run on the connection's reactor.
type Handler interface {
	// Received takes the next bytes of the stream. b is valid during the call only.
	Received(b []byte)
	// Fill queues output with Header, Attach and OnSent while Room allows.
	Fill()
	// Closed says that nothing refers to the connection any more; reason tells why it ended.
	Closed(reason Reason)
}

// Reason is why a connection ended.
type Reason uint8

// Reasons.
const (
	ReasonLocal   Reason = iota // Close was called
	ReasonEOF                   // the peer ended the stream
	ReasonReset                 // reset, or any other error of the socket
	ReasonTimeout               // a send stayed blocked for SendTimeout
)

func (r Reason) String() string {
	return [...]string{"closed here", "closed by peer", "connection reset", "send timed out"}[r]
}

// state is where a connection is in its life.
type state uint8

const (
	stateNew       state = iota // not open, or over
	stateOpen                   // both ways
	stateDraining               // everything sent, half closed; what arrives is thrown away until the peer closes too
	stateDetaching              // cancelled, to be handed to another reactor
	stateEnding                 // shut down and cancelled
	stateClosing                // nothing in flight but the close of the descriptor
)

// ownRecvSize is the receive buffer of a connection on a kernel without provided buffers.
const ownRecvSize = 16 << 10

// keptMax is the capacity for bytes that arrive while paused that a connection keeps after it has been resumed.
const keptMax = 64 << 10

// Conn is one TCP connection on one reactor. It is embedded in the protocol's connection.
type Conn struct {
	r             *reactor.Reactor
	host          *host
	h             Handler
	fd            int
	local, remote netip.AddrPort
	state         state
	reason        Reason

	recv   reactor.Op
	own    []byte // receive buffer, where the reactor has no ring of them
	paused bool
	eof    bool            // the peer has ended its direction while our last output was on its way
	kept   []byte          // bytes that have arrived and that Received has not seen
	resume reactor.Message // delivers kept

	send        reactor.Op
	set         *sendSet // of the send in flight, or being filled
	filling     bool
	wantFill    bool
	lastFill    bool // CloseAfterSend was called
	flushMsg    reactor.Message
	sends       uint64 // sets filled since Open
	now         bool   // SendNow was called
	flushing    bool
	sendSince   int64 // start of the send in flight
	sendTimer   reactor.Timer
	sendTimeout time.Duration
	hold        hold

	end        reactor.Op // shutdown and close
	drainTimer reactor.Timer
	settleMsg  reactor.Message
	moved      func(fd int, rest []byte)
	bound      bool
}

// Open takes over fd (its owner is the Conn from now on) and arms the receive (on r).
func (c *Conn) Open(r *reactor.Reactor, fd int, h Handler) {
	if c.state != stateNew {
		panic("sock: Open of a connection that is open")
	}
	c.r, c.h, c.fd, c.state, c.host = r, h, fd, stateOpen, hostOf(r)
	c.paused, c.eof, c.wantFill, c.lastFill, c.kept = false, false, false, false, c.kept[:0]
	c.sends, c.now = 0, false
	c.bind()
	r.OpenOp(&c.recv, c.onRecv)
	r.OpenOp(&c.send, c.onSend)
	r.OpenOp(&c.end, c.onEnd)
	c.local, c.remote = r.Kernel().Adopt(fd)
	c.host.stats.Conns++
	r.Placed(1)
	c.arm()
}

// bind gives the embedded messages and timers their functions, once in the life of the object.
func (c *Conn) bind() {
	c.sendTimer.Bind(c.r, c.onSendTimer)
	c.drainTimer.Bind(c.r, func() { c.finish(ReasonLocal) })
	c.hold.timer.Bind(c.r, c.onHoldTimer)
	c.hold.reset()
	if c.bound {
		return
	}
	c.bound = true
	c.resume.Bind(c.deliverKept)
	c.flushMsg.Bind(c.flush)
	c.settleMsg.Bind(c.settle)
	if c.sendTimeout == 0 {
		c.sendTimeout = SendTimeout
	}
}

// Reactor, LocalAddr and RemoteAddr describe the connection.
func (c *Conn) Reactor() *reactor.Reactor { return c.r }

// LocalAddr is our end.
func (c *Conn) LocalAddr() netip.AddrPort { return c.local }

// RemoteAddr is the peer's end.
func (c *Conn) RemoteAddr() netip.AddrPort { return c.remote }

// arm starts a receive unless one is in flight or none is wanted.
func (c *Conn) arm() {
	if c.recv.InFlight() > 0 || c.paused || c.eof || c.state != stateOpen && c.state != stateDraining {
		return
	}
	if bufs := c.r.RecvBuffers(); bufs != nil {
		c.recv.SQE().RecvSelect(c.fd, bufs.Group(), c.host.multishot)
		return
	}
	if c.own == nil {
		c.own = c.host.takeOwn()
	}
	c.recv.SQE().Recv(c.fd, c.own)
}

// onRecv is a completion of the receive.
func (c *Conn) onRecv(res int32, flags uint32) {
	if res > 0 {
		c.host.stats.BytesReceived += uint64(res)
		c.hold.heard = c.r.Now()
		c.take(c.received(res, flags))
	}
	if flags&uring.CQEBuffer != 0 {
		c.r.RecvBuffers().Recycle(res, flags)
	}
	switch {
	case c.state == stateDetaching || c.state == stateEnding:
		c.settle()
	case res == 0 && c.lastFill && c.state == stateOpen:
		c.eof = true // It may still wait for our answer to its last words.
	case res == 0:
		c.finish(ReasonEOF)
	case res < 0 && !isTransient(res):
		c.finish(ReasonReset)
	default:
		c.arm()
	}
}

// received is the memory that a completion has filled.
func (c *Conn) received(res int32, flags uint32) []byte {
	if flags&uring.CQEBuffer != 0 {
		return c.r.RecvBuffers().Bytes(res, flags)
	}
	return c.own[:res]
}

// isTransient reports whether a receive or send that failed with -res is simply to be started again.
func isTransient(res int32) bool {
	errno := syscall.Errno(-res)
	return errno == syscall.ENOBUFS || errno == syscall.ECANCELED || errno == syscall.EINTR || errno == syscall.EAGAIN
}

// take hands b to the handler, or keeps a copy for later, or drops it, as the state demands.
func (c *Conn) take(b []byte) {
	switch {
	case c.lastFill || c.state != stateOpen && c.state != stateDetaching:
	case c.paused || c.state == stateDetaching || len(c.kept) > 0:
		c.kept = append(c.kept, b...)
	default:
		c.h.Received(b)
	}
}

// Pause stops Received from being called until Resume; bytes that have arrived are kept. The receive is cancelled, so
// that the peer's window closes.
func (c *Conn) Pause() {
	if c.paused || c.state != stateOpen {
		return
	}
	c.paused = true
	c.recv.Cancel()
}

// Resume ends Pause. Received is called for what was kept later in this pass, not inside Resume.
func (c *Conn) Resume() {
	if !c.paused || c.state != stateOpen {
		return
	}
	c.paused = false
	if len(c.kept) > 0 && !c.resume.Queued() {
		c.r.Defer(&c.resume)
	}
	c.arm() // If the cancelled receive has not ended yet, its last completion arms the next.
}

// deliverKept hands over what arrived while paused.
func (c *Conn) deliverKept() {
	if c.paused || c.state != stateOpen || len(c.kept) == 0 {
		return
	}
	b := c.kept
	c.kept = nil
	if !c.lastFill {
		c.h.Received(b)
	}
	if len(c.kept) == 0 && cap(b) <= keptMax {
		c.kept = b[:0]
	}
}

// release gives back everything but the descriptor; nothing is in flight.
func (c *Conn) release() {
	c.recv.Close()
	c.send.Close()
	c.end.Close()
	c.sendTimer.Stop()
	c.drainTimer.Stop()
	c.hold.reset()
	if c.own != nil {
		c.host.putOwn(c.own)
		c.own = nil
	}
	c.host.stats.Conns--
	c.r.Placed(-1)
	c.state = stateNew
}
