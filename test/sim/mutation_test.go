package sim

import (
	"flag"
	"strings"
	"testing"

	"pollux/bdev/replicated/engine"
)

var mutationSeeds = flag.Int("mutation-seeds", 1000, "seeds within which a switched-off rule has to be noticed")

// TestMutations switches every safety rule off, one at a time. The simulator has to notice; a rule whose absence goes
// unnoticed is not proven.
func TestMutations(t *testing.T) {
	if !engine.Invariants {
		t.Skip("mutation switches exist only with -tags invariants")
	}
	for i, name := range engine.MutationNames {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for seed := range uint64(*mutationSeeds) {
				s := New(seed, engine.Mutation(1)<<i)
				if f := s.Run(); f != "" {
					t.Logf("noticed by seed %d: %s", seed, strings.SplitN(f, "\n", 2)[0])
					return
				}
			}
			t.Errorf("nobody noticed in %d seeds", *mutationSeeds)
		})
	}
}
