package rpc

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"sync/atomic"
	"syscall"

	"github.com/sourcegraph/jsonrpc2"
)

// Client is the other end of a Server's socket. Any number of goroutines may
// call through one.
type Client struct {
	path string
	conn *jsonrpc2.Conn
	id   atomic.Uint64
}

// Dial connects to the server at path.
func Dial(path string) (*Client, error) {
	nc, err := net.Dial("unix", socketName(path))
	if err != nil {
		return nil, fmt.Errorf("RPC socket %s: %w", path, explainDial(err))
	}
	stream := &clientStream{Conn: nc, frames: newFrameReader(nc, replySizeMax+requestSizeMax)}
	quiet := jsonrpc2.SetLogger(quietLogger{})
	return &Client{path: path, conn: jsonrpc2.NewConn(context.Background(), stream, noCalls{}, quiet)}, nil
}

func explainDial(err error) error {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("there is no such socket; is the target running, with this -r? (%w)", err)
	case errors.Is(err, syscall.ECONNREFUSED):
		return fmt.Errorf("nobody listens; the target has ended without removing its socket (%w)", err)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("only the owner of the target may configure it (%w)", err)
	}
	return err
}

// Call calls a method and waits for the reply. Params are anything that
// encodes as an object, or nil; the result is decoded into what result
// points to, unless that is nil. What the method answers as an error is
// returned as an *Error. When ctx ends the call goes on in the server.
func (c *Client) Call(ctx context.Context, method string, params, result any) error {
	id := jsonrpc2.ID{Num: c.id.Add(1)}
	err := c.conn.Call(ctx, method, params, result, jsonrpc2.PickID(id))
	var failure *jsonrpc2.Error
	switch {
	case errors.As(err, &failure):
		return &Error{Code: int(failure.Code), Message: failure.Message}
	case errors.Is(err, jsonrpc2.ErrClosed):
		return fmt.Errorf("RPC socket %s: %s: the target has closed the connection", c.path, method)
	case err != nil:
		return fmt.Errorf("RPC socket %s: %s: %w", c.path, method, err)
	}
	return nil
}

// Close ends the connection; calls in progress return an error.
func (c *Client) Close() error {
	if err := c.conn.Close(); !errors.Is(err, jsonrpc2.ErrClosed) {
		return err
	}
	return nil
}

// clientStream is a client's jsonrpc2.ObjectStream: one value after the other.
type clientStream struct {
	net.Conn
	frames *frameReader
}

func (s *clientStream) ReadObject(v any) error {
	raw, err := s.frames.next()
	if err != nil {
		return err
	}
	return json.Unmarshal(raw, v)
}

func (s *clientStream) WriteObject(v any) error {
	raw, err := encode(v)
	if err != nil {
		return err
	}
	_, err = s.Write(append(raw, '\n'))
	return err
}

// noCalls ignores requests from the server, which sends none.
type noCalls struct{}

func (noCalls) Handle(context.Context, *jsonrpc2.Conn, *jsonrpc2.Request) {}

type quietLogger struct{}

func (quietLogger) Printf(string, ...any) {}

var _ io.Closer = (*Client)(nil)
