package uring

import (
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Event is an eventfd: any thread may signal it, a ring polls it.
type Event struct{ fd int }

// OpenEvent makes an event that is not signalled.
func OpenEvent() (Event, error) {
	fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		return Event{}, fmt.Errorf("make eventfd: %w", err)
	}
	return Event{fd: fd}, nil
}

// Fd is the descriptor to poll for reading.
func (e Event) Fd() int { return e.fd }

// Signal makes the descriptor readable. It never blocks: the counter cannot come near its limit.
func (e Event) Signal() {
	one := uint64(1)
	_, _, _ = unix.RawSyscall(unix.SYS_WRITE, uintptr(e.fd), uintptr(unsafe.Pointer(&one)), 8)
}

// Reset makes the descriptor unreadable.
func (e Event) Reset() {
	var count uint64
	_, _, _ = unix.RawSyscall(unix.SYS_READ, uintptr(e.fd), uintptr(unsafe.Pointer(&count)), 8)
}

// Close gives the descriptor back.
func (e Event) Close() { _ = unix.Close(e.fd) }
