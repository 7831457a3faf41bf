package initiator

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"

	"pollux/iscsi"
	"pollux/reactor"
	"pollux/reactor/iobuf"
	"pollux/reactor/sock"
)

// Client is a Session for the control plane and tests: its methods block. They may be called from several goroutines, but not
// from a reactor.
type Client struct {
	Session *Session // belongs to Reactor
	Reactor *reactor.Reactor

	ended chan struct{}
	err   error // valid when ended is closed
}

// Answer is what came of a command.
type Answer struct {
	Status, Response    uint8
	Sense               []byte
	In                  []byte // the data-in that arrived
	Residual            uint32
	Overflow, Underflow bool
}

// Errors of a Client.
var (
	ErrLost     = errors.New("connection ended before the answer")
	ErrRejected = errors.New("target rejects the request")
)

// RedirectsMax is how many redirections one Dial follows.
const RedirectsMax = 4

// Dial connects to portal and logs in, there or where the target sends it (RFC 7143 6.3.1: status class 1).
func Dial(ctx context.Context, r *reactor.Reactor, portal string, cfg Config) (*Client, error) {
	for range RedirectsMax + 1 {
		c, to, err := dial(ctx, r, portal, cfg)
		if to == "" {
			return c, err
		}
		if portal, err = redirectPortal(to); err != nil {
			return nil, err
		}
	}
	return nil, fmt.Errorf("log in to %s: redirected more than %d times", portal, RedirectsMax)
}

// redirectPortal is the portal of a TargetAddress: host, port, and perhaps a portal group tag (RFC 7143 13.8).
func redirectPortal(address string) (string, error) {
	address, _, _ = strings.Cut(address, ",")
	if _, _, err := net.SplitHostPort(address); err == nil {
		return address, nil
	}
	portal := net.JoinHostPort(strings.Trim(address, "[]"), "3260")
	if _, _, err := net.SplitHostPort(portal); err != nil || address == "" {
		return "", fmt.Errorf("%w: redirected to %q", ErrProtocol, address)
	}
	return portal, nil
}

// dial connects to one portal; to is where it sends the login instead.
func dial(ctx context.Context, r *reactor.Reactor, portal string, cfg Config) (c *Client, to string, err error) {
	nc, err := new(net.Dialer).DialContext(ctx, "tcp", portal)
	if err != nil {
		return nil, "", fmt.Errorf("connect to %s: %w", portal, err)
	}
	fd, err := sock.TakeOver(nc)
	if err != nil {
		return nil, "", fmt.Errorf("take over the connection to %s: %w", portal, err)
	}
	c, err = open(ctx, r, fd, cfg)
	if err == nil {
		return c, "", nil
	}
	if errors.Is(err, iscsi.LoginMovedTemporarily) || errors.Is(err, iscsi.LoginMovedPermanently) {
		to = c.Session.Redirect()
	}
	return nil, to, fmt.Errorf("log in to %s: %w", portal, err)
}

// Open logs in over a connected descriptor, which it owns from then on. It follows no redirection.
func Open(ctx context.Context, r *reactor.Reactor, fd int, cfg Config) (*Client, error) {
	c, err := open(ctx, r, fd, cfg)
	if err != nil {
		return nil, err
	}
	return c, nil
}

// open is Open; after an error the client is closed, and only what it has heard can be asked.
func open(ctx context.Context, r *reactor.Reactor, fd int, cfg Config) (*Client, error) {
	c := &Client{Session: &Session{Config: cfg}, Reactor: r, ended: make(chan struct{})}
	var err error
	stopped := c.do(ctx, func(done func()) {
		c.Session.Events.LoggedIn = func(e error) { err = e; done() }
		c.Session.Events.Ended = func(e error) { c.err = e; close(c.ended) }
		c.Session.Open(r, fd)
	})
	if err = errors.Join(stopped, err); err != nil {
		c.Close()
	}
	return c, err
}

// do runs start on the reactor and waits for its done; when ctx ends first the connection is closed, so that done is called.
func (c *Client) do(ctx context.Context, start func(done func())) error {
	stop := context.AfterFunc(ctx, func() {
		_ = c.Reactor.Call(c.Session.Close) // A reactor that has stopped has nothing left to close.
	})
	err := c.Reactor.Do(start)
	if !stop() && err == nil {
		err = ctx.Err()
	}
	return err
}

