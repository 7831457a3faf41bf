package uring

import (
	"net/netip"
	"sync/atomic"
	"syscall"
	"time"
)

// Kernel answers the submission queue of one ring. All methods are called on the ring's thread.
type Kernel interface {
	// Enter takes up to submit entries from q. With wait it returns when a completion is there, or after timeout (if
	// not negative), or when interrupted. Without wait it never blocks. It returns how many entries it took.
	Enter(q *Ring, submit uint32, wait bool, timeout time.Duration) (taken int, errno syscall.Errno)
	// RegisterBuffers makes b known under its group.
	RegisterBuffers(b *BufRing) syscall.Errno
	// SendNow sends what the socket fd takes of m without waiting, past the ring and in a system call of its own: the number
	// of bytes or a negative errno, as in a completion. No Sendmsg of the same socket may be in flight.
	SendNow(fd int, m *Msghdr) int32
	// Features are what this kernel offers and what is not masked off.
	Features() Features
	// SetFixed registers mem, which stays where it is, as buffer index for SQE.Fixed; nil takes the registration back.
	SetFixed(index int, mem []byte) syscall.Errno
	// Adopt makes a connected socket ready for this kernel (no delay, blocking or not) and tells its two ends.
	Adopt(fd int) (local, remote netip.AddrPort)
	// Name is "io_uring", "software" or "simulated".
	Name() string
	// Close ends everything in flight and gives the ring's memory back.
	Close()
}

// The flags that a kernel sets for the submitter.
const (
	sqCQOverflow = 1 << 1
	sqTaskrun    = 1 << 2
)

// Ring is the memory that a submitter and a kernel share. Entries are written by the submitter up to sqTail and read by the
// kernel up to sqHead; completions the other way round.
type Ring struct {
	kernel Kernel

	sqes    []SQE
	sqArray []uint32       // nil with FeatureNoSQArray
	sqHead  *atomic.Uint32 // the kernel writes
	sqTail  *atomic.Uint32 // we write
	sqFlags *atomic.Uint32 // the kernel writes
	cqes    []CQE
	cqHead  *atomic.Uint32 // we write
	cqTail  *atomic.Uint32 // the kernel writes

	tail uint32 // entries prepared
	told uint32 // entries the kernel has taken
	head uint32 // completions read
	over []CQE  // software kernels: completions that found the queue full
}

// NewRing makes a ring in ordinary memory for a kernel in software. Both sizes are powers of two.
func NewRing(k Kernel, sqEntries, cqEntries int) *Ring {
	words := new([5]atomic.Uint32)
	return &Ring{
		kernel: k,
		sqes:   make([]SQE, sqEntries),
		cqes:   make([]CQE, cqEntries),
		sqHead: &words[0], sqTail: &words[1], sqFlags: &words[2], cqHead: &words[3], cqTail: &words[4],
	}
}

// Kernel is who answers.
func (q *Ring) Kernel() Kernel { return q.kernel }

// Full reports whether no entry is free until the kernel has taken some.
func (q *Ring) Full() bool { return q.tail-q.told == uint32(len(q.sqes)) }

// SQE takes the next free entry, cleared; the ring must not be Full.
func (q *Ring) SQE() *SQE {
	if q.Full() {
		panic("uring: submission queue full")
	}
	i := q.tail & uint32(len(q.sqes)-1)
	if q.sqArray != nil {
		q.sqArray[i] = i
	}
	q.tail++
	e := &q.sqes[i]
	e.clear()
	return e
}

// Prepared is the number of entries that the kernel has not taken.
func (q *Ring) Prepared() uint32 { return q.tail - q.told }

// NeedsEnter reports whether the kernel has something that only an Enter brings out.
func (q *Ring) NeedsEnter() bool { return q.sqFlags.Load()&(sqTaskrun|sqCQOverflow) != 0 }

// Ready is the number of completions to be read.
func (q *Ring) Ready() uint32 { return q.cqTail.Load() - q.head }

// CQE is the i-th completion that has not been seen, i < Ready.
func (q *Ring) CQE(i uint32) CQE { return q.cqes[(q.head+i)&uint32(len(q.cqes)-1)] }

// Seen gives the places of n completions back.
func (q *Ring) Seen(n uint32) {
	q.head += n
	q.cqHead.Store(q.head)
}

// Enter submits everything prepared and fetches completions, without waiting. It returns the number of entries taken.
func (q *Ring) Enter() (int, syscall.Errno) { return q.enter(false, 0) }

// Wait is Enter that returns when a completion is there or timeout is over; a negative timeout is none.
func (q *Ring) Wait(timeout time.Duration) (int, syscall.Errno) { return q.enter(true, timeout) }

func (q *Ring) enter(wait bool, timeout time.Duration) (int, syscall.Errno) {
	q.sqTail.Store(q.tail)
	n, errno := q.kernel.Enter(q, q.tail-q.told, wait, timeout)
	q.told += uint32(n)
	return n, errno
}

// SetFixed registers mem as buffer index for SQE.Fixed, index < FixedMax; nil takes the registration back.
func (q *Ring) SetFixed(index int, mem []byte) syscall.Errno { return q.kernel.SetFixed(index, mem) }

// Close ends the ring.
func (q *Ring) Close() { q.kernel.Close() }

// Take is the kernel's side of SQE: the next entry submitted, nil if there is none. The entry may be overwritten after the
// Enter that took it.
func (q *Ring) Take() *SQE {
	head := q.sqHead.Load()
	if head == q.sqTail.Load() {
		return nil
	}
	q.sqHead.Store(head + 1)
	return &q.sqes[head&uint32(len(q.sqes)-1)]
}

// Post is the kernel's side of CQE: it queues a completion. What does not fit waits for the next Flush.
func (q *Ring) Post(c CQE) {
	if len(q.over) > 0 || !q.post(c) {
		q.over = append(q.over, c)
		q.setFlag(sqCQOverflow, true)
	}
}

func (q *Ring) post(c CQE) bool {
	tail := q.cqTail.Load()
	if tail-q.cqHead.Load() == uint32(len(q.cqes)) {
		return false
	}
	q.cqes[tail&uint32(len(q.cqes)-1)] = c
	q.cqTail.Store(tail + 1)
	return true
}

// Flush posts what did not fit before (the kernel's side).
func (q *Ring) Flush() {
	n := 0
	for n < len(q.over) && q.post(q.over[n]) {
		n++
	}
	q.over = append(q.over[:0], q.over[n:]...)
	q.setFlag(sqCQOverflow, len(q.over) > 0)
}

// SetTaskrun says whether the kernel wants to be entered although nothing is submitted (the kernel's side).
func (q *Ring) SetTaskrun(on bool) { q.setFlag(sqTaskrun, on) }

// setFlag changes one of the flags that the submitter reads (the kernel's side).
func (q *Ring) setFlag(bit uint32, on bool) {
	if on {
		q.sqFlags.Or(bit)
	} else {
		q.sqFlags.And(^bit)
	}
}
