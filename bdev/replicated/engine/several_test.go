package engine

import "testing"

// TestLostPrimaryIsNotConfirmedInSync: node 2 says that it and node 1 are equal. A node that still takes node 1 for a connected
// Primary has yet to notice its end and what only it may have of node 1's last writes; any other confirms.
func TestLostPrimaryIsNotConfirmedInSync(t *testing.T) {
	for _, c := range []struct {
		role Role
		conn Conn
		want bool
	}{{Primary, Connected, false}, {Secondary, Connected, true}, {RoleUnknown, WFConnection, true}} {
		cfg := Config{Size: 64 << testShift, Capacity: 64 << testShift, ExtentShift: 22, ALSlots: 8, Legs: 1, LegRow: 8, Seed: 1}
		md := &Loaded{Super: Super{Current: 0x100, Size: 64 << testShift, Flags: SuperConsistent | SuperUpToDate | SuperClean}, Up: legBit(0)}
		cfg.Rows[8].Kind = KindLeg
		for i := range 2 {
			cfg.Rows[i] = RowConfig{Kind: KindPeer, Node: i + 1, Mode: ModeC}
		}
		for i := range md.Bitmaps {
			md.Bitmaps[i] = make([]uint64, 1)
		}
		e, out := New(0, cfg, md, nil)
		drain(t, e, out)
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
