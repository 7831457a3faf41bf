package engine

import "testing"

// sourceAtEnd is a node, of two, whose peer has asked for the last block of a resync from here.
func sourceAtEnd(t *testing.T) (*Engine, *peer) {
	e := withPeers(t, 1)
	p := &e.peers[0]
	p.up, p.conn, p.disk, p.role, p.gen = true, SyncSource, Inconsistent, Secondary, 0x80
	p.sync.asked = true
	e.super.Rows[0] = Row{Bitmap: 0x80, Flags: RowEnding}
	e.super.History[0], e.super.History[1] = 0x70, 0x60
	return e, p
}

// TestEndOfResyncUnheard: a link breaks during a resync. If the target may have all data, it may have written that down and be of the
// source's generation, so that no write may be acknowledged alone in it. If it lacks something, it is still known by the
// name of the resync, and the generation goes on.
func TestEndOfResyncUnheard(t *testing.T) {
	for _, c := range []struct {
		name   string
		before func(*Engine, *peer)
		ended  bool
	}{
		{"everything is confirmed", func(*Engine, *peer) {}, true},
		{"a block was not sent", func(e *Engine, _ *peer) { e.bits[0].set(5, 6) }, false},
		{"a block is being read", func(e *Engine, p *peer) { serving(e, p, 0) }, false},
		{"a block was sent", func(e *Engine, p *peer) { serving(e, p, 1) }, true},
		{"a block was sent, another was not", func(e *Engine, p *peer) { serving(e, p, 1); e.bits[0].set(6, 7) }, false},
		{"nobody has asked", func(e *Engine, p *peer) { e.bits[0].set(5, 6); p.sync.asked = false }, true},
	} {
		for _, role := range []Role{Primary, Secondary} {
			e, p := sourceAtEnd(t)
			e.role = role
			c.before(e, p)
			marked := e.bits[0].count
			drain(t, e, e.Step(0, &Event{Kind: EvLinkDown, Peer: 0}, nil))
			if e.bits[0].count != marked {
				t.Fatalf("%s: %d blocks are marked, not %d", c.name, e.bits[0].count, marked)
			}
			if role == Secondary { // it writes nothing before it is promoted
				if e.super.Current != 0x100 {
					t.Errorf("%s: a Secondary has begun generation %#x", c.name, e.super.Current)
				}
				drain(t, e, e.Step(0, &Event{Kind: EvCommand, ID: 1, Cmd: CmdPrimary}, nil))
			}
			young := e.super.Current&uuidMask != 0x100
			if young != c.ended || e.role != Primary {
				t.Errorf("%s, %v: it is %v in generation %#x", c.name, role, e.role, e.super.Current)
			}
			if e.super.Rows[0].Flags&RowEnding != 0 || e.needsGeneration(0) {
				t.Errorf("%s, %v: it needs another generation", c.name, role)
			}
			if c.ended {
				wantFound(t, c.name, GI{Current: e.super.Current, Bitmap: e.super.Rows[0].Bitmap, History: e.super.History})
			}
		}
	}
}

// serving is the answer to a request for block 5, at a stage.
func serving(e *Engine, p *peer, stage uint8) {
	e.bits[0].set(5, 6)
	o := e.newOp(opServe)
	o.peer, o.link, o.off, o.len = p.row, p.link, 5<<testShift, 1<<testShift
	o.stage = stage
	p.active++
	p.sync.serves = append(p.sync.serves, o)
}

// wantFound checks what a source in a new generation finds when it meets the target again.
func wantFound(t *testing.T, name string, source GI) {
	for _, c := range []struct {
		says   string
		target GI
		want   Verdict
	}{
		{"in the middle", GI{Current: 0x80}, 1},
		{"has ended", GI{Current: 0x100, History: [HistoryLen]uint64{0x80, 0x70}}, 2},
		{"has ended and was promoted", GI{Current: 0x501, Bitmap: 0x101, History: [HistoryLen]uint64{0x80}}, SplitBrain},
	} {
		r := compare(&compareInput{mine: source, peer: c.target, historyLen: HistoryLen})
		if r.Verdict != c.want {
			t.Errorf("%s: the target %s: %d by rule %d", name, c.says, r.Verdict, r.Number)
		}
		r = compare(&compareInput{mine: c.target, peer: source, historyLen: HistoryLen})
		if back := c.want; r.Verdict != back && r.Verdict != -back {
			t.Errorf("%s: the target %s: seen from there %d by rule %d", name, c.says, r.Verdict, r.Number)
		}
	}
}

// TestStartOfResyncUnheard: the target never heard of the resync, and the source has begun a generation since. What is marked is
// still enough.
func TestStartOfResyncUnheard(t *testing.T) {
	e, p := sourceAtEnd(t)
	e.role, p.sync.asked = Primary, false
	e.super.Rows[0].Bitmap = 0x70 + syncUUIDOffset
	drain(t, e, e.Step(0, &Event{Kind: EvLinkDown, Peer: 0}, nil))
	r := compare(&compareInput{mine: e.super.GI(0), peer: GI{Current: 0x70}, historyLen: HistoryLen})
	if e.super.Current&uuidMask == 0x100 || r.Number != 71 {
		t.Errorf("generation %#x, %d by rule %d", e.super.Current, r.Verdict, r.Number)
	}
}

// TestDisklessPrimaryAfterUnheardEnd: the target has become Primary without its disk, which may hold this generation. It misses all
// that is written here from now on.
func TestDisklessPrimaryAfterUnheardEnd(t *testing.T) {
	e, p := sourceAtEnd(t)
	p.conn, p.disk, p.role, p.gen = Connected, Diskless, Primary, 0
	e.collectForDiskless(p)
	if e.super.Current == 0x100 || e.super.Rows[0].Bitmap != 0x80 || !descendsFrom(e.super.GI(0), 0x100) {
		t.Errorf("generation %#x, changes are collected since %#x", e.super.Current, e.super.Rows[0].Bitmap)
	}
}
