package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"testing"

	"pollux/bdev/bdevtest"
	"pollux/rpc"
)

// awaited is a log that tells of a line with text.
type awaited struct {
	text string
	seen chan struct{}
}

func (a *awaited) Write(p []byte) (int, error) {
	if strings.Contains(string(p), a.text) {
		close(a.seen)
	}
	return len(p), nil
}

// hungOpen is a target and a file on which open(2) hangs.
type hungOpen struct {
	t      *testing.T
	file   *bdevtest.HungFile
	target *target
	socket string
	late   *awaited
	signal context.CancelFunc // what SIGTERM does
	served chan error         // start has returned
}

// hungConfig makes a device of the file.
const hungConfig = `{"subsystems":[{"subsystem":"bdev","config":[
	{"method":"bdev_aio_create","params":{"name":"f","filename":"FILE","block_size":512}},
	{"method":"bdev_malloc_create","params":{"name":"Malloc0","block_size":512,"num_blocks":2048}}]}]}`

// newHungOpen starts a target with args, in which FILE stands for the file, and CONFIG for a file of hungConfig.
func newHungOpen(t *testing.T, args ...string) *hungOpen {
	h := &hungOpen{
		t: t, file: bdevtest.NewHungFile(t, 1<<20), late: &awaited{"too late", make(chan struct{})}, served: make(chan error, 1),
		socket: filepath.Join(t.TempDir(), "rpc.sock"),
	}
	config := filepath.Join(t.TempDir(), "config.json")
	writeFile(t, config, strings.ReplaceAll(hungConfig, "FILE", h.file.Path))
	words := []string{"-r", h.socket}
	for _, arg := range args {
		words = append(words, strings.NewReplacer("FILE", h.file.Path, "CONFIG", config).Replace(arg))
	}
	flags, _, err := parseServeFlags(words, io.Discard)
	h.must(err)
	flags.cores = []int{-1}
	logging := rpc.NewLogging(logFlags...)
	h.target, err = newTarget(flags, logging, newLogger(h.late, nil, logging))
	h.must(err)
	var stopped context.Context
	stopped, h.signal = context.WithCancel(context.Background())
	t.Cleanup(h.signal)
	go func() { h.served <- start(stopped, h.target, flags, stdio{out: io.Discard, err: io.Discard}) }()
	return h
}

func (h *hungOpen) must(err error) {
	h.t.Helper()
	if err != nil {
		h.t.Fatal(err)
	}
}

func (h *hungOpen) dial() *rpc.Client {
	h.t.Helper()
	c, err := rpc.Dial(h.socket)
	h.must(err)
	h.t.Cleanup(func() { _ = c.Close() })
	return c
}

// mustServe calls what reads and changes the target's state.
func (h *hungOpen) mustServe(c *rpc.Client, name string) {
	h.t.Helper()
	for _, call := range []struct{ method, params string }{
		{"framework_wait_init", `{}`},
		{"bdev_null_create", fmt.Sprintf(`{"name":%q,"block_size":512,"num_blocks":4096}`, name)},
		{"bdev_get_bdevs", `{}`},
		{"bdev_get_iostat", `{}`}, // asks every reactor
		{"framework_get_config", `{"name":"bdev"}`},
		{"framework_get_reactors", `{}`},
	} {
		if err := c.Call(h.t.Context(), call.method, json.RawMessage(call.params), nil); err != nil {
			h.t.Errorf("%s while open hangs: %v", call.method, err)
		}
	}
}

// mustEnd stops the target as SIGTERM does, while open hangs, and then has open go on.
func (h *hungOpen) mustEnd() {
	h.t.Helper()
	h.signal()
	h.must(<-h.served)
	h.must(h.target.stop())
	h.file.Release()
	<-h.late.seen
	if n := h.file.Descriptors(); n != 0 {
		h.t.Errorf("%d descriptors of the file are left", n)
	}
}

// TestOpenHangsUnderRPC: while a call waits for a file the other calls are served, on its connection and on others, and the target ends.
func TestOpenHangsUnderRPC(t *testing.T) {
	h := newHungOpen(t)
	h.must(<-h.served)
	h.served <- nil
	c := h.dial()
	create := func() error {
		return c.Call(t.Context(), "bdev_aio_create", map[string]any{"name": "f", "filename": h.file.Path, "block_size": 512}, nil)
	}
	created := make(chan error, 1)
	go func() { created <- create() }()
	h.file.Await()
	h.mustServe(c, "Null0")
	h.mustServe(h.dial(), "Null1")
	if err := create(); err == nil || !strings.Contains(err.Error(), "bdev f: it is being created") {
		t.Errorf("the same name again: %v", err)
	}
	h.mustEnd()
	if err := <-created; err == nil || !strings.Contains(err.Error(), "the target is ending") {
		t.Errorf("the call that waited: %v", err)
	}
}

// TestOpenHangsAtStart: while the configuration or a flag waits for a file clients are served, and the target ends without an error.
func TestOpenHangsAtStart(t *testing.T) {
	for _, args := range []string{"-c CONFIG", "-c CONFIG --json-ignore-init-errors", "--file FILE --listen 127.0.0.1:0"} {
		t.Run(args, func(t *testing.T) {
			h := newHungOpen(t, strings.Fields(args)...)
			h.file.Await()
			h.mustServe(h.dial(), "Null0")
			h.mustEnd()
		})
	}
}
