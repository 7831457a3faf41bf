package rpc

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"sync"
	"syscall"
	"time"

	"github.com/sourcegraph/jsonrpc2"
)

// conn is one client: a jsonrpc2.Handler which runs its requests in the order
// of arrival.
type conn struct {
	server  *Server
	stream  *stream
	waiting chan struct{} // one for each call that has left the loop
	calls   sync.WaitGroup
}

// accepted is what the Conn is given as a result; see stream.
var accepted = json.RawMessage("true")

// acceptRetry is the pause after the system refused a connection, for example
// because the process has too many open files.
const acceptRetry = 100 * time.Millisecond

// accept serves the clients of one socket. It takes a connection from the
// backlog only when there is a slot for it.
func (s *Server) accept(l *listener) {
	for {
		select {
		case s.slots <- struct{}{}:
		case <-s.ctx.Done():
			return
		}
		nc, err := l.AcceptUnix()
		switch {
		case err == nil:
			s.serve(nc)
			continue
		case errors.Is(err, net.ErrClosed):
			return
		}
		<-s.slots
		s.log.Error("RPC socket: accept", "error", err)
		select {
		case <-time.After(acceptRetry):
		case <-s.ctx.Done():
			return
		}
	}
}

// serve starts a connection, which holds a slot until its last call has
// ended.
func (s *Server) serve(nc *net.UnixConn) {
	c := &conn{
		server: s, stream: newStream(nc, s.limits),
		waiting: make(chan struct{}, s.limits.Waiting),
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		_ = nc.Close()
		<-s.slots
		return
	}
	s.conns[c] = true
	// The Conn's context must not be the server's: Close lets replies out.
	jsonrpc2.NewConn(context.Background(), c.stream, c, jsonrpc2.SetLogger(c))
	s.work.Go(c.wait)
}

// wait returns the slot when the client has gone and its calls have ended.
func (c *conn) wait() {
	<-c.stream.ended
	c.calls.Wait()
	c.server.mu.Lock()
	delete(c.server.conns, c)
	c.server.mu.Unlock()
	<-c.server.slots
}

// Handle is called by the Conn, in the connection's loop, for each request.
func (c *conn) Handle(ctx context.Context, jc *jsonrpc2.Conn, numbered *jsonrpc2.Request) {
	r := c.stream.request(numbered.ID.Num)
	m, err := c.admit(r)
	switch {
	case err != nil:
		c.answer(jc, numbered, r, nil, err)
	case m.waits:
		c.leaveLoop(ctx, jc, numbered, r, m)
	default:
		result, err := c.server.run(context.WithoutCancel(ctx), m, r.params)
		c.answer(jc, numbered, r, result, err)
	}
}

// admit finds the method and checks that clients may call it.
func (c *conn) admit(r *request) (*Method, error) {
	if c.server.ctx.Err() != nil {
		return nil, Errno(syscall.ECANCELED, "the server is closing")
	}
	m, err := c.server.lookup(r.method)
	if err == nil && !c.server.allowed(m.name) {
		return nil, Errorf(CodeMethodNotFound, "Method not found: %s is not allowed by --rpcs-allowed", r.method)
	}
	return m, err
}

// leaveLoop starts a waiting call, if the connection does not have as many as
// it may. The loop never waits for one to end, since it could not see then
// that the client hangs up.
func (c *conn) leaveLoop(ctx context.Context, jc *jsonrpc2.Conn, numbered *jsonrpc2.Request, r *request, m *Method) {
	select {
	case c.waiting <- struct{}{}:
		c.calls.Go(func() {
			defer func() { <-c.waiting }()
			c.runWaiting(ctx, jc, numbered, r, m)
		})
	default:
		c.answer(jc, numbered, r, nil, Errno(syscall.EAGAIN, "%d calls of this connection are waiting", cap(c.waiting)))
	}
}

// runWaiting runs a call beside the loop, under a context that ends with the
// connection and with the server.
func (c *conn) runWaiting(ctx context.Context, jc *jsonrpc2.Conn, numbered *jsonrpc2.Request, r *request, m *Method) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(c.server.ctx, cancel)()
	result, err := c.server.run(ctx, m, r.params)
	c.answer(jc, numbered, r, result, err)
}

// answer sends a reply. If that fails the stream has closed itself, and the
// loop ends at its next read.
func (c *conn) answer(jc *jsonrpc2.Conn, numbered *jsonrpc2.Request, r *request, result json.RawMessage, err error) {
	r.setReply(result, err)
	_ = jc.SendResponse(context.Background(), &jsonrpc2.Response{ID: numbered.ID, Result: &accepted})
}

// stopReading ends the connection after the calls in progress.
func (c *conn) stopReading() { _ = c.stream.conn.CloseRead() }

// Printf is called by the Conn with the reason when it ends a connection. What
// the client did wrong is worth a line, and that it has gone is not.
func (c *conn) Printf(_ string, args ...any) {
	for _, arg := range args {
		err, ok := arg.(error)
		var network *net.OpError
		if ok && !errors.As(err, &network) && !errors.Is(err, net.ErrClosed) {
			c.server.log.Warn("RPC client is disconnected", "cause", err)
		}
	}
}
