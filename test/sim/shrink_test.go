package sim

import (
	"flag"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"pollux/bdev/replicated/engine"
)

var line = flag.String("line", "", "a line for testdata/corpus to play instead of those there; with -story, print what happens")

// shrunk is a seed with the rounds that are left out and the parts of its world that are made simpler. In testdata/corpus
// it is a line: the seed, then round numbers and names of knobs.
type shrunk struct {
	seed  uint64
	skip  []int
	knobs []string
}

// nodeKnobs[n-2] makes a world of n nodes, instead of what the seed chooses. A line has one of them at most.
var nodeKnobs = []string{"two-nodes", "three-nodes", "four-nodes"}

// knobs make a world simpler.
var knobs = []struct {
	name string
	turn func(*profile)
}{
	{"one-leg", func(p *profile) { p.legs = oneLeg }},
	{"one-request", func(p *profile) { p.depth = 1 }},
	{"no-read-errors", func(p *profile) { p.eio = 0 }},
	{"no-slow-packets", func(p *profile) { p.slow = 0 }},
	{"no-csums", func(p *profile) { p.csums = false }},
	{"no-pull-ahead", func(p *profile) { p.pullAhead = false }},
	{"no-fencing", func(p *profile) { p.fencing = false }},
	{"no-trackers", func(p *profile) { p.tracker = false }},
	{"no-rot", func(p *profile) { p.rot = false }},
	{"small-bits", func(p *profile) { p.bitShift = 12 }},
}

// run plays a shrunk seed.
func (c *shrunk) run(mut engine.MutationSet) (s *Sim, failure string) {
	s = newSim(c.seed, mut, func(p *profile) {
		if n := c.nodes(); n != 0 {
			p.nodes = n
		}
		for _, k := range knobs {
			if slices.Contains(c.knobs, k.name) {
				k.turn(p)
			}
		}
	})
	s.Skip = map[int]bool{}
	for _, round := range c.skip {
		s.Skip[round] = true
	}
	if *line != "" && *trace {
		s.Trace = func(l string) { fmt.Println(l) }
	}
	return s, s.Run()
}

// nodes is the number of nodes that a knob says; 0 is what the seed chooses.
func (c *shrunk) nodes() int {
	for i, name := range nodeKnobs {
		if slices.Contains(c.knobs, name) {
			return i + 2
		}
	}
	return 0
}

// withNodes is the same in a world of n nodes; 0 leaves it to the seed.
func (c *shrunk) withNodes(n int) shrunk {
	next := *c
	next.knobs = slices.DeleteFunc(slices.Clone(c.knobs), func(k string) bool { return slices.Contains(nodeKnobs, k) })
	if n != 0 {
		next.knobs = append(next.knobs, nodeKnobs[n-2])
	}
	return next
}

func (c *shrunk) String() string {
	words := []string{strconv.FormatUint(c.seed, 10)}
	for _, round := range c.skip {
		words = append(words, strconv.Itoa(round))
	}
	return strings.Join(append(words, c.knobs...), " ")
}

func parseShrunk(line string) (*shrunk, error) {
	fields := strings.Fields(line)
	seed, err := strconv.ParseUint(fields[0], 10, 64)
	if err != nil {
		return nil, err
	}
	c := &shrunk{seed: seed}
	for _, x := range fields[1:] {
		if round, err := strconv.Atoi(x); err == nil {
			c.skip = append(c.skip, round)
		} else {
			c.knobs = append(c.knobs, x)
		}
	}
	return c, nil
}

