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

// Reads into registered buffers, and into the same ones where registration is masked off.
func TestFixedBuffers(t *testing.T) {
	fd, data := tempFile(t, iobuf.MaxSize)
	for name, without := range map[string]uring.Features{"registered": 0, "plain": uring.FeatureRegisteredBuffers} {
		t.Run(name, func(t *testing.T) {
			r := start(t, Config{Cores: []int{-1}, Without: without}).Reactors()[0]
			var op Op
			err := r.Do(func(done func()) {
				buf, _ := r.Buffers().Get(iobuf.MaxSize)
				iov := make([]uring.Iovec, 1)
				iov[0].Set(buf.Bytes())
				index, fixed := r.Fixed(iov[0])
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
				e.Readv(fd, iov, 0, 0)
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

// Only what lies in a slab as a whole is taken for registered.
func TestFixedFindsWhatIsInside(t *testing.T) {
	const at = 5*iobuf.SlabSize + 4096 // Slabs of race builds are not aligned.
	r := &Reactor{fixed: map[uint64]fixedSlab{at / iobuf.SlabSize: {start: at, index: 3}}}
	for _, c := range []struct {
		v    uring.Iovec
		want bool
	}{
		{uring.Iovec{Base: at, Len: iobuf.MinSize}, true},
		{uring.Iovec{Base: at, Len: iobuf.SlabSize}, true},
		{uring.Iovec{Base: at, Len: iobuf.SlabSize + 1}, false},
		{uring.Iovec{Base: at - 1, Len: 1}, false},
		{uring.Iovec{Base: 77 * iobuf.SlabSize, Len: 1}, false},
	} {
		if index, ok := r.Fixed(c.v); ok != c.want || ok && index != 3 {
			t.Errorf("%+v: got %d, %v", c.v, index, ok)
		}
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
