package engine

// A node without disk reads from any of its peers whose data is good, and goes on at another when it loses one. They have to hold the
// same: if they differed, its front end would read a write now, and then what was there before it. While it is Primary they do, since
// all of them get its writes, and who is left out of its generation is not read from. So what counts is the promotion.
//
// After the loss of a Primary they may differ in its last writes, until they have found one another and a resync has made them
// equal. That cannot wait until this node is Primary: they follow it then, and who follows a Primary is not resynced with a third.
// Nor can this node choose one and leave the other out, since only the comparison of the two tells which of them must go first. So
// it is not promoted before. If they never see each other, the operator has to disconnect one of them first.

// lender is what a peer has said of the data that a node without disk would read from it: at the connection, and again when it was
// asked about the promotion, since it does not say what it learns in between.
type lender struct {
	gen   uint64
	doubt Doubt
}

// doubtOfLender names the nodes that may hold other data than this one. As long as this node takes a Primary to be there that it
// follows, the writes that this has not called settled are in no row; with a higher fencing epoch it is over all the same.
func (e *Engine) doubtOfLender() Doubt {
	d := e.doubt()
	for i := range e.peers {
		p := &e.peers[i]
		if !e.isPeer(i) {
			continue
		}
		node := uint32(1) << p.cfg.Node
		if p.conn == Connected && p.disk == UpToDate { // they have been compared
			d.Crashed, d.Open, d.Weak = d.Crashed&^node, d.Open&^node, d.Weak&^node
		}
		if e.hasOpenOfOther(p) {
			d.Open |= node
		}
	}
	return d
}

// lendersAgree reports that this node, if it has no disk, reads the same from all peers with good data.
func (e *Engine) lendersAgree() bool {
	if e.hasDisk() || e.mutated(MutLendersDiffer) {
		return true
	}
	var first *peer
	var lenders uint32
	for i := range e.peers {
		if p := &e.peers[i]; e.isPeer(i) && p.conn >= Connected && p.disk == UpToDate {
			if first == nil {
				first = p
			}
			if p.lends.gen&uuidMask != first.lends.gen&uuidMask {
				return false
			}
			lenders |= 1 << p.cfg.Node
		}
	}
	for i := range e.peers {
		p := &e.peers[i]
		if d := &p.lends.doubt; e.isPeer(i) && lenders>>p.cfg.Node&1 != 0 && (d.Crashed|d.Open|d.Weak)&lenders != 0 {
			return false
		}
	}
	return true
}
