// Package sock is TCP on a reactor's ring: listeners, connections, receiving through provided buffers, and one
// gathered send in flight per connection.
//
//	accept -> Conn.Open -> Received(bytes)...  Dirty -> [pass end] Fill -> one sendmsg -> Sent messages
//	Close: shutdown, cancel, wait for the last completion -> Closed
//
// # Receiving
//
// A multishot receive fills buffers of the reactor's ring; Received sees the bytes in order and must take all of them
// before it returns.
//
// # Sending
//
// A connection that has something to say calls Dirty. At the end of the pass, if no send is in flight, its handler's
// Fill is called and queues headers and payloads until Room says no; all of it leaves in one sendmsg. What Fill could
// not place is asked for again when that send has ended.
//
// # Life and death
//
// Close never waits. The descriptor, the slot and the send sets are given back after the last completion of anything
// in flight, and only then is Closed called. After Close no other method of the handler is called but Closed.
package sock

import (
	"net/netip"

	"pollux/reactor"
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

// Conn is one TCP connection on one reactor. It is embedded in the protocol's connection.
type Conn struct{ r *reactor.Reactor }

// Open takes over fd (its owner is the Conn from now on) and arms the receive (on r).
func (c *Conn) Open(r *reactor.Reactor, fd int, h Handler) { panic("api") }

// Reactor, LocalAddr and RemoteAddr describe the connection.
func (c *Conn) Reactor() *reactor.Reactor  { return c.r }
func (c *Conn) LocalAddr() netip.AddrPort  { panic("api") }
func (c *Conn) RemoteAddr() netip.AddrPort { panic("api") }

// Dirty asks for Fill at the end of this pass, or when the send in flight has ended.
func (c *Conn) Dirty() { panic("api") }

// Room reports whether a header of n bytes and iovecs more payload pieces fit into the send being filled (in Fill only).
func (c *Conn) Room(n, iovecs int) bool { panic("api") }

// Header returns n bytes of the send set to be written now; neighbouring headers leave as one iovec.
func (c *Conn) Header(n int) []byte { panic("api") }

// Attach queues p, which must be off-heap memory (package iobuf) and stay unchanged until the next OnSent message has run.
func (c *Conn) Attach(p []byte) { panic("api") }

// OnSent has m run when everything queued so far has left, or when the connection has ended (before Closed).
func (c *Conn) OnSent(m *reactor.Message) { panic("api") }

// Pause stops Received from being called until Resume; bytes that have arrived are kept.
func (c *Conn) Pause()  { panic("api") }
func (c *Conn) Resume() { panic("api") }

// Close begins the end; Closed tells when it is over. A second Close does nothing.
func (c *Conn) Close() { panic("api") }

// CloseAfterSend closes when all output that Fill has queued or wants to queue has left.
func (c *Conn) CloseAfterSend() { panic("api") }

// Detach stops receiving, and calls moved with the descriptor when the last completion has come; the Conn is then as
// new and another Conn, on another reactor, may Open the descriptor. Output must have left before.
// rest are bytes that had arrived and were not yet handed to Received (nil almost always), valid during the call.
func (c *Conn) Detach(moved func(fd int, rest []byte)) { panic("api") }

// Listener accepts on one address on one reactor.
type Listener struct{ addr netip.AddrPort }

// ListenAll binds addr once per reactor of the group (SO_REUSEPORT, after a plain bind that proves the port free) and calls accept,
// on the reactor that accepted, with each new descriptor. Control plane; an error names address and cause.
func ListenAll(g *reactor.Group, addr netip.AddrPort, accept func(r *reactor.Reactor, fd int)) ([]*Listener, error) {
	panic("api")
}

// Addr is the bound address; a port of 0 has been resolved. Close stops accepting and returns when the last completion has come.
func (l *Listener) Addr() netip.AddrPort { return l.addr }
func (l *Listener) Close()               { panic("api") }
