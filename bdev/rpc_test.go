package bdev_test

import (
	"context"
	"encoding/json"
	"strings"
	"testing"

	"pollux/bdev"
	"pollux/bdev/bdevtest"
	"pollux/bdev/malloc"
	"pollux/bdev/null"
	"pollux/rpc"
)

// newServer is a server at run time with the block layer and some modules.
func newServer(t *testing.T) (*bdevtest.Env, *rpc.Server) {
	e := bdevtest.NewEnv(t, 2)
	s := rpc.New(rpc.Options{})
	e.Registry.RegisterRPC(s)
	malloc.New(e.Registry).Register(s)
	null.New(e.Registry).Register(s)
	if err := s.StartInit(context.Background()); err != nil {
		t.Fatal(err)
	}
	return e, s
}

// call is a method's result, or "error CODE".
func call(t *testing.T, s *rpc.Server, method, params string) string {
	t.Helper()
	result, err := s.Call(context.Background(), method, json.RawMessage(params))
	if err != nil {
		text, _ := json.Marshal(rpc.AsError(err))
		return string(text)
	}
	return string(result)
}

func TestRPCResults(t *testing.T) {
	e, s := newServer(t)
	defer func() { _ = e.Registry.Close() }()
	for _, c := range []struct{ method, params, want string }{
		{"bdev_get_bdevs", `null`, `[]`},
		{"bdev_malloc_create", `{"name":"Malloc0","num_blocks":128,"block_size":512,"uuid":"11111111-2222-4333-8444-555555555555"}`, `"Malloc0"`},
		{"bdev_malloc_create", `{"num_blocks":128,"block_size":4096}`, `"Malloc1"`},
		{"bdev_malloc_create", `{"name":"Malloc0","num_blocks":128,"block_size":512}`, `{"code":-17,"message":"File exists*`},
		{"bdev_malloc_create", `{"num_blocks":128,"block_size":513}`, `{"code":-22,"message":"Invalid argument*`},
		{"bdev_malloc_create", `{"num_blocks":128,"block_size":512,"md_size":8}`, `{"code":-32602,"message":"Invalid parameters*`},
		{"bdev_malloc_create", `{"num_blocks":128,"block_size":512,"nane":"x"}`, `{"code":-32603,"message":"spdk_json_decode_object failed*`},
		{"construct_null_bdev", `{"name":"Null0","num_blocks":2048,"block_size":512}`, `"Null0"`},
		{"bdev_null_resize", `{"name":"Null0","new_size":2}`, `true`},
		{"bdev_null_resize", `{"name":"Malloc0","new_size":2}`, `{"code":-19,"message":"No such device*`},
		{"bdev_get_bdevs", `{"name":"nope"}`, `{"code":-19,"message":"No such device"}`},
		{"bdev_get_bdevs", `{"name":"nope","timeout":1}`, `{"code":-110,"message":"Connection timed out"}`},
		{"bdev_get_bdevs", `{"name":"11111111-2222-4333-8444-555555555555"}`, `[{"name":"Malloc0","aliases":["11111111-2222-4333-8444-555555555555"],"product_name":"Malloc disk","block_size":512,"num_blocks":128,*`},
		{"bdev_get_bdevs", `{"name":"Null0"}`, `*"num_blocks":4096,*`},
		{"bdev_get_iostat", `{"names":["Malloc0","nope"]}`, `{"code":-19,"message":"No such device"}`},
		{"bdev_get_iostat", `{"name":"Malloc0"}`, `{"tick_rate":1000000000,"ticks":*,"bdevs":[{"name":"Malloc0","bytes_read":0,*"io_error":{},"queue_depth_polling_period":0,"queue_depth":0,"io_time":0,"weighted_io_time":0}]}`},
		{"bdev_get_iostat", `{"names":["Malloc0"],"per_channel":true}`, `*"name":"Malloc0","channels":[]}`},
		{"bdev_reset_iostat", `{"name":"Malloc0"}`, `true`},
		{"bdev_set_qos_limit", `{"name":"Malloc1","rw_ios_per_sec":2000,"rw_mbytes_per_sec":10}`, `true`},
		{"bdev_set_qos_limit", `{"name":"Malloc1"}`, `{"code":-22,"message":"No rate limits specified"}`},
		{"bdev_set_qos_limit", `{"name":"nope","rw_ios_per_sec":1}`, `{"code":-19,"message":"No such device"}`},
		{"bdev_get_bdevs", `{"name":"Malloc1"}`, `*"assigned_rate_limits":{"rw_ios_per_sec":2000,"rw_mbytes_per_sec":10,"r_mbytes_per_sec":0,"w_mbytes_per_sec":0}*`},
		{"bdev_set_qos_limit", `{"name":"Malloc1","rw_ios_per_sec":0}`, `true`},
		{"notify_get_types", `null`, `["bdev_register","bdev_unregister","bdev_resize"]`},
		{"notify_get_notifications", `{"id":1,"max":3}`, `[{"type":"bdev_register","ctx":"Malloc1","id":1},{"type":"bdev_register","ctx":"Null0","id":2},{"type":"bdev_resize","ctx":"Null0","id":3}]`},
		{"bdev_examine", `{"name":"Malloc0"}`, `true`},
		{"bdev_wait_for_examine", `null`, `true`},
		{"framework_get_config", `{"name":"bdev"}`, `[{"method":"bdev_set_options","params":{"bdev_io_pool_size":65535,"bdev_io_cache_size":256,"bdev_auto_examine":true,"iobuf_small_cache_size":128,"iobuf_large_cache_size":16}},{"method":"bdev_malloc_create","params":{"name":"Malloc0","num_blocks":128,"block_size":512,"physical_block_size":512,"uuid":"11111111-2222-4333-8444-555555555555","optimal_io_boundary":0,*{"method":"bdev_null_create","params":{"name":"Null0","num_blocks":4096,*{"method":"bdev_wait_for_examine"}]`},
		{"bdev_malloc_delete", `{"name":"Null0"}`, `{"code":-19,"message":"No such device*`},
		{"bdev_malloc_delete", `{"name":"Malloc0"}`, `true`},
		{"bdev_malloc_delete", `{"name":"Malloc0"}`, `{"code":-19,"message":"No such device*`},
		{"bdev_null_delete", `{"name":"Null0"}`, `true`},
	} {
		if got := call(t, s, c.method, c.params); !like(got, c.want) {
			t.Errorf("%s %s:\n got %s\nwant %s", c.method, c.params, got, c.want)
		}
	}
}

