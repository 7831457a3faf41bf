package engine

import "testing"

// withPeers is a node with good data of generation 0x100 and peers from row 0 on, with no connection yet.
func withPeers(t *testing.T, peers int) *Engine {
	cfg := Config{Size: 64 << testShift, Capacity: 64 << testShift, ExtentShift: 22, ALSlots: 8, Legs: 1, LegRow: 8, Seed: 1}
	md := &Loaded{Super: Super{Current: 0x100, Size: 64 << testShift, Flags: SuperConsistent | SuperUpToDate | SuperClean}, Up: legBit(0)}
	cfg.Rows[8].Kind = KindLeg
	for i := range peers {
		cfg.Rows[i] = RowConfig{Kind: KindPeer, Node: i + 1, Mode: ModeC}
	}
	for i := range md.Bitmaps {
		md.Bitmaps[i] = make([]uint64, 1)
	}
	e, out := New(0, cfg, md, nil)
	drain(t, e, out)
	e.out = nil
	return e
}

// TestLostPrimaryIsNotConfirmedInSync: node 2 says that it and node 1 are equal. A node that still takes node 1 for a connected
// Primary has yet to notice its end and what only it may have of node 1's last writes; any other confirms.
func TestLostPrimaryIsNotConfirmedInSync(t *testing.T) {
	for _, c := range []struct {
		role Role
		conn Conn
		want bool
	}{{Primary, Connected, false}, {Secondary, Connected, true}, {RoleUnknown, WFConnection, true}} {
		e := withPeers(t, 2)
		named, sender := &e.peers[0], &e.peers[1]
		named.conn, named.role = c.conn, c.role
		sender.up, sender.conn, sender.disk, sender.role = true, Connected, UpToDate, Secondary
		e.out = nil
		e.onInSync(sender, &Msg{Type: MsgInSync, Count: 1, UUID: 0x100, Block: 1})
		confirmed := false
		for _, a := range e.out {
			confirmed = confirmed || a.Kind == ActSend && a.Msg.Type == MsgInSyncAck
		}
		if confirmed != c.want {
			t.Errorf("node 1 is %v and %v here: confirmed %v", c.role, c.conn, confirmed)
		}
	}
}

// TestForeignBitmapIsOfThisGeneration: what was collected since a generation that this node does not descend from any more is
// still collected. Forgotten, it would let a peer of the same generation be taken for equal.
func TestForeignBitmapIsOfThisGeneration(t *testing.T) {
	e := withPeers(t, 2)
	e.super.History[0] = 0x80
	e.super.Rows[0].Bitmap, e.super.Rows[1].Bitmap = 0x66, 0x80
	e.dropForeignBitmaps(nil)
	if b := e.super.Rows[0].Bitmap; b != 0x100 {
		t.Errorf("the foreign one is %#x, not the current one", b)
	}
	if b := e.super.Rows[1].Bitmap; b != 0x80 {
		t.Errorf("the former one is %#x", b)
	}
	if descendsFrom(GI{History: e.super.History}, 0x66) {
		t.Error("a generation that the source does not descend from counts as a former one")
	}
	e.super.History[1], e.super.Rows[0].Bitmap = 0x70, 0x66
	e.dropForeignBitmaps(&[HistoryLen]uint64{0x60})
	if h := e.super.History; h[0] != 0x80 || h[1] != 0x70 || h[2] != 0x66 {
		t.Errorf("history %x: the source descends from 66", h)
	}
}

// TestFencedDataIsNobodysSource: a Primary was fenced with writes on its disk that must not be kept, when it had just agreed to be
// the source of a peer.
func TestFencedDataIsNobodysSource(t *testing.T) {
	e := withPeers(t, 2)
	p := &e.peers[0]
	p.up, p.conn, p.disk, p.role = true, WFBitMapS, Inconsistent, Secondary
	e.role, e.fencedOut, e.fencedLoss = Primary, true, true
	e.leaveFenced()
	if e.disk != Inconsistent || p.conn >= Connected {
		t.Errorf("the disk is %v and the link %v", e.disk, p.conn)
	}
}

