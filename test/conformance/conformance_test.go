package conformance

import (
	"errors"
	"flag"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"pollux/test/target"
)

var update = flag.Bool("update", false, "rewrite the statuses of expected.txt")

const (
	// family is the part of the suite that is run: in Debian 12, 230 tests in 51 suites.
	family = "ALL"
	// multipathSuite uses a LUN by two sessions.
	multipathSuite = "MultipathIO"
	// passFloor is how many plain passes there must be. It only rises.
	passFloor = 193
	// suiteTimeout bounds one suite; all of them take under a second or two on an idle machine.
	suiteTimeout = 90 * time.Second
	lunSize      = 64 << 20
	// physicalBlock is larger than a logical block, since some tests look at what is not aligned to it.
	physicalBlock = 4096
)

// suite is a group of tests that iscsi-test-cu runs together.
type suite struct {
	name  string
	tests []string
}

func TestConformance(t *testing.T) {
	suites := listSuites(t)
	for _, cfg := range target.UnderTest(t) {
		t.Run(cfg.String(), func(t *testing.T) {
			results := runSuites(t, cfg, suites)
			if t.Skipped() || t.Failed() || len(results) < count(suites) {
				return // -run has chosen some suites, or there is nothing to judge
			}
			judgeResults(t, cfg, results)
		})
	}
}

func count(suites []suite) (tests int) {
	for _, s := range suites {
		tests += len(s.tests)
	}
	return tests
}

func runSuites(t *testing.T, cfg target.Config, suites []suite) map[string]Result {
	cfg.Nodes = target.OneLUN(cfg.Kind, target.LUN{Backing: target.Malloc, Size: lunSize, Physical: physicalBlock}).Nodes
	var mu sync.Mutex
	results := map[string]Result{}
	t.Run("suites", func(t *testing.T) {
		for _, s := range suites {
			t.Run(s.name, func(t *testing.T) {
				t.Parallel()
				got := runSuite(t, cfg, s)
				mu.Lock()
				defer mu.Unlock()
				maps.Copy(results, got)
			})
		}
	})
	return results
}

// runSuite runs one suite on a fresh server. That the server is still there at the end, and ends cleanly, is checked by
// target.Start.
func runSuite(t *testing.T, cfg target.Config, s suite) map[string]Result {
	srv := target.Start(t, cfg)
	pattern := family + "." + s.name
	args := []string{"--dataloss", "--allow-sanitize", "--verbose", "--test", pattern, srv.URL("disk", 0)}
	if s.name == multipathSuite {
		args = append(args, srv.URL("disk", 0))
	}
	output, err := target.TryRun(t, suiteTimeout, "iscsi-test-cu", args...)
	interrupted := Crash
	if errors.Is(err, os.ErrDeadlineExceeded) || (err != nil && strings.Contains(err.Error(), "deadline")) {
		interrupted = Hang
	}
	if !srv.Running() {
		t.Errorf("the server ended during suite %s", s.name)
	}
	byName := map[string]Result{}
	for name, r := range parse(output, s.tests, interrupted) {
		byName[pattern+"."+name] = r
	}
	return byName
}

func judgeResults(t *testing.T, cfg target.Config, results map[string]Result) {
	path := expectedFile(cfg.Kind)
	expected, err := readExpected(path)
	if err != nil {
		t.Fatal(err)
	}
	counts := map[Status]int{}
	for _, r := range results {
		counts[r.Status]++
	}
	t.Logf("note: %s: %d tests, %d pass, %d skip, %d fail, %d crash or hang", cfg,
		len(results), counts[Pass], counts[Skip], counts[Fail], counts[Crash]+counts[Hang]+counts[NotRun])
	if *update {
		for name, r := range results {
			if r.Status != Pass && expected[name].status != r.Status {
				t.Logf("give %s (%s) a reason; it printed:\n%s", name, r.Status, r.Detail)
			}
		}
		if err := writeExpected(path, results, expected); err != nil {
			t.Fatal(err)
		}
		return
	}
	for _, difference := range compare(results, expected) {
		t.Error(difference)
	}
	if counts[Pass] < passFloor {
		t.Errorf("%d plain passes, the floor is %d", counts[Pass], passFloor)
	}
}

// expectedFile is expected.txt; a peer has a file of its own, by which the harness itself is checked.
func expectedFile(kind target.Kind) string {
	if kind == target.Pollux {
		return "expected.txt"
	}
	return filepath.Join("testdata", "expected-"+string(kind)+".txt")
}

func listSuites(t *testing.T) []suite {
	t.Helper()
	target.NeedProgram(t, "iscsi-test-cu")
	var suites []suite
	for line := range strings.Lines(target.Run(t, time.Minute, "iscsi-test-cu", "--list")) {
		parts := strings.Split(strings.TrimSpace(line), ".")
		switch {
		case parts[0] != family:
		case len(parts) == 2:
			suites = append(suites, suite{name: parts[1]})
		case len(parts) == 3:
			last := &suites[len(suites)-1]
			last.tests = append(last.tests, parts[2])
		}
	}
	if len(suites) == 0 {
		t.Fatal("iscsi-test-cu lists no suites")
	}
	return suites
}
