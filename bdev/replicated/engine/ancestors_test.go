package engine

import "testing"

// TestFollowerKeepsWhatThePrimaryCollectsSince: node 3 is away with a generation since which only the Primary's bitmap collects. A node
// that follows the Primary for longer than a history is knows it still, and so does one in the middle of a resync.
func TestFollowerKeepsWhatThePrimaryCollectsSince(t *testing.T) {
	const away = 0x80
	for _, conn := range []Conn{Connected, SyncTarget} {
		e := withPeers(t, 3)
		p := &e.peers[0]
		p.up, p.conn, p.disk, p.role = true, conn, UpToDate, Primary
		e.super.History = [HistoryLen]uint64{0x90, 0x86, away}
		p.sourceHistory = e.super.History
		if conn == SyncTarget {
			e.disk = Inconsistent
		}
		for i := range uint64(2 * HistoryLen) {
			old := 0x100 + i<<8
			e.onUUIDs(p, &Msg{Type: MsgUUIDs, UUID: old + 0x100, Block: old, Count: 1 << 3, Words: []uint64{away}})
		}
		h, last := e.super.History, uint64(2*HistoryLen)<<8
		if conn == SyncTarget {
			h = p.sourceHistory
		} else if e.super.Current != last+0x100 {
			t.Errorf("current %#x", e.super.Current)
		}
		if h[0] != last || !descendsFrom(GI{History: h}, away) {
			t.Errorf("%v: history %x", conn, h)
		}
	}
}

// TestFormerGenerationsInUse: a Primary says what its bitmaps and those of its followers collect since, and keeps the latter young; the
// name of a resync is not among them. A follower answers what is in use by its own bitmaps only.
func TestFormerGenerationsInUse(t *testing.T) {
	const mine, theirs, name = 0x80, 0x70, 0x90 + syncUUIDOffset
	for _, role := range []Role{Primary, Secondary} {
		e := withPeers(t, 4)
		e.role = role
		p := &e.peers[0]
		p.up, p.conn, p.disk, p.role = true, Connected, UpToDate, Primary+Secondary-role
		e.super.Rows[1].Bitmap, e.super.Rows[2].Bitmap = mine, name
		e.super.History = [HistoryLen]uint64{0x98, 0x96, 0x90, name, mine}
		step, says := &Event{Kind: EvMessage}, MsgUUIDsAck
		if role == Primary {
			p.uuidWait, e.rotating = 1, 1
			e.onUUIDsAck(p, &Msg{Type: MsgUUIDsAck, UUID: 0x100, Words: []uint64{theirs, mine}})
			if h := e.super.History; h[0] != 0x98 || h[1] != 0x96 || !descendsFrom(GI{History: h}, theirs) {
				t.Errorf("history of the Primary %x", h)
			}
			lost := &e.peers[3]
			lost.up, lost.conn, lost.disk, lost.role = true, Connected, UpToDate, Secondary
			step, says = &Event{Kind: EvLinkDown, Peer: 3}, MsgUUIDs
		} else {
			step.Msg = &Msg{Type: MsgUUIDs, UUID: 0x200, Block: 0x100, Count: 1 << 4, Words: []uint64{theirs}}
		}
		var sent []uint64
		for _, a := range drain(t, e, e.Step(0, step, nil)) {
			if a.Kind == ActSend && a.Msg.Type == says {
				sent = a.Msg.Words
			}
		}
		has := map[uint64]bool{}
		for _, former := range sent {
			has[former] = true
		}
		if !has[mine] || has[theirs] != (role == Primary) || has[name] {
			t.Errorf("%v says %x", role, sent)
		}
	}
}
