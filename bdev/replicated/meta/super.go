package meta

import "fmt"

const (
	superMagic   = "GREPSB01"
	versionMajor = 1
	versionMinor = 0
	superCRC     = 12
	historyLen   = 32
	legPastLen   = 8
)

// UUID is a universally unique name.
type UUID [16]byte

// Super is the superblock. The comments give the offset of each field in its page.
type Super struct {
	Seq      uint64 // 16
	Incompat uint32 // 24: features without which the disk must not be used
	Compat   uint32 // 28
	Set      UUID   // 32: the volume
	Node     UUID   // 48: this disk
	NodeID   uint8  // 64
	Slots    uint8  // 65
	BMShift  uint8  // 66
	External bool   // 67: the data is on another device
	Flags    uint32 // 68: consistent 1, up to date 2, Primary 4, clean 8, full sync 16, leg missing 32
	Size     uint64 // 72
	Block    uint32 // 80
	ALPages  uint32 // 84
	ALSlots  uint32 // 88
	ALShift  uint8  // 92
	Fence    uint64 // 96
	Current  uint64 // 104
	History  [historyLen]uint64
	LegGen   uint64 // 240: generation of the set of legs
	LegPast  [legPastLen]uint64
	Capacity uint64         // 320: bytes that the volume may have at most
	Peers    [SlotsMax]Peer // 512, 64 bytes each
}

// Peer is one replica in the superblock.
type Peer struct {
	Node     UUID   // 0
	Bitmap   uint64 // 16
	Slot     int8   // 24
	Kind     uint8  // 25
	Flags    uint16 // 26
	Fetched  uint64 // 32
	Applied  uint64 // 40
	MaxEpoch uint64 // 48
}

// Encode writes the superblock to a page.
func (s *Super) Encode(p *Page) {
	*p = Page{}
	copy(p[0:], superMagic)
	p.set16(8, versionMajor)
	p.set16(10, versionMinor)
	p.set64(16, s.Seq)
	p.set32(24, s.Incompat)
	p.set32(28, s.Compat)
	copy(p[32:], s.Set[:])
	copy(p[48:], s.Node[:])
	p[64], p[65], p[66] = s.NodeID, s.Slots, s.BMShift
	if s.External {
		p[67] = 1
	}
	p.set64(320, s.Capacity)
	p.set32(68, s.Flags)
	p.set64(72, s.Size)
	p.set32(80, s.Block)
	p.set32(84, s.ALPages)
	p.set32(88, s.ALSlots)
	p[92] = s.ALShift
	p.set64(96, s.Fence)
	p.set64(104, s.Current)
	for i, h := range s.History {
		p.set64(historyAt(i), h)
	}
	p.set64(240, s.LegGen)
	for i, g := range s.LegPast {
		p.set64(248+8*i, g)
	}
	for i := range s.Peers {
		s.Peers[i].encode(p, 512+64*i)
	}
	p.seal(superCRC)
}

// historyAt is the offset of a former generation. Those beyond the first 16 came later: a superblock from before has zeros there.
func historyAt(i int) int {
	if i < 16 {
		return 112 + 8*i
	}
	return 328 + 8*(i-16)
}

func (r *Peer) encode(p *Page, off int) {
	copy(p[off:], r.Node[:])
	p.set64(off+16, r.Bitmap)
	p[off+24], p[off+25] = byte(r.Slot), r.Kind
	p.set16(off+26, r.Flags)
	p.set64(off+32, r.Fetched)
	p.set64(off+40, r.Applied)
	p.set64(off+48, r.MaxEpoch)
}

// DecodeSuper reads a superblock and refuses whatever it cannot vouch for.
func DecodeSuper(p *Page) (*Super, error) {
	if string(p[:8]) != superMagic {
		return nil, ErrNotSuper
	}
	if !p.sealed(superCRC) {
		return nil, fmt.Errorf("superblock: %w", ErrTorn)
	}
	if p.u16(8) != versionMajor || p.u32(24) != 0 {
		return nil, fmt.Errorf("version %d.%d, incompatible features %#x: %w", p.u16(8), p.u16(10), p.u32(24), ErrVersion)
	}
	s := &Super{
		Seq: p.u64(16), Incompat: p.u32(24), Compat: p.u32(28), NodeID: p[64], Slots: p[65], BMShift: p[66],
		Flags: p.u32(68), Size: p.u64(72), Block: p.u32(80), ALPages: p.u32(84), ALSlots: p.u32(88), ALShift: p[92],
		Fence: p.u64(96), Current: p.u64(104), LegGen: p.u64(240), Capacity: p.u64(320),
		External: p[67] == 1,
	}
	copy(s.Set[:], p[32:])
	copy(s.Node[:], p[48:])
	for i := range s.History {
		s.History[i] = p.u64(historyAt(i))
	}
	for i := range s.LegPast {
		s.LegPast[i] = p.u64(248 + 8*i)
	}
	for i := range s.Peers {
		s.Peers[i].decode(p, 512+64*i)
	}
	return s, s.plausible()
}

func (r *Peer) decode(p *Page, off int) {
	copy(r.Node[:], p[off:])
	r.Bitmap, r.Slot, r.Kind, r.Flags = p.u64(off+16), int8(p[off+24]), p[off+25], p.u16(off+26)
	r.Fetched, r.Applied, r.MaxEpoch = p.u64(off+32), p.u64(off+40), p.u64(off+48)
}

func (s *Super) plausible() error {
	for _, c := range []struct {
		wrong bool
		what  string
		value uint64
	}{
		{s.Slots < 1 || s.Slots > SlotsMax, "bitmap slots", uint64(s.Slots)},
		{s.BMShift < 12 || s.BMShift > 20, "bm_shift", uint64(s.BMShift)},
		{s.ALPages < 4 || s.ALPages > 1024, "activity log pages", uint64(s.ALPages)},
		{s.ALSlots < 1 || s.ALSlots > 65535, "activity log extents", uint64(s.ALSlots)},
		{s.ALShift < s.BMShift || s.ALShift > 30, "activity log extent's power of two", uint64(s.ALShift)},
		{s.Block != 512 && s.Block != 4096, "block size", uint64(s.Block)},
		{s.Size%512 != 0, "size, which is not a multiple of 512", s.Size},
		{s.Size > s.Capacity, fmt.Sprintf("size, with room for %d,", s.Capacity), s.Size},
		{s.Capacity > 1<<60, "capacity", s.Capacity},
	} {
		if c.wrong {
			return fmt.Errorf("superblock: %w: %s %d", ErrImplausible, c.what, c.value)
		}
	}
	return nil
}
