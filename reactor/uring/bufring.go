package uring

import (
	"fmt"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

// bufEntry is struct io_uring_buf. The tail of the ring lies over the last field of entry 0.
type bufEntry struct {
	addr uint64
	len  uint32
	bid  uint16
	tail uint16
}

// BufRing is a ring of buffers that the kernel picks from when data has arrived (provided buffers). With incremental
// use one buffer serves several completions until it is full.
type BufRing struct {
	group   uint16
	inc     bool
	mem     []byte // count buffers of size bytes
	size    int
	shared  []byte // the mapping that holds entries
	entries []bufEntry
	tail    uint16
	changed bool
	used    []uint32 // by buffer: bytes already consumed of an incremental one

	head uint16 // the kernel's side, kernels in software only
}

// NewBufRing makes count buffers (a power of two up to 32768) of mem, a piece each, and registers them as group.
func (q *Ring) NewBufRing(group uint16, mem []byte, count int, inc bool) (*BufRing, error) {
	shared, err := unix.Mmap(-1, 0, count*int(unsafe.Sizeof(bufEntry{})), unix.PROT_READ|unix.PROT_WRITE,
		unix.MAP_ANONYMOUS|unix.MAP_PRIVATE|unix.MAP_POPULATE)
	if err != nil {
		return nil, fmt.Errorf("map ring of %d buffers: %w", count, err)
	}
	b := &BufRing{
		group: group, inc: inc, mem: mem, size: len(mem) / count, shared: shared, used: make([]uint32, count),
		// Sound: the mapping is page-aligned, holds count entries without pointers, and outlives the slice.
		entries: unsafe.Slice((*bufEntry)(unsafe.Pointer(unsafe.SliceData(shared))), count),
	}
	if errno := q.kernel.RegisterBuffers(b); errno != 0 {
		_ = unix.Munmap(shared)
		return nil, fmt.Errorf("register ring of %d buffers: %w", count, errno)
	}
	for bid := range count {
		b.provide(uint16(bid))
	}
	b.Publish()
	return b, nil
}

// Group is the number by which entries ask for these buffers.
func (b *BufRing) Group() uint16 { return b.group }

// BufferSize is the most that one completion brings.
func (b *BufRing) BufferSize() int { return b.size }

// provide puts a whole buffer at the tail; Publish shows it to the kernel.
func (b *BufRing) provide(bid uint16) {
	e := &b.entries[int(b.tail)&(len(b.entries)-1)]
	e.addr, e.len, e.bid = Addr(b.buffer(bid)), uint32(b.size), bid
	b.tail++
	b.changed = true
}

func (b *BufRing) buffer(bid uint16) []byte {
	return b.mem[int(bid)*b.size : (int(bid)+1)*b.size : (int(bid)+1)*b.size]
}

// Bytes are what a completion with flag CQEBuffer has brought. They are valid until Recycle of the same completion.
func (b *BufRing) Bytes(res int32, flags uint32) []byte {
	bid := uint16(flags >> cqeBufferShift)
	from := int(b.used[bid])
	return b.buffer(bid)[from : from+int(max(res, 0))]
}

// Recycle gives back what a completion with flag CQEBuffer has brought. Completions are recycled in their order.
func (b *BufRing) Recycle(res int32, flags uint32) {
	bid := uint16(flags >> cqeBufferShift)
	if flags&CQEBufMore != 0 {
		b.used[bid] += uint32(max(res, 0))
		return
	}
	b.used[bid] = 0
	b.provide(bid)
}

// Publish shows recycled buffers to the kernel, once a pass.
func (b *BufRing) Publish() {
	if !b.changed {
		return
	}
	b.changed = false
	// The tail is the upper half of the word at offset 12; the lower half is the bid of entry 0, which only we write.
	// Sound: the word is aligned and inside the mapping. The store is atomic, so that entries are seen before the tail.
	word := (*atomic.Uint32)(unsafe.Pointer(&b.entries[0].bid))
	word.Store(uint32(b.entries[0].bid) | uint32(b.tail)<<16)
}

// Free returns the memory of the ring itself; the kernel must have closed.
func (b *BufRing) Free() {
	_ = unix.Munmap(b.shared)
	b.entries = nil
}

// Pick is the kernel's side, for kernels in software: the free bytes of the next buffer, nil if there is none.
func (b *BufRing) Pick() []byte {
	if b.head == b.entries[0].tail {
		return nil
	}
	e := &b.entries[int(b.head)&(len(b.entries)-1)]
	return Bytes(e.addr, int(e.len))
}

// Commit is the kernel's side: n bytes of the picked buffer have been filled. It returns the completion's flags.
func (b *BufRing) Commit(n int) uint32 {
	e := &b.entries[int(b.head)&(len(b.entries)-1)]
	flags := uint32(e.bid)<<cqeBufferShift | CQEBuffer
	e.addr += uint64(n)
	e.len -= uint32(n)
	if b.inc && e.len > 0 {
		return flags | CQEBufMore
	}
	b.head++
	return flags
}

// register fills struct io_uring_buf_reg.
func (b *BufRing) register() bufReg {
	r := bufReg{ringAddr: Addr(b.shared), ringEntries: uint32(len(b.entries)), bgid: b.group}
	if b.inc {
		r.flags = bufRingInc
	}
	return r
}

// bufReg is struct io_uring_buf_reg.
type bufReg struct {
	ringAddr    uint64
	ringEntries uint32
	bgid        uint16
	flags       uint16
	_           [3]uint64
}

const bufRingInc = 2 // IOU_PBUF_RING_INC
