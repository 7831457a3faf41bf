package rpc

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// testServer is a server on a socket with a few methods of known behaviour.
type testServer struct {
	*Server
	path    string
	started chan string   // the key of each call of "wait" that has begun
	release chan struct{} // lets a call of "wait" end; unbuffered: it is that call, and not the next one, that has taken it
	ended   chan error    // how contexts of "wait" ended
}

type waitParams struct {
	Key string `json:"key,omitempty"`
}

type addParams struct {
	A int64 `json:"a"`
	B int64 `json:"b"`
}

func startServer(t *testing.T, o Options) *testServer {
	t.Helper()
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	s := &testServer{
		Server: New(o), path: filepath.Join(t.TempDir(), "s"),
		started: make(chan string, 100), release: make(chan struct{}), ended: make(chan error, 100),
	}
	Handle(s.Server, Runtime, "add", func(_ context.Context, p addParams) (int64, error) { return p.A + p.B, nil }, "old_add")
	Handle(s.Server, Runtime, "raw", func(_ context.Context, p json.RawMessage) (json.RawMessage, error) {
		if p == nil {
			return json.RawMessage(`"absent"`), nil
		}
		return p, nil
	})
	Handle(s.Server, Runtime, "nop", func(context.Context, None) (None, error) { return None{}, nil })
	Handle(s.Server, Runtime, "fail", func(context.Context, None) (None, error) { return None{}, NoDevice("x") })
	Handle(s.Server, Startup, "early", func(context.Context, None) (None, error) { return None{}, nil })
	Handle(s.Server, Runtime, "wait", s.wait).Waits()
	if err := s.StartInit(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := s.Listen(s.path); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func (s *testServer) wait(ctx context.Context, p waitParams) (string, error) {
	s.started <- p.Key
	select {
	case <-s.release:
		return p.Key, nil
	case <-ctx.Done():
		s.ended <- ctx.Err()
		return "", ctx.Err()
	}
}

// peer is a client that sends bytes and reads lines.
type peer struct {
	t *testing.T
	*net.UnixConn
	r *bufio.Reader
}

// testTimeout ends a test that would hang.
const testTimeout = 5 * time.Minute

func (s *testServer) dial(t *testing.T) *peer {
	t.Helper()
	nc, err := net.Dial("unix", s.path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = nc.Close() })
	if err := nc.SetDeadline(time.Now().Add(testTimeout)); err != nil {
		t.Fatal(err)
	}
	return &peer{t, nc.(*net.UnixConn), bufio.NewReader(nc)}
}

func (p *peer) send(text string) {
	p.t.Helper()
	if _, err := io.WriteString(p, text); err != nil {
		p.t.Fatal(err)
	}
}

func (p *peer) closeWrite() {
	p.t.Helper()
	if err := p.CloseWrite(); err != nil {
		p.t.Fatal(err)
	}
}

func (p *peer) line() string {
	p.t.Helper()
	line, err := p.r.ReadString('\n')
	if err != nil {
		p.t.Fatalf("after %q: %v", line, err)
	}
	return strings.TrimSuffix(line, "\n")
}

func (p *peer) expect(want string) {
	p.t.Helper()
	if got := p.line(); got != want {
		p.t.Fatalf("got  %s\nwant %s", got, want)
	}
}

// expectEnd reads the end of the stream. A reset is an end, too: Linux gives
// it when the server closes with bytes unread.
func (p *peer) expectEnd() {
	p.t.Helper()
	rest, err := io.ReadAll(p.r)
	if len(rest) > 0 || err != nil && !errors.Is(err, syscall.ECONNRESET) {
		p.t.Fatalf("got %q, %v, want the end", rest, err)
	}
}

const (
	addCall   = `{"jsonrpc":"2.0","id":1,"method":"add","params":{"a":1,"b":2}}`
	addReply  = `{"jsonrpc":"2.0","id":1,"result":3}`
	pingCall  = `{"jsonrpc":"2.0","id":"ping","method":"nop"}`
	pingReply = `{"jsonrpc":"2.0","id":"ping","result":true}`
)

func invalid(id, cause string) string {
	return `{"jsonrpc":"2.0","id":` + id + `,"error":{"code":-32600,"message":"Invalid request: ` + cause + `"}}`
}

// TestDialect sends one frame, and then another to see that the connection
// lives. An empty answer means that nothing comes.
func TestDialect(t *testing.T) {
	s := startServer(t, Options{})
	reply := func(id, result string) string { return `{"jsonrpc":"2.0","id":` + id + `,"result":` + result + `}` }
	failure := func(id, code, message string) string {
		return `{"jsonrpc":"2.0","id":` + id + `,"error":{"code":` + code + `,"message":"` + message + `"}}`
	}
	for _, c := range []struct{ name, send, want string }{
		{"number id", `{"jsonrpc":"2.0","id":1,"method":"nop"}`, reply("1", "true")},
		{"string id", `{"jsonrpc":"2.0","id":"a\u0041\"","method":"nop"}`, reply(`"a\u0041\""`, "true")},
		{"fraction id", `{"jsonrpc":"2.0","id":1.5,"method":"nop"}`, reply("1.5", "true")},
		{"negative id", `{"jsonrpc":"2.0","id":-5,"method":"nop"}`, reply("-5", "true")},
		{"exponent id", `{"jsonrpc":"2.0","id":1E2,"method":"nop"}`, reply("1E2", "true")},
		{"long id", `{"jsonrpc":"2.0","id":123456789012345678901234567890,"method":"nop"}`, reply("123456789012345678901234567890", "true")},
		{"id first of all", `{ "id" : 7 , "method" : "nop" , "jsonrpc" : "2.0" }`, reply("7", "true")},
		{"absent id, success", `{"jsonrpc":"2.0","method":"nop"}`, ""},
		{"null id, success", `{"jsonrpc":"2.0","id":null,"method":"nop"}`, ""},
		{"absent id, failure", `{"jsonrpc":"2.0","method":"fail"}`, failure("null", "-19", "No such device: x")},
		{"null id, failure", `{"jsonrpc":"2.0","id":null,"method":"fail"}`, failure("null", "-19", "No such device: x")},
		{"object id", `{"jsonrpc":"2.0","id":{},"method":"nop"}`, invalid("null", "id is an object")},
		{"boolean id", `{"jsonrpc":"2.0","id":true,"method":"nop"}`, invalid("null", "id is a boolean")},
		{"no version", `{"id":1,"method":"nop"}`, reply("1", "true")},
		{"old version", `{"jsonrpc":"1.0","id":1,"method":"nop"}`, invalid("null", `jsonrpc is not \"2.0\"`)},
		{"version a number", `{"jsonrpc":2.0,"id":1,"method":"nop"}`, invalid("null", `jsonrpc is not \"2.0\"`)},
		{"no method", `{"jsonrpc":"2.0","id":1}`, invalid("null", "method is missing or not a string")},
		{"method a number", `{"jsonrpc":"2.0","id":1,"method":5}`, invalid("null", "method is missing or not a string")},
		{"unknown member", `{"jsonrpc":"2.0","id":1,"method":"nop","extra":1}`, invalid("null", `unknown member \"extra\"`)},
		{"duplicate member", `{"jsonrpc":"2.0","id":1,"id":2,"method":"nop"}`, invalid("null", `\"id\" appears twice`)},
		{"string at the top", `"hello"`, invalid("null", "it is a string, not an object")},
		{"number at the top", "5\n", invalid("null", "it is a number, not an object")},
		{"null at the top", "null", invalid("null", "it is null, not an object")},
		{"indented as SPDK's Go client does", "{\n\t\"id\": 7,\n\t\"jsonrpc\": \"2.0\",\n\t\"method\": \"nop\",\n\t\"params\": null\n}\n", reply("7", "true")},
		{"unknown method", `{"jsonrpc":"2.0","id":1,"method":"nosuch"}`, failure("1", "-32601", "Method not found: nosuch")},
		{"null params", `{"jsonrpc":"2.0","id":1,"method":"raw","params":null}`, reply("1", `"absent"`)},
		{"absent params", `{"jsonrpc":"2.0","id":1,"method":"raw"}`, reply("1", `"absent"`)},
		{"params to the letter", `{"jsonrpc":"2.0","id":1,"method":"raw","params":{"a":1.50,"a":18446744073709551616,"h":"<&>"}}`, reply("1", `{"a":1.50,"a":18446744073709551616,"h":"<&>"}`)},
		{"empty params for none", `{"jsonrpc":"2.0","id":1,"method":"nop","params":{}}`, reply("1", "true")},
		{"params for none", `{"jsonrpc":"2.0","id":1,"method":"nop","params":{"a":1}}`, failure("1", "-32602", `nop requires no parameters: unknown parameter \"a\"; known: none`)},
		{"array params", `{"jsonrpc":"2.0","id":1,"method":"add","params":[]}`, failure("1", "-32603", "spdk_json_decode_object failed: parameters must be an object, not an array")},
		{"number params", `{"jsonrpc":"2.0","id":1,"method":"add","params":5}`, invalid("1", "params are a number")},
		{"unknown key", `{"jsonrpc":"2.0","id":1,"method":"add","params":{"a":1,"c":2}}`, failure("1", "-32603", `spdk_json_decode_object failed: unknown parameter \"c\"; known: a, b`)},
		{"integers with point and exponent", `{"jsonrpc":"2.0","id":1,"method":"add","params":{"a":2048.0,"b":2e3}}`, reply("1", "4048")},
		{"string for a number", `{"jsonrpc":"2.0","id":1,"method":"add","params":{"a":"2048","b":1}}`, failure("1", "-32603", `spdk_json_decode_object failed: parameter \"a\": must be a number, not a string`)},
		{"overflow", `{"jsonrpc":"2.0","id":1,"method":"add","params":{"a":9223372036854775808,"b":1}}`, failure("1", "-32602", `Invalid parameters: parameter \"a\": 9223372036854775808 is not between -9223372036854775808 and 9223372036854775807`)},
		{"startup method in runtime", `{"jsonrpc":"2.0","id":1,"method":"early"}`, failure("1", "-1", errNotStartup.Message)},
		{"alias", `{"jsonrpc":"2.0","id":1,"method":"old_add","params":{"a":1,"b":1}}`, reply("1", "2")},

		{"batch", `[` + addCall + `,{"id":2,"method":"nop"}]`, `[` + addReply + `,` + reply("2", "true") + `]`},
		{"batch, glued elements with spaces", "[ " + addCall + "\n]", `[` + addReply + `]`},
		{"empty batch", `[]`, invalid("null", "the batch is empty")},
		{"batch of notifications", `[{"method":"nop"},{"method":"nop","id":null}]`, ""},
		{"batch with a notification", `[{"method":"nop"},` + addCall + `]`, `[` + addReply + `]`},
		{"batch with a failing notification", `[{"method":"fail"}]`, `[` + failure("null", "-19", "No such device: x") + `]`},
		{"batch with a number", `[1,` + addCall + `]`, `[` + invalid("null", "it is a number, not an object") + `,` + addReply + `]`},
		{"batch of bad elements", `[1,[]]`, `[` + invalid("null", "it is a number, not an object") + `,` + invalid("null", "it is an array, not an object") + `]`},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := s.dial(t)
			p.send(c.send + pingCall)
			if c.want != "" {
				p.expect(c.want)
			}
			p.expect(pingReply)
		})
	}
}

