package leg

import (
	"errors"
	"io"
	"slices"
	"testing"

	"pollux/bdev/replicated/engine"
	"pollux/bdev/replicated/meta"
)

const (
	diskSize = 4 << 20
	legRow   = 8
)

// memory is a disk in memory.
type memory []byte

func (m memory) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 || off+int64(len(p)) > int64(len(m)) {
		return 0, io.ErrUnexpectedEOF
	}
	return copy(p, m[off:]), nil
}

func (m memory) WriteAt(p []byte, off int64) (int, error) {
	if off < 0 || off+int64(len(p)) > int64(len(m)) {
		return 0, io.ErrShortWrite
	}
	return copy(m[off:], p), nil
}

func (m memory) Sync() error { return nil }

func config() *engine.Config {
	c := &engine.Config{Legs: 2, LegRow: legRow}
	c.Rows[0].Kind, c.Rows[legRow].Kind, c.Rows[legRow+1].Kind = engine.KindPeer, engine.KindLeg, engine.KindLeg
	return c
}

// world is a volume of two legs.
type world struct {
	t     *testing.T
	cfg   *engine.Config
	disks [2]memory
	set   *Set
}

func newWorld(t *testing.T) *world {
	w := &world{t: t, cfg: config()}
	legs := make([]*Leg, 2)
	for i := range legs {
		w.disks[i] = make(memory, diskSize)
		legs[i] = w.create(i, byte(i+1), false)
	}
	w.set = NewSet(legs, w.cfg)
	if err := w.set.Introduce(); err != nil {
		t.Fatal(err)
	}
	return w
}

func (w *world) create(i int, name byte, joining bool) *Leg {
	l, err := Create(w.disks[i], diskSize, meta.Options{ALPages: 4, ALSlots: 8, Node: meta.UUID{name}}, w.cfg, i, joining)
	if err != nil {
		w.t.Fatal(err)
	}
	return l
}

// perform writes a metadata action to the legs of a mask.
func (w *world) perform(mask int, a engine.Action) {
	for i := range w.disks {
		if mask>>i&1 != 0 {
			w.set.Encode(i, &a, func(off int64, p *meta.Page) { w.disks[i].WriteAt(p[:], off) })
		}
	}
}

// load starts anew from the bytes.
func (w *world) load() (*engine.Loaded, error) {
	legs := make([]*Leg, 2)
	for i, d := range w.disks {
		legs[i], _ = Open(d, diskSize)
	}
	w.set = NewSet(legs, w.cfg)
	return w.set.Load()
}

func (w *world) mustLoad() *engine.Loaded {
	w.t.Helper()
	md, err := w.load()
	if err != nil {
		w.t.Fatal(err)
	}
	return md
}

func (w *world) super(seq uint64) *engine.Super {
	s := &engine.Super{Seq: seq, Current: 0x1234, Size: 1 << 20, Fence: 7, LegGen: 2, Flags: engine.SuperConsistent | engine.SuperUpToDate}
	s.History[3], s.LegPast[2] = 0x55, 0x66
	s.Rows[0] = engine.Row{Bitmap: 0x77, Flags: engine.RowOutdated}
	return s
}

func TestWhatIsWrittenIsLoaded(t *testing.T) {
	w := newWorld(t)
	s := w.super(10)
	w.perform(3, engine.Action{Kind: engine.ActMetaSuper, Super: s})
	w.perform(3, engine.Action{Kind: engine.ActMetaAL, AL: []engine.ALUpdate{{Slot: 2, Extent: 9}}})
	w.perform(3, engine.Action{Kind: engine.ActMetaBitmap, Peer: 0, Page: 0, Words: []uint64{0xf0}})
	md := w.mustLoad()
	if md.Super != *s {
		t.Errorf("superblock %+v, want %+v", md.Super, *s)
	}
	if md.Up != 3 || md.Stale != 0 || md.Missing || md.HotAll || md.Rewrite != 0 {
		t.Errorf("%+v", md)
	}
	if !slices.Equal(md.Hot, []engine.ALUpdate{{Slot: 2, Extent: 9}}) || len(md.HotToo) != 0 {
		t.Errorf("hot %v and %v", md.Hot, md.HotToo)
	}
	if md.Bitmaps[0][0] != 0xf0 || md.Bitmaps[legRow][0] != 0 {
		t.Errorf("bitmaps %x %x", md.Bitmaps[0][0], md.Bitmaps[legRow][0])
	}
}

