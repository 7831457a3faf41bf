package sim

import (
	"flag"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"pollux/bdev/replicated/engine"
)

var (
	seeds  = flag.Int("seeds", 200, "seeds to run")
	first  = flag.Uint64("first", 0, "first seed")
	trace  = flag.Bool("story", false, "print what happens; use with -seeds 1")
	mutate = flag.String("mutate", "", "rule to switch off")
	nodes  = flag.Int("nodes", 0, "nodes of every world, instead of what the seed chooses")
	only   = flag.String("only", "", "the one trouble that every round makes; see hurt.go")
)

// coverageSeeds is the number of seeds that must have reached everything that the engine can do.
const coverageSeeds = 3000

// failuresMax is the number of failing seeds that end a run.
const failuresMax = 10

// campaign is what many seeds have come to.
type campaign struct {
	mut   engine.MutationSet
	next  atomic.Uint64 // seeds begun
	fails atomic.Int64
	mu    sync.Mutex
	cover engine.Coverage
	total struct{ steps, acked, reads, lossy, rots, rotReads, scrubbed int }
}

// TestSeeds plays seeds, as many at a time as there are processors. Flags: -seeds N, -first N, -story, -mutate RULE, -only
// TROUBLE.
func TestSeeds(t *testing.T) {
	start := time.Now()
	c := &campaign{}
	for i, name := range engine.MutationNames {
		if name == *mutate {
			c.mut = c.mut.With(engine.Mutation(i))
		}
	}
	if *mutate != "" && (c.mut == engine.MutationSet{} || !engine.Invariants) {
		t.Fatalf("-mutate %s: no such switch, or not built with -tags invariants", *mutate)
	}
	var wg sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		wg.Go(func() { c.work(t) })
	}
	wg.Wait()
	if *seeds >= coverageSeeds {
		for _, m := range missed(&c.cover) {
			t.Error(m)
		}
	}
	d, n := time.Since(start), min(int(c.next.Load()), *seeds)
	t.Logf("%d blocks rotted, %d reads of them, %d found by verify; %d read repairs, %d leg repairs",
		c.total.rots, c.total.rotReads, c.total.scrubbed, c.cover.Repairs, c.cover.LegRepairs)
	t.Logf("%d seeds in %v, %.0f a second, %d steps, %d writes acked, %d reads checked, %d lossy tenures",
		n, d, float64(n)/d.Seconds(), c.total.steps, c.total.acked, c.total.reads, c.total.lossy)
}

// work plays seeds until there are none left.
func (c *campaign) work(t *testing.T) {
	for c.fails.Load() < failuresMax {
		i := c.next.Add(1) - 1
		if i >= uint64(*seeds) {
			return
		}
		s := newSim(*first+i, c.mut, func(p *profile) {
			if *nodes != 0 {
				p.nodes = *nodes
			}
		})
		s.Only = *only
		if *trace {
			s.Trace = func(l string) { fmt.Println(l) }
		}
		if f := s.Run(); f != "" {
			c.fails.Add(1)
			if s.Only != "" {
				t.Errorf("seed %d: %s", s.Seed, f)
			} else {
				t.Errorf("%s\nthe seed as it was: %s", Shrink(s.Seed, *nodes, c.mut).story(c.mut), f)
			}
		}
		c.mu.Lock()
		c.cover.Add(&s.Cover)
		c.total.steps += s.Steps
		c.total.acked += s.model.acked
		c.total.reads += s.model.reads
		c.total.lossy += s.model.lossy
		c.total.rots += len(s.model.rots)
		c.total.rotReads += s.model.rotReads
		c.total.scrubbed += s.model.scrubbed
		c.mu.Unlock()
	}
}