// Do executes a command: out is sent, inLength bytes are expected. A status other than GOOD is not an error.
func (c *Client) Do(ctx context.Context, lun uint64, cdb, out []byte, inLength int) (*Answer, error) {
	cmd := &Command{LUN: lun, In: make([]byte, inLength)}
	copy(cmd.CDB[:], cdb)
	if len(cdb) > len(cmd.CDB) {
		cmd.LongCDB = cdb[len(cmd.CDB):]
	}
	if len(out) > 0 {
		mem, err := iobuf.Map(len(out))
		if err != nil {
			return nil, err
		}
		defer iobuf.Unmap(mem)
		cmd.Out = mem[:copy(mem, out)]
	}
	err := c.Submit(ctx, cmd)
	return answer(cmd), err
}

// Submit executes a command that the caller has made (but for Done), and waits for it.
func (c *Client) Submit(ctx context.Context, cmd *Command) error {
	err := c.do(ctx, func(done func()) {
		cmd.Done = func(*Command) { done() }
		if c.Session.state == stateClosed {
			cmd.Result = ResultLost
			done()
			return
		}
		c.Session.Submit(cmd)
	})
	return c.outcome(err, cmd.Result, cmd.Reason)
}

// outcome is a result as an error.
func (c *Client) outcome(err error, result Result, reason iscsi.RejectReason) error {
	switch {
	case err != nil:
		return err
	case result == ResultRejected:
		return fmt.Errorf("%w: reason %#02x", ErrRejected, uint8(reason))
	case result == ResultLost:
		return c.lost()
	}
	return nil
}

// lost says why the connection ended, if that is known already.
func (c *Client) lost() error {
	select {
	case <-c.ended:
		if c.err != nil {
			return fmt.Errorf("%w: %w", ErrLost, c.err)
		}
	default:
	}
	return ErrLost
}

func answer(cmd *Command) *Answer {
	return &Answer{
		Status: cmd.Status, Response: cmd.Response, Sense: cmd.Sense[:cmd.SenseLen], In: cmd.In[:min(int(cmd.Received), len(cmd.In))],
		Residual: cmd.Residual, Overflow: cmd.Overflow, Underflow: cmd.Underflow,
	}
}

// Exchange sends any other request and waits for its answer.
func (c *Client) Exchange(ctx context.Context, request iscsi.PDU) (*iscsi.PDU, error) {
	x := &Exchange{Request: request}
	err := c.do(ctx, func(done func()) {
		x.Done = func(*Exchange) { done() }
		if c.Session.state == stateClosed {
			x.Result = ResultLost
			done()
			return
		}
		c.Session.Start(x)
	})
	return &x.Answer, c.outcome(err, x.Result, x.Answer.Reason())
}

// newRequest is a final request of its type.
func newRequest(op iscsi.Opcode, immediate bool) (p iscsi.PDU) {
	p.Clear(op)
	p.SetFinal(true)
	p.SetImmediate(immediate)
	p.SetTargetTransferTag(iscsi.ReservedTag)
	return p
}

// Ping sends data in a NOP-Out and returns what comes back.
func (c *Client) Ping(ctx context.Context, data []byte) ([]byte, error) {
	p := newRequest(iscsi.OpNOPOut, false)
	p.Data = data
	a, err := c.Exchange(ctx, p)
	return a.Data, err
}

// Manage sends a task management function about lun, and for ABORT TASK and QUERY TASK about the task with that tag and CmdSN.
// It returns the response code (RFC 7143 11.6.1).
func (c *Client) Manage(ctx context.Context, function uint8, lun uint64, tag, refCmdSN uint32) (response uint8, err error) {
	p := newRequest(iscsi.OpTaskManagement, true)
	p.SetFunction(function)
	p.SetLUN(lun)
	p.SetReferencedTaskTag(tag)
	p.SetRefCmdSN(refCmdSN)
	a, err := c.Exchange(ctx, p)
	return a.Response(), err
}

// Logout closes the session as RFC 7143 11.14 wants, and then the connection.
func (c *Client) Logout(ctx context.Context) error {
	p := newRequest(iscsi.OpLogout, false)
	p.SetTargetTransferTag(0)
	p.SetReasonCode(iscsi.LogoutCloseSession)
	a, err := c.Exchange(ctx, p)
	c.Close()
	if err == nil && a.Response() != iscsi.LogoutResponseClosed {
		err = fmt.Errorf("logout is answered with %d", a.Response())
	}
	return err
}

// Close ends the connection, if it has not ended, and waits until nothing refers to it.
func (c *Client) Close() {
	_ = c.Reactor.Do(func(done func()) {
		s := c.Session
		if s.state == stateClosed {
			done()
			return
		}
		ended := s.Events.Ended
		s.Events.Ended = func(err error) { ended(err); done() }
		s.Close()
	})
}

// Ended is closed when the connection has ended; Err then says why.
func (c *Client) Ended() <-chan struct{} { return c.ended }

// Err is why the connection ended; nil after Close or Logout. It waits for the end.
func (c *Client) Err() error {
	<-c.ended
	return c.err
}
