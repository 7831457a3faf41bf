package reactor

import (
	"pollux/reactor/iobuf"
	"pollux/reactor/uring"
)

// registerSlabs has the kernel pin the memory of the reactor's pool, which saves pinning it for each read and write of a
// file. What cannot be pinned (RLIMIT_MEMLOCK) is used as it is.
func (r *Reactor) registerSlabs() {
	if !r.Features().Has(uring.FeatureRegisteredBuffers) {
		return
	}
	r.bufs.OnSlab(func(slab int, mem []byte) {
		for slab >= len(r.fixed) {
			r.fixed = append(r.fixed, false)
		}
		r.fixed[slab] = r.ring.SetFixed(slab, mem) == 0 && mem != nil
	})
}

// Fixed is the index for uring.SQE.Fixed of the registered buffer that contains b, a buffer of r's pool; ok is false where
// b is to be used without (on r).
func (r *Reactor) Fixed(b iobuf.Buf) (index uint16, ok bool) {
	slab := b.Slab()
	return uint16(slab), slab < len(r.fixed) && r.fixed[slab]
}
