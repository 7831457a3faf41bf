package engine

import "slices"

// What a node does so that another one, away for long, is known as its ancestor when it comes back: all that it needs for that is the
// generation of the other in its history.
//
// A generation in use, one since which a bitmap here collects, does not leave the history here. Others that hold the same data may
// have no bitmap since it: who was a target while the node left, or was made new later, does not know what that node had. They would
// forget it with the next HistoryLen generations, and be of unrelated data one day, although the Primary that they follow knows better.
// So with every new generation the Primary says which former ones are in use, here and on those who follow it, and these answer what is
// in use by their own bitmaps. It is put into each other's histories again, as if it were young: who holds the same data has the same
// ancestors. The answers have only what is in use by the node's own bitmaps, so that nothing is kept alive by being said to and fro.

// remember adds a former generation to a history. One since which a bitmap still collects stays in it: the node that has it may be
// away for long, and everybody else has to know it as his ancestor when he takes this history over.
func (e *Engine) remember(h *[HistoryLen]uint64, uuid uint64) {
	pushHistory(h, uuid, e.collectsSince)
}

// collectsSince reports a generation since which a bitmap collects, or the one that a resync from here was to take further: the
// start of it may not have reached the peer.
func (e *Engine) collectsSince(former uint64) bool {
	for i := range e.peers {
		if former != 0 && e.isPeer(i) && !e.mutated(MutForgetAncestors) && sameOrigin(e.super.Rows[i].Bitmap, former) {
			return true
		}
	}
	return false
}

// refreshHistory moves what bitmaps collect since behind the first two, which the rules compare: whoever is about to take this
// history over does not know that it is in use here, and forgets from the end.
func (e *Engine) refreshHistory() {
	h := &e.super.History
	for i := 3; i < HistoryLen; i++ {
		if former := h[i]; e.collectsSince(former) {
			moveBehindFirst(h, former, i)
		}
	}
}

// pushFormer adds a generation to the history, if it is not the current one: two nodes may be resynced within a generation when
// a Primary was lost.
func (e *Engine) pushFormer(uuid uint64) {
	if uuid != 0 && uuid&uuidMask != e.super.Current&uuidMask {
		e.remember(&e.super.History, uuid)
	}
}

// ownInUse is what of the history the bitmaps here collect since. The name of a resync is nobody's for long, and a node that never saw
// data is known without a history.
func (e *Engine) ownInUse() []uint64 {
	if !e.severalPeers() {
		return nil
	}
	var list []uint64
	h := &e.super.History
	for _, former := range h {
		if e.collectsSince(former) && !sameOrigin(former, JustCreated) && !namesResync(h, former) {
			list = append(list, former&uuidMask)
		}
	}
	return list
}

// formerInUse is what a Primary says of former generations: what is in use by its own bitmaps, if its data is what the peers follow,
// and what they have answered.
func (e *Engine) formerInUse() []uint64 {
	var list []uint64
	if e.mayRotate() {
		list = e.ownInUse()
	}
	for i := range e.peers {
		for _, former := range e.peers[i].inUse {
			if !slices.Contains(list, former) {
				list = append(list, former)
			}
		}
	}
	return list
}

// noteInUse remembers what a peer has answered that follows this Primary.
func (e *Engine) noteInUse(p *peer, former []uint64) {
	p.inUse = former
	if e.mayRotate() {
		e.refresh(&e.super.History, former)
	}
}

// refresh makes former generations young, as far as that is possible behind the first two. It is not made durable by itself: the next
// generation says the same again.
func (e *Engine) refresh(h *[HistoryLen]uint64, list []uint64) {
	for _, former := range list {
		at := leastNeeded(h, former, e.collectsSince)
		switch {
		case at < 2 || h[0]&uuidMask == former:
		case h[at]&uuidMask == former:
			moveBehindFirst(h, h[at], at)
		default:
			moveBehindFirst(h, former, at)
		}
	}
}

// moveBehindFirst puts a former generation behind the first two. What was at a place further back makes room.
func moveBehindFirst(h *[HistoryLen]uint64, former uint64, at int) {
	copy(h[3:at+1], h[2:at])
	h[2] = former
}
