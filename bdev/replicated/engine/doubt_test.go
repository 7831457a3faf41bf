package engine

import "testing"

// TestDoubtComesWithTheData: the source has crashed as a Primary towards node 3, and lost a Primary some of whose writes node 4 may
// not have. Whoever has taken over its data is in the same doubt, and not in its own any more; what the source does not name stays.
func TestDoubtComesWithTheData(t *testing.T) {
	source, target := withPeers(t, 4), withPeers(t, 4)
	source.super.Rows[2].Flags, source.super.Rows[3].Flags = RowCrashed|RowOutdated, RowOpen
	target.super.Rows[1].Flags, target.super.Rows[3].Flags = RowWeak, RowWeak|RowOutdated
	p := &target.peers[0]
	p.sourceDoubt = source.doubt()
	target.takeOverDoubt(p)
	for i, want := range []uint16{0, RowWeak, RowCrashed, RowOpen | RowOutdated} {
		if f := target.super.Rows[i].Flags; f != want {
			t.Errorf("row %d has flags %#x, not %#x", i, f, want)
		}
	}
}

// secondary is node number node of a cluster of several, with good data of generation 0x100 and a row for each of the others.
func secondary(t *testing.T, node, nodes int) *Engine {
	e := withPeers(t, nodes-1)
	e.cfg.Node = node
	for row := range nodes - 1 {
		other := row
		if other >= node {
			other++
		}
		e.peers[row].cfg.Node = other
		e.endDoubt(row)
	}
	return e
}

// takeOver makes one node a copy of another, as a resync does.
func takeOver(target, source *Engine) {
	s, t := target.peerOfNode(source.cfg.Node), source.peerOfNode(target.cfg.Node)
	target.noteSource(s, target.super.Current)
	s.sourceDoubt = source.doubt()
	target.clearSource()
	target.endDoubt(s.row)
	target.takeOverDoubt(s)
	source.endDoubt(t.row)
	source.super.Rows[t.row].Bitmap = 0
}

// verdictOf compares two nodes, from the side of the first; that of the other is the opposite. The first breaks ties if tie says so.
func verdictOf(t *testing.T, one, other *Engine, tie bool) Verdict {
	t.Helper()
	judge := func(e, with *Engine, tie bool) Verdict {
		p := e.peerOfNode(with.cfg.Node)
		p.tie, p.sent, p.hello = tie, Hello{}, &Hello{}
		e.describe(p, &p.sent)
		with.describe(with.peerOfNode(e.cfg.Node), p.hello)
		in := compareOf(p)
		in.several, in.survivors, in.collected = true, true, p.sent.Dirty > 0 || p.hello.Dirty > 0
		e.compareOrigins(p, &in)
		return compare(&in).Verdict
	}
	v := judge(one, other, tie)
	if w := judge(other, one, !tie); w != -v {
		t.Errorf("node %d sees %d, node %d sees %d", one.cfg.Node, v, other.cfg.Node, w)
	}
	return v
}

// TestDoubtOfTwoEndsByWayOfAThird: all have crashed, and nodes of the lowest and the highest number see each other only by way of those
// between them. Whatever the order of the comparisons, and whoever breaks the ties, soon no resync is needed any more.
func TestDoubtOfTwoEndsByWayOfAThird(t *testing.T) {
	for _, nodes := range []int{3, 4} {
		for ties := range 1 << (nodes - 1) {
			for first := range nodes - 1 {
				cluster := make([]*Engine, nodes)
				for i := range cluster {
					cluster[i] = secondary(t, i, nodes)
					for row := range nodes - 1 {
						cluster[i].beginDoubt(row, RowWeak)
					}
				}
				resyncs := 0
				for quiet, link := 0, first; quiet < nodes-1 && resyncs < 20; link = (link + 1) % (nodes - 1) {
					one, other := cluster[link], cluster[link+1]
					quiet++
					switch v := verdictOf(t, one, other, ties>>link&1 != 0); {
					case v > 0:
						takeOver(other, one)
						quiet, resyncs = 0, resyncs+1
					case v < 0:
						takeOver(one, other)
						quiet, resyncs = 0, resyncs+1
					}
				}
				if resyncs > 2*(nodes-1) {
					t.Errorf("%d nodes, ties %b, link %d first: %d resyncs", nodes, ties, first, resyncs)
				}
			}
		}
	}
}

// TestFormerDoubtIsNotPassedOn: node 0 has crashed, and has taken over the data of node 3 since, which has not. Towards node 2 the doubt
// about what it had before stays with it, but it counts neither for a copy of node 2 nor for a copy of node 0.
func TestFormerDoubtIsNotPassedOn(t *testing.T) {
	e, copyOf2 := secondary(t, 0, 4), secondary(t, 1, 4)
	e.beginDoubt(e.peerOfNode(2).row, RowWeak)
	crashed := secondary(t, 2, 4)
	crashed.beginDoubt(crashed.peerOfNode(0).row, RowWeak)
	takeOver(e, secondary(t, 3, 4))
	takeOver(copyOf2, crashed)
	if e.super.Rows[e.peerOfNode(2).row].Flags&RowWeak == 0 || e.doubt() != (Doubt{}) {
		t.Errorf("the doubt that it passes on is %v", e.doubt())
	}
	for _, tie := range []bool{false, true} {
		if v := verdictOf(t, e, copyOf2, tie); v != 1 {
			t.Errorf("compared with a copy of node 2: %d", v)
		}
	}
}