// TestGarbage sends what is not JSON, after which the stream cannot be read.
func TestGarbage(t *testing.T) {
	s := startServer(t, Options{Limits: Limits{RequestSize: 4096}})
	for name, send := range map[string]string{
		"word":           `hello`,
		"comment":        `// x` + "\n" + pingCall,
		"trailing comma": `{"id":1,"method":"nop",}`,
		"single quotes":  `{'id':1}`,
		"bad UTF-8":      "{\"id\":1,\"method\":\"n\xffop\"}",
		"deep":           strings.Repeat("[", nestingMax+1) + strings.Repeat("]", nestingMax+1),
		"large":          `{"id":1,"method":"` + strings.Repeat("x", 5000) + `"}`,
		"large space":    strings.Repeat(" ", 5000),
	} {
		t.Run(name, func(t *testing.T) {
			p := s.dial(t)
			p.send(pingCall)
			p.expect(pingReply)
			p.send(send)
			p.expectEnd()
		})
	}
}

func TestTokenLimit(t *testing.T) {
	s := startServer(t, Options{})
	p := s.dial(t)
	call := func(n int) string {
		return `{"id":1,"method":"nosuch","params":[` + strings.Repeat("1,", n-1) + `1]}`
	}
	p.send(call(tokensMax - 10))
	p.expect(`{"jsonrpc":"2.0","id":1,"error":{"code":-32601,"message":"Method not found: nosuch"}}`)
	p.send(call(tokensMax))
	p.expectEnd()
}

