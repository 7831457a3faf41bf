//go:build race

package iobuf

import "unsafe"

// Map returns size bytes of the Go heap, aligned to a page, where the race detector sees every access.
func Map(size int) ([]byte, error) {
	mem := make([]byte, size+MinSize)
	// Sound: the address is only looked at.
	skip := -int(uintptr(unsafe.Pointer(unsafe.SliceData(mem)))) & (MinSize - 1)
	return mem[skip : skip+size : skip+size], nil
}

// Unmap leaves mem to the garbage collector.
func Unmap([]byte) {}

// Populate does nothing.
func Populate([]byte) {}
