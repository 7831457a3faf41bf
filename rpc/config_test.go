package rpc

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// shelf is a target in small: it has an option that is set at startup and
// things that are put on it in runtime, and writes down every call.
type shelf struct {
	*Server
	calls  []string
	size   int
	things []string
}

type sizeParams struct {
	Size int `json:"size"`
}

type thingParams struct {
	Name string `json:"name"`
}

func newShelf() *shelf {
	sh := &shelf{}
	sh.Server = New(Options{Log: slog.New(slog.DiscardHandler), Init: func(context.Context) error {
		sh.calls = append(sh.calls, "init")
		return nil
	}})
	Handle(sh.Server, Startup, "shelf_set_size", func(_ context.Context, p sizeParams) (None, error) {
		sh.calls = append(sh.calls, fmt.Sprintf("size %d", p.Size))
		sh.size = p.Size
		return None{}, nil
	})
	Handle(sh.Server, Startup|Runtime, "shelf_dust", func(context.Context, None) (None, error) {
		sh.calls = append(sh.calls, "dust")
		return None{}, nil
	})
	Handle(sh.Server, Runtime, "thing_create", func(_ context.Context, p thingParams) (None, error) {
		sh.calls = append(sh.calls, "create "+p.Name)
		if slices.Contains(sh.things, p.Name) {
			return None{}, Exists(p.Name)
		}
		sh.things = append(sh.things, p.Name)
		return None{}, nil
	}, "construct_thing")
	sh.Subsystem("thing", []string{"shelf"}, func(context.Context) ([]ConfigEntry, error) {
		var entries []ConfigEntry
		for _, name := range sh.things {
			entries = append(entries, ConfigEntry{"thing_create", thingParams{name}})
		}
		return entries, nil
	})
	sh.Subsystem("air", nil, nil)
	sh.Subsystem("shelf", nil, func(context.Context) ([]ConfigEntry, error) {
		return []ConfigEntry{{"shelf_set_size", sizeParams{sh.size}}, {"shelf_dust", nil}}, nil
	})
	return sh
}

func (sh *shelf) load(text string) error {
	return sh.loadConfig(context.Background(), []byte(text), LoadOptions{})
}

func (sh *shelf) expectCalls(t *testing.T, want ...string) {
	t.Helper()
	if !slices.Equal(sh.calls, want) {
		t.Errorf("calls are %q, want %q", sh.calls, want)
	}
}

const shelfConfig = `// made by hand
{
  "comment": "extra keys are ignored",
  "subsystems": [
    {"subsystem": "thing", "config": [
      {"method": "thing_create", "params": {"name": "a//b"}}, /* a batch: */
      [{"method": "construct_thing", "params": {"name": "c"}}, {"method": "thing_create", "params": {"name": "d"}}],
      {"method": "shelf_dust"}
    ]},
    {"subsystem": "air", "config": null},
    {"subsystem": "shelf", "config": [{"method": "framework_start_init"}, {"method": "shelf_set_size", "params": {"size": 3e0}}]}
  ]
}`

func TestLoadConfigOrder(t *testing.T) {
	sh := newShelf()
	if err := sh.load(shelfConfig); err != nil {
		t.Fatal(err)
	}
	sh.expectCalls(t, "dust", "size 3", "init", "create a//b", "create c", "create d")
	if sh.State() != Runtime {
		t.Error("not in runtime")
	}
}