// TestGrowthOfAShortBlock: the last block was not a whole one, and the rest of it is new.
func TestGrowthOfAShortBlock(t *testing.T) {
	e := withPeers(t, 2)
	e.resize(62<<testShift+512, true)
	e.resize(64<<testShift, false)
	for b, want := range map[uint64]bool{61: false, 62: true, 63: true} {
		if got := e.bits[0].test(b); got != want {
			t.Errorf("block %d is marked: %v", b, got)
		}
	}
}

// TestRefusedWriteKeepsTheResync: a target refuses a mirrored write of an old fencing epoch. Its resync has not copied that.
func TestRefusedWriteKeepsTheResync(t *testing.T) {
	e := withPeers(t, 2)
	p := &e.peers[0]
	p.up, p.conn, p.disk, p.role = true, SyncTarget, UpToDate, Primary
	e.disk, e.super.Fence = Inconsistent, 2
	e.onData(p, &Msg{Type: MsgData, Off: 5 << testShift, Len: 1 << testShift, Fence: 1})
	if !e.bits[0].test(5) {
		t.Error("the resync may end without the write")
	}
}

// TestEvictedOpenWriteIsRemembered: writes of a Primary leave the activity log one after the other. One that the Primary has not called
// settled is marked for the third node, and that is on disk before the log forgets it; one that is settled is not marked.
func TestEvictedOpenWriteIsRemembered(t *testing.T) {
	e := withPeers(t, 2)
	e.cfg.ExtentShift, e.al = testShift+2, newActivityLog(1)
	p := &e.peers[0]
	p.up, p.conn, p.disk, p.role = true, Connected, Diskless, Primary
	step := func(m *Msg) { // performs what follows, and looks at the third node's page when an extent leaves
		out := e.Step(0, &Event{Kind: EvMessage, Peer: 0, Msg: m}, nil)
		onDisk := uint64(0)
		for len(out) > 0 {
			a := out[0]
			out = out[1:]
			done := Event{Kind: EvMetaDone, OK: true}
			switch a.Kind {
			case ActLegWrite, ActLegFlush:
				done = Event{Kind: EvLegDone, ID: a.ID, Leg: a.Leg, OK: true}
			case ActMetaBitmap:
				if a.Peer == 1 {
					onDisk = a.Words[0]
				}
			case ActMetaAL:
				if a.AL[0].Extent == 1 && onDisk != 1<<2 {
					t.Errorf("extent 0 leaves the log with %#x on disk", onDisk)
				}
			case ActMetaSuper:
			default:
				continue
			}
			out = append(out, e.Step(0, &done, nil)...)
		}
	}
	step(&Msg{Type: MsgData, Block: 1, Off: 2 << testShift, Len: 1 << testShift, Epoch: 1})
	if e.bits[1].count != 0 {
		t.Fatal("what the log knows is marked, too")
	}
	step(&Msg{Type: MsgData, Block: 2, Off: 5 << testShift, Len: 1 << testShift, Epoch: 2})
	step(&Msg{Type: MsgSettled, Epoch: 2})
	step(&Msg{Type: MsgData, Block: 3, Off: 9 << testShift, Len: 1 << testShift, Epoch: 3})
	if b := e.bits[1]; !b.test(2) || b.count != 1 {
		t.Errorf("%d blocks are marked, the first one %v", b.count, b.test(2))
	}
	if _, ok := e.al.index[2]; !ok || len(p.open) != 1 {
		t.Error("the log has not moved on, or a settled write is still open")
	}
}

