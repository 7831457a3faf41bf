package conformance

import (
	"path/filepath"
	"strings"
	"testing"
)

const sample = `

Suite: Sample
  Test: Plain ...passed
  Test: Lacking ...    [SKIPPED] COMPAREANDWRITE is not implemented.
passed
  Test: Wrong ...    [FAILED] READ10 successful but should have failed
FAILED
    1. test_read10_beyond_eol.c:38  - CU_ASSERT_EQUAL(_r,0)
  Test: Both ...    [SKIPPED] no second path
FAILED
    1. test.c:1  - CU_ASSERT_EQUAL(_r,0)
  Test: Chatty ...passed    [FAILED] PRIN command: failed with sense
  Test: Stuck ...    some words
`

func TestParse(t *testing.T) {
	tests := []string{"Plain", "Lacking", "Wrong", "Both", "Chatty", "Stuck", "Later"}
	got := parse(sample, tests, Hang)
	for name, want := range map[string]Status{
		"Plain": Pass, "Lacking": Skip, "Wrong": Fail, "Both": Fail, "Chatty": Pass, "Stuck": Hang, "Later": NotRun,
	} {
		if got[name].Status != want {
			t.Errorf("%s: %s, want %s", name, got[name].Status, want)
		}
	}
	if !strings.Contains(got["Wrong"].Detail, "test_read10_beyond_eol.c:38") {
		t.Errorf("the detail of a failure is %q", got["Wrong"].Detail)
	}
}

func TestExpectations(t *testing.T) {
	results := map[string]Result{"A": {Status: Pass}, "B": {Status: Skip}, "C": {Status: Fail}}
	path := filepath.Join(t.TempDir(), "expected.txt")
	known := map[string]expectation{"B": {Skip, "no second path"}, "C": {Skip, "was something else"}}
	if err := writeExpected(path, results, known); err != nil {
		t.Fatal(err)
	}
	expected, err := readExpected(path)
	if err != nil {
		t.Fatal(err)
	}
	if want := (expectation{Skip, "no second path"}); expected["B"] != want || len(expected) != 2 {
		t.Fatalf("written and read again: %v", expected)
	}
	for name, c := range map[string]struct {
		results map[string]Result
		says    string
	}{
		"reason":  {results, "C has no reason"},
		"better":  {map[string]Result{"A": {}, "B": {Status: Pass}, "C": {Status: Fail}}, "B passes"},
		"worse":   {map[string]Result{"A": {Status: Fail}, "B": {Status: Skip}, "C": {Status: Fail}}, "A: fail"},
		"unknown": {map[string]Result{"A": {Status: Pass}, "C": {Status: Fail}}, "no such test"},
	} {
		if text := strings.Join(compare(c.results, expected), "\n"); !strings.Contains(text, c.says) {
			t.Errorf("%s: %q does not say %q", name, text, c.says)
		}
	}
}
