package sim

import "pollux/bdev/replicated/engine"

// model knows what the front end may read, and what each node has promised to keep.
//
// The time during which one node is Primary is a tenure. It starts from what that node holds when its promotion is answered
// (base); from then on a block reads as base until something newer has been acknowledged, and never older than that.
// A node's floor is the version that it must still have when it is promoted the next time.
type model struct {
	blocks   []blockModel
	next     version
	tears    map[version][2]version
	rots     map[version]rot
	primary  *node
	last     *node // the last one to be Primary
	tenure   int
	requests map[uint64]*request
	late     map[uint64]*request // of former tenures whose Primary has not answered them
	nextReq  uint64
	acked    int
	reads    int
	rotReads int  // of blocks that the disk had spoilt
	scrubbed int  // blocks that verify has repaired
	weakened bool // a node that was in sync has lost power in this tenure: those that crash now may have to follow it
	lossy    int  // promotions of nodes that were not in sync
}

type blockModel struct {
	base   version
	acked  version // newest acknowledged in this tenure; 0 is none
	start  version // versions above belong to this tenure
	floors []floorOf
}

// floorOf is what one node promises for one block: while it runs or is killed, and after a power loss.
type floorOf struct {
	valid    bool
	cur, dur version
}

type request struct {
	id     uint64
	kind   engine.EventKind
	lo, hi int
	vers   []version
	floors []version // read: what it may not be older than; flush: what was acknowledged when it began
	tenure int
	fua    bool
	peers  map[int]int // flush: who was in sync when it began, by incarnation
	incs   []int       // incarnations of the nodes when it began
}

func (m *model) init(blocks int) {
	m.blocks = make([]blockModel, blocks)
	m.tears, m.rots = map[version][2]version{}, map[version]rot{}
	m.requests, m.late = map[uint64]*request{}, map[uint64]*request{}
}

func (m *model) floor(b, node int) *floorOf {
	f := &m.blocks[b].floors
	for len(*f) <= node {
		*f = append(*f, floorOf{})
	}
	return &(*f)[node]
}

// torn returns the name of a block of which some sectors are old and some new.
func (s *Sim) torn(old, young version) version {
	m := &s.model
	if r, ok := m.rots[young]; old == young || ok && r.covers == s.under(r.block, old) {
		return young // the same was written again
	}
	v := version(-1 - len(m.tears) - len(m.rots))
	m.tears[v] = [2]version{s.lowest(old), young}
	return v
}

// garbage returns a name for what nobody has written, and that no other block holds.
func (s *Sim) garbage() version {
	m := &s.model
	v := version(-1 - len(m.tears) - len(m.rots))
	m.tears[v] = [2]version{}
	return v
}

// lowest is the oldest version of which a block may hold a part.
func (s *Sim) lowest(v version) version {
	for v < 0 {
		if r, ok := s.model.rots[v]; ok {
			v = r.covers
			continue
		}
		v = s.model.tears[v][0]
	}
	return v
}

// content is what a node serves for a block: its own, or that of the peer it would read from.
func (s *Sim) content(n *node, b int) version {
	n = s.server(n, b)
	v := n.eng.View()
	for i := range n.disks {
		if v.Legs[i].InSync {
			return s.under(b, n.disks[i].cells[b].cur)
		}
	}
	return s.under(b, n.disks[0].cells[b].cur)
}

// server is the node whose disk a node reads a block from.
func (s *Sim) server(n *node, b int) *node {
	v := n.eng.View()
	row := s.goodPeer(n)
	local := v.Disk == engine.UpToDate || v.Disk == engine.Consistent
	if v.Disk == engine.Inconsistent && row >= 0 {
		local = !n.eng.Dirty(row, uint64(b)*blockSize>>s.prof.bitShift)
	}
	if local || row < 0 {
		return n
	}
	return s.server(s.nodes[nodeOf(n.index, row)], b)
}

// goodPeer is the row of a peer that a node may read from if it cannot do so itself; -1 is none. The engine takes the first
// that it finds, and this is the last: they have to hold the same.
func (s *Sim) goodPeer(n *node) int {
	row := -1
	for j := range s.nodes {
		if j == n.index {
			continue
		}
		r := rowOf(n.index, j)
		p := n.eng.Peer(r)
		if p.Disk == engine.UpToDate && p.Conn >= engine.Connected && s.nodes[j].eng != nil {
			row = r
		}
	}
	return row
}

