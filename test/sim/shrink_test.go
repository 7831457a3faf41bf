package sim

import (
	"bufio"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"

	"pollux/bdev/replicated/engine"
)

// Shrink leaves out every round of a failing seed that the failure does not need.
func Shrink(seed uint64, nodes int, mut engine.Mutation) (skip []int, failure string) {
	s := NewOf(seed, nodes, mut)
	if failure = s.Run(); failure == "" {
		return nil, ""
	}
	left := map[int]bool{}
	for round := s.prof.rounds - 1; round >= 0; round-- {
		left[round] = true
		t := NewOf(seed, nodes, mut)
		t.Skip = left
		if f := t.Run(); f != "" {
			failure = f
		} else {
			delete(left, round)
		}
	}
	for round := range s.prof.rounds {
		if left[round] {
			skip = append(skip, round)
		}
	}
	return skip, failure
}

// corpusLine is how a shrunk seed is written to testdata/corpus: the seed, the nodes if they were not the seed's choice, and the
// rounds to leave out.
func corpusLine(seed uint64, nodes int, skip []int) string {
	world := strconv.FormatUint(seed, 10)
	if nodes != 0 {
		world += "/" + strconv.Itoa(nodes)
	}
	return strings.TrimSpace(world + " " + strings.Trim(fmt.Sprint(skip), "[]"))
}

// parseWorld reads the first word of such a line.
func parseWorld(word string) (seed uint64, nodes int, err error) {
	word, count, _ := strings.Cut(word, "/")
	if count != "" {
		if nodes, err = strconv.Atoi(count); err != nil {
			return 0, 0, err
		}
	}
	seed, err = strconv.ParseUint(word, 10, 64)
	return seed, nodes, err
}

// roundSet reads the rounds to leave out.
func roundSet(fields []string) map[int]bool {
	set := map[int]bool{}
	for _, x := range fields {
		round, _ := strconv.Atoi(x)
		set[round] = true
	}
	return set
}

// TestCorpus plays the seeds that have failed once, as they were shrunk.
func TestCorpus(t *testing.T) {
	f, err := os.Open("testdata/corpus")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		line, _, _ := strings.Cut(lines.Text(), "#")
		fields := strings.Fields(line)
		if len(fields) == 0 {
			continue
		}
		seed, nodes, err := parseWorld(fields[0])
		if err != nil {
			t.Fatal(err)
		}
		s := NewOf(seed, nodes, 0)
		s.Skip = roundSet(fields[1:])
		if failure := s.Run(); failure != "" {
			t.Errorf("%s: %s", line, failure)
		}
	}
}

// TestShrinkKeepsTheFailure shrinks what a switched-off rule breaks.
func TestShrinkKeepsTheFailure(t *testing.T) {
	if !engine.Invariants {
		t.Skip("mutation switches exist only with -tags invariants")
	}
	for seed := range uint64(20) {
		skip, failure := Shrink(seed, 2, engine.MutNoIntervalLock)
		if failure == "" {
			continue
		}
		s := NewOf(seed, 2, engine.MutNoIntervalLock)
		s.Skip = map[int]bool{}
		for _, r := range skip {
			s.Skip[r] = true
		}
		if f := s.Run(); f == "" {
			t.Errorf("seed %d without rounds %v does not fail any more", seed, skip)
		}
		t.Logf("seed %d: %d of %d rounds are needed: %s", seed, s.prof.rounds-len(skip), s.prof.rounds, failure)
		return
	}
	t.Error("no seed fails")
}
