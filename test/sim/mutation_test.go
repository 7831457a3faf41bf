package sim

import (
	"flag"
	"strings"
	"testing"

	"pollux/bdev/replicated/engine"
)

var mutationSeeds = flag.Int("mutation-seeds", 1000, "seeds within which a switched-off rule has to be noticed")

// seenBy says which seed noticed a switched-off rule when the sweep was last run whole: it is tried first, so that the test
// is quick. A change of the simulator moves them; the sweep then goes on from seed 0.
var seenBy = map[string]uint64{
	"target-bits-volatile": 55, "leg-ack-before-stale": 35, "forget-at-ack": 50, "trust-bad-page": 98, "no-fence-check": 22,
	"no-primary-mark": 13, "no-epoch-close": 12, "diskless-no-bits": 15,
}

// TestMutations switches every safety rule off, one at a time. The simulator has to notice, by a seed that passes with the
// rule in force; a rule whose absence goes unnoticed is not proven.
func TestMutations(t *testing.T) {
	if !engine.Invariants {
		t.Skip("mutation switches exist only with -tags invariants")
	}
	if testing.Short() {
		t.Skip("the sweep takes minutes")
	}
	for i, name := range engine.MutationNames {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := engine.Mutation(1) << i
			if first, ok := seenBy[name]; ok && notices(t, first, m) {
				return
			}
			for seed := range uint64(*mutationSeeds) {
				if notices(t, seed, m) {
					return
				}
			}
			t.Errorf("nobody noticed in %d seeds", *mutationSeeds)
		})
	}
}

// notices reports that a seed fails with the switch and passes without.
func notices(t *testing.T, seed uint64, m engine.Mutation) bool {
	f := New(seed, m).Run()
	if f == "" {
		return false
	}
	if g := New(seed, 0).Run(); g != "" {
		t.Logf("seed %d fails without the switch, too: %s", seed, g)
		return false
	}
	t.Logf("noticed by seed %d: %s", seed, strings.SplitN(f, "\n", 2)[0])
	return true
}
