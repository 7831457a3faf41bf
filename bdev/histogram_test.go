package bdev_test

import (
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"math"
	"testing"
	"time"

	"pollux/bdev"
	"pollux/bdev/bdevtest"
)

func TestBucketsOfAHistogram(t *testing.T) {
	for _, c := range []struct {
		ticks uint64
		want  int
	}{
		{0, 0},
		{127, 127},
		{128, 128},
		{129, 129},
		{255, 255},
		{256, 256},
		{257, 256},
		{258, 257},
		{math.MaxUint64, 58*128 - 1},
	} {
		if got := bdev.WholeHistogram.Bucket(c.ticks); got != c.want {
			t.Errorf("%d ticks are in bucket %d, want %d", c.ticks, got, c.want)
		}
	}
	s := bdev.NewHistogramShape(7, 1000, 120_000_000_000)
	if s.MinRange != 3 || s.MaxRange != 30 || s.Buckets() != 28*128 {
		t.Errorf("%+v has %d buckets", s, s.Buckets())
	}
	for ticks, want := range map[uint64]int{0: 0, 511: 0, 512: 0, 515: 0, 516: 1, 1 << 36: 27 * 128, 1<<37 - 1: s.Buckets() - 1, 1 << 37: s.Buckets() - 1} {
		if got := s.Bucket(ticks); got != want {
			t.Errorf("%d ticks are in bucket %d, want %d", ticks, got, want)
		}
	}
}

// TestHistogramOfADevice counts what one operation, or every one, took, while it is on.
func TestHistogramOfADevice(t *testing.T) {
	e, s := newServer(t)
	defer func() { _ = e.Registry.Close() }()
	call(t, s, "bdev_null_create", `{"name":"Null0","num_blocks":2048,"block_size":512}`)
	data := [][]byte{e.Memory(512)}
	clients := []*bdevtest.Client{e.Open(0, "Null0", bdev.OpenOptions{Write: true}), e.Open(1, "Null0", bdev.OpenOptions{Write: true})}
	turn := 0
	io := func(op bdev.Op) {
		t.Helper()
		q := bdev.Request{Op: op, Blocks: 1}
		if op == bdev.OpRead || op == bdev.OpWrite {
			q.Data = data
		}
		turn++
		e.Want(clients[turn%2].Do(q), bdev.StatusOK)
	}
	counted := func() (total uint64) {
		t.Helper()
		var r bdev.HistogramResult
		if err := json.Unmarshal([]byte(call(t, s, "bdev_get_histogram", `{"name":"Null0"}`)), &r); err != nil {
			t.Fatal(err)
		}
		raw, err := base64.StdEncoding.DecodeString(r.Histogram)
		if err != nil || len(raw) != 8*(r.MaxRange-r.MinRange+1)<<r.Granularity || r.TickRate != int(time.Second) {
			t.Fatalf("%d bytes, %+v, %v", len(raw), r, err)
		}
		for ; len(raw) > 0; raw = raw[8:] {
			total += binary.LittleEndian.Uint64(raw)
		}
		return total
	}
	expect := func(params, want string) {
		t.Helper()
		if got := call(t, s, "bdev_enable_histogram", params); got != want {
			t.Errorf("%s: %s, want %s", params, got, want)
		}
	}
	if got := call(t, s, "bdev_get_histogram", `{"name":"Null0"}`); got != `{"code":-12,"message":"Cannot allocate memory"}` {
		t.Errorf("of a device that counts nothing: %s", got)
	}
	expect(`{"name":"nope","enable":true}`, `{"code":-19,"message":"No such device"}`)
	expect(`{"name":"Null0","enable":true,"opc":"dance"}`, `{"code":-32603,"message":"Invalid Io type: dance"}`)
	expect(`{"name":"Null0","enable":true,"granularity":15}`, `{"code":-22,"message":"granularity 15 is not 1 to 14"}`)
	expect(`{"name":"Null0","enable":true,"min_nsec":7,"max_nsec":7}`, `{"code":-22,"message":"min_nsec 7 is not below max_nsec 7"}`)
	io(bdev.OpRead)
	expect(`{"name":"Null0","enable":true,"granularity":14}`, `true`)
	io(bdev.OpRead)
	io(bdev.OpWrite)
	io(bdev.OpUnmap)
	if n := counted(); n != 3 {
		t.Errorf("%d operations are counted, want 3", n)
	}
	expect(`{"name":"Null0","enable":true,"opc":"write"}`, `true`)
	io(bdev.OpRead)
	io(bdev.OpWrite)
	if n := counted(); n != 1 {
		t.Errorf("%d writes are counted, want 1", n)
	}
	if got, want := call(t, s, "framework_get_config", `{"name":"bdev"}`), `*{"method":"bdev_enable_histogram","params":{"name":"Null0","enable":true,"opc":"write","granularity":7,"min_nsec":1000,"max_nsec":120000000000}}*`; !like(got, want) {
		t.Errorf("saved %s", got)
	}
	expect(`{"name":"Null0","enable":false}`, `true`)
	io(bdev.OpWrite)
}
