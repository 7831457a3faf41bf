package reactor

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"pollux/reactor/iobuf"
	"pollux/reactor/uring"
)

// tempFile is a file of n bytes and what is in it.
func tempFile(t *testing.T, n int) (fd int, data []byte) {
	t.Helper()
	data = make([]byte, n)
	for i := range data {
		data[i] = byte(i * 7)
	}
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	return int(f.Fd()), data
}

// One file operation after the other, and many at a time, on the pool of threads, with sleeps in between.
func TestThreadOps(t *testing.T) {
	const ops, rounds = 64, 20
	for name, cfg := range map[string]Config{
		"adaptive":  {Cores: []int{-1}},
		"interrupt": {Cores: []int{-1}, Mode: ModeInterrupt},
		"software":  {Cores: []int{-1}, Without: uring.FeatureURing},
	} {
		t.Run(name, func(t *testing.T) {
			fd, data := tempFile(t, ops*iobuf.MinSize)
			r := start(t, cfg).Reactors()[0]
			all := make([]Op, ops)
			bufs := make([]iobuf.Buf, ops)
			err := r.Do(func(done func()) {
				open := ops
				for i := range all {
					left, off := rounds, i*iobuf.MinSize
					bufs[i], _ = r.Buffers().Get(iobuf.MinSize)
					err := r.OpenThreadOp(&all[i], func(res int32, _ uint32) {
						want := data[off : off+iobuf.MinSize]
						if res != iobuf.MinSize || !bytes.Equal(bufs[i].Bytes(), want) {
							t.Errorf("read %d at %d: %d, or wrong bytes", i, off, res)
						}
						clear(bufs[i].Bytes())
						if left--; left > 0 {
							all[i].SQE().Read(fd, bufs[i].Bytes(), int64(off))
							return
						}
						all[i].Close()
						r.Buffers().Put(bufs[i])
						if open--; open == 0 {
							done()
						}
					})
					if err != nil {
						t.Error(err)
					}
					all[i].SQE().Read(fd, bufs[i].Bytes(), int64(off))
				}
			})
			if err != nil {
				t.Fatal(err)
			}
			if s := statsOf(t, r); s.OpenOps != 0 || s.InFlight != 0 || s.BufsOut != 0 {
				t.Errorf("left over: %+v", s)
			}
		})
	}
}

// Reads into registered buffers, and into the same ones where registration is masked off.
func TestFixedBuffers(t *testing.T) {
	fd, data := tempFile(t, iobuf.MaxSize)
	for name, without := range map[string]uring.Features{"registered": 0, "plain": uring.FeatureRegisteredBuffers} {
		t.Run(name, func(t *testing.T) {
			r := start(t, Config{Cores: []int{-1}, Without: without}).Reactors()[0]
			var op Op
			err := r.Do(func(done func()) {
				buf, _ := r.Buffers().Get(iobuf.MaxSize)
				index, fixed := r.Fixed(buf)
				if fixed && !r.Features().Has(uring.FeatureRegisteredBuffers) {
					t.Error("registered although that is masked off")
				}
				t.Logf("registered: %v", fixed) // Not where RLIMIT_MEMLOCK is too small for a slab.
				r.OpenOp(&op, func(res int32, _ uint32) {
					if res != iobuf.MaxSize || !bytes.Equal(buf.Bytes(), data) {
						t.Errorf("read %d bytes, or wrong ones", res)
					}
					op.Close()
					r.Buffers().Put(buf)
					done()
				})
				e := op.SQE()
				e.Read(fd, buf.Bytes(), 0)
				if fixed {
					e.Fixed(index)
				}
			})
			if err != nil {
				t.Fatal(err)
			}
		})
	}
}

// An idle reactor gives memory to one that has none.
func TestIdleReactorGivesMemoryAway(t *testing.T) {
	g := start(t, Config{Cores: []int{-1, -1}, Budget: iobuf.NewBudget(1)}) // one slab
	rich, poor := g.Reactors()[0], g.Reactors()[1]
	if err := rich.Call(func() {
		buf, _ := rich.Buffers().Get(1)
		rich.Buffers().Put(buf)
	}); err != nil {
		t.Fatal(err)
	}
	for tries := 0; ; tries++ {
		got := false
		if err := poor.Call(func() {
			var buf iobuf.Buf
			if buf, got = poor.Buffers().Get(1); got {
				poor.Buffers().Put(buf)
			}
		}); err != nil {
			t.Fatal(err)
		}
		if got && tries == 0 {
			t.Error("two reactors have a slab of a budget for one")
		}
		if got {
			return
		}
		if err := rich.Call(func() {}); err != nil { // It goes to sleep again, and looks before it does.
			t.Fatal(err)
		}
	}
}
