package malloc

import (
	"runtime"
	"sync/atomic"

	"pollux/bdev"
)

const (
	// stripeShift is log2 of the bytes of a stripe; no block is larger.
	stripeShift = 16
	stripeSize  = 1 << stripeShift
	// stripesMax bounds the words of a device; larger devices share them.
	stripesMax = 1 << 16
	// spinMax is how often a word is looked at before the request is put off: some microseconds.
	spinMax = 2000
	// rereadMax is how often a read is repeated before it is put off.
	rereadMax = 16
)

// loadsStayInOrder is whether a later load of the sequence word cannot be done before the loads of the copy.
const loadsStayInOrder = runtime.GOARCH == "amd64"

// stripes is the sequence words of a disk. Every reactor reads and writes them.
type stripes struct {
	words []atomic.Uint32
}

func newStripes(size uint64) stripes {
	n := uint64(1)
	for n < stripesMax && n<<stripeShift < size {
		n <<= 1
	}
	return stripes{words: make([]atomic.Uint32, n)}
}

// of is the word of the stripe at off.
func (s *stripes) of(off uint64) *atomic.Uint32 {
	return &s.words[off>>stripeShift&uint64(len(s.words)-1)]
}

// lock makes the word of the stripe odd. It fails when another writer keeps it.
func (s *stripes) lock(off uint64) bool {
	if bdev.Mutated(bdev.MutateStripeNoExclusion) {
		return true
	}
	w := s.of(off)
	for range spinMax {
		if v := w.Load(); v&1 == 0 && w.CompareAndSwap(v, v+1) {
			return true
		}
	}
	return false
}

// unlock makes it even again, and another one than before.
func (s *stripes) unlock(off uint64) {
	if !bdev.Mutated(bdev.MutateStripeNoExclusion) {
		s.of(off).Add(1)
	}
}

// lockRange locks all stripes of the range, or none.
func (s *stripes) lockRange(off, n uint64) bool {
	for at := off &^ (stripeSize - 1); at < off+n; at += stripeSize {
		if !s.lock(at) {
			s.unlockTo(off, at)
			return false
		}
	}
	return true
}

func (s *stripes) unlockRange(off, n uint64) { s.unlockTo(off, off+n) }

func (s *stripes) unlockTo(off, end uint64) {
	for at := off &^ (stripeSize - 1); at < end; at += stripeSize {
		s.unlock(at)
	}
}

// beginRead is the even value of the word, and false when a writer keeps it odd.
func (s *stripes) beginRead(off uint64) (v uint32, ok bool) {
	if bdev.Mutated(bdev.MutateStripeNoSequence) {
		return 0, true
	}
	if readersLock {
		return 0, s.lock(off)
	}
	w := s.of(off)
	for range spinMax {
		if v = w.Load(); v&1 == 0 {
			return v, true
		}
	}
	return 0, false
}

// endRead reports whether what was read since beginRead is one instant.
func (s *stripes) endRead(off uint64, v uint32) bool {
	if bdev.Mutated(bdev.MutateStripeNoSequence) {
		return true
	}
	if readersLock {
		s.unlock(off)
		return true
	}
	if loadsStayInOrder {
		return s.of(off).Load() == v
	}
	return s.of(off).CompareAndSwap(v, v) // An acquire-release: no load of the copy is done after it.
}
