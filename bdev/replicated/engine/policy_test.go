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
