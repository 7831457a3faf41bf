package sim

// decay lets a disk go bad without a word.
func (s *Sim) decay(n *node) {
	for range 1 + s.rng.IntN(4) {
		s.mediumError(n)
	}
	s.workload(s.rng.Int64N(60e6))
}

// mediumError makes a block of a leg unreadable until it is written again.
func (s *Sim) mediumError(n *node) {
	c := &n.disks[s.rng.IntN(len(n.disks))].cells[s.rng.IntN(s.prof.blocks)]
	if c.curSeq == c.durSeq {
		c.unreadable = true
		c.worn = (len(n.disks) > 1 || s.prof.diskless) && s.rng.IntN(6) == 0
	}
}

// heal ends the medium errors.
func (d *disk) heal() {
	d.gone = false
	for b := range d.cells {
		c := &d.cells[b]
		c.unreadable, c.wasUnreadable, c.worn = false, false, false
	}
}
