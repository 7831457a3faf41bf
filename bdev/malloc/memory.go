//go:build !race

package malloc

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// readersLock is whether readers take the sequence word as writers do.
const readersLock = false

// allocate maps size bytes that read as zeroes and take no memory yet.
func allocate(size uint64) ([]byte, error) {
	if size > 1<<62 {
		return nil, fmt.Errorf("map %d bytes: %w", size, unix.ENOMEM)
	}
	const flags = unix.MAP_PRIVATE | unix.MAP_ANONYMOUS | unix.MAP_NORESERVE
	mem, err := unix.Mmap(-1, 0, int(size), unix.PROT_READ|unix.PROT_WRITE, flags)
	if err != nil {
		return nil, fmt.Errorf("map %d bytes: %w", size, err)
	}
	_ = unix.Madvise(mem, unix.MADV_HUGEPAGE) // Advice; without huge pages it is slower by some percent.
	return mem, nil
}

// populateStep is how much memory is populated by one call.
const populateStep = 64 << 20

// populate takes the memory now: a first write would otherwise wait for the kernel to zero a huge page, on a reactor.
func populate(mem []byte) error {
	for ; len(mem) > 0; mem = mem[min(populateStep, len(mem)):] {
		part := mem[:min(populateStep, len(mem))]
		err := unix.Madvise(part, unix.MADV_POPULATE_WRITE)
		if errors.Is(err, unix.EINVAL) { // Before Linux 5.14.
			clear(part)
			err = nil
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func free(mem []byte) error { return unix.Munmap(mem) }

// forget gives the memory of whole pages back; they read as zeroes.
func forget(pages []byte) {
	if err := unix.Madvise(pages, unix.MADV_DONTNEED); err != nil {
		clear(pages)
	}
}
