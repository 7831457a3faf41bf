package engine

import "math/bits"

// bitmap holds the blocks that one replica misses, and which of its pages differ from those on disk.
type bitmap struct {
	words    []uint64
	bits     uint64
	count    uint64
	pageBits uint64
	added    []bool // page has bits set that its copy on disk lacks
	removed  []bool // page has bits cleared that its copy on disk still has
}

func newBitmap(n uint64, pageBits int) *bitmap {
	b := &bitmap{pageBits: uint64(pageBits)}
	b.resize(n)
	return b
}

// resize keeps the bits of the blocks that remain; new blocks are clean.
func (b *bitmap) resize(n uint64) {
	words := make([]uint64, (n+63)/64)
	copy(words, b.words)
	b.words, b.bits = words, n
	b.trim()
	pages := int((n + b.pageBits - 1) / b.pageBits)
	added, removed := make([]bool, pages), make([]bool, pages)
	copy(added, b.added)
	copy(removed, b.removed)
	b.added, b.removed = added, removed
}

// trim clears what lies past the end and counts anew.
func (b *bitmap) trim() {
	if n := b.bits % 64; n != 0 && len(b.words) > 0 {
		b.words[len(b.words)-1] &= 1<<n - 1
	}
	b.count = 0
	for _, w := range b.words {
		b.count += uint64(bits.OnesCount64(w))
	}
}

func (b *bitmap) test(i uint64) bool { return b.words[i/64]>>(i%64)&1 != 0 }

// set marks blocks lo..hi-1 and returns how many were clean.
func (b *bitmap) set(lo, hi uint64) (n uint64) {
	for i := lo; i < hi && i < b.bits; i++ {
		if w := &b.words[i/64]; *w>>(i%64)&1 == 0 {
			*w |= 1 << (i % 64)
			b.added[i/b.pageBits] = true
			n++
		}
	}
	b.count += n
	return n
}

// clear unmarks blocks lo..hi-1 and returns how many were marked.
func (b *bitmap) clear(lo, hi uint64) (n uint64) {
	for i := lo; i < hi && i < b.bits; i++ {
		if w := &b.words[i/64]; *w>>(i%64)&1 != 0 {
			*w &^= 1 << (i % 64)
			b.removed[i/b.pageBits] = true
			n++
		}
	}
	b.count -= n
	return n
}

func (b *bitmap) setAll() { b.set(0, b.bits) }

// any reports a marked block in lo..hi-1.
func (b *bitmap) any(lo, hi uint64) bool {
	i := b.next(lo)
	return i < hi && i < b.bits
}

// next returns the first marked block from i on, or bits when there is none.
func (b *bitmap) next(i uint64) uint64 {
	for i < b.bits {
		if w := b.words[i/64] >> (i % 64); w != 0 {
			return i + uint64(bits.TrailingZeros64(w))
		}
		i = (i/64 + 1) * 64
	}
	return b.bits
}

// or merges the words of another bitmap.
func (b *bitmap) or(words []uint64) {
	for i := range b.words {
		if i >= len(words) {
			break
		}
		if fresh := words[i] &^ b.words[i]; fresh != 0 {
			b.words[i] |= fresh
			b.added[uint64(i)*64/b.pageBits] = true
		}
	}
	b.trim()
}

func (b *bitmap) clone() []uint64 { return append([]uint64(nil), b.words...) }

// page returns the words of one page; they alias the bitmap.
func (b *bitmap) page(n int) []uint64 {
	lo := uint64(n) * b.pageBits / 64
	hi := min(lo+b.pageBits/64, uint64(len(b.words)))
	return b.words[lo:hi]
}