// TestWhoFellBehindRemembers: a peer that is behind does not follow the generations of the Primary. It hears what another peer has
// missed, and is told that its own writes are settled when it has been resynced.
func TestWhoFellBehindRemembers(t *testing.T) {
	e := withPeers(t, 2)
	e.role = Primary
	for i, c := range []Conn{Ahead, Connected} {
		p := &e.peers[i]
		p.up, p.conn, p.disk, p.role, p.gen = true, c, UpToDate, Secondary, 0x100
	}
	missed := e.newOp(opWrite)
	missed.off, missed.len = 3<<testShift, 1<<testShift
	e.tellOthersMissed(&e.peers[1], missed)
	e.epoch = 8
	e.tellSettled()
	if n := sentTo(e, 0, MsgPeerOOS); n != 1 {
		t.Errorf("it hears %d times of what the other missed", n)
	}
	if n := sentTo(e, 0, MsgSettled); n != 0 {
		t.Errorf("it is told %d times to forget while it is behind", n)
	}
	e.peers[0].conn, e.out = SyncSource, nil
	e.onSyncDone(&e.peers[0], nil)
	if n := sentTo(e, 0, MsgSettled); n != 1 {
		t.Errorf("it is told %d times to forget after its resync", n)
	}
}

// sentTo counts the messages of a type to a peer.
func sentTo(e *Engine, row int, m MsgType) (n int) {
	for _, a := range e.out {
		if a.Kind == ActSend && a.Peer == row && a.Msg.Type == m {
			n++
		}
	}
	return n
}

// TestPrimaryDoesNotGoBack: a Primary that was taking over data of generation 0x300 has shown these. It may go on from whoever has
// them or descends from them, and from nobody else.
func TestPrimaryDoesNotGoBack(t *testing.T) {
	e := withPeers(t, 2)
	e.role, e.disk = Primary, Inconsistent
	p := &e.peers[0]
	p.up, p.conn, p.disk, p.gen = true, SyncTarget, UpToDate, 0x300
	e.linkLost(p, NetworkFailure)
	var h Hello
	e.describe(&e.peers[1], &h)
	if h.Shown != 0x300 {
		t.Fatalf("it says that it has shown generation %#x", h.Shown)
	}
	for _, c := range []struct {
		gi   GI
		disk Disk
		want bool
	}{
		{GI{Current: 0x301}, UpToDate, false},
		{GI{Current: 0x400, History: [HistoryLen]uint64{0x300}}, UpToDate, false},
		{GI{Current: 0x100}, UpToDate, true},
		{GI{Current: 0x100}, Inconsistent, false},
	} {
		if got := goesBack(&h, &Hello{GI: c.gi, State: PeerState{Disk: c.disk}}); got != c.want {
			t.Errorf("to %v of generation %#x: %v", c.disk, c.gi.Current, got)
		}
	}
	e.role = Secondary
	h = Hello{}
	if e.describe(&e.peers[1], &h); h.Shown != 0 {
		t.Error("a Secondary has shown something")
	}
}

// TestOnlyAPrimaryResizes: a generation that a Secondary begins would compete with the writes of whoever is promoted without having
// heard of it.
func TestOnlyAPrimaryResizes(t *testing.T) {
	for _, c := range []struct {
		role Role
		want Err
	}{{Secondary, ErrState}, {Primary, OK}} {
		e := withPeers(t, 1)
		p := &e.peers[0]
		p.up, p.conn, p.disk, p.role = true, Connected, UpToDate, Secondary
		e.role = c.role
		if got := e.mayResize(32 << testShift); got != c.want {
			t.Errorf("%v resizes: %v", c.role, got)
		}
		out := e.Step(0, &Event{Kind: EvCommand, ID: 1, Cmd: CmdResize, Value: 32 << testShift}, nil)
		asked := false
		for _, a := range out {
			asked = asked || a.Kind == ActSend && a.Msg.Type == MsgStateReq
		}
		if asked != (c.want == OK) || e.super.Current != 0x100 {
			t.Errorf("%v: the peer is asked: %v, generation %#x", c.role, asked, e.super.Current)
		}
	}
}
