package sock

import (
	"time"

	"golang.org/x/sys/unix"

	"pollux/reactor"
	"pollux/reactor/uring"
)

// SendTimeout is how long a send may make no end before the connection is given up, unless SetSendTimeout says otherwise.
const SendTimeout = 30 * time.Second

// The bounds of one sendmsg. Its memory is one block: msghdr, iovecs, headers.
const (
	setSize   = 32 << 10
	IovecsMax = 500
	HeaderMax = setSize - setHeaders // bytes of headers in one send; also the longest header

	setIovecs  = 64 // the msghdr, 56 bytes, comes before
	setHeaders = setIovecs + IovecsMax*16
)

// NowMax is how many sends of one connection may leave past the ring in a pass; the next goes through the ring, so that others
// get their turn.
const NowMax = 64

// sendSet is the memory of one send, lent to a connection until the send has ended.
type sendSet struct {
	msg   *uring.Msghdr
	iov   []uring.Iovec
	head  []byte
	first int // iovecs already sent
	n     int // iovecs queued
	heads int // bytes of headers queued
	open  bool
	sent  []*reactor.Message
}

func newSendSet(mem []byte) *sendSet {
	return &sendSet{
		msg:  uring.MsghdrAt(mem),
		iov:  uring.IovecsAt(mem[setIovecs:setHeaders]),
		head: mem[setHeaders:],
	}
}

func (s *sendSet) reset() {
	s.first, s.n, s.heads, s.open = 0, 0, 0, false
	clear(s.sent)
	s.sent = s.sent[:0]
}

// advance notes that n bytes have left, and reports whether all have.
func (s *sendSet) advance(n uint64) bool {
	for s.first < s.n && s.iov[s.first].Len <= n {
		n -= s.iov[s.first].Len
		s.first++
	}
	if s.first == s.n {
		return true
	}
	s.iov[s.first].Base += n
	s.iov[s.first].Len -= n
	return false
}

// Dirty asks for Fill at the end of this pass, or when the send in flight has ended.
func (c *Conn) Dirty() {
	if c.state != stateOpen {
		return
	}
	c.wantFill = true
	c.hold.wants++
	c.flushLater()
}

// flushLater has flush run at the end of this pass, unless it runs or a send is in flight: their end comes back here.
func (c *Conn) flushLater() {
	if c.set == nil && !c.flushing && !c.flushMsg.Queued() {
		c.r.AtPassEnd(&c.flushMsg)
	}
}

// flush fills a send set and sends it (at the end of a pass), again and again if sends end at once.
func (c *Conn) flush() {
	if c.state != stateOpen || c.set != nil || !c.wantFill || c.holdsBack() {
		return
	}
	c.flushing = true
	for n := 0; c.fillSet(); n++ {
		if !c.now || n == NowMax || !c.sendNow() {
			c.startSend()
			break
		}
	}
	c.flushing = false
	if c.wantFill && c.state == stateOpen {
		c.flushLater()
	}
}

// fillSet has the handler fill a set, and reports whether there is something to send.
func (c *Conn) fillSet() bool {
	if c.state != stateOpen || c.set != nil || !c.wantFill {
		return false
	}
	c.wantFill = false
	c.hold.wants = 0
	c.set = c.host.takeSet()
	c.sends++
	c.filling = true
	c.h.Fill()
	c.filling = false
	if c.state != stateOpen || c.set.n == 0 {
		c.sendEnded()
		return false
	}
	return true
}

// startSend submits what is left of the set, and watches over it.
func (c *Conn) startSend() {
	s := c.set
	s.msg.SetIov(s.iov[s.first:s.n])
	c.send.SQE().Sendmsg(c.fd, s.msg, unix.MSG_NOSIGNAL|unix.MSG_WAITALL)
	c.host.stats.Sends++
	c.sendSince = c.r.Now()
	if !c.sendTimer.Active() {
		c.sendTimer.Start(c.sendTimeout)
	}
}

// sendNow sends the set past the ring, and reports whether all of it has left. What is left, or an error, is the ring's.
func (c *Conn) sendNow() bool {
	s := c.set
	s.msg.SetIov(s.iov[:s.n])
	n := c.r.Kernel().SendNow(c.fd, s.msg)
	if n <= 0 {
		return false
	}
	c.host.stats.Sends++
	c.host.stats.BytesSent += uint64(n)
	c.sendSince = c.r.Now()
	if !s.advance(uint64(n)) {
		c.host.stats.ShortSends++
		return false
	}
	c.sendEnded()
	return true
}

