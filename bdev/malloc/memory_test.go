//go:build !race

package malloc

import (
	"bytes"
	"encoding/binary"
	"errors"
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"pollux/bdev/bdevtest"
	"pollux/reactor/uring"
)

// present is how many pages of mem the kernel has given (bit 63 of /proc/self/pagemap).
func present(t *testing.T, mem []byte) (pages int) {
	t.Helper()
	f, err := os.Open("/proc/self/pagemap")
	if err != nil {
		t.Skip(err)
	}
	defer func() { _ = f.Close() }()
	page := os.Getpagesize()
	entries := make([]byte, 8*len(mem)/page)
	if _, err := f.ReadAt(entries, 8*int64(uring.Addr(mem))/int64(page)); err != nil {
		t.Fatal(err)
	}
	for ; len(entries) > 0; entries = entries[8:] {
		pages += int(binary.LittleEndian.Uint64(entries) >> 63)
	}
	return pages
}

// TestPopulate: a disk takes its memory when it is written to, or all of it at once.
func TestPopulate(t *testing.T) {
	const size = populateStep + 4<<20
	e := bdevtest.NewEnv(t, 1)
	m := New(e.Registry)
	for _, c := range []struct {
		populate bool
		want     int
	}{{false, 0}, {true, size / os.Getpagesize()}} {
		name, err := m.Create(Options{BlockSize: 512, Blocks: size / 512, Populate: c.populate})
		if err != nil {
			t.Fatal(err)
		}
		d, err := e.Registry.Lookup(name)
		if err != nil {
			t.Fatal(err)
		}
		mem := d.Spec().Backend.(*disk).mem
		if got := present(t, mem); got != c.want {
			t.Errorf("populate %t: %d pages are there, want %d", c.populate, got, c.want)
		}
		if !bytes.Equal(mem, make([]byte, size)) {
			t.Error("a new disk is not zero")
		}
	}
	if _, err := m.Create(Options{BlockSize: 512, Blocks: 1 << 50, Populate: true}); !errors.Is(err, unix.ENOMEM) {
		t.Errorf("a disk that is too large: %v", err)
	}
}
