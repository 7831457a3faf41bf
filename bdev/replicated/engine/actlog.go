package engine

// activityLog is the set of extents that may be written. A crash makes all of them dirty; an extent enters by a
// durable transaction before its first write (M1), and what leaves has its bitmap pages and its data on disk (M2).
type activityLog struct {
	slots   []alSlot
	index   map[uint32]int // extent to slot; never iterated
	clock   uint64
	waiting []*op
	pending []ALUpdate // transaction under way
	evicted []uint32   // extents that leave by it
}

type alSlot struct {
	extent uint32
	refs   int32
	hot    bool // the transaction that brought it in is durable
	used   uint64
}

func newActivityLog(n int) *activityLog {
	al := &activityLog{slots: make([]alSlot, n), index: make(map[uint32]int, n)}
	for i := range al.slots {
		al.slots[i].extent = ALFree
	}
	return al
}

// get takes references on extents lo..hi if all are hot.
func (al *activityLog) get(lo, hi uint32) bool {
	for x := lo; x <= hi; x++ {
		if i, ok := al.index[x]; !ok || !al.slots[i].hot {
			return false
		}
	}
	al.clock++
	for x := lo; x <= hi; x++ {
		s := &al.slots[al.index[x]]
		s.refs++
		s.used = al.clock
	}
	return true
}

func (al *activityLog) put(lo, hi uint32) {
	for x := lo; x <= hi; x++ {
		s := &al.slots[al.index[x]]
		s.refs--
		if s.refs < 0 {
			panic("activity log: reference given back twice")
		}
	}
}

const alUpdatesMax = 64 // extents that one transaction may bring in

// plan finds slots for the cold extents of those who wait, in order, and fills pending and evicted.
func (al *activityLog) plan(extents func(*op) (lo, hi uint32)) bool {
	al.clock++
	start := al.clock // what somebody in this plan needs has been used since, and stays
	for _, o := range al.waiting {
		lo, hi := extents(o)
		if !al.planOne(start, lo, hi) {
			break // those behind wait too, so that nobody starves
		}
	}
	return len(al.pending) > 0
}

func (al *activityLog) planOne(start uint64, lo, hi uint32) bool {
	// What is hot already and needed by this one must not leave for its other half.
	al.clock++
	for x := lo; x <= hi; x++ {
		if i, ok := al.index[x]; ok {
			al.slots[i].used = al.clock
		}
	}
	for x := lo; x <= hi; x++ {
		if _, ok := al.index[x]; ok {
			continue
		}
		if len(al.pending) == alUpdatesMax {
			return false
		}
		i := al.victim(start)
		if i < 0 {
			return false
		}
		al.replace(i, x)
	}
	return true
}

// victim returns a free slot or the least recently used one without references; -1 is none.
func (al *activityLog) victim(now uint64) int {
	best := -1
	for i := range al.slots {
		s := &al.slots[i]
		if s.extent == ALFree {
			return i
		}
		if s.refs == 0 && s.hot && s.used < now && (best < 0 || s.used < al.slots[best].used) {
			best = i
		}
	}
	return best
}

func (al *activityLog) replace(i int, extent uint32) {
	s := &al.slots[i]
	if s.extent != ALFree {
		al.evicted = append(al.evicted, s.extent)
		delete(al.index, s.extent)
	}
	*s = alSlot{extent: extent, used: al.clock}
	al.index[extent] = i
	al.pending = append(al.pending, ALUpdate{uint16(i), extent})
}

// commit makes the extents of the transaction hot.
func (al *activityLog) commit() {
	for _, u := range al.pending {
		al.slots[u.Slot].hot = true
	}
	al.pending = al.pending[:0]
	al.evicted = al.evicted[:0]
}

// removeWaiting forgets an operation that is given up.
func (al *activityLog) removeWaiting(o *op) {
	for i := range al.waiting {
		if al.waiting[i] == o {
			al.waiting = append(al.waiting[:i], al.waiting[i+1:]...)
			return
		}
	}
}
