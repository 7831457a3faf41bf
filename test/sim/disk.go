package sim

import "pollux/bdev/replicated/engine"

// version names what one write put into one block; 0 is what was there first. Versions grow in the order of submission.
type version int64

// payload is what a write carries: a version per block.
type payload struct {
	vers  []version
	fence uint64
	late  bool // reached a node that had accepted a higher fencing epoch
}

// cell is one block of a disk: what a read sees, and what a power loss leaves at least.
type cell struct {
	cur, dur       version
	curSeq, durSeq uint64
	unreadable     bool // until it is written again
	worn           bool // neither readable nor writable
	wasUnreadable  bool // unreadable until a write that a power loss may take back
}

// disk is one leg: blocks behind a volatile cache, and metadata.
type disk struct {
	cells           []cell
	md              *region
	seq             uint64
	misdirected     int // writes of data and of metadata that will go elsewhere
	misdirectedMeta int
	losesMeta       bool // writes of metadata end and change nothing, but those of superblocks
	gone            bool // answers every request with an error
	flight          []*diskIO
}

// diskIO is a request that has not been answered.
type diskIO struct {
	node, leg, inc int
	act            engine.Action
	apply          func()      // what it does to the disk
	pages          []pageWrite // of metadata, to be written after that one by one
	meta           *metaWrite
}

func (d *disk) write(block int, v version, fua bool) {
	c := &d.cells[block]
	d.seq++
	c.cur, c.curSeq = v, d.seq
	c.unreadable, c.wasUnreadable = false, !fua && (c.unreadable || c.wasUnreadable)
	if fua {
		c.dur, c.durSeq = v, d.seq
	}
}

// flush returns the end of a flush that starts now: what was in the cache then is durable.
func (d *disk) flush(s *Sim) (end func()) {
	var snap []cell
	if n := len(s.spareCells); n > 0 {
		snap, s.spareCells = s.spareCells[n-1], s.spareCells[:n-1]
	}
	snap = append(snap[:0], d.cells...)
	until := d.md.seq
	return func() {
		for i := range d.cells {
			if c := &d.cells[i]; snap[i].curSeq > c.durSeq {
				c.dur, c.durSeq = snap[i].cur, snap[i].curSeq
				c.wasUnreadable = c.wasUnreadable && c.durSeq != c.curSeq
			}
		}
		d.md.persist(until)
		s.spareCells = append(s.spareCells, snap)
	}
}

// powerLoss leaves each block that was not durable as it was, as it is, or torn.
func (d *disk) powerLoss(s *Sim) {
	for i := range d.cells {
		c := &d.cells[i]
		if c.curSeq != c.durSeq {
			c.unreadable = c.unreadable || c.wasUnreadable && s.rng.IntN(2) == 0
			switch s.rng.IntN(5) {
			case 0, 1:
				c.cur = c.dur
			case 2:
				c.cur = s.torn(c.dur, c.cur)
			}
		}
		d.seq++
		c.dur, c.curSeq, c.durSeq, c.wasUnreadable = c.cur, d.seq, d.seq, false
	}
	d.md.powerLoss(s)
}

func blockRange(off uint64, n uint32) (lo, hi int) {
	return int(off / blockSize), int((off + uint64(n)) / blockSize)
}

// perform starts a leg's request; the answer is an event of its own.
func (s *Sim) perform(n *node, a engine.Action, leg int, part *metaWrite) {
	d := n.disks[leg]
	io := &diskIO{node: n.index, leg: leg, inc: n.inc, act: a, meta: part}
	d.flight = append(d.flight, io)
	switch a.Kind {
	case engine.ActLegFlush:
		io.apply = d.flush(s)
	case engine.ActMetaSuper, engine.ActMetaAL, engine.ActMetaBitmap:
		io.pages = s.encode(n, leg, &a)
	case engine.ActLegWrite:
		io.apply = func() { s.applyWrite(n, d, a) }
	}
	delay := s.diskDelay()
	if n.slowUntil > s.now && s.rng.IntN(3) == 0 {
		delay += s.rng.Int64N(700e6)
	}
	if n.slowMetaUntil > s.now && part != nil {
		delay += s.rng.Int64N(30e6)
	}
	s.after(delay, func() { s.diskDone(n, d, io) })
}

