package rpc

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"testing"
)

func mustCall(t *testing.T, s *Server, method string, params any) string {
	t.Helper()
	raw, err := s.Call(t.Context(), method, params)
	if err != nil {
		t.Fatalf("%s: %v", method, err)
	}
	return string(raw)
}

// callFails calls and compares code and message of the error.
func callFails(t *testing.T, s *Server, method string, params any, code int, message string) {
	t.Helper()
	raw, err := s.Call(t.Context(), method, params)
	var e *Error
	if !errors.As(err, &e) || e.Code != code || e.Message != message {
		t.Errorf("%s: got %s, %v\nwant %d %s", method, raw, err, code, message)
	}
}

// TestBuiltinParameters compares what the server registers by itself with a
// list, so that a change of a name that clients use is seen.
func TestBuiltinParameters(t *testing.T) {
	var lines []string
	for _, m := range New(Options{Logging: NewLogging()}).Methods() {
		words := []string{m.Name}
		for _, p := range m.Params {
			word := p.Name + ":" + p.Type
			if p.Required {
				word += "!"
			}
			words = append(words, word)
		}
		words = append(words, fmt.Sprintf("startup=%v runtime=%v", m.Startup, m.Runtime))
		if len(m.Aliases) > 0 {
			words = append(append(words, "was"), m.Aliases...)
		}
		lines = append(lines, strings.Join(words, " "))
	}
	want, err := os.ReadFile("testdata/builtin.txt")
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(lines, "\n") + "\n"; got != string(want) {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestGetMethods(t *testing.T) {
	s := New(Options{Logging: NewLogging()})
	Handle(s, Startup, "early", func(context.Context, None) (None, error) { return None{}, nil }, "old_early")
	Handle(s, Runtime, "late", func(context.Context, None) (None, error) { return None{}, nil })
	list := func(params any) []string {
		var names []string
		if err := json.Unmarshal([]byte(mustCall(t, s, "rpc_get_methods", params)), &names); err != nil {
			t.Fatal(err)
		}
		return names
	}
	check := func(what string, names []string, name string, want bool) {
		t.Helper()
		if slices.Contains(names, name) != want {
			t.Errorf("%s: %s is listed: %v", what, name, !want)
		}
	}
	check("all", list(nil), "early", true)
	check("all", list(nil), "late", true)
	check("all", list(nil), "old_early", false)
	check("with aliases", list(map[string]any{"include_aliases": true}), "old_early", true)
	current := map[string]any{"current": true}
	check("startup", list(current), "early", true)
	check("startup", list(current), "late", false)
	check("startup", list(current), "spdk_get_version", true)
	if err := s.StartInit(t.Context()); err != nil {
		t.Fatal(err)
	}
	check("runtime", list(current), "early", false)
	check("runtime", list(current), "late", true)
	callFails(t, s, "rpc_get_methods", map[string]any{"curent": true}, -32602,
		`Invalid parameters: unknown parameter "curent"; known: current, include_aliases`)
}

func TestAllowedMethods(t *testing.T) {
	s := startServer(t, Options{Allowed: []string{"rpc_get_methods", "add"}})
	p := s.dial(t)
	p.send(`{"id":1,"method":"rpc_get_methods"}` + pingCall + addCall)
	p.expect(`{"jsonrpc":"2.0","id":1,"result":["add","rpc_get_methods"]}`)
	p.expect(`{"jsonrpc":"2.0","id":"ping","error":{"code":-32601,"message":"Method not found: nop is not allowed by --rpcs-allowed"}}`)
	p.expect(addReply)
	mustCall(t, s.Server, "nop", nil)
}

func TestVersion(t *testing.T) {
	s := New(Options{Product: "Pollux", Version: "0.1.0"})
	want := `{"version":"SPDK v26.09-pre (Pollux 0.1.0)","fields":{"major":26,"minor":9,"patch":0,"suffix":"-pre","product":"Pollux","product_version":"0.1.0"}}`
	if got := mustCall(t, s, "get_spdk_version", nil); got != want {
		t.Errorf("got %s", got)
	}
}

func TestAliasIsLoggedOnce(t *testing.T) {
	var out bytes.Buffer
	s := New(Options{Log: slog.New(slog.NewTextHandler(&out, nil))})
	for range 3 {
		mustCall(t, s, "get_spdk_version", nil)
		mustCall(t, s, "get_rpc_methods", nil)
	}
	if n := strings.Count(out.String(), "deprecated"); n != 2 || !strings.Contains(out.String(), "alias=get_spdk_version method=spdk_get_version") {
		t.Errorf("logged\n%s", out.String())
	}
}

func TestStates(t *testing.T) {
	fail := errors.New("no core left")
	inside := make(chan struct{})
	proceed := make(chan error)
	s := New(Options{Init: func(context.Context) error {
		inside <- struct{}{}
		return <-proceed
	}})
	Handle(s, Startup, "early", func(context.Context, None) (None, error) { return None{}, nil })
	Handle(s, Runtime, "late", func(context.Context, None) (None, error) { return None{}, nil })
	callFails(t, s, "late", nil, -1, errNotRuntime.Message)
	mustCall(t, s, "early", nil)

	start := func() chan error {
		done := make(chan error)
		go func() {
			_, err := s.Call(context.Background(), "framework_start_init", nil)
			done <- err
		}()
		<-inside
		return done
	}
	done := start()
	callFails(t, s, "early", nil, -1, errNotStartup.Message)
	callFails(t, s, "late", nil, -1, errNotRuntime.Message)
	callFails(t, s, "framework_start_init", nil, -1, errNotStartup.Message)
	mustCall(t, s, "spdk_get_version", nil)
	proceed <- fail
	if err := <-done; err == nil || err.Error() != "framework_initialization failed: no core left" || s.State() != Startup {
		t.Fatalf("%v, state %v", err, s.State())
	}

	mustCall(t, s, "early", nil)
	waited := make(chan error)
	go func() {
		_, err := s.Call(context.Background(), "framework_wait_init", nil)
		waited <- err
	}()
	done = start()
	proceed <- nil
	for _, result := range []chan error{done, waited} {
		if err := <-result; err != nil {
			t.Error(err)
		}
	}
	mustCall(t, s, "late", nil)
	mustCall(t, s, "framework_wait_init", nil)
	callFails(t, s, "early", nil, -1, errNotStartup.Message)
	callFails(t, s, "framework_start_init", nil, -1, errNotStartup.Message)
}

func TestLogMethods(t *testing.T) {
	l := NewLogging("bdev", "iscsi")
	s := New(Options{Logging: l})
	if got := mustCall(t, s, "log_get_level", nil) + mustCall(t, s, "log_get_print_level", nil); got != `"NOTICE""INFO"` {
		t.Errorf("defaults are %s", got)
	}
	for _, name := range []string{"ERROR", "WARNING", "NOTICE", "INFO", "DEBUG"} {
		mustCall(t, s, "log_set_level", map[string]any{"level": strings.ToLower(name)})
		mustCall(t, s, "log_set_print_level", map[string]any{"level": name})
		if got := mustCall(t, s, "log_get_level", nil) + mustCall(t, s, "log_get_print_level", nil); got != fmt.Sprintf("%q%q", name, name) {
			t.Errorf("%s: got %s", name, got)
		}
	}
	if l.Level.Level() != slog.LevelDebug || l.PrintLevel.Level() != slog.LevelDebug {
		t.Errorf("levels are %v and %v", l.Level.Level(), l.PrintLevel.Level())
	}
	callFails(t, s, "log_set_level", map[string]any{"level": "nope"}, -32603,
		`spdk_json_decode_object failed: parameter "level": must be one of ERROR, WARNING, NOTICE, INFO, DEBUG, not "nope"`)

	mustCall(t, s, "log_set_flag", map[string]any{"flag": "iscsi"})
	if got := mustCall(t, s, "log_get_flags", nil); got != `{"bdev":false,"iscsi":true}` || !l.Flag("iscsi") || l.Flag("bdev") || l.Flag("nope") {
		t.Errorf("flags are %s", got)
	}
	mustCall(t, s, "log_set_flag", map[string]any{"flag": "all"})
	mustCall(t, s, "log_clear_flag", map[string]any{"flag": "iscsi"})
	if got := mustCall(t, s, "log_get_flags", nil); got != `{"bdev":true,"iscsi":false}` {
		t.Errorf("flags are %s", got)
	}
	callFails(t, s, "log_set_flag", map[string]any{"flag": "nope"}, -32602, "invalid log flag: nope")

	if err := s.StartInit(t.Context()); err != nil {
		t.Fatal(err)
	}
	mustCall(t, s, "log_enable_timestamps", map[string]any{"enabled": false})
	if l.Timestamps.Load() {
		t.Error("timestamps are on")
	}
	callFails(t, s, "log_enable_timestamps", nil, -32602, `spdk_json_decode_object failed: parameter "enabled" is missing`)
}

func TestTwoServers(t *testing.T) {
	a, b := New(Options{}), New(Options{})
	Handle(a, Startup, "only_a", func(context.Context, None) (None, error) { return None{}, nil })
	mustCall(t, a, "only_a", nil)
	callFails(t, b, "only_a", nil, -32601, "Method not found: only_a")
}

func TestResultTooLarge(t *testing.T) {
	s := New(Options{})
	Handle(s, Startup, "big", func(context.Context, None) (string, error) { return strings.Repeat("x", replySizeMax), nil })
	callFails(t, s, "big", nil, -32603, fmt.Sprintf("big: the result has %d bytes, more than %d", replySizeMax+2, replySizeMax))
}

func TestResultThatCannotBeEncoded(t *testing.T) {
	s := New(Options{})
	Handle(s, Startup, "bad", func(context.Context, None) (any, error) { return func() {}, nil })
	callFails(t, s, "bad", nil, -32603, "bad: result: json: unsupported type: func()")
}
