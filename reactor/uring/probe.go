package uring

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// probeOps is how many operations we ask about.
const probeOps = 64

// probeReply is struct io_uring_probe with its entries.
type probeReply struct {
	lastOp, opsLen uint8
	_              uint16
	_              [3]uint32
	ops            [probeOps]struct {
		op, resv uint8
		flags    uint16
		resv2    uint32
	}
}

// probe finds out what the ring can do. Multishot flags cannot be asked for: they came in the same release as an
// operation that can be.
func (k *linux) probe(q *Ring, p *params, without Features) {
	f := FeatureURing
	if p.flags&setupDeferTaskrun != 0 {
		f |= FeatureDeferTaskrun
	}
	if p.flags&setupNoSQArray != 0 {
		f |= FeatureNoSQArray
	}
	var reply probeReply
	if _, errno := k.register(registerProbe, unsafe.Pointer(&reply), probeOps); errno == 0 {
		if reply.lastOp >= OpSocket {
			f |= FeatureAcceptMultishot
		}
		if reply.lastOp >= OpSendZC {
			f |= FeatureRecvMultishot
		}
	}
	if k.tryBufRing(q, false) {
		f |= FeatureBufferRing
	}
	if k.tryBufRing(q, true) {
		f |= FeatureBufferRingInc
	}
	if !without.Has(FeatureRegisteredBuffers) && k.tryFixed() {
		f |= FeatureRegisteredBuffers
	}
	k.features = f &^ without
}

// tryBufRing registers a small ring of provided buffers and removes it again.
func (k *linux) tryBufRing(q *Ring, inc bool) bool {
	const group = 0xffff
	b, err := q.NewBufRing(group, make([]byte, 8), 1, inc)
	if err != nil {
		return false
	}
	reg := bufReg{bgid: group}
	_, _ = k.register(unregisterPbufRing, unsafe.Pointer(&reg), 1)
	b.Free()
	return true
}

// tryFixed makes the table of registered buffers, and pins and unpins a page. The table stays.
func (k *linux) tryFixed() bool {
	page, err := unix.Mmap(-1, 0, unix.Getpagesize(), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANONYMOUS|unix.MAP_PRIVATE)
	if err != nil {
		return false
	}
	defer func() { _ = unix.Munmap(page) }()
	return k.openFixed() && k.SetFixed(0, page) == 0 && k.SetFixed(0, nil) == 0
}