// TestLargestRequest fills the limit to the byte, twice on one connection.
func TestLargestRequest(t *testing.T) {
	const limit = 1 << 20
	s := startServer(t, Options{Limits: Limits{RequestSize: limit}})
	p := s.dial(t)
	head, tail := `{"id":1,"method":"raw","params":["`, `"]}`
	text := strings.Repeat("x", limit-len(head)-len(tail))
	for range 2 {
		p.send(head + text + tail)
		p.expect(`{"jsonrpc":"2.0","id":1,"result":["` + text + `"]}`)
	}
	p.send(pingCall)
	p.expect(pingReply)
}

func TestGluedRequests(t *testing.T) {
	p := startServer(t, Options{}).dial(t)
	p.send(addCall + addCall + "\r\n\t " + pingCall)
	p.expect(addReply)
	p.expect(addReply)
	p.expect(pingReply)
}

func TestRequestByteByByte(t *testing.T) {
	p := startServer(t, Options{}).dial(t)
	for _, b := range []byte(addCall) {
		p.send(string(b))
	}
	p.expect(addReply)
}

// TestHalfClose sends all requests, shuts the sending side, and still gets
// every reply, that of a waiting call too.
func TestHalfClose(t *testing.T) {
	s := startServer(t, Options{})
	p := s.dial(t)
	p.send(`{"id":7,"method":"wait","params":{"key":"k"}}` + addCall)
	p.closeWrite()
	p.expect(addReply)
	<-s.started
	s.release <- struct{}{}
	p.expect(`{"jsonrpc":"2.0","id":7,"result":"k"}`)
	p.expectEnd()
}