// like compares with a pattern in which * stands for anything.
func like(got, pattern string) bool {
	parts := strings.Split(pattern, "*")
	if !strings.HasPrefix(got, parts[0]) {
		return false
	}
	got = got[len(parts[0]):]
	for i, part := range parts[1:] {
		if i == len(parts)-2 && part == "" {
			return true
		}
		at := strings.Index(got, part)
		if at < 0 {
			return false
		}
		got = got[at+len(part):]
	}
	return got == ""
}

// TestSavedConfigMakesTheSameDevices loads what framework_get_config says into another registry.
func TestSavedConfigMakesTheSameDevices(t *testing.T) {
	e, s := newServer(t)
	call(t, s, "bdev_malloc_create", `{"name":"a","num_blocks":128,"block_size":4096,"optimal_io_boundary":8}`)
	call(t, s, "bdev_null_create", `{"num_blocks":128,"block_size":512,"physical_block_size":4096}`)
	call(t, s, "bdev_set_qos_limit", `{"name":"a","w_mbytes_per_sec":7}`)
	config := call(t, s, "framework_get_config", `{"name":"bdev"}`)
	var entries []struct {
		Method string
		Params json.RawMessage
	}
	if err := json.Unmarshal([]byte(config), &entries); err != nil {
		t.Fatal(err)
	}
	e2, s2 := newServer(t)
	for _, entry := range entries[1:] { // The options are for the start.
		params := string(entry.Params)
		if params == "" {
			params = "null"
		}
		if got := call(t, s2, entry.Method, params); strings.Contains(got, "code") {
			t.Errorf("%s: %s", entry.Method, got)
		}
	}
	if again := call(t, s2, "framework_get_config", `{"name":"bdev"}`); again != config {
		t.Errorf("saved\n%s\nand after loading\n%s", config, again)
	}
	for _, e := range []*bdevtest.Env{e, e2} {
		if err := e.Registry.Close(); err != nil {
			t.Error(err)
		}
	}
}

func TestStatistics(t *testing.T) {
	e, s := newServer(t)
	call(t, s, "bdev_malloc_create", `{"name":"m","num_blocks":128,"block_size":512}`)
	data := [][]byte{e.Memory(4096)}
	for i := range 2 {
		c := e.Open(i, "m", bdev.OpenOptions{Write: true})
		e.Want(c.Do(bdev.Request{Op: bdev.OpRead, Blocks: 8, Data: data}), bdev.StatusOK)
		e.Want(c.Do(bdev.Request{Op: bdev.OpWrite, Blocks: 8, Data: data}), bdev.StatusOK)
		e.Want(c.Do(bdev.Request{Op: bdev.OpWrite, LBA: 128, Blocks: 8, Data: data}), bdev.StatusOutOfRange)
	}
	if got, want := call(t, s, "bdev_get_iostat", `{"names":["m"],"reset_mode":"all"}`), `*"bytes_read":8192,"num_read_ops":2,"bytes_written":8192,"num_write_ops":2,*"io_error":{"out_of_range":2}*`; !like(got, want) {
		t.Errorf("got %s, want %s", got, want)
	}
	if got, want := call(t, s, "bdev_get_iostat", `{"name":"m","per_channel":true}`), `*"channels":[{"thread_id":0,"bytes_read":0,*{"thread_id":1,*`; !like(got, want) {
		t.Errorf("got %s, want %s", got, want)
	}
	if err := e.Registry.Close(); err != nil {
		t.Error(err)
	}
}
