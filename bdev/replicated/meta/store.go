package meta

import (
	"errors"
	"fmt"
	"io"
)

// Disk is what metadata lies on. Every write here is followed by Sync, or has FUA.
type Disk interface {
	io.ReaderAt
	io.WriterAt
	Sync() error
}

// Store is the metadata of one disk, opened. It belongs to one goroutine.
type Store struct {
	Layout Layout
	Super  Super

	disk    Disk
	copy    int      // the copy of the superblock that counts: 0 is A
	copies  [2]error // what is wrong with each
	table   []uint32
	last    uint64
	context int // next slot of the context window
	hotAll  bool
	bmSeq   uint64
}

// Options are what create chooses.
type Options struct {
	Slots   int    // bitmaps, 1 to 16
	BMShift uint8  // one bit stands for 1 << BMShift bytes
	ALPages int    // pages of the activity log ring
	ALSlots uint32 // extents that may be hot at once
	ALShift uint8  // bytes of an extent, as a power of two
	Size    uint64 // of the volume; 0 is all there is room for
	Block   uint32
	Set     UUID
	Node    UUID
	NodeID  uint8
	Data    int64 // size of the data on another device; 0 is internal metadata
}

const (
	slotsDefault   = 4
	bmShiftDefault = 12
	alSlotsDefault = 1237
)

// Defaults fills what is zero.
func (o *Options) Defaults() {
	def := func(p *int, v int) {
		if *p == 0 {
			*p = v
		}
	}
	def(&o.Slots, slotsDefault)
	def(&o.ALPages, ALPages)
	if o.BMShift == 0 {
		o.BMShift = bmShiftDefault
	}
	if o.ALSlots == 0 {
		o.ALSlots = alSlotsDefault
	}
	if o.ALShift == 0 {
		o.ALShift = 22
	}
	if o.Block == 0 {
		o.Block = 512
	}
}

// JustCreated is the current generation of metadata that has not seen data.
const JustCreated = 4

// SuperClean says that the activity log is empty.
const SuperClean = 8

// Create writes fresh metadata: an empty activity log, clean bitmaps, both superblocks. What was there is gone.
func Create(disk Disk, size int64, o Options) (*Store, error) {
	o.Defaults()
	layout, err := layoutOf(size, &o)
	if err != nil {
		return nil, err
	}
	if o.Size == 0 {
		o.Size = uint64(layout.Data) &^ (PageSize - 1)
	}
	s := &Store{Layout: layout, disk: disk}
	s.Super = Super{
		Seq: 1, Set: o.Set, Node: o.Node, NodeID: o.NodeID, Slots: uint8(o.Slots), BMShift: o.BMShift, Flags: SuperClean,
		Size: o.Size, Block: o.Block, ALPages: uint32(o.ALPages), ALSlots: o.ALSlots, ALShift: o.ALShift,
		Current: JustCreated, LegGen: 2, Capacity: uint64(layout.Data), External: o.Data != 0,
	}
	for i := range s.Super.Peers {
		s.Super.Peers[i].Slot = -1
	}
	if err := s.Super.plausible(); err != nil {
		return nil, err
	}
	return s, s.format()
}

func layoutOf(size int64, o *Options) (Layout, error) {
	if o.Data != 0 {
		return External(size, o.Data, o.Slots, o.BMShift, o.ALPages)
	}
	return Internal(size, o.Slots, o.BMShift, o.ALPages)
}

// format writes everything; the superblocks come last, so that a crash in between leaves no metadata at all.
func (s *Store) format() error {
	var zero, p Page
	for n := range 2 {
		if err := s.write(&zero, s.Layout.Super(n)); err != nil {
			return err
		}
	}
	for n := range s.Layout.ALPages {
		if err := s.write(&zero, s.Layout.AL(n)); err != nil {
			return err
		}
	}
	for slot := range s.Layout.Slots {
		for page := range s.Layout.SlotPages() {
			EncodeBitmap(&p, slot, page, 1, nil)
			if err := s.write(&p, s.Layout.Bitmap(slot, page)); err != nil {
				return err
			}
		}
	}
	if err := s.disk.Sync(); err != nil {
		return err
	}
	s.resetTable()
	return s.WriteSuper()
}

func (s *Store) resetTable() {
	s.table = make([]uint32, s.Super.ALSlots)
	for i := range s.table {
		s.table[i] = ExtentFree
	}
}

func (s *Store) write(p *Page, off int64) error {
	_, err := s.disk.WriteAt(p[:], off)
	return err
}

func (s *Store) read(p *Page, off int64) error {
	_, err := s.disk.ReadAt(p[:], off)
	return err
}