// Shrink leaves out every round of a failing seed and every complication of its world that the failure does not need, first
// half of the rounds at a time, then a quarter, and at last each by itself. It returns nil where the seed does not fail. The world
// has nodes nodes, or as many as the seed chooses if that is 0.
func Shrink(seed uint64, nodes int, mut engine.MutationSet) *shrunk {
	first := (&shrunk{seed: seed}).withNodes(nodes)
	c := &first
	s, failure := c.run(mut)
	if failure == "" {
		return nil
	}
	try := func(next shrunk) {
		if _, f := next.run(mut); f != "" {
			*c = next
		}
	}
	for n := 2; n < s.prof.nodes; n++ {
		next := c.withNodes(n)
		if _, f := next.run(mut); f != "" {
			c = &next
			break
		}
	}
	for size := (s.prof.rounds + 1) / 2; ; size /= 2 {
		for first := s.prof.rounds - 1; first >= 0; first -= max(1, size) {
			if next := c.without(first-max(1, size)+1, first); len(next.skip) > len(c.skip) {
				try(next)
			}
		}
		if size == 0 {
			return c // each by itself, twice: what one leaves out may make another one needless
		}
		for _, k := range knobs {
			if !slices.Contains(c.knobs, k.name) {
				next := *c
				next.knobs = append(slices.Clone(c.knobs), k.name)
				try(next)
			}
		}
	}
}

// without leaves more rounds out.
func (c *shrunk) without(first, last int) shrunk {
	next := *c
	next.skip = slices.Clone(c.skip)
	for round := max(0, first); round <= last; round++ {
		if !slices.Contains(next.skip, round) {
			next.skip = append(next.skip, round)
		}
	}
	slices.Sort(next.skip)
	return next
}

// story is what a person reads of a shrunk seed: the world, what goes wrong in it, and the line for testdata/corpus.
func (c *shrunk) story(mut engine.MutationSet) string {
	s, failure := c.run(mut)
	p := &s.prof
	var b strings.Builder
	fmt.Fprintf(&b, "seed %d: %d nodes with %v legs, mode %c, %d requests at once", c.seed, p.nodes, p.legs[:p.nodes], "-ABC"[p.mode], p.depth)
	for _, x := range []struct {
		is   bool
		name string
	}{
		{p.power, "power loss"},
		{p.csums, "checksum resync"},
		{p.pullAhead, "pull-ahead"},
		{p.splitBrain, "split brain"},
		{p.lossy, "lossy promotions"},
		{p.fencing, "fencing"},
		{p.diskless, "disk loss"},
		{p.eio > 0, "read errors"},
		{p.slow > 0, "slow packets"},
		{p.tracker, "trackers"},
		{p.rot, "rot"},
		{p.minAcks > 1, "min-acks 2"},
	} {
		if x.is {
			b.WriteString(", " + x.name)
		}
	}
	for _, line := range s.Script {
		b.WriteString("\n  " + line)
	}
	fmt.Fprintf(&b, "\n  -> %s\nfor testdata/corpus: %s", failure, c)
	return b.String()
}

// TestCorpus plays the seeds that have failed once, as they were shrunk. A change of the simulator gives them another
// meaning; what a seed has found for good belongs into a transcript, too.
func TestCorpus(t *testing.T) {
	corpus, err := os.ReadFile("testdata/corpus")
	if err != nil {
		t.Fatal(err)
	}
	if *line != "" {
		corpus = []byte(*line)
	}
	for l := range strings.Lines(string(corpus)) {
		l, _, _ = strings.Cut(l, "#")
		if strings.TrimSpace(l) == "" {
			continue
		}
		c, err := parseShrunk(l)
		if err != nil {
			t.Fatal(err)
		}
		if _, failure := c.run(engine.MutationSet{}); failure != "" {
			t.Errorf("%s: %s", l, failure)
		}
	}
}

// TestShrinkKeepsTheFailure shrinks what a switched-off rule breaks, to a script of a few lines that still fails.
func TestShrinkKeepsTheFailure(t *testing.T) {
	if !engine.Invariants {
		t.Skip("mutation switches exist only with -tags invariants")
	}
	mut := engine.MutationSet{}.With(engine.MutNoALOnCrash)
	shortest := 1 << 10
	for seed := range uint64(24) {
		c := Shrink(seed, 0, mut)
		if c == nil {
			continue
		}
		again, err := parseShrunk(c.String())
		if err != nil {
			t.Fatal(err)
		}
		s, failure := again.run(mut)
		if failure == "" {
			t.Errorf("%v does not fail any more", c)
		}
		shortest = min(shortest, len(s.Script))
		t.Log(again.story(mut))
	}
	if shortest < 1 || shortest > 2 {
		t.Errorf("the shortest script has %d rounds", shortest)
	}
}
