package engine

import "testing"

func TestSplitBrainPolicies(t *testing.T) {
	more := conflict{mineChanges: 5, peerChanges: 3}
	none := conflict{mineChanges: 0, peerChanges: 3}
	older := conflict{mineWasPrimary: true, mineChanges: 1, peerChanges: 9}
	with := func(c conflict, mine, peer bool) conflict { c.minePrimary, c.peerPrimary = mine, peer; return c }
	tied := conflict{tieBreaker: true}
	cases := []struct {
		name      string
		primaries int
		policies  [3]Policy
		c         conflict
		want      Verdict
	}{
		{"0pri disconnect", 0, [3]Policy{}, more, 0},
		{"0pri younger: I was Primary first", 0, [3]Policy{DiscardYoungerPrimary}, older, 1},
		{"0pri older: I was Primary first", 0, [3]Policy{DiscardOlderPrimary}, older, -1},
		{"0pri younger: no difference", 0, [3]Policy{DiscardYoungerPrimary}, more, 1},
		{"0pri zero changes: mine", 0, [3]Policy{DiscardZeroChanges}, none, -1},
		{"0pri zero changes: both changed", 0, [3]Policy{DiscardZeroChanges}, more, 0},
		{"0pri zero changes: nobody changed", 0, [3]Policy{DiscardZeroChanges}, tied, -1},
		{"0pri least changes", 0, [3]Policy{DiscardLeastChanges}, more, 1},
		{"0pri local", 0, [3]Policy{DiscardLocal}, more, -1},
		{"0pri remote", 0, [3]Policy{DiscardRemote}, more, 1},
		{"1pri disconnect", 1, [3]Policy{DiscardRemote}, with(more, true, false), 0},
		{"1pri discard secondary: me", 1, [3]Policy{0, DiscardSecondary}, with(more, false, true), -1},
		{"1pri discard secondary: peer", 1, [3]Policy{0, DiscardSecondary}, with(more, true, false), 1},
		{"1pri consensus agrees", 1, [3]Policy{DiscardLeastChanges, Consensus}, with(more, true, false), 1},
		{"1pri consensus disagrees", 1, [3]Policy{DiscardLeastChanges, Consensus}, with(more, false, true), 0},
		{"1pri violently", 1, [3]Policy{DiscardLeastChanges, ViolentlyAs0p}, with(more, false, true), 1},
		{"1pri call", 1, [3]Policy{DiscardLeastChanges, CallPriLost}, with(more, false, true), 1},
		{"2pri disconnect", 2, [3]Policy{DiscardLocal}, with(more, true, true), 0},
		{"2pri violently", 2, [3]Policy{DiscardLocal, 0, ViolentlyAs0p}, with(more, true, true), -1},
		{"2pri call", 2, [3]Policy{DiscardLocal, 0, CallPriLost}, with(more, true, true), -1},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			if v := resolve(c.primaries, &c.policies, &c.c); v != c.want {
				t.Errorf("%d, want %d", v, c.want)
			}
			m := c.c
			m.minePrimary, m.peerPrimary = m.peerPrimary, m.minePrimary
			m.mineWasPrimary, m.peerWasPrimary = m.peerWasPrimary, m.mineWasPrimary
			m.mineChanges, m.peerChanges, m.tieBreaker = m.peerChanges, m.mineChanges, !m.tieBreaker
			p := swapped(c.policies)
			if v := resolve(c.primaries, &p, &m); v != -c.want {
				t.Errorf("the other side says %d, want %d", v, -c.want)
			}
		})
	}
}

// TestOlderPrimary: of two sides that part, the one on which a Primary goes on is the older one, and so is who follows it. A node that is
// promoted for that ends a generation which has not seen it as Primary.
func TestOlderPrimary(t *testing.T) {
	connect := func(p *peer, role Role) {
		p.up, p.conn, p.disk, p.role, p.gen = true, Connected, UpToDate, role, 0x100
	}
	for _, peers := range []int{1, 2} {
		e := withPeers(t, peers)
		drain(t, e, e.Step(0, &Event{Kind: EvCommand, ID: 1, Cmd: CmdPrimary}, nil))
		if b := e.super.Rows[0].Bitmap; b != 0x100 || e.super.Current&uuidPrimary == 0 {
			t.Errorf("%d peers: promoted to %#x, which parts from %#x", peers, e.super.Current, b)
		}

		e = withPeers(t, peers)
		connect(&e.peers[0], Secondary)
		e.role = Primary
		e.setCurrent(0x100)
		drain(t, e, e.Step(0, &Event{Kind: EvLinkDown, Peer: 0}, nil))
		if b := e.super.Rows[0].Bitmap; b != 0x101 {
			t.Errorf("%d peers: a Primary parts from %#x", peers, b)
		}
	}
	for _, old := range []uint64{0x100, 0x101} {
		e := withPeers(t, 2)
		connect(&e.peers[0], Primary)
		e.onUUIDs(&e.peers[0], &Msg{Type: MsgUUIDs, UUID: 0x301, Block: old, Count: 1 << 2})
		if b := e.super.Rows[1].Bitmap; b != old {
			t.Errorf("who follows a Primary that parts from %#x parts from %#x", old, b)
		}
	}
	for _, c := range []struct {
		during  Command
		started bool
		want    uint64
	}{{CmdPrimary, true, 0}, {CmdPrimary, false, uuidPrimary}, {CmdSecondary, true, uuidPrimary}, {0, false, uuidPrimary}} {
		e := withPeers(t, 2)
		connect(&e.peers[0], Secondary)
		e.role = Primary
		e.diskFailed()
		e.cmd.kind, e.cmd.critical = c.during, c.started
		e.out = nil
		e.lendGeneration()
		if sentTo(e, 0, MsgUUIDs) != 1 {
			t.Fatalf("during command %v no generation is lent", c.during)
		}
		for _, a := range e.out {
			if a.Kind == ActSend && a.Msg.Type == MsgUUIDs && a.Msg.Block&uuidPrimary != c.want {
				t.Errorf("during command %v, started %v: a diskless Primary lends a generation after %#x", c.during, c.started, a.Msg.Block)
			}
		}
	}
}
