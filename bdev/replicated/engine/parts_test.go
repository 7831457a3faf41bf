package engine

import "testing"

func TestIntervalLockKeepsOrder(t *testing.T) {
	var l intervalLock
	mk := func(off, n uint64) *op { return &op{off: off, len: uint32(n)} }
	a, b, c, d := mk(0, 10), mk(5, 10), mk(12, 2), mk(100, 1)
	if !l.acquire(a, lockWrite) || l.acquire(b, lockWrite) || l.acquire(c, lockWrite) || !l.acquire(d, lockWrite) {
		t.Fatal("overlap with what is held or waits in front must wait, the rest must not")
	}
	got := l.release(a, nil)
	if len(got) != 1 || got[0] != b {
		t.Fatalf("released to %d operations", len(got))
	}
	if got = l.release(b, nil); len(got) != 1 || got[0] != c {
		t.Fatalf("released to %d operations", len(got))
	}
}

func TestIntervalLockPeersPassOneAnother(t *testing.T) {
	var l intervalLock
	a, b, c := &op{len: 8}, &op{len: 8}, &op{len: 8}
	if !l.acquire(a, lockPeer) || !l.acquire(b, lockPeer) || l.acquire(c, lockCopy) {
		t.Fatal("writes of a peer are ordered by their sender; a copy waits for them")
	}
	l.release(a, nil)
	if got := l.release(b, nil); len(got) != 1 || got[0] != c {
		t.Fatal("the copy goes on when the last one has ended")
	}
}

// TestOnlyCopiesPassAYieldingWrite: a write that has gone out and lacks copies lets copies pass, in front of the writes behind it,
// which stay there.
func TestOnlyCopiesPassAYieldingWrite(t *testing.T) {
	var l intervalLock
	out, waits, copies := &op{len: 8, logged: true}, &op{off: 4, len: 8}, &op{len: 12}
	if !l.acquire(out, lockWrite) || l.acquire(waits, lockWrite) || l.acquire(copies, lockCopy) {
		t.Fatal("something passes a write that has gone out")
	}
	if got := l.yield(out, nil); len(got) != 1 || got[0] != copies {
		t.Fatalf("granted to %d operations", len(got))
	}
	out.logged = false
	l.insist(out) // it goes out again
	if l.mayGoOut(out) || l.acquire(&op{len: 8}, lockCopy) {
		t.Fatal("a write goes out under a copy, or another one passes")
	}
	if got := l.release(copies, nil); len(got) != 0 || !l.mayGoOut(out) {
		t.Fatalf("released to %d operations", len(got))
	}
	if got := l.release(out, nil); len(got) != 1 || got[0] != waits || l.yielding != 0 {
		t.Fatalf("released to %d operations, %d yield", len(got), l.yielding)
	}
}

// TestCopiesPassStalledWrites: a copy does not wait for writes that cannot go out, neither for the one that holds the range nor for
// those behind it; they wait for the copy when they can.
func TestCopiesPassStalledWrites(t *testing.T) {
	var l intervalLock
	holds, waits, out, copies := &op{len: 8}, &op{off: 4, len: 8}, &op{off: 16, len: 8, logged: true}, &op{len: 12}
	late, other := &op{off: 2, len: 2}, &op{off: 16, len: 8}
	if !l.acquire(holds, lockWrite) || l.acquire(waits, lockWrite) || !l.acquire(out, lockWrite) || l.acquire(copies, lockCopy) {
		t.Fatal("a copy passes writes that go on")
	}
	l.stalled, l.passed = true, true
	if got := l.grant(nil); len(got) != 1 || got[0] != copies {
		t.Fatalf("granted to %d operations", len(got))
	}
	if l.acquire(other, lockCopy) {
		t.Fatal("a copy passes a write that has gone out")
	}
	if l.acquire(late, lockWrite) {
		t.Fatal("a write passes another one")
	}
	l.stalled = false
	if l.mayGoOut(holds) || !l.mayGoOut(out) {
		t.Fatal("a write goes out under a copy, or without one does not")
	}
	if got := l.release(copies, nil); len(got) != 0 {
		t.Fatalf("released to %d operations", len(got))
	}
	if !l.mayGoOut(holds) || l.passed {
		t.Fatal("no copy is left")
	}
}

