package sim

import (
	"flag"
	"fmt"
	"testing"
	"time"

	"pollux/bdev/replicated/engine"
)

var (
	seeds  = flag.Int("seeds", 200, "seeds to run")
	first  = flag.Uint64("first", 0, "first seed")
	trace  = flag.Bool("story", false, "print what happens")
	mutate = flag.Uint64("mutate", 0, "mutation switches")
)

func TestSeeds(t *testing.T) {
	start := time.Now()
	var cover engine.Coverage
	steps, fails, acked, reads, lossy := 0, 0, 0, 0, 0
	for i := range *seeds {
		s := New(*first+uint64(i), engine.Mutation(*mutate))
		if *trace {
			s.Trace = func(l string) { fmt.Println(l) }
		}
		if f := s.Run(); f != "" {
			t.Errorf("seed %d: %s", s.Seed, f)
			if fails++; fails > 10 {
				break
			}
		}
		cover.Add(&s.Cover)
		steps += s.Steps
		acked += s.model.acked
		reads += s.model.reads
		lossy += s.model.lossy
	}
	d := time.Since(start)
	t.Logf("%d seeds in %v, %.0f a second, %d steps, %d writes acked, %d reads checked, %d lossy tenures", *seeds, d, float64(*seeds)/d.Seconds(), steps, acked, reads, lossy)
}
