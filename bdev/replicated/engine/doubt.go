package engine

// After the loss of a Primary, or a crash, nodes of the same generation may differ in the last writes. Each has flags in its rows that
// say towards whom that is so, and how (rowDoubt); by them the comparison finds who is the source (rule 42).
//
// A node that takes over the data of another takes over its doubt, in place of its own. Say that node 1 is a copy of node 2, which is in
// doubt towards node 0. The other half of that doubt stands in node 0's row of node 2. In its row of node 1 there may be none, since
// node 1 may have been a copy of node 0 before. So whoever is compared with a node whose doubt came from others says what it would say
// to these (compareOrigins). If node 0 went by its row of node 1, it would always be the better one of the two, and so would node 2 as
// soon as node 1 is a copy of node 0: while nodes 0 and 2 do not see each other, node 1 would be resynced from one and from the
// other, without end. As it is, the better one of nodes 0 and 2 is the source, and by way of node 1 the other becomes its copy.
//
// The same goes for a node that is in no doubt towards the copy itself, since the two have been equal before that became a copy of
// another: its doubt towards the other says whose data it has. Say that all are in doubt, node 0 has become a copy of node 2, and node 2
// of node 1 after that, and nodes 0 and 1 do not see each other. Between nodes 0 and 2 the order of nodes 2 and 1 counts, as it did
// between these. If node 0 compared what it has as its own, it would be before node 1 while node 1 is before node 2.
//
// What a node was in doubt of before it took over other data stays in its rows unless the source names it, for the comparison with that
// peer. The data that it has since is not in that doubt: it is neither passed on nor counts for others.
//
// Whose doubt it is, a node that has been started anew does not know any more. It is compared by the flags alone then, as with its
// own doubt, and the resync that follows from that tells it again.

// noOrigin stands for a doubt about data that this node has no more.
const noOrigin = NodesMax

func (e *Engine) ownDoubt() Origin { return Origin{Node: uint8(e.cfg.Node)} }

// doubt says towards whom the data of this node may lack, or have alone, the last writes of a Primary.
func (e *Engine) doubt() (d Doubt) {
	for i := range e.peers {
		flags := e.super.Rows[i].Flags
		p := &e.peers[i]
		if !e.isPeer(i) || flags&rowDoubt == 0 || p.doubtOrigin.Node == noOrigin {
			continue
		}
		node := uint32(1) << p.cfg.Node
		if flags&RowCrashed != 0 {
			d.Crashed |= node
		}
		if flags&RowOpen != 0 {
			d.Open |= node
		}
		if flags&RowWeak != 0 {
			d.Weak |= node
		}
		d.Origins[p.cfg.Node] = p.doubtOrigin
	}
	return d
}

// takeOverDoubt: with the data of the source comes the doubt about it. What the source may lack, or have alone, this node lacks or
// has now, too, and not what it was in doubt of before.
func (e *Engine) takeOverDoubt(source *peer) {
	d := &source.sourceDoubt
	for i := range e.peers {
		p := &e.peers[i]
		if i == source.row || !e.isPeer(i) || !d.about(p.cfg.Node) {
			continue
		}
		node := uint32(1) << p.cfg.Node
		e.endDoubt(i)
		r := &e.super.Rows[i]
		if d.Crashed&node != 0 {
			r.Flags |= RowCrashed
		}
		if d.Open&node != 0 {
			r.Flags |= RowOpen
		}
		if d.Weak&node != 0 {
			r.Flags |= RowWeak
		}
		p.doubtOrigin = d.Origins[p.cfg.Node]
		p.doubtOrigin.Way |= 1 << source.cfg.Node
	}
}

// beginDoubt: this node may lack, or have alone, what the peer of a row has.
func (e *Engine) beginDoubt(row int, flag uint16) {
	e.super.Rows[row].Flags |= flag
	e.peers[row].doubtOrigin = e.ownDoubt()
}

// outliveDoubt: other data is about to come.
func (e *Engine) outliveDoubt() {
	for i := range e.peers {
		e.peers[i].doubtOrigin = Origin{Node: noOrigin}
	}
}

// endDoubt: the peer of a row and this node hold the same, or what they may differ in is another matter now.
func (e *Engine) endDoubt(row int) {
	e.super.Rows[row].Flags &^= rowDoubt
	e.peers[row].doubtOrigin = e.ownDoubt()
}

// about reports a doubt towards a node.
func (d *Doubt) about(node int) bool { return (d.Crashed|d.Open|d.Weak)>>node&1 != 0 }

// origin says whose doubt towards a peer it is, or would be. If there is none towards the peer, what counts is that towards the nodes
// from which the peer has its own data, if these are any: theirs is the peer's doubt.
func (d *Doubt) origin(own, peer int, theirs *Doubt) Origin {
	if d.about(peer) {
		return d.Origins[peer]
	}
	if theirs.about(own) {
		from := theirs.Origins[own]
		if d.about(int(from.Node)) {
			return d.Origins[from.Node]
		}
		for node := range NodesMax {
			if from.Way>>node&1 != 0 && d.about(node) {
				return d.Origins[node]
			}
		}
	}
	return Origin{Node: uint8(own)}
}

// add sets what the doubt towards any of these nodes says.
func (d *Doubt) add(nodes uint32, crashed, open, weak *bool) {
	*crashed = *crashed || d.Crashed&nodes != 0
	*open = *open || d.Open&nodes != 0
	*weak = *weak || d.Weak&nodes != 0
}

// compareOrigins adds to a comparison the doubt of each side towards the nodes from which the other has its data and doubt. Between two
// that differ in nothing else the number of the node whose doubt each has decides: it is the same for whoever comes to have the
// data of either.
func (e *Engine) compareOrigins(p *peer, in *compareInput) {
	mine, theirs := &p.sent.Doubt, &p.hello.Doubt
	myOrigin, peerOrigin := mine.origin(e.cfg.Node, p.cfg.Node, theirs), theirs.origin(p.cfg.Node, e.cfg.Node, mine)
	if myOrigin.Way|peerOrigin.Way == 0 {
		return
	}
	mine.add(peerOrigin.Way, &in.mineCrashed, &in.mineOpen, &in.mineWeak)
	theirs.add(myOrigin.Way, &in.peerCrashed, &in.peerOpen, &in.peerWeak)
	if myOrigin.Node != peerOrigin.Node {
		in.tieBreaker = myOrigin.Node > peerOrigin.Node
	}
}
