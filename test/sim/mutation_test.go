package sim

import (
	"flag"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"

	"pollux/bdev/replicated/engine"
)

var (
	mutationSeeds = flag.Int("mutation-seeds", 1000, "seeds within which a switched-off rule has to be noticed")
	sweep         = flag.Bool("sweep", false, "look for the first seed that notices; with -update, write testdata/mutations")
)

// mutationFile says which seed noticed each switched-off rule in the last sweep, one "name seed" a line. A change of the
// engine or of the simulator may move them: then the test looks on by itself, and -sweep -update writes the file anew.
const mutationFile = "testdata/mutations"

// TestMutations switches every safety rule off, one at a time. The simulator has to notice within -mutation-seeds seeds, by
// a seed that passes with the rule in force: a rule whose absence goes unnoticed is not proven, and the test fails.
func TestMutations(t *testing.T) {
	if !engine.Invariants {
		t.Skip("mutation switches exist only with -tags invariants")
	}
	known, err := readMutationFile()
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	found := map[string]uint64{}
	t.Run("switch", func(t *testing.T) {
		for i, name := range engine.MutationNames {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				seed, why := noticedBy(t, known, name, engine.Mutation(1)<<i)
				if why == "" {
					t.Errorf("not proven: without this rule, %d seeds pass", *mutationSeeds)
					return
				}
				t.Logf("noticed by seed %d: %s", seed, why)
				mu.Lock()
				defer mu.Unlock()
				found[name] = seed
			})
		}
	})
	if *sweep && *update {
		if err := writeMutationFile(found); err != nil {
			t.Error(err)
		}
	}
}

// noticedBy returns the seed of the last sweep if that still notices, else the first one that does.
func noticedBy(t *testing.T, known map[string]uint64, name string, m engine.Mutation) (seed uint64, why string) {
	if last, ok := known[name]; ok && !*sweep {
		if why := notices(last, m); why != "" {
			return last, why
		}
		t.Logf("seed %d of %s does not notice any more; looking for another", last, mutationFile)
	}
	for seed := range uint64(*mutationSeeds) {
		if why := notices(seed, m); why != "" {
			return seed, why
		}
	}
	return 0, ""
}

// notices returns what a seed says about the world without a rule, if it passes with the rule in force.
func notices(seed uint64, m engine.Mutation) string {
	f := New(seed, m).Run()
	if f == "" || New(seed, 0).Run() != "" {
		return ""
	}
	return strings.SplitN(f, "\n", 2)[0]
}

func readMutationFile() (map[string]uint64, error) {
	b, err := os.ReadFile(mutationFile)
	if err != nil {
		return nil, err
	}
	known := map[string]uint64{}
	for line := range strings.Lines(string(b)) {
		name, number, _ := strings.Cut(strings.TrimSpace(line), " ")
		seed, err := strconv.ParseUint(number, 10, 64)
		if err != nil {
			return nil, fmt.Errorf("%s: line %q: want a switch and a seed", mutationFile, line)
		}
		known[name] = seed
	}
	return known, nil
}

func writeMutationFile(found map[string]uint64) error {
	var b strings.Builder
	for _, name := range engine.MutationNames {
		if seed, ok := found[name]; ok {
			fmt.Fprintf(&b, "%s %d\n", name, seed)
		}
	}
	return os.WriteFile(mutationFile, []byte(b.String()), 0o644)
}