func TestHalfCloseWithinRequest(t *testing.T) {
	p := startServer(t, Options{}).dial(t)
	p.send(addCall + `{"id":`)
	p.closeWrite()
	p.expect(addReply)
	p.expectEnd()
}

// TestHangUp ends the context of a waiting call, also if the client had shut
// its sending side before.
func TestHangUp(t *testing.T) {
	s := startServer(t, Options{})
	for _, halfFirst := range []bool{false, true} {
		p := s.dial(t)
		p.send(`{"id":1,"method":"wait"}`)
		<-s.started
		if halfFirst {
			p.closeWrite()
		}
		_ = p.Close()
		if err := <-s.ended; !errors.Is(err, context.Canceled) {
			t.Errorf("context ended with %v", err)
		}
	}
}

func TestRepliesInOrderOfCompletion(t *testing.T) {
	s := startServer(t, Options{})
	p := s.dial(t)
	p.send(`{"id":"slow","method":"wait"}` + addCall)
	p.expect(addReply)
	s.release <- struct{}{}
	p.expect(`{"jsonrpc":"2.0","id":"slow","result":""}`)
}

// TestBatchWaitsForItsSlowest sends a batch whose first element waits; calls
// behind the batch are answered before it.
func TestBatchWaitsForItsSlowest(t *testing.T) {
	s := startServer(t, Options{})
	p := s.dial(t)
	p.send(`[{"id":"slow","method":"wait"},` + addCall + `]` + pingCall)
	p.expect(pingReply)
	s.release <- struct{}{}
	p.expect(`[` + addReply + `,{"jsonrpc":"2.0","id":"slow","result":""}]`)
}

