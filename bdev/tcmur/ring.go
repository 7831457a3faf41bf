package tcmur

import (
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The operations of a submission (enum op of helper/region.h).
const (
	opRead      = 1
	opWrite     = 2
	opFlush     = 3
	opUnmap     = 4
	opWriteSame = 5
	opCAW       = 6
)

// ring is the target's end of one ring; it belongs to one reactor. What it reads from shared memory it reads once, into a
// value of its own, and believes only after a check against what it knows itself.
type ring struct {
	region  *regionHeader
	shared  *ringHeader
	sq      []sqe
	cq      []cqe
	running []uint32
	data    []byte
	sqTail  uint32 // what shared.sqTail should be
	cqHead  uint32
}

// completion is one that was read from the ring, not yet checked.
type completion struct {
	slot, gen uint32
	status    int32
	info      uint64
}

// memory is the data of a slot.
func (r *ring) memory(slot int) []byte { return r.data[slot*slotBytes:][:slotBytes:slotBytes] }

// push submits an entry. It cannot run over, since there are as many entries as slots.
func (r *ring) push(slot int, gen, op uint32, data int, off, length uint64) {
	e := &r.sq[r.sqTail%ringDepth]
	e.slot, e.gen, e.op, e.data, e.off, e.len = uint32(slot), gen, op, uint32(data), off, length
	r.sqTail++
	r.shared.sqTail.Store(r.sqTail)
}

// wake tells the helper of n new entries: one system call for all of them, none if its workers are busy.
func (r *ring) wake(n int) {
	r.region.wakeSeq.Add(1)
	if r.region.sleepers.Load() == 0 {
		return
	}
	// The word is shared between processes, so no FUTEX_PRIVATE_FLAG. The address is that of mapped memory, which no collector moves.
	_, _, _ = unix.RawSyscall(unix.SYS_FUTEX, uintptr(unsafe.Pointer(&r.region.wakeSeq)), futexWake, uintptr(n))
}

const futexWake = 1

// ready is how many completions there are to take; false is that the helper's number is impossible.
func (r *ring) ready() (n uint32, ok bool) {
	n = r.shared.cqTail.Load() - r.cqHead
	return n, n <= ringDepth
}

// take reads the next completion. Atomic loads, so that each word is read exactly once.
func (r *ring) take() completion {
	e := &r.cq[r.cqHead%ringDepth]
	r.cqHead++
	return completion{
		slot: atomic.LoadUint32(&e.slot), gen: atomic.LoadUint32(&e.gen),
		status: int32(atomic.LoadUint32(&e.status)), info: atomic.LoadUint64(&e.info),
	}
}

// isRunning reports whether the handler had begun a slot's request: a hint for blame, no more.
func (r *ring) isRunning(slot int) bool { return atomic.LoadUint32(&r.running[slot]) != 0 }