func (s *Sim) applyWrite(n *node, d *disk, a engine.Action) {
	lo, hi := blockRange(a.Off, a.Len)
	p := a.Data.(*payload)
	if p.late {
		s.violate("node %d wrote data of a superseded fencing epoch", n.index)
	}
	for b := lo; b < hi; b++ {
		if d.misdirected > 0 {
			s.misdirect(d, b, p.vers[b-lo], a.FUA)
			continue
		}
		d.write(b, p.vers[b-lo], a.FUA)
	}
}

func (s *Sim) diskDelay() int64 { return 20e3 + s.rng.Int64N(s.prof.diskJitter) }

// diskDone applies a request and tells the engine that asked.
func (s *Sim) diskDone(n *node, d *disk, io *diskIO) {
	if !d.take(io) || io.inc != n.inc {
		return // a crash has dealt with it, or the leg had been replaced before
	}
	if n.pausedUntil > s.now {
		d.flight = append(d.flight, io)
		s.after(n.pausedUntil-s.now+1, func() { s.diskDone(n, d, io) })
		return
	}
	ok := !d.gone && !s.fails(n, io.act.Kind) && !d.mediumError(&io.act)
	a := io.act
	if ok && io.apply != nil {
		io.apply()
		io.apply = nil
	}
	if ok && len(io.pages) > 0 {
		s.putMeta(d, &io.pages[0])
		if io.pages = io.pages[1:]; len(io.pages) > 0 {
			d.flight = append(d.flight, io)
			s.after(s.diskDelay(), func() { s.diskDone(n, d, io) })
			return
		}
	}
	ev := engine.Event{Kind: engine.EvLegDone, Leg: io.leg, ID: a.ID, OK: ok}
	switch a.Kind {
	case engine.ActMetaSuper, engine.ActMetaAL, engine.ActMetaBitmap:
		n.metaPart(io, ok)
		return
	case engine.ActLegRead:
		if ok {
			s.readInto(&ev, d, a)
		}
	}
	s.step(n, &ev)
}

func (s *Sim) readInto(ev *engine.Event, d *disk, a engine.Action) {
	lo, hi := blockRange(a.Off, a.Len)
	p := &payload{}
	sum := uint64(14695981039346656037)
	for b := lo; b < hi; b++ {
		p.vers = append(p.vers, d.cells[b].cur)
		sum = (sum ^ uint64(d.cells[b].cur)) * 1099511628211
	}
	if a.Flag {
		ev.Sum = sum
		return
	}
	ev.Data = p
}

func (d *disk) take(io *diskIO) bool {
	for i, f := range d.flight {
		if f == io {
			d.flight = append(d.flight[:i], d.flight[i+1:]...)
			return true
		}
	}
	return false
}

// fails decides whether a request hits a fault.
func (s *Sim) fails(n *node, k engine.ActionKind) bool {
	if k == engine.ActLegRead && n.failReadsUntil > s.now && !s.calm && s.rng.IntN(2) == 0 {
		return true
	}
	if s.calm || s.prof.eio == 0 || s.rng.IntN(1000) >= s.prof.eio {
		return false
	}
	switch k {
	case engine.ActLegRead:
		return true
	case engine.ActLegWrite:
		return len(n.disks) > 1 || s.prof.diskless
	}
	return false
}

// mediumError reports that a request hits a block that cannot be read, or not even written.
func (d *disk) mediumError(a *engine.Action) bool {
	if a.Kind != engine.ActLegRead && a.Kind != engine.ActLegWrite {
		return false
	}
	lo, hi := blockRange(a.Off, a.Len)
	for _, c := range d.cells[lo:hi] {
		if c.worn || c.unreadable && a.Kind == engine.ActLegRead {
			return true
		}
	}
	return false
}

// crash deals with what was under way: each request has reached the disk or not.
func (d *disk) crash(s *Sim, power bool) {
	flight := d.flight
	d.flight = nil
	for _, io := range flight {
		switch {
		case io.act.Kind == engine.ActLegRead || io.act.Kind == engine.ActLegFlush || d.gone:
		case io.meta != nil:
			d.crashMeta(s, io, power)
		case s.rng.IntN(2) == 0:
			io.apply()
		}
	}
	if power {
		d.powerLoss(s)
	}
}