// TestWhatOneLegHasLostTheOtherSays: each leg lacks one write that its disk has acknowledged.
func TestWhatOneLegHasLostTheOtherSays(t *testing.T) {
	for lost := range 2 {
		w := newWorld(t)
		w.perform(3, engine.Action{Kind: engine.ActMetaSuper, Super: w.super(10)})
		there := 2 >> lost
		w.perform(there, engine.Action{Kind: engine.ActMetaAL, AL: []engine.ALUpdate{{Slot: 2, Extent: 9}}})
		w.perform(there, engine.Action{Kind: engine.ActMetaBitmap, Peer: 0, Page: 0, Words: []uint64{0xf0}})
		w.perform(there, engine.Action{Kind: engine.ActMetaSuper, Super: w.super(11)})
		md := w.mustLoad()
		if md.Super.Seq != 11 {
			t.Errorf("leg %d lost its writes: superblock %d", lost, md.Super.Seq)
		}
		// The next crash may leave the leg that has lost it alone in sync: a write there needs a transaction of its own.
		if len(md.Hot) != 0 || !slices.Equal(md.HotToo, []uint32{9}) {
			t.Errorf("leg %d lost its writes: hot %v and %v", lost, md.Hot, md.HotToo)
		}
		if md.Bitmaps[0][0] != 0xf0 || md.Rewrite != 1 {
			t.Errorf("leg %d lost its writes: bitmap %x, rewrite %x", lost, md.Bitmaps[0][0], md.Rewrite)
		}
	}
}

func TestAnotherDiskIsCopiedToAsAWhole(t *testing.T) {
	w := newWorld(t)
	w.perform(3, engine.Action{Kind: engine.ActMetaSuper, Super: w.super(10)})
	clear(w.disks[1])
	w.create(1, 9, true)
	md := w.mustLoad()
	if md.Up != 1 || md.Stale != 2 || md.Super.Rows[legRow+1].Flags&engine.RowFullSync == 0 {
		t.Errorf("%+v", md)
	}
	if !md.Missing {
		t.Error("the disk that was replaced may have had newer data, and is not missed")
	}
}

func TestJoin(t *testing.T) {
	w := newWorld(t)
	s := w.super(10)
	w.perform(3, engine.Action{Kind: engine.ActMetaSuper, Super: s})
	s.LegGen, s.LegPast[0], s.Rows[legRow+1] = 0x99, 2, engine.Row{Bitmap: 2, Flags: engine.RowStale}
	w.perform(1, engine.Action{Kind: engine.ActMetaSuper, Super: s})
	old, err := Open(w.disks[1], diskSize)
	if err != nil {
		t.Fatal(err)
	}
	if w.set.Join(1, old) {
		t.Error("the leg that fell behind is taken for a new one")
	}
	alone := *s
	alone.LegGen = 0xbad
	w.perform(2, engine.Action{Kind: engine.ActMetaSuper, Super: &alone})
	if old, err = Open(w.disks[1], diskSize); err != nil || !w.set.Join(1, old) {
		t.Errorf("a leg that went on alone is not copied to as a whole: %v", err)
	}
	if !w.set.Join(1, w.create(1, 9, true)) {
		t.Error("another disk is not copied to as a whole")
	}
	// It is named together with the mark that it has nothing, and not before.
	w.perform(1, engine.Action{Kind: engine.ActMetaSuper, Super: s})
	row := legRow + 1
	if got := w.set.Legs[0].store.Super.Peers[row].Node; got != (meta.UUID{2}) {
		t.Errorf("leg 1 is known as %x too early", got)
	}
	s.Rows[row].Flags |= engine.RowFullSync
	w.perform(1, engine.Action{Kind: engine.ActMetaSuper, Super: s})
	if got := w.set.Legs[0].store.Super.Peers[row].Node; got != (meta.UUID{9}) {
		t.Errorf("leg 1 is known as %x", got)
	}
}

// TestANewLegKnowsTheOthers: once everything has been copied to a disk that was put in while the volume ran, the next start may be
// from its superblock, which must not take the leg that was there all the time for a stranger.
func TestANewLegKnowsTheOthers(t *testing.T) {
	for replaced := range 2 {
		w := newWorld(t)
		s := w.super(10)
		w.perform(3, engine.Action{Kind: engine.ActMetaSuper, Super: s})
		clear(w.disks[replaced])
		if !w.set.Join(replaced, w.create(replaced, 9, true)) {
			t.Errorf("leg %d is another disk, and is taken for the old one", replaced)
		}
		s.Seq, s.LegGen, s.LegPast[0] = 11, 0x99, 2
		s.Rows[legRow+replaced] = engine.Row{Bitmap: 2, Flags: engine.RowStale | engine.RowFullSync}
		w.perform(3, engine.Action{Kind: engine.ActMetaSuper, Super: s})
		s.Seq, s.Rows[legRow+replaced] = 12, engine.Row{} // everything has been copied
		w.perform(3, engine.Action{Kind: engine.ActMetaSuper, Super: s})
		s.Seq = 13
		w.perform(1<<replaced, engine.Action{Kind: engine.ActMetaSuper, Super: s}) // a crash keeps it from the other leg
		if md := w.mustLoad(); md.Super.Seq != 13 || md.Up != 3 || md.Stale != 0 || md.Missing {
			t.Errorf("leg %d was replaced: %+v", replaced, md)
		}
	}
}

func TestNoLegIsRefused(t *testing.T) {
	w := newWorld(t)
	for _, d := range w.disks {
		clear(d[diskSize-2*meta.PageSize:])
	}
	if _, err := w.load(); !errors.Is(err, ErrNoLeg) {
		t.Errorf("without superblocks: %v", err)
	}
}
