package conformance

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
)

// expectation is a line of expected.txt: NAME STATUS REASON.
type expectation struct {
	status Status
	reason string
}

const expectedHeader = `# Tests of iscsi-test-cu that are not a plain pass: name, status, reason.
# go test ./test/conformance -update rewrites the statuses and keeps the reasons.
`

func readExpected(path string) (map[string]expectation, error) {
	text, err := os.ReadFile(path)
	if os.IsNotExist(err) {
		return map[string]expectation{}, nil
	}
	if err != nil {
		return nil, err
	}
	all := map[string]expectation{}
	for line := range strings.Lines(string(text)) {
		line, comment := strings.TrimSpace(line), strings.HasPrefix(line, "#")
		if line == "" || comment {
			continue
		}
		fields := strings.Fields(line)
		if len(fields) < 2 {
			return nil, fmt.Errorf("%s: %q is not NAME STATUS REASON", path, line)
		}
		all[fields[0]] = expectation{Status(fields[1]), strings.Join(fields[2:], " ")}
	}
	return all, nil
}

// writeExpected writes what is not a plain pass, with the reasons known so far. A test whose status has changed loses its
// reason, since that spoke of something else.
func writeExpected(path string, results map[string]Result, known map[string]expectation) error {
	var text strings.Builder
	text.WriteString(expectedHeader)
	for _, name := range slices.Sorted(maps.Keys(results)) {
		if r := results[name]; r.Status != Pass {
			reason := ""
			if known[name].status == r.Status {
				reason = known[name].reason
			}
			text.WriteString(strings.TrimRight(fmt.Sprintf("%-48s %-6s %s", name, r.Status, reason), " ") + "\n")
		}
	}
	return os.WriteFile(path, []byte(text.String()), 0o644)
}

// compare lists in words how results differ from what is expected.
func compare(results map[string]Result, expected map[string]expectation) []string {
	var differences []string
	for _, name := range slices.Sorted(maps.Keys(results)) {
		got, want := results[name], Pass
		if e, ok := expected[name]; ok {
			want = e.status
		}
		switch {
		case got.Status == want:
		case got.Status == Pass:
			differences = append(differences, fmt.Sprintf("%s passes, expected was %s: take it out of the list", name, want))
		default:
			differences = append(differences, fmt.Sprintf("%s: %s, expected was %s\n%s", name, got.Status, want, got.Detail))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(expected)) {
		if _, ok := results[name]; !ok {
			differences = append(differences, fmt.Sprintf("%s is expected but there is no such test", name))
		}
		if expected[name].reason == "" {
			differences = append(differences, fmt.Sprintf("%s has no reason", name))
		}
	}
	return differences
}
