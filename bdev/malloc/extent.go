package malloc

import (
	"math/bits"
	"sync/atomic"
)

// unitsMax bounds the bits of the map: 8 MiB of them.
const unitsMax = 1 << 26

// extents knows which units of the memory may hold data. Every reactor reads it; who changes a bit has the stripe's word, or is
// about to write data (which makes 1 of it).
type extents struct {
	shift uint8 // log2 of the bytes of a unit, a page at least
	words []atomic.Uint64
	units uint64
}

func newExtents(size uint64, unit uint64) extents {
	e := extents{shift: uint8(bits.TrailingZeros64(unit))}
	for (size-1)>>e.shift >= unitsMax {
		e.shift++
	}
	e.units = (size-1)>>e.shift + 1
	e.words = make([]atomic.Uint64, (e.units+63)/64)
	return e
}

// set notes that the range may hold data.
func (e *extents) set(off, n uint64) {
	for u := off >> e.shift; u <= (off+n-1)>>e.shift; u++ {
		if w := &e.words[u/64]; w.Load()>>(u%64)&1 == 0 {
			w.Or(1 << (u % 64))
		}
	}
}

// clear notes that the units which lie wholly in the range hold nothing.
func (e *extents) clear(off, n uint64) {
	unit := uint64(1) << e.shift
	for u := (off + unit - 1) >> e.shift; u < (off+n)>>e.shift; u++ {
		e.words[u/64].And(^uint64(1 << (u % 64)))
	}
}

// any reports whether any unit of the range may hold data.
func (e *extents) any(off, n uint64) bool {
	return e.next(off>>e.shift, (off+n-1)>>e.shift+1, 0) <= (off+n-1)>>e.shift
}

// seek is the first byte at or after off whose unit holds data, or holds none, and false if there is none.
func (e *extents) seek(off uint64, hole bool) (at uint64, ok bool) {
	flip := uint64(0)
	if hole {
		flip = ^uint64(0)
	}
	u := e.next(off>>e.shift, e.units, flip)
	return max(off, u<<e.shift), u < e.units
}

// next is the first unit from u to end whose bit, flipped or not, is 1; end or more if there is none.
func (e *extents) next(u, end, flip uint64) uint64 {
	for u < end {
		w := (e.words[u/64].Load() ^ flip) >> (u % 64)
		if w != 0 {
			return u + uint64(bits.TrailingZeros64(w))
		}
		u = u&^63 + 64
	}
	return end
}
