package uring

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// SendNow implements Kernel.
func (k *linux) SendNow(fd int, m *Msghdr) int32 { return sendNow(fd, m) }

// SendNow implements Kernel.
func (k *soft) SendNow(fd int, m *Msghdr) int32 { return sendNow(fd, m) }

// sendNow is sendto(2) for one piece, which spares the kernel fetching a msghdr, and else sendmsg(2).
func sendNow(fd int, m *Msghdr) int32 {
	const flags = unix.MSG_DONTWAIT | unix.MSG_NOSIGNAL
	if m.Iovlen == 1 {
		v := &Iovecs(m.Iov, 1)[0]
		n, _, errno := unix.RawSyscall6(unix.SYS_SENDTO, uintptr(fd), uintptr(v.Base), uintptr(v.Len), flags, 0, 0)
		return sendResult(n, errno)
	}
	n, _, errno := unix.RawSyscall(unix.SYS_SENDMSG, uintptr(fd), uintptr(unsafe.Pointer(m)), flags)
	return sendResult(n, errno)
}

func sendResult(n uintptr, errno unix.Errno) int32 {
	if errno != 0 {
		return -int32(errno)
	}
	return int32(n)
}
