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
	sweep         = flag.Bool("sweep", false, "look for the first seed that notices although one is known; with -update, write testdata/mutations")
)

// mutationFile says what noticed each switched-off rule in the last sweep: a line has the switch, the seed and, if all rounds
// made one trouble, its name. A change of the engine or of the simulator may move them: then the test looks on by itself, and
// -update writes down what it finds; with -sweep nothing that is known counts.
const mutationFile = "testdata/mutations"

// madeFor names the trouble that breaks a rule most often. Seeds with nothing else are tried first.
var madeFor = map[string]string{
	"ack-before-loss":      "crash after the loss of all disks",
	"ack-before-rotation":  "crash after the loss of a link",
	"clear-outside-sync":   "congestion",
	"diskless-any-data":    "diskless Primary and older nodes",
	"doubt-own-row":        "crash in a chain",
	"eager-bit-clear":      "crash in a quiet resync",
	"ends-in-older":        "generation at the end of a resync",
	"fence-volatile":       "crash after fencing",
	"forget-ancestors":     "long away",
	"forget-cleared-bits":  "leg back in a resync",
	"forget-evicted-open":  "crash with a diskless Primary",
	"forget-open":          "several nodes",
	"forget-partial":       "source becomes a target",
	"in-sync-with-open":    "unnoticed crash of a Primary",
	"invalidate-volatile":  "crash in an invalidation",
	"keep-fenced":          "fencing",
	"left-out-follows":     "Ahead after a resync",
	"leg-ack-before-stale": "crash after the loss of a leg",
	"lenders-differ":       "promotion between two that differ",
	"no-ending-generation": "writes alone after a resync",
	"no-fence-check":       "fencing",
	"no-flush-before-end":  "crash at the end of a resync",
	"no-growth-bits":       "growth",
	"no-out-of-sync":       "congestion",
	"no-reconnect-drain":   "reconnection with slow writes",
	"no-reconnect-flush":   "flush after a reconnection",
	"no-repair-lock":       "reads of bad blocks",
	"no-start-flush":       "kill and power loss",
	"one-leg-metadata":     "loss of metadata on a leg",
	"promote-bad-data":     "command",
	"read-inconsistent":    "promotion in a resync",
	"secondary-resizes":    "resize without a Primary",
	"target-bits-volatile": "crash in a quiet resync",
	"target-counts":        "promotion in a resync",
	"trust-bad-log":        "crash with bad metadata",
	"trust-bad-page":       "crash with bad metadata",
	"trust-what-is-here":   "legs",
	"two-primaries":        "second promotion",
	"verify-no-bits":       "corruption and verify",
	"yield-to-all":         "links of a diskless Primary",
}

// unproven lists the safety rules that have no switch, because nothing in the simulator noticed one; the test says so. What there is for them are unit
// tests and transcripts. The list is of those that were tried: other rules of doc.go may have no switch either.
var unproven = []string{
	"a promotion flushes what the former Primary wrote (flushFormer)",
	"with the data of a source comes its doubt (takeOverDoubt)",
	"unacknowledged writes fail when a policy gives this data up (giveUpWrites)",
	"a Primary does not go on from data before what it has shown (goesBack)",
	"a copy on a lost peer does not count for min-acks (forgetPeerWrites)",
	"a Primary in a resync sends again what only a lost peer has confirmed (forgetPeerWrites)",
	"a Primary that was a target begins a generation (takenOver)",
	"the generation that a promotion ends has not seen this Primary (promote)",
}

// focusedSeeds is how many seeds are tried with one trouble alone, of those in whose worlds it happens.
const focusedSeeds = 300

// proof is a run that notices.
type proof struct {
	seed uint64
	only string
}

func (p proof) String() string { return strings.TrimSpace(fmt.Sprintf("%d %s", p.seed, p.only)) }

// TestMutations switches every safety rule off, one at a time. The simulator has to notice within -mutation-seeds seeds, by
// a seed that passes with the rule in force: a rule whose absence goes unnoticed is not proven, and the test fails. Those of unproven, which have no
// switch, are named in its output.
func TestMutations(t *testing.T) {
	if !engine.Invariants {
		t.Skip("mutation switches exist only with -tags invariants")
	}
	known, err := readMutationFile()
	if err != nil {
		t.Fatal(err)
	}
	for _, rule := range unproven {
		t.Logf("note: not proven by a switch: %s", rule)
	}
	var mu sync.Mutex
	for i, name := range engine.MutationNames {
		last, wasKnown := known[name]
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p, why := noticedBy(t, last, wasKnown && !*sweep, name, engine.MutationSet{}.With(engine.Mutation(i)))
			if why == "" {
				t.Errorf("not proven: without this rule, %d seeds pass", *mutationSeeds)
				return
			}
			t.Logf("noticed by seed %v: %s", p, why)
			mu.Lock()
			defer mu.Unlock()
			known[name] = p
			if *update {
				if err := writeMutationFile(known); err != nil {
					t.Error(err)
				}
			}
		})
	}
}

// noticedBy returns what noticed in the last sweep if that still does, else the first run that does.
func noticedBy(t *testing.T, last proof, known bool, name string, m engine.MutationSet) (p proof, why string) {
	if known {
		if why := last.notices(m); why != "" {
			return last, why
		}
		t.Logf("seed %v of %s does not notice any more; looking for another", last, mutationFile)
	}
	if only := madeFor[name]; only != "" {
		for seed, tried := uint64(0), 0; tried < focusedSeeds; seed++ {
			p := proof{seed, only}
			if !p.fits() {
				continue
			}
			tried++
			if why := p.notices(m); why != "" {
				return p, why
			}
		}
	}
	for seed := range uint64(*mutationSeeds) {
		p := proof{seed: seed}
		if why := p.notices(m); why != "" {
			return p, why
		}
	}
	return proof{}, ""
}

// fits reports that the one trouble happens in the world of the seed.
func (p proof) fits() bool {
	s := New(p.seed, engine.MutationSet{})
	s.Only = p.only
	for i := range troubles {
		if s.weightIn(&troubles[i]) > 0 {
			return true
		}
	}
	return false
}

// notices returns what a run says about the world without a rule, if it passes with the rule in force.
func (p proof) notices(m engine.MutationSet) string {
	f := p.run(m)
	if f == "" || p.run(engine.MutationSet{}) != "" {
		return ""
	}
	return strings.SplitN(f, "\n", 2)[0]
}

func (p proof) run(m engine.MutationSet) (failure string) {
	s := New(p.seed, m)
	s.Only = p.only
	return s.Run()
}

func readMutationFile() (map[string]proof, error) {
	b, err := os.ReadFile(mutationFile)
	if err != nil {
		return nil, err
	}
	known := map[string]proof{}
	for line := range strings.Lines(string(b)) {
		name, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
		number, only, _ := strings.Cut(rest, " ")
		seed, err := strconv.ParseUint(number, 10, 64)
		if err != nil {
			return nil, fmt.Errorf("%s: line %q: want a switch, a seed and perhaps a trouble", mutationFile, line)
		}
		known[name] = proof{seed, only}
	}
	return known, nil
}

func writeMutationFile(known map[string]proof) error {
	var b strings.Builder
	for _, name := range engine.MutationNames {
		if p, ok := known[name]; ok {
			fmt.Fprintf(&b, "%s %v\n", name, p)
		}
	}
	return os.WriteFile(mutationFile, []byte(b.String()), 0o644)
}
