package sock

import (
	"time"

	"golang.org/x/sys/unix"
)

// DrainTimeout is how long a connection that CloseAfterSend has half closed waits for the peer to close its half. Closing at once
// while the peer still sends would make the kernel send a reset, which can overtake our last bytes.
const DrainTimeout = 2 * time.Second

// Close begins the end; Closed tells when it is over. A second Close does nothing.
func (c *Conn) Close() { c.finish(ReasonLocal) }

// CloseAfterSend closes when all output that Fill has queued or wants to queue has left, also to a peer that has ended its
// own direction meanwhile. Bytes that arrive from now on are thrown away.
func (c *Conn) CloseAfterSend() {
	if c.state != stateOpen || c.lastFill {
		return
	}
	c.lastFill = true
	c.Dirty()
}

// drain half closes, after the last output, and waits for the peer.
func (c *Conn) drain() {
	if c.eof {
		c.finish(ReasonLocal)
		return
	}
	c.state = stateDraining
	c.paused = false
	c.end.SQE().Shutdown(c.fd, unix.SHUT_WR)
	c.drainTimer.Start(DrainTimeout)
	c.arm()
}

// finish shuts the connection down and cancels everything in flight; settle goes on when all has come back.
func (c *Conn) finish(reason Reason) {
	switch c.state {
	case stateNew, stateEnding, stateClosing:
		return
	case stateDraining:
		reason = ReasonLocal
	default:
	}
	c.state, c.reason, c.moved = stateEnding, reason, nil
	c.drainTimer.Stop()
	c.end.SQE().Shutdown(c.fd, unix.SHUT_RDWR)
	c.recv.Cancel()
	c.send.Cancel()
}

// settle takes the next step of an end when nothing is in flight any more.
func (c *Conn) settle() {
	if c.recv.InFlight()+c.send.InFlight()+c.end.InFlight() > 0 || c.set != nil {
		return
	}
	switch c.state {
	case stateEnding:
		c.state = stateClosing
		c.end.SQE().Close(c.fd)
	case stateClosing:
		c.release()
		c.h.Closed(c.reason)
	case stateDetaching:
		c.release()
		moved := c.moved
		c.moved = nil
		moved(c.fd, c.kept)
		c.kept = nil
	default:
	}
}

// onEnd is the completion of a shutdown or a close, whose results do not matter: the peer may have been faster.
func (c *Conn) onEnd(int32, uint32) {
	if c.state >= stateDetaching {
		c.settle()
	}
}

// Detach stops receiving, and calls moved with the descriptor when the last completion has come; the Conn is then as
// new and another Conn, on another reactor, may Open the descriptor. Output must have left before.
// rest are bytes that had arrived and were not yet handed to Received (nil almost always), valid during the call.
func (c *Conn) Detach(moved func(fd int, rest []byte)) {
	if c.state != stateOpen {
		return
	}
	c.state, c.moved = stateDetaching, moved
	c.recv.Cancel()
	if !c.settleMsg.Queued() {
		c.r.Defer(&c.settleMsg)
	}
}
