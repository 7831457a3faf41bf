package tcmur

import (
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

// pipe wakes a reactor that sleeps. It is a pipe and not an eventfd because the two ends of a pipe are two open files: the
// helper has the one for writing, and no flag that it sets there can make our read block.
type pipe struct{ read, write int }

func newPipe() (pipe, error) {
	var fds [2]int
	if err := unix.Pipe2(fds[:], unix.O_CLOEXEC|unix.O_NONBLOCK); err != nil {
		return pipe{}, fmt.Errorf("pipe: %w", err)
	}
	return pipe{fds[0], fds[1]}, nil
}

func (p pipe) close() {
	_ = unix.Close(p.read)
	_ = unix.Close(p.write)
}

// drain empties the pipe, or leaves what exceeds one read for the next time (on the reactor; it never blocks).
func (p pipe) drain() {
	var b [4096]byte
	// b is on this stack and alive until the call has returned.
	_, _, _ = unix.RawSyscall(unix.SYS_READ, uintptr(p.read), uintptr(unsafe.Pointer(&b)), uintptr(len(b)))
}
