package engine

import "testing"

// TestDisklessPromotionAsksWhetherItsPeersAreEqual: a node without disk is promoted when those that it would read from hold the same.
// What counts is what they answer, not what they said when they connected.
func TestDisklessPromotionAsksWhetherItsPeersAreEqual(t *testing.T) {
	for _, c := range []struct {
		name          string
		disk          Disk
		second        Disk // of the second peer
		hello, answer Doubt
		gen           uint64
		want          Err
	}{
		{"equal", Diskless, UpToDate, Doubt{}, Doubt{}, 0x100, OK},
		{"with a disk of its own", UpToDate, UpToDate, Doubt{}, Doubt{Open: 1 << 2}, 0x100, OK},
		{"in doubt towards the other", Diskless, UpToDate, Doubt{}, Doubt{Open: 1 << 2}, 0x100, ErrConcurrent},
		{"crashed", Diskless, UpToDate, Doubt{}, Doubt{Crashed: 1 << 2}, 0x100, ErrConcurrent},
		{"weak", Diskless, UpToDate, Doubt{}, Doubt{Weak: 1 << 2}, 0x100, ErrConcurrent},
		{"in doubt towards one that is away", Diskless, UpToDate, Doubt{}, Doubt{Open: 1 << 3}, 0x100, OK},
		{"the other is not read from", Diskless, Inconsistent, Doubt{}, Doubt{Open: 1 << 2}, 0x100, OK},
		{"the doubt has ended", Diskless, UpToDate, Doubt{Open: 1 << 2}, Doubt{}, 0x100, OK},
		{"of another generation", Diskless, UpToDate, Doubt{}, Doubt{}, 0x200, ErrConcurrent},
	} {
		e := withPeers(t, 3)
		e.disk = c.disk
		if c.disk == Diskless {
			e.diskFailed()
		}
		for i := range 2 {
			p := &e.peers[i]
			p.up, p.conn, p.disk, p.role, p.gen = true, Connected, UpToDate, Secondary, 0x100
			p.lends = lender{0x100, c.hello}
		}
		e.peers[1].disk = c.second
		e.Step(0, &Event{Kind: EvCommand, ID: 1, Cmd: CmdPrimary}, nil)
		answers := []Msg{{UUID: 0x100, Doubt: c.answer}, {UUID: c.gen}}
		var out []Action
		for i := range answers {
			answers[i].Type, answers[i].Block = MsgStateReply, 1
			out = e.Step(0, &Event{Kind: EvMessage, Peer: i, Msg: &answers[i]}, nil)
		}
		refused := OK
		for _, a := range out {
			if a.Kind == ActReply {
				refused = a.Err
			}
		}
		if refused != c.want || (e.role == Primary) != (c.want == OK) {
			t.Errorf("%s: %v, role %v", c.name, refused, e.role)
		}
	}
}

// TestLenderTellsWhatItsPeersMayLack: a node that is asked by one without disk names the peers that may hold other data. These are those
// it is in doubt of, unless they have been compared since, and all others as long as writes of a Primary are not settled.
func TestLenderTellsWhatItsPeersMayLack(t *testing.T) {
	e := withPeers(t, 3)
	asker, other, third := &e.peers[0], &e.peers[1], &e.peers[2]
	asker.up, asker.conn, asker.disk, asker.role = true, Connected, Diskless, Secondary
	ask := func() Doubt {
		out := e.Step(0, &Event{Kind: EvMessage, Msg: &Msg{Type: MsgStateReq, Count: uint32(CmdPrimary), Block: 7}}, nil)
		for _, a := range out {
			if a.Kind == ActSend && a.Msg.Type == MsgStateReply {
				if a.Msg.UUID != 0x100 {
					t.Errorf("it is of generation %#x", a.Msg.UUID)
				}
				return a.Msg.Doubt
			}
		}
		t.Fatal("no answer")
		return Doubt{}
	}
	if d := ask(); d.about(2) || d.about(3) {
		t.Errorf("doubt %+v without reason", d)
	}
	e.beginDoubt(other.row, RowOpen)
	if d := ask(); !d.about(2) || d.about(3) {
		t.Errorf("doubt %+v instead of that towards node 2", d)
	}
	other.up, other.conn, other.disk, other.role = true, Connected, UpToDate, Secondary
	if d := ask(); d.about(2) {
		t.Errorf("doubt %+v although they have been compared", d)
	}
	third.open = []openWrite{{1, 0, 1 << testShift}}
	if d := ask(); !d.about(2) || d.about(3) {
		t.Errorf("doubt %+v while writes of node 3 are not settled", d)
	}
}
