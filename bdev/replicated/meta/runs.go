package meta

import (
	"fmt"
	"io"
	"math/bits"
)

// onesCount is the number of bits that are set.
func onesCount(words []uint64) (n int) {
	for _, w := range words {
		n += bits.OnesCount64(w)
	}
	return n
}

// printRuns prints a line for each run of bits that are set: "NAME FIRST LAST".
func printRuns(w io.Writer, name string, words []uint64) {
	end := uint64(len(words)) * 64
	for i := nextBit(words, 0, 0); i < end; {
		past := nextBit(words, i, ^uint64(0))
		fmt.Fprintf(w, "%s %d %d\n", name, i, past-1)
		i = nextBit(words, past, 0)
	}
}

// nextBit is the first bit from i on that is set, or with flip of all ones, that is not; the end if there is none.
func nextBit(words []uint64, i, flip uint64) uint64 {
	for n := i / 64; n < uint64(len(words)); n++ {
		w := words[n] ^ flip
		if n == i/64 {
			w &= ^uint64(0) << (i % 64)
		}
		if w != 0 {
			return n*64 + uint64(bits.TrailingZeros64(w))
		}
	}
	return uint64(len(words)) * 64
}
