//go:build race

package malloc

import (
	"fmt"
	"syscall"
)

// readersLock is whether readers take the sequence word as writers do.
const readersLock = true

// allocateMax bounds a disk on the Go heap.
const allocateMax = 1 << 32

// allocate takes the memory from the Go heap, where the race detector sees it.
func allocate(size uint64) ([]byte, error) {
	if size > allocateMax {
		return nil, fmt.Errorf("allocate %d bytes in a race build: %w", size, syscall.ENOMEM)
	}
	return make([]byte, size), nil
}

// populate has nothing to do: the Go heap is there.
func populate([]byte) error { return nil }

func free([]byte) error { return nil }

func forget(pages []byte) { clear(pages) }