// onSend is the completion of a send.
func (c *Conn) onSend(res int32, _ uint32) {
	if res > 0 {
		c.host.stats.BytesSent += uint64(res)
	}
	if c.state != stateOpen && c.state != stateDetaching {
		c.sendEnded()
		c.settle()
		return
	}
	switch {
	case res > 0 && c.set.advance(uint64(res)):
		c.sendEnded()
	case res > 0 || isTransient(res):
		c.host.stats.ShortSends++
		c.startSend()
	default:
		c.sendEnded()
		c.finish(ReasonReset)
	}
}

// sendEnded gives the set back, runs who waited for it, and looks what comes next.
func (c *Conn) sendEnded() {
	s := c.set
	if s == nil {
		return
	}
	c.set = nil
	for _, m := range s.sent {
		c.r.Defer(m)
	}
	c.host.putSet(s)
	switch {
	case c.state == stateDetaching:
		c.settle()
	case c.state != stateOpen:
	case c.wantFill:
		c.flushLater()
	case c.lastFill:
		c.drain()
	}
}

// SetSendTimeout changes how long a send may stay blocked, from the next send on.
func (c *Conn) SetSendTimeout(d time.Duration) { c.sendTimeout = d }

// onSendTimer looks whether the send in flight is too old. The timer is not touched per send: it runs out now and then, and
// is started again for what is left.
func (c *Conn) onSendTimer() {
	if c.set == nil || c.state != stateOpen && c.state != stateDetaching {
		return
	}
	left := c.sendSince + int64(c.sendTimeout) - c.r.Now()
	if left > 0 {
		c.sendTimer.Start(time.Duration(left))
		return
	}
	c.host.stats.SendTimeouts++
	c.finish(ReasonTimeout)
}

// Room reports whether a header of n bytes and iovecs more payload pieces fit into the send being filled (in Fill only).
// If they do not, Fill is called again when this send has ended.
func (c *Conn) Room(n, iovecs int) bool {
	c.mustFill()
	if c.set.heads+n <= HeaderMax && c.set.n+1+iovecs <= IovecsMax {
		return true
	}
	if n > HeaderMax || iovecs >= IovecsMax {
		panic("sock: Room for more than a send can ever hold")
	}
	c.wantFill = true
	return false
}

func (c *Conn) mustFill() {
	if !c.filling {
		panic("sock: output queued outside of Fill")
	}
}

// Header returns n bytes of the send set to be written now; neighbouring headers leave as one iovec.
func (c *Conn) Header(n int) []byte {
	c.mustFill()
	s := c.set
	b := s.head[s.heads : s.heads+n : s.heads+n]
	s.heads += n
	if s.open {
		s.iov[s.n-1].Len += uint64(n)
		return b
	}
	s.iov[s.n].Set(b)
	s.n++
	s.open = true
	return b
}

// Attach queues p, which must be off-heap memory (package iobuf) and stay unchanged until the next OnSent message has run.
func (c *Conn) Attach(p []byte) {
	c.mustFill()
	if len(p) == 0 {
		return
	}
	s := c.set
	s.iov[s.n].Set(p)
	s.n++
	s.open = false
}

// SendNow has each Fill leave at once in a system call of its own, before the next Fill, for as long as the socket takes it and
// at most NowMax times in a pass: for who wants many sends of one request each. One send per pass is cheaper through the ring, which
// is entered anyway. Open turns it off.
func (c *Conn) SendNow() { c.now = true }

// Sending is the number of the send that is being filled, counted from Open (in Fill only).
func (c *Conn) Sending() uint64 {
	c.mustFill()
	return c.sends
}

// Sent is the number of the last send that has ended, with all before it.
func (c *Conn) Sent() uint64 {
	if c.set != nil {
		return c.sends - 1
	}
	return c.sends
}

// OnSent has m run when everything queued so far has left, or when the connection has ended (before Closed).
func (c *Conn) OnSent(m *reactor.Message) {
	if c.set == nil {
		c.r.Defer(m)
		return
	}
	c.set.sent = append(c.set.sent, m)
}
