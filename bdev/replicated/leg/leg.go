package leg

import (
	"fmt"

	"pollux/bdev/replicated/engine"
	"pollux/bdev/replicated/meta"
)

// Leg is one local disk that is here. It belongs to the engine's reactor.
type Leg struct {
	store *meta.Store
}

// Create writes the metadata of a new leg of a volume; o.Slots and the sequence number are filled in. joining says that the
// volume exists already, so the leg is behind until everything has been copied to it.
func Create(disk meta.Disk, size int64, o meta.Options, cfg *engine.Config, n int, joining bool) (*Leg, error) {
	o.Slots = 0
	var slots [engine.ReplicasMax]int8
	for row := range slots {
		slots[row] = -1
		if cfg.Rows[row].Kind != engine.KindNone {
			slots[row] = int8(o.Slots)
			o.Slots++
		}
	}
	o.Slots = max(o.Slots, 1)
	s, err := meta.Create(disk, size, o)
	if err != nil {
		return nil, err
	}
	for row := range slots {
		s.Super.Peers[row].Slot, s.Super.Peers[row].Kind = slots[row], uint8(cfg.Rows[row].Kind)
	}
	own := &s.Super.Peers[cfg.LegRow+n]
	own.Node = o.Node
	if joining {
		own.Flags |= engine.RowStale
	}
	return &Leg{s}, s.WriteSuper()
}

// Open reads the metadata of a leg; it fails if neither superblock can be believed.
func Open(disk meta.Disk, size int64) (*Leg, error) {
	s, err := meta.Open(disk, size)
	if err != nil {
		return nil, err
	}
	return &Leg{s}, nil
}

// Set is the legs of one node, with nil for those that are not here.
type Set struct {
	Legs  []*Leg
	cfg   *engine.Config
	known []meta.UUID // the disk that the volume takes for each leg, whether it is here or not
}

// NewSet joins the legs of a node.
func NewSet(legs []*Leg, cfg *engine.Config) *Set {
	return &Set{Legs: legs, cfg: cfg, known: make([]meta.UUID, len(legs))}
}

// Seq counts the writes of the leg's superblock: of two legs that have gone separate ways, it says which was written more.
func (l *Leg) Seq() uint64 { return l.store.Super.Seq }

// Encode gives the pages that a metadata action puts on leg n, in the order in which they have to become durable.
func (s *Set) Encode(n int, a *engine.Action, put func(off int64, p *meta.Page)) {
	var p meta.Page
	l := s.Legs[n]
	switch a.Kind {
	case engine.ActMetaSuper:
		l.takeSuper(a.Super)
		s.know(func(row int) bool { return a.Super.Rows[row].Flags&engine.RowFullSync != 0 })
		s.name(l)
		first, second := l.store.NextSuper(&p)
		put(first, &p)
		put(second, &p)
	case engine.ActMetaAL:
		updates := make([]meta.Update, len(a.AL))
		for i, u := range a.AL {
			updates[i] = meta.Update{Slot: u.Slot, Extent: u.Extent}
		}
		off, err := l.store.NextTransaction(updates, &p)
		if err != nil {
			panic(fmt.Sprintf("the engine's transaction does not fit the format: %v", err))
		}
		put(off, &p)
	case engine.ActMetaBitmap:
		put(l.store.NextBitmap(int(l.store.Super.Peers[a.Peer].Slot), a.Page, a.Words, &p), &p)
	default:
		panic(fmt.Sprintf("action %d writes no metadata", a.Kind))
	}
}

// Join puts leg n into the set, before it is added to the engine. It reports that the bitmap does not say what the disk lacks,
// because the other legs have never seen it, or because it went on without them: then everything has to be copied to it.
func (s *Set) Join(n int, l *Leg) (isNew bool) {
	s.Legs[n] = l
	row := s.cfg.LegRow + n
	for i, other := range s.Legs {
		if i == n || other == nil {
			continue
		}
		isNew = isNew || other.store.Super.Peers[row].Node != l.store.Super.Node ||
			!engine.Descends(other.super(), l.super(), row)
	}
	return isNew
}

// Introduce makes the legs of a new volume known to one another.
func (s *Set) Introduce() error {
	s.know(func(int) bool { return true })
	for _, l := range s.Legs {
		s.name(l)
		if err := l.store.WriteSuper(); err != nil {
			return err
		}
	}
	return nil
}

// know takes the disks that are here for the legs of some rows. A new disk only becomes known with a superblock that also says
// that everything has to be copied to it, or that comes after the bitmap that says so.
func (s *Set) know(pick func(row int) bool) {
	for i, l := range s.Legs {
		if l != nil && pick(s.cfg.LegRow+i) {
			s.known[i] = l.store.Super.Node
		}
	}
}

// name writes into a leg's superblock which disks the legs are: all of them, since the leg may be a new one that has never heard of
// the others, or may have been away when another was replaced. Once it is in sync it may be the one to start from, and whom it
// does not know it takes to be missing.
func (s *Set) name(l *Leg) {
	for i, disk := range s.known {
		l.store.Super.Peers[s.cfg.LegRow+i].Node = disk
	}
}

// takeSuper copies what the engine decides into the superblock; the rest of it is the disk's own.
func (l *Leg) takeSuper(s *engine.Super) {
	to := &l.store.Super
	to.Seq, to.Current, to.Flags, to.Size, to.Fence = s.Seq, s.Current, s.Flags, s.Size, s.Fence
	to.LegGen, to.LegPast = s.LegGen, s.LegPast
	copy(to.History[:], s.History[:])
	for i, r := range s.Rows {
		to.Peers[i].Bitmap, to.Peers[i].Flags = r.Bitmap, r.Flags
	}
}

// super is the superblock as the engine sees it.
func (l *Leg) super() *engine.Super {
	from := &l.store.Super
	s := &engine.Super{
		Seq: from.Seq, Current: from.Current, Flags: from.Flags, Size: from.Size, Fence: from.Fence,
		LegGen: from.LegGen, LegPast: from.LegPast,
	}
	copy(s.History[:], from.History[:])
	for i := range s.Rows {
		s.Rows[i] = engine.Row{Bitmap: from.Peers[i].Bitmap, Flags: from.Peers[i].Flags}
	}
	return s
}
