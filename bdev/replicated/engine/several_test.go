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

// TestGenerationsAreToldOneByOne: a Primary loses two peers one right after the other. The third hears of both generations, with
// the names of those who are left out of each.
func TestGenerationsAreToldOneByOne(t *testing.T) {
	e := withPeers(t, 3)
	e.role = Primary
	for i := range 3 {
		p := &e.peers[i]
		p.up, p.conn, p.disk, p.role, p.gen = true, Connected, UpToDate, Secondary, 0x100
	}
	out := e.Step(0, &Event{Kind: EvLinkDown, Peer: 0}, nil)
	out = append(out, e.Step(0, &Event{Kind: EvLinkDown, Peer: 1}, nil)...)
	at := uint64(0x100)
	var names uint32
	for len(out) > 0 {
		a := out[0]
		out = out[1:]
		switch {
		case a.Kind == ActMetaSuper:
			out = append(out, e.Step(0, &Event{Kind: EvMetaDone, OK: true}, nil)...)
		case a.Kind == ActSend && a.Peer == 2 && a.Msg.Type == MsgUUIDs:
			if a.Msg.Block&uuidMask != at {
				t.Errorf("%#x follows %#x, where the peer has %#x", a.Msg.UUID, a.Msg.Block, at)
			}
			at = a.Msg.UUID & uuidMask
			names |= a.Msg.Count
		}
	}
	if at != e.super.Current&uuidMask || names != 1<<1|1<<2 {
		t.Errorf("the peer has %#x of %#x and left-out nodes %b", at, e.super.Current, names)
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

// TestResyncWaitsForALentGeneration: a Primary that is a target has lent its source a generation. It ends in that one.
func TestResyncWaitsForALentGeneration(t *testing.T) {
	e := withPeers(t, 2)
	p := &e.peers[0]
	p.up, p.link, p.conn, p.disk, p.gen, p.told = true, 1, SyncTarget, UpToDate, 0x200, 0x300
	p.uuidWait, e.rotating = 1, 1
	e.role, e.disk = Primary, Inconsistent
	e.pullMore(p)
	if p.sync.finishing {
		t.Error("the resync ends in the generation before")
	}
	drain(t, e, e.Step(0, &Event{Kind: EvMessage, Msg: &Msg{Type: MsgUUIDsAck, UUID: 0x300}}, nil))
	if p.conn != Connected || e.super.Current&uuidMask != 0x300 {
		t.Errorf("the link is %v, the generation %#x", p.conn, e.super.Current)
	}
}

// TestGenerationAfterAnother: a new generation follows the one that a node has. What follows another one is compared.
func TestGenerationAfterAnother(t *testing.T) {
	for _, c := range []struct {
		old, young, want uint64
		conn             Conn
	}{{0x100, 0x200, 0x200, Connected}, {0x80, 0x200, 0x100, WFConnection}, {0x80, 0x100, 0x100, Connected}} {
		e := withPeers(t, 2)
		p := &e.peers[0]
		p.up, p.conn, p.disk, p.role = true, Connected, UpToDate, Primary
		e.onUUIDs(p, &Msg{Type: MsgUUIDs, UUID: c.young, Block: c.old, Count: 1 << 2})
		if e.super.Current != c.want || p.conn != c.conn {
			t.Errorf("%#x after %#x: the link is %v, the generation %#x", c.young, c.old, p.conn, e.super.Current)
		}
	}
}

// TestGenerationOfALostPeer: what a peer had when its connection ended says nothing about what is marked for it here, once this
// node has taken over the data of another.
func TestGenerationOfALostPeer(t *testing.T) {
	e := withPeers(t, 2)
	p := &e.peers[0]
	p.up, p.conn, p.disk, p.role, p.gen = true, Connected, UpToDate, Secondary, 0x100
	drain(t, e, e.Step(0, &Event{Kind: EvLinkDown, Peer: 0}, nil))
	e.super.Current, e.role = 0x200, Primary
	e.rotate()
	if b := e.super.Rows[0].Bitmap; b != 0x200 {
		t.Errorf("changes count as collected since %#x", b)
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

// TestLeftOutDoesNotFollow: a Primary has taken over the data of this node, and has gone Ahead before this node saw the end of that
// resync. The generation that it began then is without this node: as one of that generation it would be taken for equal. One that
// is without a third node is followed.
func TestLeftOutDoesNotFollow(t *testing.T) {
	for _, c := range []struct {
		peers   int
		without uint32
		follows bool
	}{{1, 1 << 0, false}, {2, 1 << 0, false}, {2, 1<<0 | 1<<2, false}, {2, 1 << 2, true}} {
		e := withPeers(t, c.peers)
		p := &e.peers[0]
		p.up, p.conn, p.disk, p.role, p.gen = true, SyncSource, Inconsistent, Secondary, 0x80
		e.super.Rows[0].Bitmap = 0x80
		e.onState(p, &Msg{Type: MsgState, State: PeerState{Role: Primary, Disk: UpToDate, Conn: Ahead}})
		e.onUUIDs(p, &Msg{Type: MsgUUIDs, UUID: 0x301, Block: 0x101, Count: c.without})
		if follows := e.super.Current == 0x300; follows != c.follows || p.up != c.follows {
			t.Errorf("a generation without %b: current %#x, connected %v", c.without, e.super.Current, p.up)
		}
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

// TestCopyOnLostDisks: what was written to disks that are gone is no copy.
func TestCopyOnLostDisks(t *testing.T) {
	e := withPeers(t, 2)
	o := e.newOp(opWrite)
	o.localDone, o.localOK = true, true
	if !e.localCounts(o) {
		t.Error("the copy on a good disk does not count")
	}
	e.diskFailed()
	if e.localCounts(o) {
		t.Error("the copy on a lost disk counts")
	}
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

// TestSecondCopyOnALostPeer: two copies are asked for, and the peer that has the write is lost before the other has it. Only that
// other makes it two again: the lost one may have lost it, too.
func TestSecondCopyOnALostPeer(t *testing.T) {
	e := withPeers(t, 2)
	e.cfg.MinAcks = 2
	e.role = Primary
	for i := range 2 {
		p := &e.peers[i]
		p.up, p.conn, p.disk, p.role, p.gen = true, Connected, UpToDate, Secondary, 0x100
	}
	o := e.newOp(opWrite)
	o.off, o.len, o.epoch = 0, 1<<testShift, e.epoch
	o.ackWait, o.barWait = 0b11, 0b11
	e.logAppend(o)
	o.localDone, o.localOK = true, true
	e.ackedBy(o, &e.peers[0])
	if n := e.copies(o); n != 2 {
		t.Fatalf("%d copies here and on the peer", n)
	}
	e.linkLost(&e.peers[0], NetworkFailure)
	if n := e.copies(o); n != 1 {
		t.Errorf("%d copies after the peer is lost", n)
	}
	e.ackedBy(o, &e.peers[1])
	if n := e.copies(o); n != 2 {
		t.Errorf("%d copies with the other peer's", n)
	}
}

// TestResentWriteKeepsItsPlace: a Primary without disk sends a write to a peer whose disk has just failed, so that the copy there does
// not count, and then loses the peer. A later write of the same block has waited for it all the time, goes out after it and
// is not overwritten by it.
func TestResentWriteKeepsItsPlace(t *testing.T) {
	e := withPeers(t, 1)
	e.role, e.open, e.disk, e.cfg.OnNoData = Primary, true, Diskless, SuspendIO
	p := &e.peers[0]
	connect := func() {
		p.up, p.conn, p.disk, p.role, p.gen = true, Connected, UpToDate, Secondary, e.super.Current
	}
	sent := func(out []Action) (ids, data []uint64) {
		for _, a := range out {
			if a.Kind == ActSend && a.Msg.Type == MsgData {
				ids, data = append(ids, a.Msg.Block), append(data, a.Msg.Data.(uint64))
			}
		}
		return ids, data
	}
	write := func(n uint64) []Action {
		return e.Step(0, &Event{Kind: EvWrite, ID: n, Len: 1 << testShift, Data: n}, nil)
	}
	connect()
	ids, _ := sent(write(1))
	if _, data := sent(write(2)); len(ids) != 1 || len(data) != 0 {
		t.Fatalf("%d writes went out, then %v", len(ids), data)
	}
	p.disk = Diskless
	e.Step(0, &Event{Kind: EvMessage, Msg: &Msg{Type: MsgWriteAck, Block: ids[0], Len: 1 << testShift}}, nil)
	e.Step(0, &Event{Kind: EvLinkDown}, nil)
	connect()
	ids, data := sent(e.Step(0, &Event{Kind: EvTick}, nil))
	if len(data) != 1 || data[0] != 1 {
		t.Fatalf("writes %v go out again", data)
	}
	out := e.Step(0, &Event{Kind: EvMessage, Msg: &Msg{Type: MsgWriteAck, Block: ids[0], Len: 1 << testShift}}, nil)
	if _, data = sent(out); len(data) != 1 || data[0] != 2 {
		t.Errorf("writes %v follow", data)
	}
}

// TestTargetSendsAgain: a Primary in the middle of a resync loses its source, which has a write that is not acknowledged yet. The source
// may come back without it and overwrite it here, so it is sent again; one on good disks is here, and waits for its second copy.
func TestTargetSendsAgain(t *testing.T) {
	for _, c := range []struct {
		disk  Disk
		again bool
	}{{Inconsistent, true}, {UpToDate, false}} {
		e := withPeers(t, 1)
		e.cfg.MinAcks = 2
		e.role, e.disk = Primary, c.disk
		p := &e.peers[0]
		p.up, p.conn, p.disk, p.gen = true, SyncTarget, UpToDate, 0x100
		o := e.newOp(opWrite)
		o.off, o.len, o.epoch, o.barWait = 0, 1<<testShift, e.epoch, p.bit()
		e.lockRange(o, lockWrite)
		e.logAppend(o)
		o.localDone, o.localOK = true, true
		e.ackedBy(o, p)
		e.suspended = true
		e.Step(0, &Event{Kind: EvLinkDown, Peer: 0}, nil)
		if again := !o.logged; again != c.again || o.completed {
			t.Errorf("%v: sent again %v, completed %v", c.disk, again, o.completed)
		}
	}
}

// TestPrimaryThatWasATargetBeginsAGeneration: a Primary has taken over data and generation of node 1, as node 2 had before. It has been
// collecting changes for node 2 since an earlier generation. Its first write without node 2 begins another one, and when node 1 says after
// that write that the two are equal, which they were at the end of the resync, what is marked for node 2 stays.
func TestPrimaryThatWasATargetBeginsAGeneration(t *testing.T) {
	e := withPeers(t, 2)
	source, away := &e.peers[0], &e.peers[1]
	e.role, e.open = Primary, true
	source.up, source.conn, source.disk, source.role, source.gen = true, SyncTarget, UpToDate, Secondary, 0x200
	source.sourceHistory[0] = 0x80
	e.disk = Inconsistent
	e.super.Rows[source.row] = Row{Bitmap: 0x100, Flags: RowSource}
	e.super.Rows[away.row].Bitmap = 0x80
	e.targetIsEqual(source, source.link)
	drain(t, e, e.Step(0, &Event{Kind: EvTick}, nil))
	if e.disk != UpToDate || e.super.Current&uuidMask != 0x200 {
		t.Fatalf("the disk is %v, of generation %#x", e.disk, e.super.Current)
	}

	drain(t, e, e.Step(0, &Event{Kind: EvWrite, ID: 1, Len: 1 << testShift, Data: uint64(1)}, nil))
	young := e.super.Current
	drain(t, e, e.Step(0, &Event{Kind: EvMessage, Msg: &Msg{Type: MsgUUIDsAck, UUID: young}}, nil))
	drain(t, e, e.Step(0, &Event{Kind: EvMessage, Msg: &Msg{Type: MsgInSync, Count: 2, UUID: 0x200}}, nil))
	if young&uuidMask == 0x200 || !descendsFrom(e.super.GI(away.row), 0x200) {
		t.Errorf("it writes in generation %#x after %#x", young, e.super.History[:2])
	}
	if b := e.super.Rows[away.row].Bitmap; b != 0x80 || !e.bits[away.row].test(0) {
		t.Errorf("since %#x, the write is marked for the node without which it went out: %v", b, e.bits[away.row].test(0))
	}
}

// TestResyncEndsInTheYoungestGeneration: the source begins another generation while the end of the resync becomes durable. The target ends
// in that one: in the one before, it would take the source's for a former one as soon as it hears its history.
func TestResyncEndsInTheYoungestGeneration(t *testing.T) {
	e := withPeers(t, 2)
	source := &e.peers[0]
	source.up, source.conn, source.disk, source.role, source.gen = true, SyncTarget, UpToDate, Primary, 0x200
	e.disk = Inconsistent
	e.super.Rows[source.row] = Row{Bitmap: 0x100, Flags: RowSource}
	e.targetIsEqual(source, source.link)
	out := e.Step(0, &Event{Kind: EvTick}, nil)
	drain(t, e, e.Step(0, &Event{Kind: EvMessage, Msg: &Msg{Type: MsgUUIDs, UUID: 0x301, Block: 0x201, Count: 1 << 2}}, out))
	if source.conn != Connected || e.disk != UpToDate || e.super.Current&uuidMask != 0x300 || !descendsFrom(e.super.GI(0), 0x200) {
		t.Errorf("the link is %v, the disk %v, of generation %#x after %#x", source.conn, e.disk, e.super.Current, e.super.History[:2])
	}
}
