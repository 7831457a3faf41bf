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
func Shrink(seed uint64, mut engine.Mutation) (skip []int, failure string) {
	s := New(seed, mut)
	if failure = s.Run(); failure == "" {
		return nil, ""
	}
	left := map[int]bool{}
	for round := s.prof.rounds - 1; round >= 0; round-- {
		left[round] = true
		t := New(seed, mut)
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

// corpusLine is how a shrunk seed is written to testdata/corpus: the seed and the rounds to leave out.
func corpusLine(seed uint64, skip []int) string {
	return strings.TrimSpace(fmt.Sprintf("%d %s", seed, strings.Trim(fmt.Sprint(skip), "[]")))
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
		seed, err := strconv.ParseUint(fields[0], 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		s := New(seed, 0)
		s.Skip = map[int]bool{}
		for _, x := range fields[1:] {
			round, _ := strconv.Atoi(x)
			s.Skip[round] = true
		}
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
		skip, failure := Shrink(seed, engine.MutNoIntervalLock)
		if failure == "" {
			continue
		}
		s := New(seed, engine.MutNoIntervalLock)
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