func TestTooManyWaitingCalls(t *testing.T) {
	s := startServer(t, Options{Limits: Limits{Waiting: 1}})
	p := s.dial(t)
	p.send(`{"id":1,"method":"wait"}{"id":2,"method":"wait"}`)
	p.expect(`{"jsonrpc":"2.0","id":2,"error":{"code":-11,"message":"Resource temporarily unavailable: 1 calls of this connection are waiting"}}`)
	s.release <- struct{}{}
	p.expect(`{"jsonrpc":"2.0","id":1,"result":""}`)
}

// TestConnectionsDoNotWait calls on one connection while an ordinary call
// holds up the loop of another one.
func TestConnectionsDoNotWait(t *testing.T) {
	s := startServer(t, Options{})
	held, letGo := make(chan struct{}), make(chan struct{})
	Handle(s.Server, Runtime, "hold", func(context.Context, None) (None, error) {
		close(held)
		<-letGo
		return None{}, nil
	})
	slow, quick := s.dial(t), s.dial(t)
	slow.send(`{"id":1,"method":"hold"}` + pingCall)
	<-held
	quick.send(addCall)
	quick.expect(addReply)
	close(letGo)
	slow.expect(`{"jsonrpc":"2.0","id":1,"result":true}`)
	slow.expect(pingReply)
}

// TestConnectionLimit opens one connection more than are served: it is
// answered when another one ends.
func TestConnectionLimit(t *testing.T) {
	s := startServer(t, Options{Limits: Limits{Connections: 2}})
	first, second := s.dial(t), s.dial(t)
	for _, p := range []*peer{first, second} {
		p.send(pingCall)
		p.expect(pingReply)
	}
	third := s.dial(t)
	third.send(addCall)
	s.mu.RLock()
	if n := len(s.conns); n != 2 {
		t.Errorf("%d connections are served", n)
	}
	s.mu.RUnlock()
	_ = first.Close()
	third.expect(addReply)
}

// TestClientThatNeverReads is disconnected when a reply cannot be written.
func TestClientThatNeverReads(t *testing.T) {
	s := startServer(t, Options{Limits: Limits{Connections: 1, WriteTimeout: 500 * time.Millisecond}})
	p := s.dial(t)
	p.send(`{"id":1,"method":"raw","params":["` + strings.Repeat("x", 2<<20) + `"]}`)
	// The only slot is free again, so the first connection has ended.
	other := s.dial(t)
	other.send(pingCall)
	other.expect(pingReply)
}

// TestCloseLetsRepliesOut closes the server while calls are in progress: a
// change is completed and answered, and waiting is cut short.
func TestCloseLetsRepliesOut(t *testing.T) {
	s := startServer(t, Options{})
	held, letGo := make(chan struct{}), make(chan struct{})
	Handle(s.Server, Runtime, "hold", func(ctx context.Context, _ None) (None, error) {
		close(held)
		<-letGo
		return None{}, ctx.Err()
	})
	waiter, changer := s.dial(t), s.dial(t)
	waiter.send(`{"id":1,"method":"wait"}`)
	<-s.started
	changer.send(`{"id":2,"method":"hold"}` + pingCall)
	<-held
	closed := make(chan error)
	go func() { closed <- s.Close() }()
	waiter.expect(`{"jsonrpc":"2.0","id":1,"error":{"code":-125,"message":"Operation canceled: context canceled"}}`)
	waiter.expectEnd()
	close(letGo)
	changer.expect(`{"jsonrpc":"2.0","id":2,"result":true}`)
	if err := <-closed; err != nil {
		t.Error(err)
	}
}
