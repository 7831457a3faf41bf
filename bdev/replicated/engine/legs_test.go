package engine

import (
	"strings"
	"testing"
)

const testShift = 12

// newPrimary is a Primary with some legs and nobody else.
func newPrimary(t *testing.T, legs int) *Engine {
	t.Helper()
	cfg := Config{Size: 64 << testShift, Capacity: 64 << testShift, ExtentShift: 22, ALSlots: 8, Legs: legs, LegRow: 8, Seed: 1}
	md := &Loaded{Super: Super{
		Current: 0x100, Size: 64 << testShift, Flags: SuperConsistent | SuperUpToDate | SuperClean, LegGen: 2,
	}}
	for i := range legs {
		cfg.Rows[8+i].Kind = KindLeg
		md.Up |= legBit(i)
	}
	for i := range md.Bitmaps {
		md.Bitmaps[i] = make([]uint64, 1)
	}
	e, out := New(0, cfg, md, nil)
	drain(t, e, out)
	drain(t, e, e.Step(0, &Event{Kind: EvCommand, ID: 1, Cmd: CmdPrimary}, nil))
	if e.View().Role != Primary {
		t.Fatal("not Primary")
	}
	return e
}

// TestReadRepairsAreBounded reads what one leg cannot read, once more often than repairs may be under way: all reads are
// answered, and the last one repairs nothing.
func TestReadRepairsAreBounded(t *testing.T) {
	e := newPrimary(t, 2)
	var repairs []Action
	for i := range repairsMax + 1 {
		out := e.Step(0, &Event{Kind: EvRead, ID: uint64(i + 1), Off: uint64(i) << testShift, Len: 1 << testShift}, nil)
		out = e.Step(0, &Event{Kind: EvLegDone, ID: out[0].ID, Leg: out[0].Leg}, nil)
		out = e.Step(0, &Event{Kind: EvLegDone, ID: out[0].ID, Leg: out[0].Leg, OK: true}, nil)
		answered, read := false, false
		for _, a := range out {
			answered = answered || a.Kind == ActComplete && a.OK
			if a.Kind == ActLegRead {
				read = true
				repairs = append(repairs, a)
			}
		}
		if !answered || read != (i < repairsMax) {
			t.Errorf("read %d: answered %v, repair %v", i, answered, read)
		}
	}
	for _, a := range repairs {
		drain(t, e, []Action{a})
	}
	if v := e.View(); v.Repaired != repairsMax || !v.Quiet {
		t.Errorf("%d repaired, quiet %v", v.Repaired, v.Quiet)
	}
}

// TestVerifyOfLegsTellsOfFewBlocks lets all blocks of two legs differ: the operator hears of the first ones and of their number.
func TestVerifyOfLegsTellsOfFewBlocks(t *testing.T) {
	e := newPrimary(t, 2)
	out := e.Step(0, &Event{Kind: EvCommand, ID: 2, Cmd: CmdVerifyLegs, Value: uint64(RepairByMajority)}, nil)
	notes, last := 0, ""
	for len(out) > 0 {
		a := out[0]
		out = out[1:]
		switch a.Kind {
		case ActLegRead:
			out = append(out, e.Step(0, &Event{Kind: EvLegDone, ID: a.ID, Leg: a.Leg, OK: true, Sum: uint64(a.Leg)}, nil)...)
		case ActNotify:
			last = a.Text
			if strings.HasPrefix(last, "legs differ") {
				notes++
			}
		case ActReply:
			if a.Err != OK {
				t.Fatal(a.Err)
			}
		default:
			t.Errorf("action %d", a.Kind)
		}
	}
	if notes != legNotesMax || last != "verify of the legs: 64 blocks differ, 0 of them repaired" || !e.View().Quiet {
		t.Errorf("%d notes, the last is %q, quiet %v", notes, last, e.View().Quiet)
	}
}

// TestVerifyOfLegsRefuses what it cannot do.
func TestVerifyOfLegsRefuses(t *testing.T) {
	ask := func(e *Engine, ev Event) Err {
		ev.Kind, ev.ID, ev.Cmd = EvCommand, 9, CmdVerifyLegs
		for _, a := range e.Step(0, &ev, nil) {
			if a.Kind == ActReply {
				return a.Err
			}
		}
		return OK
	}
	if err := ask(newPrimary(t, 1), Event{}); err != ErrState {
		t.Errorf("with one leg: %v", err)
	}
	if err := ask(newPrimary(t, 2), Event{Value: uint64(RepairFromLeg), Leg: 2}); err != ErrRange {
		t.Errorf("from a leg that is not there: %v", err)
	}
	if err := ask(newPrimary(t, 2), Event{Value: uint64(RepairFromPeer)}); err != ErrRange {
		t.Errorf("from a peer: %v", err)
	}
	e := newPrimary(t, 2)
	if err := ask(e, Event{}); err != OK {
		t.Errorf("two legs: %v", err)
	}
	if err := ask(e, Event{}); err != ErrState {
		t.Errorf("while one is under way: %v", err)
	}
}

// TestLastLegFailsBeforeTheActivityLog loses the last leg in sync when another one is about to get the activity log: nobody is left
// to write it to, so nobody would answer.
func TestLastLegFailsBeforeTheActivityLog(t *testing.T) {
	e := newPrimary(t, 1)
	e.al.slots[0] = alSlot{extent: 1, hot: true}
	e.rewriteActivityLog(func() {})
	e.legFailed(0)
	e.settle()
	drain(t, e, e.take())
	if e.meta.current != nil || len(e.meta.jobs) != 0 {
		t.Errorf("metadata of no leg is still written: %s", e.Debug())
	}
}