// Open finds the metadata at the tail of a disk of the given size. It fails if neither superblock can be believed.
func Open(disk Disk, size int64) (*Store, error) {
	s := &Store{disk: disk, copy: -1}
	probe := Layout{Disk: size &^ (PageSize - 1)}
	for n := range 2 {
		var p Page
		if err := s.read(&p, probe.Super(n)); err != nil {
			s.copies[n] = err
			continue
		}
		super, err := DecodeSuper(&p)
		if s.copies[n] = err; err != nil {
			continue
		}
		if s.copy < 0 || super.Seq > s.Super.Seq {
			s.Super, s.copy = *super, n
		}
	}
	if s.copy < 0 {
		return nil, fmt.Errorf("%w: copy A: %v; copy B: %v", ErrNoSuper, s.copies[0], s.copies[1])
	}
	o := Options{Slots: int(s.Super.Slots), BMShift: s.Super.BMShift, ALPages: int(s.Super.ALPages)}
	if s.Super.External {
		o.Data = int64(s.Super.Capacity)
	}
	var err error
	if s.Layout, err = layoutOf(size, &o); err != nil {
		return nil, err
	}
	if uint64(s.Layout.Data) != s.Super.Capacity {
		return nil, fmt.Errorf("the disk has room for %d bytes of data, its superblock says %d: %w; "+
			"the disk was cut short, or is a copy of another size", s.Layout.Data, s.Super.Capacity, ErrImplausible)
	}
	return s, s.readActivityLog()
}

func (s *Store) readActivityLog() error {
	pages, bad := make([]*Transaction, s.Layout.ALPages), make([]bool, s.Layout.ALPages)
	for n := range pages {
		var p Page
		err := s.read(&p, s.Layout.AL(n))
		if err == nil {
			pages[n], err = DecodeTransaction(&p)
		}
		bad[n] = err != nil
	}
	var complete bool
	s.table, s.last, complete = Rebuild(pages, bad, int(s.Super.ALSlots))
	s.hotAll = !complete
	return nil
}

// Hot returns the slot table of the activity log; all means that it cannot be trusted and everything counts as hot.
func (s *Store) Hot() (table []uint32, all bool) { return s.table, s.hotAll }

// NextSuper encodes the superblock with its sequence number and returns where it goes: to the copy that does not count, and
// when it is durable there, to the other. Until the second write has ended nobody relies on it, so a torn write costs nothing;
// after it either copy alone is enough, so neither does a sector that rots later.
func (s *Store) NextSuper(p *Page) (first, second int64) {
	s.Super.Encode(p)
	s.copy = 1 - max(s.copy, 0)
	return s.Layout.Super(s.copy), s.Layout.Super(1 - s.copy)
}

// WriteSuper stores the superblock with the next sequence number, durably, in both copies.
func (s *Store) WriteSuper() error {
	var p Page
	s.Super.Seq++
	first, second := s.NextSuper(&p)
	for _, off := range [2]int64{first, second} {
		if err := errors.Join(s.write(&p, off), s.disk.Sync()); err != nil {
			return err
		}
	}
	return nil
}

// NextTransaction encodes the transaction for some updates and returns where it goes. The host writes it with FUA, after
// flushing the data if extents leave (M1).
func (s *Store) NextTransaction(updates []Update, p *Page) (off int64, err error) {
	for _, u := range updates {
		if int(u.Slot) >= len(s.table) {
			return 0, fmt.Errorf("slot %d of %d: %w", u.Slot, len(s.table), ErrImplausible)
		}
		s.table[u.Slot] = u.Extent
	}
	s.last++
	t := Transaction{Number: s.last, Updates: updates, First: s.context, Slots: len(s.table)}
	end := min(s.context+contextMax, len(s.table))
	t.Context = s.table[s.context:end]
	if s.context = end; end == len(s.table) {
		s.context = 0
	}
	return s.Layout.AL(int(s.last % uint64(s.Layout.ALPages))), t.Encode(p)
}

// WriteTransaction stores a transaction durably.
func (s *Store) WriteTransaction(updates []Update) error {
	var p Page
	off, err := s.NextTransaction(updates, &p)
	if err != nil {
		return err
	}
	return errors.Join(s.write(&p, off), s.disk.Sync())
}

// NextBitmap encodes one page of a slot and returns where it goes.
func (s *Store) NextBitmap(slot, page int, words []uint64, p *Page) (off int64) {
	s.bmSeq++
	EncodeBitmap(p, slot, page, s.bmSeq, words)
	return s.Layout.Bitmap(slot, page)
}

// WriteBitmap stores one page of a slot durably.
func (s *Store) WriteBitmap(slot, page int, words []uint64) error {
	var p Page
	off := s.NextBitmap(slot, page, words, &p)
	return errors.Join(s.write(&p, off), s.disk.Sync())
}

// ReadBitmap reads a slot's bitmap for the size of the volume; bad counts pages that were taken as all ones.
func (s *Store) ReadBitmap(slot int) (words []uint64, bad int) {
	bits := (s.Super.Size + 1<<s.Super.BMShift - 1) >> s.Super.BMShift
	words = make([]uint64, (bits+63)/64)
	for page := 0; page*PageBits/64 < len(words); page++ {
		var p Page
		lo := page * PageBits / 64
		part := words[lo:min(lo+PageBits/64, len(words))]
		if err := s.read(&p, s.Layout.Bitmap(slot, page)); err != nil {
			p = Page{}
		}
		if DecodeBitmap(&p, slot, page, part) != nil {
			bad++
		}
	}
	if n := bits % 64; n != 0 {
		words[len(words)-1] &= 1<<n - 1
	}
	return words, bad
}
