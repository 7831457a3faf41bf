package engine

// Word among several nodes that two of them hold the same, so that no resync is needed between them.

// tellInSync lets the other nodes in sync with this one know that the peer is one of them now. Those that confirm it are named
// to the peer: a connection may have ended at the other side already.
func (e *Engine) tellInSync(p *peer) {
	for i := range e.peers {
		if q := &e.peers[i]; q != p && q.conn == Connected && q.disk == UpToDate {
			e.send(q, &Msg{Type: MsgInSync, Count: uint32(p.cfg.Node), UUID: e.super.Current, Block: uint64(p.link)})
		}
	}
}

// onInSync: the sender has found another node and this one equal. That is not so if this node has writes of a third that the
// sender may not have, or if one that still counts as a connected Primary here has ended without this node's notice: they will be
// compared when its end is noticed.
func (e *Engine) onInSync(p *peer, m *Msg) {
	q := e.peerOfNode(int(m.Count))
	if p.conn != Connected || e.disk != UpToDate || m.UUID&uuidMask != e.super.Current&uuidMask || q == nil || q.conn > Connected {
		return
	}
	if (q.role == Primary || e.hasOpenOfOther(p)) && !e.mutated(MutInSyncWithOpen) {
		return
	}
	e.rowInSync(q.row)
	if m.Block != 0 {
		e.send(p, &Msg{Type: MsgInSyncAck, Count: m.Count, UUID: m.UUID, Block: m.Block})
	}
}

// hasOpenOfOther reports writes of a Primary, not of this peer, that are not known to be on all replicas.
func (e *Engine) hasOpenOfOther(p *peer) bool {
	for i := range e.peers {
		if q := &e.peers[i]; q != p && len(q.open) > 0 {
			return true
		}
	}
	return false
}

// onInSyncAck names a node that has confirmed to the one that it is in sync with.
func (e *Engine) onInSyncAck(p *peer, m *Msg) {
	q := e.peerOfNode(int(m.Count))
	if q != nil && q.conn == Connected && q.disk == UpToDate && uint64(q.link) == m.Block && m.UUID&uuidMask == e.super.Current&uuidMask {
		e.send(q, &Msg{Type: MsgInSync, Count: uint32(p.cfg.Node), UUID: e.super.Current})
	}
}

// rowInSync: the peer of a row and this node hold the same.
func (e *Engine) rowInSync(row int) {
	r := &e.super.Rows[row]
	e.pushFormer(r.Bitmap)
	r.Bitmap = 0
	e.endDoubt(row)
	e.bits[row].clear(0, e.bits[row].bits)
	e.writePages(func(x, _ int) bool { return x == row }, func(bool) {})
	e.commit(nil)
}
