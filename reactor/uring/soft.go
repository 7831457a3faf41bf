package uring

import (
	"fmt"
	"net/netip"
	"slices"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The bounds of the software kernel.
const (
	softEvents    = 256 // descriptors that one look at epoll brings
	softBatch     = 16  // receives or accepts of one multishot operation before the others have their turn
	softFeatures  = FeatureRecvMultishot | FeatureAcceptMultishot | FeatureBufferRing | FeatureBufferRingInc
	softReadiness = unix.EPOLLIN | unix.EPOLLOUT | unix.EPOLLRDHUP | unix.EPOLLET
	readyIn       = unix.EPOLLIN | unix.EPOLLRDHUP | unix.EPOLLHUP | unix.EPOLLERR
	readyOut      = unix.EPOLLOUT | unix.EPOLLHUP | unix.EPOLLERR
)

// soft executes submission entries without io_uring: sockets by epoll on the ring's own thread, files by a bounded pool of
// threads. It costs a system call per operation and one per pass.
type soft struct {
	epfd     int
	features Features
	bufs     map[uint16]*BufRing
	fds      map[int32]*softFd
	active   []*softFd // with operations that may go on now
	spare    []*softFd // active of the time before
	free     []*softOp
	events   []unix.EpollEvent
	pool     softPool
	bell     Event       // a worker has ended something while the ring's thread waits
	waiting  atomic.Bool // the ring's thread waits; it writes, workers read
}

// softFd is a descriptor with operations that wait for it. It is known to epoll from its first to its last operation,
// edge-triggered: ready remembers what epoll has said until a system call contradicts.
type softFd struct {
	fd     int32
	ready  uint32
	listed bool // in soft.active
	polled bool // known to epoll
	ops    []*softOp
}

// softOp is an entry that has been taken and has not completed for the last time.
type softOp struct {
	e     SQE
	res   int32
	iov   Iovec
	next  *softOp // in the pool's list of ended operations
	state atomic.Uint32
}

// OpenSoft makes a ring that is answered in software.
func OpenSoft(cfg Config) (*Ring, error) {
	epfd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("make epoll: %w", err)
	}
	bell, err := OpenEvent()
	if err != nil {
		_ = unix.Close(epfd)
		return nil, err
	}
	k := &soft{
		epfd: epfd, bell: bell, features: softFeatures &^ cfg.Without, bufs: map[uint16]*BufRing{},
		fds: map[int32]*softFd{}, events: make([]unix.EpollEvent, softEvents),
	}
	k.pool.start(k)
	event := unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(bell.Fd())}
	if err := unix.EpollCtl(epfd, unix.EPOLL_CTL_ADD, bell.Fd(), &event); err != nil {
		k.Close()
		return nil, fmt.Errorf("add eventfd to epoll: %w", err)
	}
	return NewRing(k, cfg.SQEntries, cfg.CQEntries), nil
}

// Enter takes what was submitted and goes on with everything that can go on.
func (k *soft) Enter(q *Ring, submit uint32, wait bool, timeout time.Duration) (int, syscall.Errno) {
	q.Flush()
	for range submit {
		k.admit(q, q.Take())
	}
	k.pool.collect(q)
	k.runActive(q)
	if q.Ready() > 0 || len(k.active) > 0 {
		wait = false
	}
	if len(k.fds) > 0 || wait {
		k.look(wait, timeout)
		k.runActive(q)
		k.pool.collect(q)
	}
	q.SetTaskrun(len(k.fds) > 0 || k.pool.busy())
	return int(submit), 0
}

// admit begins an entry.
func (k *soft) admit(q *Ring, e *SQE) {
	switch e.Opcode {
	case OpNop:
		q.Post(CQE{UserData: e.UserData})
	case OpShutdown:
		k.direct(q, e, unix.SYS_SHUTDOWN, uintptr(e.Len))
	case OpClose:
		k.direct(q, e, unix.SYS_CLOSE, 0)
	case OpAsyncCancel:
		q.Post(CQE{UserData: e.UserData, Res: k.cancel(q, e.Addr)})
	case OpRecv, OpSendmsg, OpAccept, OpPollAdd:
		k.watch(k.op(e))
	case OpRead, OpReadFixed, OpReadv, OpWrite, OpWriteFixed, OpWritev, OpFsync, OpFallocate:
		k.pool.submit(k.op(e))
	default:
		q.Post(CQE{UserData: e.UserData, Res: -int32(unix.EOPNOTSUPP)})
	}
}

// op takes a place for e, which the submitter may overwrite.
func (k *soft) op(e *SQE) *softOp {
	if len(k.free) == 0 {
		k.free = append(k.free, &softOp{})
	}
	o := k.free[len(k.free)-1]
	k.free = k.free[:len(k.free)-1]
	o.e, o.res, o.next = *e, 0, nil
	o.state.Store(opQueued)
	return o
}

// direct makes a system call that does not wait: shutdown or close.
func (k *soft) direct(q *Ring, e *SQE, call, arg uintptr) {
	_, _, errno := unix.RawSyscall(call, uintptr(e.Fd), arg, 0)
	q.Post(CQE{UserData: e.UserData, Res: -int32(errno)})
}

