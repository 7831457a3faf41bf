package uring

import (
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// attempt goes on with o as far as its descriptor is ready. It reports whether o has completed for the last time, and
// whether it could go on at once.
func (k *soft) attempt(q *Ring, f *softFd, o *softOp) (over, again bool) {
	switch o.e.Opcode {
	case OpPollAdd:
		return k.poll(q, o), false
	case OpSendmsg:
		return f.ready&readyOut != 0 && k.send(q, f, o), false
	}
	for range softBatch {
		if f.ready&readyIn == 0 {
			return false, false
		}
		if k.take(q, f, o) {
			return true, false
		}
	}
	return false, true
}

// take receives or accepts once.
func (k *soft) take(q *Ring, f *softFd, o *softOp) (over bool) {
	if o.e.Opcode == OpAccept {
		return k.accept(q, f, o)
	}
	return k.receive(q, f, o)
}

// receive fills a provided buffer or the entry's own.
func (k *soft) receive(q *Ring, f *softFd, o *softOp) (over bool) {
	room := Bytes(o.e.Addr, int(o.e.Len))
	var bufs *BufRing
	if o.e.Flags&SQEBufferSelect != 0 {
		if bufs = k.bufs[o.e.BufIndex]; bufs == nil {
			return o.end(q, -int32(unix.ENOBUFS), 0)
		}
		if room = bufs.Pick(); room == nil {
			return o.end(q, -int32(unix.ENOBUFS), 0)
		}
	}
	n, _, errno := unix.RawSyscall6(unix.SYS_RECVFROM, uintptr(o.e.Fd), uintptr(unsafe.Pointer(unsafe.SliceData(room))),
		uintptr(len(room)), unix.MSG_DONTWAIT, 0, 0)
	switch {
	case errno == unix.EAGAIN:
		f.ready &^= readyIn
		return false
	case errno == unix.EINTR:
		return false
	case errno != 0 || n == 0:
		return o.end(q, -int32(errno), 0)
	}
	flags := uint32(0)
	if bufs != nil {
		flags = bufs.Commit(int(n))
	}
	if o.e.Ioprio&RecvMultishot == 0 {
		return o.end(q, int32(n), flags)
	}
	q.Post(CQE{UserData: o.e.UserData, Res: int32(n), Flags: flags | CQEMore})
	return false
}

// accept takes one connection. The listener may be in blocking mode, and the connection may have gone away since epoll
// spoke of it: ask again just before.
func (k *soft) accept(q *Ring, f *softFd, o *softOp) (over bool) {
	if pollNow(o.e.Fd, unix.POLLIN) == 0 {
		f.ready &^= readyIn
		return false
	}
	fd, _, errno := unix.RawSyscall6(unix.SYS_ACCEPT4, uintptr(o.e.Fd), 0, 0, uintptr(o.e.OpFlags), 0, 0)
	switch {
	case errno == unix.EAGAIN:
		f.ready &^= readyIn
		return false
	case errno == unix.EINTR || errno == unix.ECONNABORTED:
		return false
	case errno != 0:
		return o.end(q, -int32(errno), 0)
	case o.e.Ioprio&AcceptMultishot == 0:
		return o.end(q, int32(fd), 0)
	}
	q.Post(CQE{UserData: o.e.UserData, Res: int32(fd), Flags: CQEMore})
	return false
}

// send moves what the socket takes at once. It ends short even with MSG_WAITALL: whoever submits must resume short sends
// anyway, and the entry's iovecs are not ours to change.
func (k *soft) send(q *Ring, f *softFd, o *softOp) (over bool) {
	n, _, errno := unix.RawSyscall(unix.SYS_SENDMSG, uintptr(o.e.Fd), uintptr(unsafe.Pointer(MsghdrOf(o.e.Addr))),
		uintptr(o.e.OpFlags&^unix.MSG_WAITALL|unix.MSG_DONTWAIT))
	if errno == unix.EAGAIN {
		f.ready &^= readyOut
		return false
	}
	if errno != 0 {
		return o.end(q, -int32(errno), 0)
	}
	return o.end(q, int32(n), 0)
}

// poll completes when one of the events holds.
func (k *soft) poll(q *Ring, o *softOp) (over bool) {
	events := pollNow(o.e.Fd, int16(o.e.OpFlags))
	if events == 0 {
		return false
	}
	return o.end(q, int32(events), 0)
}

// pollNow is poll(2) of one descriptor without waiting.
func pollNow(fd int32, events int16) int16 {
	p := unix.PollFd{Fd: fd, Events: events}
	var now unix.Timespec
	n, _, errno := syscall.RawSyscall6(unix.SYS_PPOLL, uintptr(unsafe.Pointer(&p)), 1, uintptr(unsafe.Pointer(&now)), 0, 0, 0)
	if errno != 0 || n == 0 {
		return 0
	}
	return p.Revents
}

// end posts the last completion of o.
func (o *softOp) end(q *Ring, res int32, flags uint32) bool {
	q.Post(CQE{UserData: o.e.UserData, Res: res, Flags: flags})
	return true
}
