//go:build !race

package iobuf

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// Map returns size bytes outside the Go heap, zeroed and not yet populated, starting at a page.
func Map(size int) ([]byte, error) {
	const huge = 2 << 20
	mem, err := unix.Mmap(-1, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANONYMOUS|unix.MAP_PRIVATE)
	if err != nil {
		return nil, fmt.Errorf("map %d bytes of buffers: %w", size, err)
	}
	if size >= huge {
		_ = unix.Madvise(mem, unix.MADV_HUGEPAGE) // Advice; without huge pages it is slower by some percent.
	}
	return mem, nil
}

// Unmap gives back what Map returned.
func Unmap(mem []byte) { _ = unix.Munmap(mem) }
