package sim

import (
	"slices"

	"pollux/bdev/replicated/engine"
	"pollux/bdev/replicated/meta"
)

// rot is what a block holds that its disk has spoilt. It stands for what should be there: all other checks look through it,
// so that a rotten block excuses nothing but its own contents.
type rot struct {
	block  int
	covers version
}

// rotten is a new name for spoilt contents of a block.
func (s *Sim) rotten(block int, v version) version {
	m := &s.model
	name := version(-1 - len(m.tears) - len(m.rots))
	m.rots[name] = rot{block, s.under(block, v)}
	return name
}

// under is what a block would hold without rot. What rotted in another block stays what it is.
func (s *Sim) under(block int, v version) version {
	if r, ok := s.model.rots[v]; ok && r.block == block {
		return r.covers
	}
	return v
}

func (s *Sim) isRotten(v version) bool {
	_, ok := s.model.rots[v]
	return ok
}

// decay lets a disk go bad without a word. Blocks become unreadable anywhere; what the engine cannot notice by itself happens
// to one leg of one node, so that there is a good copy as long as the engine has not copied the bad one.
func (s *Sim) decay(n *node) {
	for range 1 + s.rng.IntN(4) {
		s.mediumError(n)
	}
	if s.prof.rot {
		for range 1 + s.rng.IntN(4) {
			s.rotOne(s.nodes[0], s.rotDisk())
		}
	}
	if s.rng.IntN(2) == 0 {
		n.failReadsUntil = s.now + 60e6
		s.hot = 3
	}
	s.workload(s.rng.Int64N(60e6))
	s.hot = 0
}

// rotDisk is the leg that spoils what it holds: the last one of the first node.
func (s *Sim) rotDisk() *disk {
	disks := s.nodes[0].disks
	return disks[len(disks)-1]
}

func (s *Sim) rotOne(n *node, d *disk) {
	switch s.rng.IntN(6) {
	case 0, 1:
		s.rotBlock(d)
	case 2:
		d.misdirected = 1 + s.rng.IntN(3)
	case 3, 4:
		s.rotPage(d, s.rng.IntN(d.md.pages()))
		if s.rng.IntN(2) == 0 {
			s.crash(n, s.prof.power && s.rng.IntN(2) == 0)
			s.start(n)
		}
	case 5:
		s.loseMetadata(n, d)
	}
}

// rotBlock spoils a block at rest.
func (s *Sim) rotBlock(d *disk) {
	b := s.rng.IntN(s.prof.blocks)
	if c := &d.cells[b]; c.curSeq == c.durSeq {
		c.cur = s.rotten(b, c.cur)
		c.dur = c.cur
	}
}

// rotPage changes a bit of a page of metadata. Of the two superblocks one stays good.
func (s *Sim) rotPage(d *disk, page int) {
	pages := d.md.pages()
	if page >= pages-2 && !d.md.goodSuper(2*pages-3-page) {
		return
	}
	bit := s.rng.IntN(8 * meta.PageSize)
	d.md.bytes[page*meta.PageSize+bit/8] ^= 1 << (bit % 8)
	s.trace("page %d of the metadata rots", page)
}

// goodSuper reports a page that is a superblock to be believed.
func (r *region) goodSuper(page int) bool {
	p := meta.Page(r.bytes[page*meta.PageSize:])
	_, err := meta.DecodeSuper(&p)
	return err == nil
}

// loseMetadata lets writes of metadata go to wrong places, and then the node ends. Only the sum of all legs knows then what
// one has lost.
func (s *Sim) loseMetadata(n *node, d *disk) {
	if n.eng == nil || !s.othersRemember(n, d) {
		return
	}
	d.misdirectedMeta = 1 + s.rng.IntN(3)
	s.workload(s.rng.Int64N(20e6))
	d.misdirectedMeta = 0
	s.crash(n, s.prof.power && s.rng.IntN(2) == 0)
	s.start(n)
}

// othersRemember reports that a disk may lose writes of metadata: all legs of the node are in sync, and one of the others is sure to
// stay so until the node ends. A worn block would take that one out of use when it is written. The disk that loses would then be
// the only one to know which blocks the other lacks, and what the peers lack: its old pages are good by their checksums, so nobody
// can tell that they are not the last ones.
func (s *Sim) othersRemember(n *node, d *disk) bool {
	if s.prof.eio > 0 {
		return false
	}
	v := n.eng.View()
	sure := false
	for i, o := range n.disks {
		if !v.Legs[i].InSync {
			return false
		}
		sure = sure || o != d && !o.worn()
	}
	return sure
}