// beginTenure is called when a promotion is answered.
func (s *Sim) beginTenure(n *node) {
	m := &s.model
	m.primary, m.last, m.tenure = n, n, m.tenure+1
	m.weakened = false
	broken := false
	for b := range m.blocks {
		bm := &m.blocks[b]
		c := s.content(n, b)
		if promised := s.promised(n, b); !n.refused && s.lowest(c) < promised {
			s.violate("block %d: node %d is promoted with version %d, but has promised %d", b, n.index, c, promised)
			return
		}
		if c > m.next {
			s.violate("block %d: node %d holds version %d, which nobody wrote", b, n.index, c)
		}
		lost := bm.acked != 0 && s.lowest(c) < bm.acked
		broken = broken || lost
		bm.base, bm.acked, bm.start = c, 0, m.next
	}
	for b := range m.blocks {
		for i := range s.nodes {
			f := m.floor(b, i)
			if i == n.index {
				if !f.valid {
					f.valid, f.dur = true, 0
				}
				f.cur = max(f.dur, s.lowest(m.blocks[b].base))
				f.valid = f.valid && n.eng.View().Disk == engine.UpToDate
			} else if !s.inSync(n, s.nodes[i]) {
				f.valid = false
			}
		}
	}
	if broken {
		m.lossy++
	}
}

// promised is what a node must have of a block when it is promoted. One without a disk reads what another has kept: if that one has
// missed nothing, but lost power, nobody can have more than it promises, since the disk that had it has been taken away.
func (s *Sim) promised(n *node, b int) version {
	f := s.model.floor(b, n.index)
	if !f.valid {
		return 0
	}
	cur := f.cur
	if o := s.server(n, b); o != n {
		if g := s.model.floor(b, o.index); g.valid {
			cur = min(cur, g.cur)
		}
	}
	return cur
}

// inSync reports that a node gets everything that the Primary n acknowledges.
func (s *Sim) inSync(n, other *node) bool {
	if n.eng == nil || other.eng == nil {
		return false
	}
	p := n.eng.Peer(rowOf(n.index, other.index))
	return p.Conn >= engine.Connected && p.Conn < engine.Ahead && p.Disk == engine.UpToDate && p.Bitmap == 0
}

// resynced: a node has just become equal to the Primary.
func (s *Sim) resynced(n *node) {
	m := &s.model
	for b := range m.blocks {
		f := m.floor(b, n.index)
		f.valid, f.dur = true, 0
		f.cur = m.ackedOrBase(b, s)
		if n.pulled != nil && s.prof.mode == engine.ModeC {
			f.dur = min(f.cur, n.pulled[b]) // M5: what was there before the last block came is durable
		}
		if s.prof.mode != engine.ModeC {
			f.cur = min(f.cur, s.lowest(n.disks[0].cells[b].cur))
		}
	}
	n.pulled = nil
}

func (m *model) ackedOrBase(b int, s *Sim) version {
	if v := m.blocks[b].acked; v != 0 {
		return v
	}
	return s.lowest(m.blocks[b].base)
}

// behind: a node may miss something that is acknowledged from now on.
func (m *model) behind(n int) {
	for b := range m.blocks {
		m.floor(b, n).valid = false
	}
}

// crashed takes back what the end of a node takes back. With several nodes, those that were killed do not know whether they lost
// something: they follow any other that crashed with the Primary, and that one may have lost power.
func (m *model) crashed(s *Sim, n *node, power bool) {
	if len(s.nodes) > 2 && power && !m.weakened {
		m.weakened = true
		for i, o := range s.nodes {
			for b := range m.blocks {
				if f := m.floor(b, i); o.eng == nil {
					f.cur = f.dur
				}
			}
		}
	}
	for b := range m.blocks {
		f := m.floor(b, n.index)
		if power || m.weakened || s.prof.mode != engine.ModeC {
			f.cur = f.dur
		}
	}
	if m.primary == n {
		m.primary = nil
		clear(m.requests)
	}
}

// submit starts a request of the front end at the Primary.
func (s *Sim) submit(kind engine.EventKind, lo, hi int, op engine.WriteOp, fua bool) {
	m := &s.model
	n := m.primary
	m.nextReq++
	r := &request{id: m.nextReq, kind: kind, lo: lo, hi: hi, tenure: m.tenure, fua: fua}
	ev := engine.Event{Kind: kind, ID: r.id, Off: uint64(lo) * blockSize, Len: uint32(hi-lo) * blockSize, Op: op, FUA: fua}
	switch kind {
	case engine.EvWrite:
		for range hi - lo {
			m.next++
			r.vers = append(r.vers, m.next)
		}
		ev.Data = &payload{vers: r.vers, fence: n.eng.View().Fence}
	case engine.EvRead:
		for b := lo; b < hi; b++ {
			r.floors = append(r.floors, m.blocks[b].acked)
		}
	case engine.EvFlush:
		for b := range m.blocks {
			r.floors = append(r.floors, m.ackedOrBase(b, s))
		}
		r.peers = map[int]int{}
		for i, o := range s.nodes {
			if o != n && s.prof.mode == engine.ModeC && s.inSync(n, o) {
				r.peers[i] = o.inc
			}
		}
	}
	for _, o := range s.nodes {
		r.incs = append(r.incs, o.inc)
	}
	m.requests[r.id] = r
	s.step(n, &ev)
}