func TestSaveAndLoad(t *testing.T) {
	first := newShelf()
	if err := first.load(shelfConfig); err != nil {
		t.Fatal(err)
	}
	saved, err := first.SaveConfig(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	text, err := encode(saved)
	if err != nil {
		t.Fatal(err)
	}
	want := `{"subsystems":[` +
		`{"subsystem":"shelf","config":[{"method":"shelf_set_size","params":{"size":3}},{"method":"shelf_dust"}]},` +
		`{"subsystem":"thing","config":[{"method":"thing_create","params":{"name":"a//b"}},{"method":"thing_create","params":{"name":"c"}},{"method":"thing_create","params":{"name":"d"}}]},` +
		`{"subsystem":"air","config":null}]}`
	if string(text) != want {
		t.Fatalf("got  %s\nwant %s", text, want)
	}
	file := filepath.Join(t.TempDir(), "c.json")
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	second := newShelf()
	if err := second.LoadConfig(t.Context(), file, LoadOptions{}); err != nil {
		t.Fatal(err)
	}
	if second.size != first.size || !slices.Equal(second.things, first.things) {
		t.Errorf("got %d %q, want %d %q", second.size, second.things, first.size, first.things)
	}
}

func TestLoadConfigRefuses(t *testing.T) {
	entry := func(text string) string {
		return `{"subsystems":[{"subsystem":"thing","config":[{"method":"thing_create","params":{"name":"a"}},` + text + `]}]}`
	}
	for _, c := range []struct{ name, config, want string }{
		{"syntax", "{\n\"subsystems\": [\n},\n]}", "line 3: invalid character '}' looking for beginning of value"},
		{"no subsystems", `{"subsytems":[]}`, `there is no array "subsystems" at the top`},
		{"subsystem without name", `{"subsystems":[{"config":[]}]}`, `subsystems[0]: "subsystem" is missing or not a string`},
		{"subsystem with another key", `{"subsystems":[{"subsystem":"a","cfg":[]}]}`, `subsystems[0]: unknown key "cfg"; known: ["subsystem" "config"]`},
		{"config is an object", `{"subsystems":[{"subsystem":"a","config":{}}]}`, `subsystems[0]: subsystem a: "config" is an object, not an array`},
		{"entry with another key", entry(`{"method":"a","parms":{}}`), `subsystems[0]: subsystem thing, entry 1: unknown key "parms"; known: ["method" "params"]`},
		{"entry without method", entry(`{}`), `subsystems[0]: subsystem thing, entry 1: "method" is missing or not a string`},
		{"unknown method", entry(`{"method":"nosuch"}`), `subsystem thing, entry 1: nosuch: Method not found: nosuch`},
		{"unknown method in a batch", entry(`[{"method":"shelf_dust"},{"method":"nosuch"}]`), `subsystem thing, entry 1[1]: nosuch: Method not found: nosuch`},
		{"bad key", entry(`{"method":"thing_create","params":{"nam":"x"}}`), `subsystem thing, entry 1: thing_create: spdk_json_decode_object failed: unknown parameter "nam"; known: name`},
	} {
		t.Run(c.name, func(t *testing.T) {
			sh := newShelf()
			err := sh.load(c.config)
			if err == nil || err.Error() != c.want {
				t.Errorf("got  %v\nwant %s", err, c.want)
			}
			sh.expectCalls(t)
		})
	}
}

func TestLoadConfigStopsAtFailure(t *testing.T) {
	double := `{"subsystems":[{"subsystem":"thing","config":[` +
		strings.Repeat(`{"method":"thing_create","params":{"name":"a"}},`, 2) + `{"method":"thing_create","params":{"name":"b"}}]}]}`
	sh := newShelf()
	err := sh.load(double)
	var e *Error
	if !errors.As(err, &e) || e.Code != -17 || err.Error() != "subsystem thing, entry 1: thing_create: File exists: a" {
		t.Errorf("got %v", err)
	}
	sh.expectCalls(t, "init", "create a", "create a")

	sh = newShelf()
	if err := sh.loadConfig(t.Context(), []byte(double), LoadOptions{IgnoreErrors: true}); err != nil {
		t.Error(err)
	}
	sh.expectCalls(t, "init", "create a", "create a", "create b")
}

// TestLoadConfigStopsAtTheEnd: when nobody wants the configuration any more the next call is not made, whatever errors are ignored.
func TestLoadConfigStopsAtTheEnd(t *testing.T) {
	sh := newShelf()
	ctx, cancel := context.WithCancel(t.Context())
	Handle(sh.Server, Runtime, "thing_end", func(context.Context, None) (None, error) {
		cancel()
		return None{}, errors.New("the target is ending")
	})
	err := sh.loadConfig(ctx, []byte(`{"subsystems":[{"subsystem":"thing","config":[`+
		`{"method":"thing_end"},{"method":"thing_create","params":{"name":"a"}}]}]}`), LoadOptions{IgnoreErrors: true})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	sh.expectCalls(t, "init")
}

func TestLoadConfigInRuntime(t *testing.T) {
	sh := newShelf()
	if err := sh.StartInit(t.Context()); err != nil {
		t.Fatal(err)
	}
	err := sh.load(shelfConfig)
	if err == nil || err.Error() != "subsystem shelf, entry 1: shelf_set_size: "+errNotStartup.Message {
		t.Errorf("got %v", err)
	}
	sh.expectCalls(t, "init")
}

// TestLoadConfigWaitsForClient leaves framework_start_init to a client.
func TestLoadConfigWaitsForClient(t *testing.T) {
	sh := newShelf()
	go func() { _ = sh.StartInit(context.Background()) }()
	if err := sh.loadConfig(t.Context(), []byte(`{"subsystems":[{"subsystem":"thing","config":[{"method":"thing_create","params":{"name":"a"}}]}]}`), LoadOptions{WaitForInit: true}); err != nil {
		t.Fatal(err)
	}
	sh.expectCalls(t, "init", "create a")
}

func TestGetConfig(t *testing.T) {
	sh := newShelf()
	if err := sh.load(shelfConfig); err != nil {
		t.Fatal(err)
	}
	if got, want := mustCall(t, sh.Server, "framework_get_subsystems", nil), `[{"subsystem":"shelf","depends_on":[]},{"subsystem":"thing","depends_on":["shelf"]},{"subsystem":"air","depends_on":[]}]`; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	for name, want := range map[string]string{
		"air":   `null`,
		"shelf": `[{"method":"shelf_set_size","params":{"size":3}},{"method":"shelf_dust"}]`,
		"thing": `[[{"method":"thing_create","params":{"name":"a//b"}},{"method":"thing_create","params":{"name":"c"}},{"method":"thing_create","params":{"name":"d"}}]]`,
	} {
		if got := mustCall(t, sh.Server, "framework_get_config", map[string]any{"name": name, "with_batches": true}); got != want {
			t.Errorf("%s: got  %s\nwant %s", name, got, want)
		}
	}
	callFails(t, sh.Server, "framework_get_config", map[string]any{"name": "nope"}, -32602, "Subsystem 'nope' not found")
}

func TestBlankComments(t *testing.T) {
	for in, want := range map[string]string{
		`{"a//":"/*"}`:         `{"a//":"/*"}`,
		"{}// x":               "{}    ",
		"1 // x\n2":            "1     \n2",
		"1 /* x\n */2":         "1     \n   2",
		`"\"//" // "`:          `"\"//"     `,
		"/* open":              "       ",
		`"open \`:              `"open \`,
		"/":                    "/",
		"/*/ still /* inside ": "                    ",
	} {
		if got := string(blankComments([]byte(in))); got != want {
			t.Errorf("%q: got %q, want %q", in, got, want)
		}
	}
}