// watch puts o among the operations of its descriptor.
func (k *soft) watch(o *softOp) {
	f := k.fds[o.e.Fd]
	if f == nil {
		f = &softFd{fd: o.e.Fd}
		k.fds[o.e.Fd] = f
	}
	f.ops = append(f.ops, o)
	f.ready |= readyIn | readyOut // Trying tells, cheaper than asking.
	k.activate(f)
}

func (k *soft) activate(f *softFd) {
	if !f.listed {
		f.listed = true
		k.active = append(k.active, f)
	}
}

// runActive goes on with the operations of every descriptor that may be ready. Those that have used up their turn stay
// listed.
func (k *soft) runActive(q *Ring) {
	todo := k.active
	k.active, k.spare = k.spare[:0], todo
	for _, f := range todo {
		f.listed = false
		again := false
		f.ops = slices.DeleteFunc(f.ops, func(o *softOp) bool {
			over, more := k.attempt(q, f, o)
			again = again || more
			if over {
				k.free = append(k.free, o)
			}
			return over
		})
		switch {
		case len(f.ops) == 0:
			k.forget(f)
		case again:
			k.activate(f)
		case !f.polled:
			k.remember(f)
		}
	}
}

// remember has epoll tell when f becomes ready. Epoll tells what is the case already, so that nothing is missed.
func (k *soft) remember(f *softFd) {
	event := unix.EpollEvent{Events: softReadiness, Fd: f.fd}
	f.polled = unix.EpollCtl(k.epfd, unix.EPOLL_CTL_ADD, int(f.fd), &event) == nil
	if !f.polled { // ENOSPC, ENOMEM: try the operations again in each pass.
		f.ready |= readyIn | readyOut
		k.activate(f)
	}
}

// forget drops a descriptor without operations, since its number may be closed and come again without our knowing.
func (k *soft) forget(f *softFd) {
	if f.polled {
		_ = unix.EpollCtl(k.epfd, unix.EPOLL_CTL_DEL, int(f.fd), nil)
	}
	delete(k.fds, f.fd)
}

// look asks epoll, and waits if that is wanted and no worker has something.
func (k *soft) look(wait bool, timeout time.Duration) {
	var n int
	if wait {
		n = k.lookAndWait(timeout)
	} else {
		r, _, errno := unix.RawSyscall6(unix.SYS_EPOLL_PWAIT, uintptr(k.epfd),
			uintptr(unsafe.Pointer(&k.events[0])), uintptr(len(k.events)), 0, 0, 0)
		if errno == 0 {
			n = int(r)
		}
	}
	for i := range k.events[:n] {
		k.noteReady(&k.events[i])
	}
}

// lookAndWait waits in a call that the Go scheduler knows of. A worker that ends something after waiting was set rings the
// bell; one that did before is seen here.
func (k *soft) lookAndWait(timeout time.Duration) int {
	milli := -1
	if timeout >= 0 {
		milli = int((timeout + time.Millisecond - 1) / time.Millisecond) // Rounded up: a timer must not find itself too early.
	}
	k.waiting.Store(true)
	if k.pool.ended.Load() != nil {
		milli = 0
	}
	n, err := unix.EpollWait(k.epfd, k.events, milli)
	k.waiting.Store(false)
	if err != nil {
		return 0
	}
	return n
}

func (k *soft) noteReady(event *unix.EpollEvent) {
	if event.Fd == int32(k.bell.Fd()) {
		k.bell.Reset()
		return
	}
	if f := k.fds[event.Fd]; f != nil {
		f.ready |= event.Events
		k.activate(f)
	}
}

// cancel ends what was submitted with the user data, and returns how many that were.
func (k *soft) cancel(q *Ring, userData uint64) int32 {
	found := k.pool.cancel(q, userData)
	for _, f := range k.fds {
		f.ops = slices.DeleteFunc(f.ops, func(o *softOp) bool {
			if o.e.UserData != userData {
				return false
			}
			found++
			o.end(q, -int32(unix.ECANCELED), 0)
			k.free = append(k.free, o)
			return true
		})
		if len(f.ops) == 0 && !f.listed {
			k.forget(f)
		}
	}
	return found
}

// RegisterBuffers makes b known under its group.
func (k *soft) RegisterBuffers(b *BufRing) syscall.Errno {
	k.bufs[b.group] = b
	return 0
}

// SetFixed refuses: there is nothing to be gained.
func (k *soft) SetFixed(int, []byte) syscall.Errno { return unix.EOPNOTSUPP }

// Features are what the software offers and what is not masked off.
func (k *soft) Features() Features { return k.features }

// Name tells the kernels apart.
func (k *soft) Name() string { return "software" }

// Adopt leaves fd in blocking mode: each call here says itself that it does not wait.
func (k *soft) Adopt(fd int) (local, remote netip.AddrPort) { return adopt(fd, false) }

// Close ends the workers, after what they are doing, and gives the descriptors back.
func (k *soft) Close() {
	k.pool.stop()
	k.bell.Close()
	_ = unix.Close(k.epfd)
}
