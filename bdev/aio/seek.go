package aio

import (
	"syscall"

	"golang.org/x/sys/unix"

	"pollux/bdev"
)

// seeksMax is how many seeks of one device and reactor run at once, each on a goroutine, since the ring knows no lseek. They are rare:
// an initiator asks which blocks are provisioned.
const seeksMax = 8

// seek looks for data or a hole.
func (t *transfer) seek() {
	if t.q.seeks == seeksMax {
		t.end(bdev.StatusNoMemory)
		return
	}
	t.q.seeks++
	go func() {
		t.res = t.lseek()
		t.q.r.Send(&t.msg)
	}()
}

// lseek makes the system call. (The file's position, which it moves, is used by nobody.)
func (t *transfer) lseek() int64 {
	whence := unix.SEEK_DATA
	if t.request.Op == bdev.OpSeekHole {
		whence = unix.SEEK_HOLE
	}
	n, err := unix.Seek(t.q.b.file.fd, int64(t.off), whence)
	if errno, ok := err.(syscall.Errno); ok {
		return -int64(errno)
	}
	return n
}

// sought takes the result.
func (t *transfer) sought() {
	t.q.seeks--
	t.ended(t.res)
}
