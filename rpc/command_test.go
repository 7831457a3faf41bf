package rpc

import (
	"bytes"
	"context"
	"errors"
	"path/filepath"
	"strings"
	"testing"
)

// pollux runs the command and returns what it printed.
func pollux(stdin string, args ...string) (code int, stdout, stderr string) {
	var out, words bytes.Buffer
	code = Command(args, strings.NewReader(stdin), &out, &words)
	return code, out.String(), words.String()
}

func TestCommandParameters(t *testing.T) {
	s := startServer(t, Options{})
	for _, c := range []struct {
		args []string
		want string
	}{
		{nil, `"absent"`},
		{[]string{`{"a": 18446744073709551616}`}, `{"a":18446744073709551616}`},
		{[]string{"-"}, `{"from":"stdin"}`},
		{[]string{"a=1", "b=x", "c=true", "d=null", "e=[1,2]", `f={"x":1}`, `g="5"`, "h=", "i=a=b", "j=1.50"}, `{"a":1,"b":"x","c":true,"d":null,"e":[1,2],"f":{"x":1},"g":"5","h":"","i":"a=b","j":1.50}`},
		{[]string{"a.b.c=1", "a.b.d=x", "a.e=ä"}, `{"a":{"b":{"c":1,"d":"x"},"e":"ä"}}`},
		{[]string{"addr=127.0.0.1", "hex=0x10", "uuid=11111111-2222"}, `{"addr":"127.0.0.1","hex":"0x10","uuid":"11111111-2222"}`},
	} {
		code, out, words := pollux(` {"from": "stdin"} `, append([]string{"-s", s.path, "raw"}, c.args...)...)
		if got := strings.Join(strings.Fields(out), ""); code != 0 || got != c.want || words != "" {
			t.Errorf("%q: exit %d, %s %s, want %s", c.args, code, got, words, c.want)
		}
	}
}

func TestCommandOutput(t *testing.T) {
	s := startServer(t, Options{})
	Handle(s.Server, Runtime, "list", func(context.Context, None) (any, error) {
		return map[string]any{"a": []any{map[string]string{"b": "<"}}}, nil
	})
	code, out, words := pollux("", "--socket", s.path, "--timeout", "30", "list")
	if want := "{\n  \"a\": [\n    {\n      \"b\": \"<\"\n    }\n  ]\n}\n"; code != 0 || out != want || words != "" {
		t.Errorf("exit %d, %q, %q", code, out, words)
	}
}

func TestCommandFailures(t *testing.T) {
	s := startServer(t, Options{})
	missing := filepath.Join(t.TempDir(), "no")
	for _, c := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{"-s", s.path, "fail"}, 1, "pollux rpc: fail: No such device: x (-19)\n"},
		{[]string{"-s", s.path, "nosuch"}, 1, "pollux rpc: nosuch: Method not found: nosuch (-32601)\n"},
		{[]string{"-s", s.path, "-t", "0.05", "wait"}, 1, "no reply in time"},
		{[]string{"-s", missing, "nop"}, 1, missing + ": there is no such socket; is the target running"},
		{nil, 2, "METHOD is missing"},
		{[]string{"-x"}, 2, "flag provided but not defined: -x"},
		{[]string{"-t", "-1", "nop"}, 2, "a timeout of -1 seconds"},
		{[]string{"nop", "x"}, 2, `"x" is not KEY=VALUE`},
		{[]string{"nop", "=x"}, 2, `"=x" is not KEY=VALUE`},
		{[]string{"nop", "a=1", "a=2"}, 2, "a is given twice"},
		{[]string{"nop", "a=1", "a.b=2"}, 2, "a.b: a has a value already"},
		{[]string{"nop", "{"}, 2, "parameters: not a JSON object"},
		{[]string{"save_config", "a=1"}, 2, "save_config: too many words"},
		{[]string{"nop", "-"}, 2, "standard input: not a JSON object"},
	} {
		code, out, words := pollux("[1]", c.args...)
		if code != c.code || out != "" || !strings.Contains(words, c.want) {
			t.Errorf("%q: exit %d, %q, %q, want %d %q", c.args, code, out, words, c.code, c.want)
		}
	}
}

