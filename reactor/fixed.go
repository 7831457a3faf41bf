package reactor

import (
	"math"

	"golang.org/x/sys/unix"

	"pollux/reactor/iobuf"
	"pollux/reactor/uring"
)

// fixedSlab is a slab of the reactor's pool that the kernel has pinned.
type fixedSlab struct {
	start uint64
	index uint16
}

// registerSlabs has the kernel pin the memory of the reactor's pool, which saves pinning it for each read and write of a
// file. What cannot be pinned (RLIMIT_MEMLOCK) is used as it is.
func (r *Reactor) registerSlabs() {
	if !r.Features().Has(uring.FeatureRegisteredBuffers) {
		return
	}
	r.fixed = map[uint64]fixedSlab{}
	r.bufs.OnSlab(func(slab int, mem []byte, taken bool) {
		start := uring.Addr(mem)
		if !taken {
			_ = r.ring.SetFixed(slab, nil)
			delete(r.fixed, start/iobuf.SlabSize)
			return
		}
		if r.ring.SetFixed(slab, mem) == 0 {
			r.fixed[start/iobuf.SlabSize] = fixedSlab{start: start, index: uint16(slab)}
		}
	})
}

// Fixed is the index for uring.SQE.Fixed of the registered buffer that holds v; ok is false where v is to be used
// without (on r). It finds what lies in a buffer of r's pool.
func (r *Reactor) Fixed(v uring.Iovec) (index uint16, ok bool) {
	s, ok := r.fixed[v.Base/iobuf.SlabSize]
	return s.index, ok && v.Base >= s.start && v.Base+v.Len <= s.start+iobuf.SlabSize
}

// pinLimit is how many bytes of buffers the kernel pins for this process: RLIMIT_MEMLOCK, which does not bind who has
// CAP_IPC_LOCK.
func pinLimit() uint64 {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var sets [2]unix.CapUserData
	if unix.Capget(&header, &sets[0]) == nil && sets[0].Effective&(1<<unix.CAP_IPC_LOCK) != 0 {
		return math.MaxUint64
	}
	var limit unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_MEMLOCK, &limit) != nil {
		return math.MaxUint64
	}
	return limit.Cur
}
