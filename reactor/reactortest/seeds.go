package reactortest

import (
	"iter"
	"os"
	"strconv"
)

// SeedVariable names the environment variable that reduces Seeds to one, the one that a failure has printed.
const SeedVariable = "POLLUX_SEED"

// Seeds are the numbers below n, or the one in the environment.
func Seeds(n uint64) iter.Seq[uint64] {
	return func(yield func(uint64) bool) {
		if only, err := strconv.ParseUint(os.Getenv(SeedVariable), 10, 64); err == nil {
			yield(only)
			return
		}
		for seed := range n {
			if !yield(seed) {
				return
			}
		}
	}
}
