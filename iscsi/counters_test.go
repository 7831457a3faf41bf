package iscsi_test

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"

	"pollux/iscsi"
)

func TestFaultsAreCountedAndLoggedOnce(t *testing.T) {
	g := newRig(t, 1, nil)
	var log bytes.Buffer
	g.server.LogTo(slog.New(slog.NewTextHandler(&log, nil)))
	before := g.server.Counters()
	p := g.connect(0)
	enter(p, nil)
	for range 3 {
		var snack iscsi.PDU
		snack.Clear(iscsi.OpSNACK)
		snack.SetFinal(true)
		p.send(&snack)
	}
	g.Run()
	after := g.server.Report(before)
	if n := after.Faults["snack_under_errorrecoverylevel_0"]; n != 3 || after.Events["rejects_sent"] != 3 {
		t.Errorf("counted %v", after)
	}
	if got := log.String(); strings.Count(got, "\n") != 1 || !strings.Contains(got, "snack_under_errorrecoverylevel_0=3") {
		t.Errorf("logged %q", got)
	}
	g.server.Report(after)
	if got := log.String(); strings.Count(got, "\n") != 1 {
		t.Errorf("logged again: %q", got)
	}
	p.far.Close()
	g.close()
}
