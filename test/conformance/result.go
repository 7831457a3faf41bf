package conformance

import (
	"regexp"
	"strings"
)

// Status is what one test of the suite came to.
type Status string

// A skip is a test that prints [SKIPPED], mostly since the target lacks a command; CUnit itself calls that passed.
const (
	Pass   Status = "pass"
	Skip   Status = "skip"
	Fail   Status = "fail"
	Hang   Status = "hang"   // the time limit struck in this test
	Crash  Status = "crash"  // the suite's process ended in this test
	NotRun Status = "notrun" // an earlier test hung or crashed
)

// Result is a test's status, and what it printed when it is not a plain pass.
type Result struct {
	Status Status
	Detail string
}

var (
	testStart = regexp.MustCompile(`^  Test: (\S+) \.\.\.`)
	// A verdict begins its line; what a suite's end has to say may follow it.
	verdict = regexp.MustCompile(`^(passed|FAILED)`)
	summary = "Run Summary:"
)

// parse reads the verbose output of a suite whose tests have these names, in order; interrupted says why it may be incomplete.
func parse(output string, tests []string, interrupted Status) map[string]Result {
	bodies := map[string]string{}
	current := ""
	for line := range strings.Lines(output) {
		if m := testStart.FindStringSubmatch(line); m != nil {
			current = m[1]
			line = line[len(m[0]):]
		}
		if strings.HasPrefix(line, summary) {
			break
		}
		if current != "" {
			bodies[current] += line
		}
	}
	results := map[string]Result{}
	for _, name := range tests {
		body, started := bodies[name]
		results[name] = judge(body, started, interrupted)
	}
	return results
}

func judge(body string, started bool, interrupted Status) Result {
	if !started {
		return Result{Status: NotRun}
	}
	last := ""
	for line := range strings.Lines(body) {
		if m := verdict.FindString(line); m != "" {
			last = m
		}
	}
	detail := strings.TrimSpace(body)
	switch {
	case last == "FAILED":
		return Result{Fail, detail}
	case last == "":
		return Result{interrupted, detail}
	case strings.Contains(body, "[SKIPPED]"):
		return Result{Skip, detail}
	default:
		return Result{Status: Pass}
	}
}
