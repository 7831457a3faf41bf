package engine

import "testing"

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
