//go:build !race

package iobuf

import (
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

// hugePage is the size from which on memory is aligned, and huge pages are asked for.
const hugePage = 2 << 20

// Map returns size bytes outside the Go heap, zeroed and not yet populated, starting at a page; 2 MiB and more start at a huge
// page.
func Map(size int) ([]byte, error) {
	slack := 0
	if size >= hugePage {
		slack = hugePage
	}
	start, err := unix.MmapPtr(-1, 0, nil, uintptr(size+slack), unix.PROT_READ|unix.PROT_WRITE,
		unix.MAP_ANONYMOUS|unix.MAP_PRIVATE)
	if err != nil {
		return nil, fmt.Errorf("map %d bytes of buffers: %w", size, err)
	}
	mem := start
	if slack > 0 {
		// Sound: what is cut off on both sides is inside the mapping and in nobody's hands yet.
		before := -uintptr(start) & (hugePage - 1)
		mem = unsafe.Add(start, before)
		cut(start, before)
		cut(unsafe.Add(mem, size), uintptr(slack)-before)
	}
	// Sound: size bytes at mem are mapped until Unmap, hold no pointers, and are not the collector's.
	b := unsafe.Slice((*byte)(mem), size)
	if slack > 0 {
		_ = unix.Madvise(b, unix.MADV_HUGEPAGE) // Advice; without huge pages it is slower by some percent.
	}
	return b, nil
}

func cut(start unsafe.Pointer, size uintptr) {
	if size > 0 {
		_ = unix.MunmapPtr(start, size)
	}
}

// Populate has the kernel find the memory now instead of at the first touch (since Linux 5.14; before, it does nothing).
func Populate(mem []byte) { _ = unix.Madvise(mem, unix.MADV_POPULATE_WRITE) }

// Unmap gives back what Map returned.
func Unmap(mem []byte) { cut(unsafe.Pointer(unsafe.SliceData(mem)), uintptr(len(mem))) }