func TestCommandHelpOfTarget(t *testing.T) {
	s := startServer(t, Options{})
	code, out, words := pollux("", "-s", s.path, "help", "get_subsystem_config")
	want := `framework_get_config
  List the calls that make a subsystem as it is.
  Older names: get_subsystem_config.
  Only after framework_start_init.
    name                         string, required
    with_batches                 boolean, optional
`
	if code != 0 || out != want || words != "" {
		t.Errorf("exit %d, %s, %s", code, out, words)
	}
	code, out, _ = pollux("", "-s", s.path, "help")
	if code != 0 || !strings.Contains(out, "\nspdk_get_version                     Name the product") {
		t.Errorf("exit %d, %s", code, out)
	}
	code, _, words = pollux("", "-s", s.path, "help", "nosuch")
	if code != 1 || words != "pollux rpc: help: No such file or directory: method nosuch (-2)\n" {
		t.Errorf("exit %d, %s", code, words)
	}
}

func TestCommandHelp(t *testing.T) {
	code, out, words := pollux("", "--help")
	if code != 0 || words != "" || out != commandUsage {
		t.Errorf("exit %d, %q, %q", code, out, words)
	}
	if lines := strings.Count(out, "\n"); lines > 24+8 {
		t.Errorf("help has %d lines", lines)
	}
}

// TestCommandSaveAndLoad saves from one target and loads into another one
// which is in the startup state, and then into the first again, where all of
// it comes too late or is there already.
func TestCommandSaveAndLoad(t *testing.T) {
	dir := t.TempDir()
	first, second := newShelf(), newShelf()
	for path, sh := range map[string]*shelf{"1": first, "2": second} {
		if err := sh.Listen(filepath.Join(dir, path)); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = sh.Close() })
	}
	if code, _, words := pollux(shelfConfig, "-s", filepath.Join(dir, "1"), "load_config"); code != 0 || words != "" {
		t.Fatalf("exit %d, %s", code, words)
	}
	first.expectCalls(t, "dust", "size 3", "init", "create a//b", "create c", "create d")
	code, saved, words := pollux("", "-s", filepath.Join(dir, "1"), "save_config")
	if code != 0 || words != "" {
		t.Fatalf("exit %d, %s", code, words)
	}
	if code, out, words := pollux(saved, "-s", filepath.Join(dir, "2"), "load_config"); code != 0 || words != "" || out != "true\n" {
		t.Fatalf("exit %d, %s, %s", code, out, words)
	}
	second.expectCalls(t, "size 3", "dust", "init", "create a//b", "create c", "create d")

	code, _, words = pollux(saved, "-s", filepath.Join(dir, "1"), "load_config")
	if want := "subsystem thing, entry 0: thing_create: File exists: a//b (-17)\n"; code != 1 || !strings.HasSuffix(words, want) {
		t.Errorf("exit %d, %s", code, words)
	}
	first.things = nil
	code, _, words = pollux(saved, "-s", filepath.Join(dir, "1"), "load_config")
	if want := "pollux rpc: subsystem shelf, entry 0: shelf_set_size: skipped: it may only be called before the target is initialized\n"; code != 0 || words != want {
		t.Errorf("exit %d, %s", code, words)
	}
	code, _, words = pollux(strings.Replace(saved, "shelf_dust", "nosuch", 1), "-s", filepath.Join(dir, "1"), "load_config")
	if want := "subsystem shelf, entry 1: nosuch: the target has no such method; nothing was loaded"; code != 1 || !strings.Contains(words, want) {
		t.Errorf("exit %d, %s", code, words)
	}
}

func TestClient(t *testing.T) {
	s := startServer(t, Options{})
	c, err := Dial(s.path)
	if err != nil {
		t.Fatal(err)
	}
	var sum int64
	if err := c.Call(t.Context(), "add", addParams{1 << 60, 5}, &sum); err != nil || sum != 1<<60+5 {
		t.Errorf("%d, %v", sum, err)
	}
	err = c.Call(t.Context(), "fail", nil, nil)
	var e *Error
	if !errors.As(err, &e) || e.Code != -19 || e.Message != "No such device: x" {
		t.Errorf("got %v", err)
	}

	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-s.started
		cancel()
	}()
	if err := c.Call(ctx, "wait", waitParams{"k"}, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	s.release <- struct{}{}
	if err := c.Call(t.Context(), "nop", nil, nil); err != nil {
		t.Errorf("after a call that was given up: %v", err)
	}

	go func() {
		<-s.started
		_ = s.Close()
	}()
	if err := c.Call(t.Context(), "wait", nil, nil); err == nil {
		t.Error("the server is closed, and a call succeeds")
	}
	<-s.ctx.Done()
	_ = s.Close()
	if err := c.Call(t.Context(), "nop", nil, nil); err == nil {
		t.Error("the server is closed, and a call succeeds")
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	if err := c.Close(); err != nil {
		t.Error("a second Close:", err)
	}
}