// worn reports that a block of the disk cannot be written any more.
func (d *disk) worn() bool {
	return slices.ContainsFunc(d.cells, func(c cell) bool { return c.worn })
}

// putMeta writes a page of metadata, or puts it in the wrong place, or loses it.
func (s *Sim) putMeta(d *disk, w *pageWrite) {
	if page := int((w.off - d.md.base) / meta.PageSize); d.losesMeta && page < d.md.pages()-2 {
		s.trace("page %d of the metadata is lost", page)
		return
	}
	if d.misdirectedMeta > 0 {
		d.misdirectedMeta--
		page := s.rng.IntN(d.md.pages() - 2)
		w = &pageWrite{d.md.base + int64(page)*meta.PageSize, w.page}
		s.trace("a page of metadata goes to page %d", page)
	}
	d.md.put(w, !s.mut.Has(engine.MutMetadataCached))
}

// misdirect lets the write of one block go elsewhere: to another block, or into the metadata.
func (s *Sim) misdirect(d *disk, b int, v version, fua bool) {
	d.misdirected--
	old := d.cells[b]
	d.write(b, s.rotten(b, v), fua)
	d.cells[b].unreadable, d.cells[b].worn = old.unreadable, old.worn
	if s.rng.IntN(4) == 0 {
		s.rotPage(d, s.rng.IntN(d.md.pages()))
		return
	}
	c := s.rng.IntN(s.prof.blocks)
	if c != b {
		d.write(c, s.rotten(c, d.cells[c].cur), false)
	}
}

// mediumError makes a block of a leg unreadable until it is written again.
func (s *Sim) mediumError(n *node) {
	c := &n.disks[s.rng.IntN(len(n.disks))].cells[s.rng.IntN(s.prof.blocks)]
	if c.curSeq == c.durSeq {
		c.unreadable = true
		c.worn = (len(n.disks) > 1 || s.prof.diskless) && s.rng.IntN(6) == 0
	}
}

// heal ends the faults of a disk; what has rotted stays so.
func (d *disk) heal() {
	d.gone, d.losesMeta, d.misdirected, d.misdirectedMeta = false, false, 0, 0
	for b := range d.cells {
		c := &d.cells[b]
		c.unreadable, c.wasUnreadable, c.worn = false, false, false
	}
}

// scrub is the operator who looks for rot when all is well: legs are compared with one another, then nodes with one that has
// none. What had a good copy there has to be good everywhere.
func (s *Sim) scrub() {
	if !s.prof.rot || s.Failure != "" {
		return
	}
	if n := s.roleHolder(); n != nil {
		s.demote(n)
		s.runFor(1e9)
	}
	bad, good := s.nodes[0], s.nodes[1]
	for range 3 {
		s.rotBlock(s.rotDisk())
	}
	var want []int
	for b := range s.prof.blocks {
		clean := true
		for _, d := range good.disks {
			clean = clean && !s.isRotten(d.cells[b].cur)
		}
		if clean {
			want = append(want, b)
		}
	}
	before := s.rottenBlocks()
	if len(bad.disks) > 2 {
		s.command(bad, engine.Event{Cmd: engine.CmdVerifyLegs, Value: uint64(engine.RepairByMajority)}, nil)
		s.idle(30e9)
	}
	for _, n := range s.nodes {
		if n == good {
			continue
		}
		ok := false
		s.command(n, engine.Event{
			Cmd: engine.CmdVerify, Peer: rowOf(n.index, good.index), Value: uint64(engine.RepairFromPeer),
		}, func(err engine.Err) { ok = err == engine.OK })
		s.runFor(1e9)
		if !ok || !s.untilHealthy(30e9) || !s.idle(30e9) {
			s.violate("verify of node %d does not end: %v %s", n.index, ok, s.describe())
			return
		}
	}
	for _, n := range s.nodes {
		for i, d := range n.disks {
			for _, b := range want {
				if s.isRotten(d.cells[b].cur) {
					s.violate("block %d: leg %d of node %d is rotten after verify and repair", b, i, n.index)
					return
				}
			}
		}
	}
	s.model.scrubbed = before - s.rottenBlocks()
}

// rottenBlocks counts the copies of blocks that are rotten.
func (s *Sim) rottenBlocks() (count int) {
	for _, n := range s.nodes {
		for _, d := range n.disks {
			for b := range s.prof.blocks {
				if s.isRotten(d.cells[b].cur) {
					count++
				}
			}
		}
	}
	return count
}
