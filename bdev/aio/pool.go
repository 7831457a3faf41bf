package aio

import (
	"sync"
	"syscall"

	"golang.org/x/sys/unix"

	"pollux/bdev"
)

// poolThreads is how many requests of a device without O_DIRECT are carried out at once.
const poolThreads = 8

// pool is goroutines that make system calls which may block. They start with the first request. A channel holds what they have
// not begun: it has room for all transfers of all queues that fit in it, and who finds it full is told to come again.
type pool struct {
	once sync.Once
	work chan *transfer
	busy sync.WaitGroup
}

// poolWaiting is how many requests wait for a thread.
const poolWaiting = 1024

func newPool() *pool { return &pool{work: make(chan *transfer, poolWaiting)} }

func (p *pool) start() {
	for range poolThreads {
		p.busy.Go(func() {
			for t := range p.work {
				t.res = t.call()
				t.q.r.Send(&t.msg)
			}
		})
	}
}

// submit hands t to the threads (on a reactor; it never waits).
func (p *pool) submit(t *transfer) {
	p.once.Do(p.start)
	select {
	case p.work <- t:
	default:
		t.end(bdev.StatusNoMemory)
	}
}

// stop ends the threads. Nothing is in flight.
func (p *pool) stop() {
	close(p.work)
	p.busy.Wait()
}

// call makes the system call, on a thread of the pool.
func (t *transfer) call() int64 {
	f := t.q.b.file
	switch r := t.request; r.Op {
	case bdev.OpRead:
		n, err := unix.Preadv2(f.fd, t.vecs[t.first:], int64(t.off), 0)
		return answer(int64(n), err)
	case bdev.OpWrite:
		n, err := unix.Pwritev2(f.fd, t.vecs[t.first:], int64(t.off), int(t.writeFlags()))
		return answer(int64(n), err)
	case bdev.OpFlush:
		return answer(0, unix.Fdatasync(f.fd))
	case bdev.OpUnmap, bdev.OpWriteZeroes:
		return answer(0, unix.Fallocate(f.fd, t.allocateMode(), int64(t.off), int64(t.left)))
	case bdev.OpSeekData:
		return answer(unix.Seek(f.fd, int64(t.off), unix.SEEK_DATA))
	case bdev.OpSeekHole:
		return answer(unix.Seek(f.fd, int64(t.off), unix.SEEK_HOLE))
	default:
		return -int64(syscall.EOPNOTSUPP)
	}
}

// answer is a result as the ring gives it.
func answer(n int64, err error) int64 {
	if err == nil {
		return n
	}
	if errno, ok := err.(syscall.Errno); ok {
		return -int64(errno)
	}
	return -int64(syscall.EIO)
}