// complete is the answer to a request.
func (m *model) complete(s *Sim, n *node, a *engine.Action) {
	r := m.requests[a.ID]
	if r == nil {
		r = m.late[a.ID]
		delete(m.late, a.ID)
	}
	if r == nil || !a.OK {
		delete(m.requests, a.ID)
		return
	}
	delete(m.requests, a.ID)
	if r.tenure != m.tenure {
		if r.kind == engine.EvWrite && s.prof.splitBrain {
			m.landsLate(s, r)
		}
		return
	}
	switch r.kind {
	case engine.EvWrite:
		m.acked++
		s.checkCopies(n, r, a.Mask)
		s.watchAck(n, a.Mask)
		if a.Mask == engine.HostBit && s.prof.mode == engine.ModeC {
			s.acknowledgedAlone(n, r)
		}
		m.completeWrite(s, n, r, a.Mask)
	case engine.EvRead:
		m.reads++
		m.checkRead(s, r, a)
	case engine.EvFlush:
		m.completeFlush(s, n, r, a.Mask)
	}
}

// endRequests forgets the requests of the tenure that ends. What another Primary has not answered yet may land late.
func (m *model) endRequests() {
	for id, r := range m.requests {
		if r.tenure != m.tenure {
			m.late[id] = r
		}
	}
	clear(m.requests)
}

// landsLate: of two Primaries that an operator has made, the first has waited with a write until the other's tenure was over. Its front
// end has not given up the write, so it is later than what the other has acknowledged there, whatever its number.
func (m *model) landsLate(s *Sim, r *request) {
	for b := r.lo; b < r.hi; b++ {
		for i := range s.nodes {
			f, v := m.floor(b, i), r.vers[b-r.lo]
			f.cur, f.dur = min(f.cur, v), min(f.dur, v)
		}
	}
}

func (m *model) has(s *Sim, n *node, mask uint16, i int) bool {
	if i == n.index {
		return mask&engine.HostBit != 0
	}
	return mask>>rowOf(n.index, i)&1 != 0
}

func (m *model) completeWrite(s *Sim, n *node, r *request, mask uint16) {
	n.missed = n.missed || !m.has(s, n, mask, n.index)
	for i := range s.nodes {
		has := m.has(s, n, mask, i)
		for b := r.lo; b < r.hi; b++ {
			f, v := m.floor(b, i), r.vers[b-r.lo]
			switch {
			case has && f.valid && s.nodes[i].inc != r.incs[i]: // its acknowledgement came late, and a power loss may have taken the write
			case has && f.valid:
				f.cur = max(f.cur, v)
				if r.fua && s.prof.mode == engine.ModeC {
					f.dur = max(f.dur, v)
				}
			case !has && s.prof.mode == engine.ModeC:
				f.valid = false
			}
		}
		if !has && s.prof.mode == engine.ModeC {
			m.behind(i)
		}
	}
	for b := r.lo; b < r.hi; b++ {
		bm := &m.blocks[b]
		bm.acked = max(bm.acked, r.vers[b-r.lo])
	}
}

func (m *model) completeFlush(s *Sim, n *node, r *request, mask uint16) {
	for i := range s.nodes {
		inc, peer := r.peers[i]
		peer = peer && inc == s.nodes[i].inc && s.inSync(n, s.nodes[i])
		if i == n.index && mask&engine.HostBit == 0 || i != n.index && !peer {
			continue
		}
		for b := range m.blocks {
			if f := m.floor(b, i); f.valid {
				f.dur = max(f.dur, min(f.cur, r.floors[b]))
			}
		}
	}
}

func (m *model) checkRead(s *Sim, r *request, a *engine.Action) {
	p := a.Data.(*payload)
	for b := r.lo; b < r.hi; b++ {
		if s.isRotten(p.vers[b-r.lo]) {
			s.model.rotReads++
		}
		s.checkValue(b, s.under(b, p.vers[b-r.lo]), r.floors[b-r.lo], "read")
	}
}

// checkValue checks what the Primary says a block holds. floor is what was acknowledged when the question was asked.
func (s *Sim) checkValue(b int, v, floor version, what string) {
	bm := &s.model.blocks[b]
	switch {
	case v == bm.base && floor == 0:
	case v > bm.start && v >= floor && v <= s.model.next:
	default:
		s.violate("block %d: %s gives version %d; acknowledged %d, base %d, tenure from %d", b, what, v, floor, bm.base, bm.start)
	}
}
