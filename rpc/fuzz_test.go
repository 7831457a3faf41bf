package rpc

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"golang.org/x/sys/unix"
)

// frameSeeds are requests and replies from our own encoders, and what is
// between them on a wire.
func frameSeeds(f *testing.F) [][]byte {
	var seeds [][]byte
	add := func(v any) {
		raw, err := encode(v)
		if err != nil {
			f.Fatal(err)
		}
		seeds = append(seeds, raw)
	}
	add(map[string]any{"jsonrpc": "2.0", "id": 1, "method": "add", "params": addParams{1, 2}})
	add(map[string]any{"id": "ä<\"", "method": "raw", "params": []any{1.5, nil, true, "x"}})
	add(map[string]any{"id": nil, "method": "fail"})
	add([]any{map[string]any{"id": -5, "method": "nop"}, 5, []any{}, map[string]any{"method": "nop"}})
	add([]any{})
	add(outer{inner: inner{Host: "h", Port: 1}, U64: 1 << 63, Map: map[string]uint8{"a": 1}})
	seeds = append(seeds,
		errorReply(jsonNull, NoDevice("x")), frame(json.RawMessage("1.5"), "result", json.RawMessage("true")),
		[]byte(addCall+addCall), []byte(addCall[:20]), []byte("5 \"x\" {}"), []byte("// no"), []byte("[[[[[[1]]]]]]"))
	return seeds
}

// FuzzStream sends bytes to a server over a socket, in pieces of one size,
// and half-closes. Whatever they are, the server answers with one JSON value
// a line and closes; what it says does not depend on the pieces.
func FuzzStream(f *testing.F) {
	for i, seed := range frameSeeds(f) {
		f.Add(seed, uint8(i))
	}
	f.Fuzz(func(t *testing.T, data []byte, piece uint8) {
		whole := exchange(t, data, len(data))
		cut := exchange(t, data, int(piece%16)+1)
		if !slices.Equal(whole, cut) {
			t.Errorf("in one piece %q, in pieces %q", whole, cut)
		}
		for _, line := range whole {
			if !json.Valid([]byte(line)) || !strings.HasPrefix(line, `{"jsonrpc":"2.0","id":`) && !strings.HasPrefix(line, `[{"jsonrpc":"2.0","id":`) {
				t.Errorf("the server said %q", line)
			}
		}
	})
}

// exchange serves one end of a socket pair, writes data to the other and
// returns the lines of the answer. The fuzzed server has only harmless
// methods of its own.
func exchange(t *testing.T, data []byte, piece int) []string {
	s := New(Options{Log: slog.New(slog.DiscardHandler), Limits: Limits{RequestSize: 1 << 16}})
	defer func() { _ = s.Close() }()
	ours, theirs := socketPair(t)
	defer func() { _ = theirs.Close() }()
	s.slots <- struct{}{}
	s.serve(ours)
	go func() {
		for part := range slices.Chunk(data, max(piece, 1)) {
			if _, err := theirs.Write(part); err != nil {
				break
			}
		}
		_ = theirs.CloseWrite()
	}()
	answer, err := io.ReadAll(theirs)
	if err != nil && !errors.Is(err, unix.ECONNRESET) {
		t.Fatal(err)
	}
	text := strings.TrimSuffix(string(answer), "\n")
	if text == "" {
		return nil
	}
	return strings.Split(text, "\n")
}

func socketPair(t *testing.T) (a, b *net.UnixConn) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	return unixConn(t, fds[0]), unixConn(t, fds[1])
}

// FuzzFrames cuts bytes into frames, whole and byte by byte: the frames are
// the same, and each is one JSON value within the limit.
func FuzzFrames(f *testing.F) {
	for _, seed := range frameSeeds(f) {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		whole, wholeErr := allFrames(newFrameReader(bytes.NewReader(data), 100))
		bytewise, bytewiseErr := allFrames(newFrameReader(iotest.OneByteReader(bytes.NewReader(data)), 100))
		if !slices.EqualFunc(whole, bytewise, func(a, b json.RawMessage) bool { return bytes.Equal(a, b) }) {
			t.Errorf("whole %q, byte by byte %q", whole, bytewise)
		}
		if (wholeErr == io.EOF) != (bytewiseErr == io.EOF) {
			t.Errorf("whole %v, byte by byte %v", wholeErr, bytewiseErr)
		}
		for _, raw := range whole {
			if !json.Valid(raw) || len(raw) > 100 {
				t.Errorf("frame %q", raw)
			}
		}
	})
}

func allFrames(r *frameReader) ([]json.RawMessage, error) {
	var all []json.RawMessage
	for {
		raw, err := r.next()
		if err != nil {
			return all, err
		}
		all = append(all, raw)
	}
}

// FuzzDecode decodes bytes as parameters of every kind. What is accepted is
// accepted again when it is encoded, with the same result.
func FuzzDecode(f *testing.F) {
	for _, seed := range frameSeeds(f) {
		f.Add(seed)
	}
	f.Add([]byte(`{"host":"h","u64":1e19,"pair":[1,-2.0],"list":[{"host":"x"}],"any":{"a":[1]},"raw":[1.50],"address":"::1"}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		if !json.Valid(data) {
			t.Skip()
		}
		s := newOuter(t)
		first, err := s.Call(t.Context(), "outer", json.RawMessage(data))
		if err != nil {
			var e *Error
			if !errors.As(err, &e) || e.Code == 0 || e.Message == "" {
				t.Fatalf("%#v", err)
			}
			return
		}
		second, err := s.Call(t.Context(), "outer", first)
		if err != nil || !bytes.Equal(first, second) {
			t.Errorf("first %s, then %s, %v", first, second, err)
		}
	})
}

func unixConn(t *testing.T, fd int) *net.UnixConn {
	file := os.NewFile(uintptr(fd), "pair")
	defer file.Close()
	conn, err := net.FileConn(file)
	if err != nil {
		t.Fatal(err)
	}
	return conn.(*net.UnixConn)
}
