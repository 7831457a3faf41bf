package engine

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
)

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

// TestDoubtOfTwoEndsByWayOfAThird: some or all have crashed, or lost a Primary, and not all of them see each other, but each every other by
// way of these. Whatever the order of the comparisons, and whoever breaks the ties, soon no resync is needed any more. A ring is left
// out: in that, whatever one has taken over goes round, doubt or not (doc.go, Limits).
func TestDoubtOfTwoEndsByWayOfAThird(t *testing.T) {
	for _, nodes := range []int{3, 4} {
		var pairs [][2]int
		for i := range nodes {
			for k := range i {
				pairs = append(pairs, [2]int{k, i})
			}
		}
		for graph := range 1 << len(pairs) {
			var links [][2]int
			for i, pair := range pairs {
				if graph>>i&1 != 0 {
					links = append(links, pair)
				}
			}
			if !connects(nodes, links) || isRing(nodes, links) {
				continue
			}
			for seed := range uint64(50) {
				endsInTime(t, nodes, links, rand.New(rand.NewPCG(seed, uint64(graph))))
			}
		}
	}
}

// connects reports links by way of which each node sees every other.
func connects(nodes int, links [][2]int) bool {
	seen := 1
	for range nodes {
		for _, l := range links {
			if pair := 1<<l[0] | 1<<l[1]; seen&pair != 0 {
				seen |= pair
			}
		}
	}
	return seen == 1<<nodes-1
}

// isRing reports four nodes, or more, of which each sees two.
func isRing(nodes int, links [][2]int) bool {
	count := make([]int, nodes)
	for _, l := range links {
		count[l[0]]++
		count[l[1]]++
	}
	return nodes > 3 && slices.Min(count) == 2 && slices.Max(count) == 2
}

// endsInTime compares the nodes of a cluster over these links, in any order, until nothing follows from it any more. All are in the
// same doubt, or each in one of its own, or none.
func endsInTime(t *testing.T, nodes int, links [][2]int, r *rand.Rand) {
	t.Helper()
	kinds, ties, said := 1+3*r.IntN(2), r.IntN(1<<len(links)), ""
	c := make(cluster, nodes)
	for i := range c {
		c[i] = secondary(t, i, nodes)
		flag := [...]uint16{RowOpen, RowWeak, RowCrashed, 0}[r.IntN(kinds)]
		for row := range nodes - 1 {
			if flag != 0 {
				c[i].beginDoubt(row, flag)
			}
		}
		said += fmt.Sprintf(" n%d:%#x", i, flag)
	}
	resyncs := 0
	for open := c.apart(links); len(open) > 0; open = c.apart(links) {
		link := open[r.IntN(len(open))]
		one, other := c[links[link][0]], c[links[link][1]]
		v := verdictOf(t, one, other, ties>>link&1 != 0)
		switch {
		case v == NoSync:
			c.equal(one, other)
			continue
		case v < 0:
			one, other = other, one
		}
		c.resync(one, other)
		said += fmt.Sprintf(" %d->%d", one.cfg.Node, other.cfg.Node)
		if resyncs++; resyncs == 60 {
			t.Fatalf("links %v: resyncs without end:%s", links, said)
		}
	}
}

// cluster is nodes in the order of their numbers.
type cluster []*Engine

// resync makes the target a copy of the source, which lets those know that it is connected to. With all others the target ends what it has.
func (c cluster) resync(source, target *Engine) {
	takeOver(target, source)
	for _, q := range c {
		if q != target {
			connect(q, target, WFConnection)
		}
	}
	for _, q := range c {
		if q != source && q != target && source.peerOfNode(q.cfg.Node).conn == Connected {
			inSync(q, target)
		}
	}
	connect(source, target, Connected)
}

// equal connects two between which no resync is needed.
func (c cluster) equal(one, other *Engine) {
	connect(one, other, Connected)
	if one.super.Rows[one.peerOfNode(other.cfg.Node).row].Bitmap != 0 && other.super.Rows[other.peerOfNode(one.cfg.Node).row].Bitmap != 0 {
		inSync(one, other)
	}
}

// apart lists the links whose nodes are not connected.
func (c cluster) apart(links [][2]int) (list []int) {
	for i, l := range links {
		if c[l[0]].peerOfNode(l[1]).conn != Connected {
			list = append(list, i)
		}
	}
	return list
}

func connect(one, other *Engine, conn Conn) {
	one.peerOfNode(other.cfg.Node).conn, other.peerOfNode(one.cfg.Node).conn = conn, conn
}

// inSync: the two have heard that they hold the same.
func inSync(one, other *Engine) {
	one.rowInSync(one.peerOfNode(other.cfg.Node).row)
	other.rowInSync(other.peerOfNode(one.cfg.Node).row)
}

// TestCopyIsComparedAsTheSource: all have lost a Primary. Node 0 has become a copy of node 2, and node 2 of node 1 after that. Node 0 is in no
// doubt towards node 2, but what nodes 2 and 1 have said of each other holds for the two, too, whoever breaks ties.
func TestCopyIsComparedAsTheSource(t *testing.T) {
	for _, tie := range []bool{false, true} {
		c := cluster{secondary(t, 0, 3), secondary(t, 1, 3), secondary(t, 2, 3)}
		for _, e := range c {
			for row := range 2 {
				e.beginDoubt(row, RowOpen)
			}
		}
		takeOver(c[0], c[2])
		takeOver(c[2], c[1])
		if v := verdictOf(t, c[0], c[2], tie); v != -1 {
			t.Errorf("a copy of node 2 against one of node 1: %d", v)
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
