package engine

// doubt says towards whom this node may lack, or have alone, the last writes of a Primary.
func (e *Engine) doubt() (d Doubt) {
	for i := range e.peers {
		if !e.isPeer(i) {
			continue
		}
		node, flags := uint32(1)<<e.peers[i].cfg.Node, e.super.Rows[i].Flags
		if flags&RowCrashed != 0 {
			d.Crashed |= node
		}
		if flags&RowOpen != 0 {
			d.Open |= node
		}
		if flags&RowWeak != 0 {
			d.Weak |= node
		}
	}
	return d
}

// takeOverDoubt: with the data of the source comes the doubt about it. What the source may lack, or have alone, this node lacks or
// has now, too, and not what it was in doubt of before.
func (e *Engine) takeOverDoubt(source *peer) {
	d := &source.sourceDoubt
	for i := range e.peers {
		node := uint32(1) << e.peers[i].cfg.Node
		if i == source.row || !e.isPeer(i) || (d.Crashed|d.Open|d.Weak)&node == 0 {
			continue
		}
		r := &e.super.Rows[i]
		r.Flags &^= rowDoubt
		if d.Crashed&node != 0 {
			r.Flags |= RowCrashed
		}
		if d.Open&node != 0 {
			r.Flags |= RowOpen
		}
		if d.Weak&node != 0 {
			r.Flags |= RowWeak
		}
	}
}
