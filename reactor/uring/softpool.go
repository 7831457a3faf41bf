package uring

import (
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// PoolThreads bounds how many file operations of one software ring run at a time, PoolQueue how many wait in the channel; more
// wait in a list of the ring's thread.
const (
	PoolThreads = 8
	PoolQueue   = 1024
)

// The states of softOp.state, which its worker and the ring's thread change by compare-and-swap.
const (
	opQueued    = 0
	opRunning   = 1
	opCancelled = 2
)

// softPool runs what may block: the reads and writes of files. Threads are started as they are needed.
type softPool struct {
	k       *soft
	work    chan *softOp
	ended   atomic.Pointer[softOp] // a stack: workers push, the ring's thread takes all
	waiting []*softOp              // that the channel had no room for
	flying  []*softOp              // everything that has not been collected
	threads int
	wg      sync.WaitGroup
}

func (p *softPool) start(k *soft) {
	p.k = k
	p.work = make(chan *softOp, PoolQueue)
}

func (p *softPool) stop() {
	close(p.work)
	p.wg.Wait()
}

func (p *softPool) busy() bool { return len(p.flying) > 0 }

// submit hands o to a worker. It never waits.
func (p *softPool) submit(o *softOp) {
	p.flying = append(p.flying, o)
	if p.threads < min(PoolThreads, len(p.flying)) {
		p.threads++
		p.wg.Go(p.worker)
	}
	p.waiting = append(p.waiting, o)
	p.feed()
}

// feed moves what had to wait into the channel.
func (p *softPool) feed() {
	n := 0
	for ; n < len(p.waiting); n++ {
		select {
		case p.work <- p.waiting[n]:
			continue
		default:
		}
		break
	}
	p.waiting = slices.Delete(p.waiting, 0, n)
}

// worker runs operations until the pool stops.
func (p *softPool) worker() {
	for o := range p.work {
		if o.state.CompareAndSwap(opQueued, opRunning) {
			o.res = o.runFile()
		}
		p.push(o)
		if p.k.waiting.Load() {
			p.k.bell.Signal()
		}
	}
}

func (p *softPool) push(o *softOp) {
	for {
		old := p.ended.Load()
		o.next = old
		if p.ended.CompareAndSwap(old, o) {
			return
		}
	}
}

// collect posts what workers have ended. A cancelled operation has been posted already; only its place comes back.
func (p *softPool) collect(q *Ring) {
	if len(p.waiting) > 0 {
		p.feed()
	}
	if p.ended.Load() == nil {
		return
	}
	for o := p.ended.Swap(nil); o != nil; {
		next := o.next
		if o.state.Load() != opCancelled {
			o.end(q, o.res, 0)
		}
		i := slices.Index(p.flying, o)
		p.flying[i] = p.flying[len(p.flying)-1]
		p.flying = p.flying[:len(p.flying)-1]
		p.k.free = append(p.k.free, o)
		o = next
	}
}

// cancel ends what no worker has begun.
func (p *softPool) cancel(q *Ring, userData uint64) (found int32) {
	for _, o := range p.flying {
		if o.e.UserData == userData && o.state.CompareAndSwap(opQueued, opCancelled) {
			o.end(q, -int32(unix.ECANCELED), 0)
			found++
		}
	}
	return found
}

// runFile makes the system call of o, on a worker's thread, where it may block.
func (o *softOp) runFile() int32 {
	for {
		n, errno := o.fileCall()
		if errno == 0 {
			return int32(n)
		}
		if errno != unix.EINTR {
			return -int32(errno)
		}
	}
}

func (o *softOp) fileCall() (uintptr, syscall.Errno) {
	fd := uintptr(o.e.Fd)
	switch o.e.Opcode {
	case OpFsync:
		call := uintptr(unix.SYS_FSYNC)
		if o.e.OpFlags&FsyncDatasync != 0 {
			call = unix.SYS_FDATASYNC
		}
		n, _, errno := unix.Syscall(call, fd, 0, 0)
		return n, errno
	case OpFallocate:
		n, _, errno := unix.Syscall6(unix.SYS_FALLOCATE, fd, uintptr(o.e.Len), uintptr(o.e.Off), uintptr(o.e.Addr), 0, 0)
		return n, errno
	}
	iov, count := unsafe.Pointer(&o.iov), uintptr(1)
	o.iov = Iovec{Base: o.e.Addr, Len: uint64(o.e.Len)}
	if o.e.Opcode == OpReadv || o.e.Opcode == OpWritev {
		iov, count = unsafe.Pointer(unsafe.SliceData(Iovecs(o.e.Addr, int(o.e.Len)))), uintptr(o.e.Len)
	}
	call := uintptr(unix.SYS_PREADV2)
	if o.e.Opcode == OpWrite || o.e.Opcode == OpWriteFixed || o.e.Opcode == OpWritev {
		call = unix.SYS_PWRITEV2
	}
	const offHigh = 0 // A 64-bit machine passes the offset in one register.
	n, _, errno := unix.Syscall6(call, fd, uintptr(iov), count, uintptr(o.e.Off), offHigh, uintptr(o.e.OpFlags))
	return n, errno
}
