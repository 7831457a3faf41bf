package sim

import (
	"io"

	"pollux/bdev/replicated/engine"
	"pollux/bdev/replicated/leg"
	"pollux/bdev/replicated/meta"
)

const sectorSize = 512

// region is the metadata area of a disk, byte for byte, behind the same volatile cache as the data. It begins at base, where
// the data ends. The host writes it with FUA, so that only a switched-off rule leaves something in the cache.
type region struct {
	base   int64
	bytes  []byte
	cached []*cachedPage // per page; nil is durable
	seq    uint64
}

// cachedPage is what a power loss may bring back of a page.
type cachedPage struct {
	durable meta.Page
	seq     uint64
}

// pageWrite is one page on its way.
type pageWrite struct {
	off  int64
	page meta.Page
}

func newRegion(base int64, pages int) *region {
	return &region{base: base, bytes: make([]byte, pages*meta.PageSize), cached: make([]*cachedPage, pages)}
}

func (r *region) size() int64 { return r.base + int64(len(r.bytes)) }

func (r *region) pages() int { return len(r.cached) }

// page returns the bytes of a page of the disk.
func (r *region) page(off int64) []byte { return r.bytes[off-r.base:][:meta.PageSize] }

// ReadAt, WriteAt and Sync are for package meta when it opens and creates: nothing goes wrong meanwhile.
func (r *region) ReadAt(p []byte, off int64) (int, error) {
	if off < r.base || off+int64(len(p)) > r.size() {
		return 0, io.ErrUnexpectedEOF
	}
	return copy(p, r.bytes[off-r.base:]), nil
}

// WriteAt writes durably.
func (r *region) WriteAt(p []byte, off int64) (int, error) {
	if off < r.base || off+int64(len(p)) > r.size() {
		return 0, io.ErrShortWrite
	}
	return copy(r.bytes[off-r.base:], p), nil
}

// Sync has nothing to do.
func (r *region) Sync() error { return nil }

// put writes a page, durably or into the cache.
func (r *region) put(w *pageWrite, fua bool) {
	n := (w.off - r.base) / meta.PageSize
	switch {
	case fua:
		r.cached[n] = nil
	case r.cached[n] == nil:
		r.cached[n] = &cachedPage{durable: meta.Page(r.page(w.off))}
	}
	if c := r.cached[n]; c != nil {
		r.seq++
		c.seq = r.seq
	}
	copy(r.page(w.off), w.page[:])
}

// persist makes durable what was in the cache when the flush began.
func (r *region) persist(until uint64) {
	for i, c := range r.cached {
		if c != nil && c.seq <= until {
			r.cached[i] = nil
		}
	}
}

// powerLoss leaves of every page in the cache any mixture of old and new sectors.
func (r *region) powerLoss(s *Sim) {
	for i, c := range r.cached {
		if c != nil {
			s.mixSectors(r.bytes[i*meta.PageSize:], c.durable[:])
			r.cached[i] = nil
		}
	}
}

// mayTear keeps the only good superblock whole: losing both to two faults is a refusal, and there is a transcript of that.
func (r *region) mayTear(w *pageWrite) bool {
	page, pages := int((w.off-r.base)/meta.PageSize), r.pages()
	return page < pages-2 || r.goodSuper(2*pages-3-page)
}

// tear leaves of a page under way any mixture of old and new sectors.
func (r *region) tear(s *Sim, w *pageWrite) { s.mixSectors(r.page(w.off), w.page[:]) }

// mixSectors copies some of the sectors of a page over those of another.
func (s *Sim) mixSectors(to, from []byte) {
	which := s.rng.Uint32()
	for i := range meta.PageSize / sectorSize {
		if which>>i&1 != 0 {
			copy(to[i*sectorSize:(i+1)*sectorSize], from[i*sectorSize:])
		}
	}
}

// slots is the number of bitmaps of a node: peers, legs and perhaps a tracker.
func (s *Sim) slots(n *node) int {
	slots := s.prof.nodes - 1 + s.prof.legs[n.index]
	if s.prof.tracker {
		slots++
	}
	return slots
}

// newDisk makes a blank disk.
func (s *Sim) newDisk(n *node) *disk {
	blocks := s.prof.blocks + s.prof.spare
	d := &disk{
		cells: make([]cell, blocks),
		md:    newRegion(int64(blocks)*blockSize, s.slots(n)+s.prof.alPages+2),
	}
	for i, v := range n.spare {
		d.write(s.prof.blocks+i, v, true)
	}
	return d
}

// createLeg puts fresh metadata on a disk; joining says that the volume is older than the disk.
func (s *Sim) createLeg(n *node, i int, joining bool) *leg.Leg {
	cfg := &n.cfg
	s.disksMade++
	o := meta.Options{
		BMShift: cfg.BlockShift, ALPages: s.prof.alPages, ALSlots: uint32(cfg.ALSlots), ALShift: cfg.ExtentShift,
		Size: cfg.Size, Block: blockSize, NodeID: uint8(n.index), Node: meta.UUID{1, byte(s.disksMade >> 8), byte(s.disksMade)},
	}
	d := n.disks[i]
	l, err := leg.Create(d.md, d.md.size(), o, cfg, i, joining)
	if err != nil {
		panic(err)
	}
	return l
}

// format gives a node fresh metadata.
func (s *Sim) format(n *node) {
	n.cfg = s.config(n)
	legs := make([]*leg.Leg, len(n.disks))
	for i := range legs {
		legs[i] = s.createLeg(n, i, false)
	}
	if err := leg.NewSet(legs, &n.cfg).Introduce(); err != nil {
		panic(err)
	}
}

// load reads the metadata as the host does: from the bytes alone.
func (s *Sim) load(n *node) *engine.Loaded {
	n.set = s.openLegs(n)
	md, err := n.set.Load()
	if err != nil {
		s.trace("n%d: %v", n.index, err)
		return nil
	}
	return md
}

// usable reports that a node could start from its legs.
func (s *Sim) usable(n *node) bool {
	_, err := s.openLegs(n).Load()
	return err == nil
}

func (s *Sim) openLegs(n *node) *leg.Set {
	legs := make([]*leg.Leg, len(n.disks))
	for i, d := range n.disks {
		if d.gone {
			continue
		}
		l, err := leg.Open(d.md, d.md.size())
		if err != nil {
			s.trace("n%d leg %d: %v", n.index, i, err)
			continue
		}
		legs[i] = l
	}
	return leg.NewSet(legs, &n.cfg)
}

// encode turns a metadata action into the pages for one leg.
func (s *Sim) encode(n *node, i int, a *engine.Action) (list []pageWrite) {
	n.set.Encode(i, a, func(off int64, p *meta.Page) { list = append(list, pageWrite{off, *p}) })
	return list
}

// crashMeta deals with a metadata write under way: its first page may have been written.
func (d *disk) crashMeta(s *Sim, io *diskIO, power bool) {
	switch w := &io.pages[0]; {
	case s.rng.IntN(2) == 0:
	case power && s.rng.IntN(2) == 0 && d.md.mayTear(w):
		d.md.tear(s, w)
	default:
		d.md.put(w, true)
	}
}