func TestBitmapCountsAndPages(t *testing.T) {
	b := newBitmap(200, 64)
	b.set(60, 70)
	if b.count != 10 || !b.added[0] || !b.added[1] || b.added[2] || b.next(0) != 60 || b.next(65) != 65 || b.next(70) != 200 {
		t.Fatalf("%+v", b)
	}
	b.clear(60, 64)
	if b.count != 6 || !b.removed[0] || b.removed[1] || !b.any(0, 65) || b.any(0, 64) {
		t.Fatalf("%+v", b)
	}
	b.or([]uint64{1, 0, 0, ^uint64(0)})
	if b.count != 15 {
		t.Fatalf("count %d: bits past the end must not count", b.count)
	}
	b.resize(64)
	if b.count != 1 || len(b.added) != 1 {
		t.Fatalf("%+v", b)
	}
}

func TestActivityLogPlanKeepsWhatThePlanNeeds(t *testing.T) {
	al := newActivityLog(2)
	wide, far := &op{off: 0, len: 2}, &op{off: 5, len: 1}
	extents := func(o *op) (uint32, uint32) { return uint32(o.off), uint32(o.off) + o.len - 1 }
	al.waiting = []*op{wide, far}
	if !al.plan(extents) || len(al.pending) != 2 {
		t.Fatalf("pending %v", al.pending)
	}
	al.commit()
	if !al.get(0, 1) {
		t.Fatal("the first in the queue gets its extents")
	}
	al.waiting = []*op{far}
	if al.plan(extents) {
		t.Fatal("extents in use must stay")
	}
	al.put(0, 1)
	if !al.plan(extents) || len(al.evicted) != 1 {
		t.Fatalf("pending %v evicted %v", al.pending, al.evicted)
	}
}

func TestStepWriteDoesNotAllocate(t *testing.T) {
	const shift = 12
	cfg := Config{Size: 64 << shift, Capacity: 64 << shift, ExtentShift: 22, ALSlots: 8, Legs: 1, LegRow: 8, Seed: 1}
	cfg.Rows[0] = RowConfig{Kind: KindPeer, Node: 1, Mode: ModeC}
	cfg.Rows[8].Kind = KindLeg
	md := &Loaded{Up: 1, Super: Super{
		Current: 0x100, Size: 64 << shift, Flags: SuperConsistent | SuperUpToDate | SuperClean, LegGen: 2, Rows: [ReplicasMax]Row{0: {Bitmap: 0x200}},
	}}
	for i := range md.Bitmaps {
		md.Bitmaps[i] = make([]uint64, 1)
	}
	e, out := New(0, cfg, md, nil)
	drain(t, e, out)
	drain(t, e, e.Step(0, &Event{Kind: EvCommand, ID: 1, Cmd: CmdPrimary}, nil))
	if e.View().Role != Primary {
		t.Fatal("not Primary")
	}
	buf := make([]Action, 0, 64)
	write, done := &Event{Kind: EvWrite, ID: 7, Len: 4096}, &Event{Kind: EvLegDone, OK: true}
	round := func() {
		for _, a := range e.Step(0, write, buf[:0]) {
			if a.Kind == ActLegWrite {
				done.ID = a.ID
			}
		}
		e.Step(0, done, buf[:0])
	}
	for _, a := range e.Step(0, write, nil) { // the first one makes its extent hot
		drain(t, e, []Action{a})
	}
	round()
	if n := testing.AllocsPerRun(200, round); n > 0 {
		t.Errorf("a write costs %v allocations", n)
	}
}

// drain answers all local disk actions at once, and returns what has been done.
func drain(t *testing.T, e *Engine, out []Action) (done []Action) {
	t.Helper()
	for len(out) > 0 {
		a := out[0]
		out = out[1:]
		done = append(done, a)
		switch a.Kind {
		case ActLegWrite, ActLegFlush, ActLegRead:
			out = append(out, e.Step(0, &Event{Kind: EvLegDone, ID: a.ID, Leg: a.Leg, OK: true}, nil)...)
		case ActMetaSuper, ActMetaAL, ActMetaBitmap:
			if a.Mask == 0 {
				t.Fatal("metadata for no leg: nobody answers")
			}
			out = append(out, e.Step(0, &Event{Kind: EvMetaDone, OK: true}, nil)...)
		}
	}
	return done
}
