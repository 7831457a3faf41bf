package sim

import (
	"flag"
	"fmt"
	"strings"
	"testing"
	"time"

	"pollux/bdev/replicated/engine"
)

var (
	seeds  = flag.Int("seeds", 200, "seeds to run")
	first  = flag.Uint64("first", 0, "first seed")
	trace  = flag.Bool("story", false, "print what happens")
	nodes  = flag.Int("nodes", 0, "nodes of every world, instead of what the seed chooses")
	skip   = flag.String("skip", "", "rounds to leave out, separated by spaces")
	mutate = flag.Uint64("mutate", 0, "mutation switches")
)

// coverageSeeds is the number of seeds that must have reached everything that the engine can do.
const coverageSeeds = 3000

// TestSeeds plays seeds. Flags: -seeds N, -first N, -story (with one seed: what happens).
func TestSeeds(t *testing.T) {
	start := time.Now()
	var cover engine.Coverage
	steps, fails, acked, reads, lossy, rots, rotReads, scrubbed := 0, 0, 0, 0, 0, 0, 0, 0
	for i := range *seeds {
		s := NewOf(*first+uint64(i), *nodes, engine.Mutation(*mutate))
		s.Skip = roundSet(strings.Fields(*skip))
		if *trace {
			s.Trace = func(l string) { fmt.Println(l) }
		}
		if f := s.Run(); f != "" {
			skip, _ := Shrink(s.Seed, *nodes, engine.Mutation(*mutate))
			t.Errorf("seed %d: %s\nfor testdata/corpus: %s", s.Seed, f, corpusLine(s.Seed, *nodes, skip))
			if fails++; fails > 10 {
				break
			}
		}
		cover.Add(&s.Cover)
		steps += s.Steps
		acked += s.model.acked
		reads += s.model.reads
		lossy += s.model.lossy
		rots += len(s.model.rots)
		rotReads += s.model.rotReads
		scrubbed += s.model.scrubbed
	}
	for _, m := range missed(&cover) {
		t.Logf("not reached: %s", m)
		if *seeds >= coverageSeeds {
			t.Fail()
		}
	}
	d := time.Since(start)
	t.Logf("%d blocks rotted, %d reads of them, %d found by verify; %d read repairs, %d leg repairs", rots, rotReads, scrubbed, cover.Repairs, cover.LegRepairs)
	t.Logf("%d seeds in %v, %.0f a second, %d steps, %d writes acked, %d reads checked, %d lossy tenures", *seeds, d, float64(*seeds)/d.Seconds(), steps, acked, reads, lossy)
}
