package reactor

import (
	"bytes"
	"errors"
	"log/slog"
	"strings"
	"testing"

	"pollux/reactor/iobuf"
	"pollux/reactor/uring"
)

// What the kernel lacks is told in one line, with the cause, and so is what the user has masked off.
func TestMissingFeaturesAreToldOnce(t *testing.T) {
	for _, c := range []struct {
		name    string
		without uring.Features
		want    string // a part of the one line; empty for silence
	}{
		{"nothing", 0, ""},
		{"as Linux 6.1, masked", uring.FeatureBufferRingInc | uring.FeatureNoSQArray, "masked=buffer-ring-inc,no-sqarray"},
		{"all, masked", uring.FeatureURing, "masked off"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var out bytes.Buffer
			g := start(t, Config{Cores: []int{-1, -1}, Without: c.without, Budget: iobuf.NewBudget(1), Log: slog.New(slog.NewTextHandler(&out, nil))})
			for _, r := range g.Reactors() {
				if !r.Features().Has(uring.FeaturesAll&^c.without) && c.without&uring.FeatureURing == 0 {
					t.Skipf("this kernel has only %s", r.Features())
				}
			}
			checkLines(t, out.String(), c.want)
		})
	}
}

func TestCauseOfMissingFeaturesIsTold(t *testing.T) {
	var out bytes.Buffer
	r := start(t, Config{Cores: []int{-1}, Without: uring.FeatureURing}).Reactors()[0]
	r.log = slog.New(slog.NewTextHandler(&out, nil))
	r.tellMissing(0, errors.New("operation not permitted (a seccomp profile)"))
	checkLines(t, out.String(), "seccomp")
	out.Reset()
	r.tellMissing(0, nil)
	checkLines(t, out.String(), uring.FeatureURing.Cause())
}

// checkLines asserts that log is one line with want in it, or nothing if want is empty.
func checkLines(t *testing.T, log, want string) {
	t.Helper()
	lines := strings.Count(log, "\n")
	if want == "" && lines != 0 || want != "" && (lines != 1 || !strings.Contains(log, want)) {
		t.Errorf("log %q, want one line with %q", log, want)
	}
}
