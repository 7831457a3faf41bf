package meta

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math/bits"
)

// DRBD08 is DRBD 8.4's metadata (format v08): big-endian, without checksums but in the activity log.
type DRBD08 struct {
	Size       uint64    // la_size, bytes
	UUID       [4]uint64 // current, bitmap, history
	DeviceUUID uint64
	Flags      uint32
	Unclean    bool   // written by the kernel; the activity log has not been applied
	SizeMeta   uint32 // md_size, sectors
	ALOffset   int32  // sectors from the superblock
	ALExtents  uint32
	BMOffset   int32
	BytesPer   uint32 // bytes that one bit stands for
	MaxBio     uint32
	Stripes    uint32
	Stripe4k   uint32
	Offset     int64 // of the superblock on the disk
}

const (
	drbdMagic        = 0x8374026b
	drbdMagicUnclean = 0x8374026c
	drbdALMagic      = 0x69cb65a2
	drbdExtentShift  = 22
)

// Flags of DRBD08.
const (
	DRBDConsistent     = 1
	DRBDPrimary        = 2
	DRBDConnected      = 4
	DRBDFullSync       = 8
	DRBDWasUpToDate    = 16
	DRBDPeerOutdated   = 32
	DRBDCrashedPrimary = 64
	DRBDALClean        = 128
	DRBDALDisabled     = 256
)

// ErrNotDRBD says that there is no v08 superblock where one could be.
var ErrNotDRBD = errors.New("no DRBD v08 superblock")

// OpenDRBD08 looks for internal metadata in the last aligned 4 KiB of a disk, and for flexible external metadata at its
// start.
func OpenDRBD08(disk io.ReaderAt, size int64) (*DRBD08, error) {
	for _, off := range []int64{size&^(PageSize-1) - PageSize, 0} {
		var p Page
		if _, err := disk.ReadAt(p[:], off); err != nil {
			return nil, err
		}
		if d := decodeDRBD08(&p, off); d != nil {
			return d, d.plausible(size)
		}
	}
	return nil, ErrNotDRBD
}

func decodeDRBD08(p *Page, off int64) *DRBD08 {
	be32 := func(o int) uint32 { return binary.BigEndian.Uint32(p[o:]) }
	be64 := func(o int) uint64 { return binary.BigEndian.Uint64(p[o:]) }
	magic := be32(60)
	if magic != drbdMagic && magic != drbdMagicUnclean {
		return nil
	}
	d := &DRBD08{
		Size: be64(0) * 512, DeviceUUID: be64(40), Flags: be32(56), Unclean: magic == drbdMagicUnclean,
		SizeMeta: be32(64), ALOffset: int32(be32(68)), ALExtents: be32(72), BMOffset: int32(be32(76)),
		BytesPer: be32(80), MaxBio: be32(84), Stripes: be32(88), Stripe4k: be32(92), Offset: off,
	}
	for i := range d.UUID {
		d.UUID[i] = be64(8 + 8*i)
	}
	if d.Stripes == 0 || d.Stripe4k == 0 {
		d.Stripes, d.Stripe4k = 1, 8
	}
	return d
}

func (d *DRBD08) plausible(size int64) error {
	al, bm := d.Offset+int64(d.ALOffset)*512, d.Offset+int64(d.BMOffset)*512
	switch {
	case d.BytesPer != 4096, d.Stripes > 64, d.Stripe4k > 1<<12, d.Size > 1<<55:
	case al < 0 || al+int64(d.Stripes)*int64(d.Stripe4k)*PageSize > size:
	case bm < 0 || bm+int64(d.bits()+7)/8 > size:
	default:
		return nil
	}
	return fmt.Errorf("DRBD v08 superblock: %w", ErrImplausible)
}

func (d *DRBD08) bits() uint64 { return (d.Size + 4095) / 4096 }

// Bitmap reads the bitmap; bits past the end are clear.
func (d *DRBD08) Bitmap(disk io.ReaderAt) ([]uint64, error) {
	words := make([]uint64, (d.bits()+63)/64)
	buf := make([]byte, 8*len(words))
	if _, err := disk.ReadAt(buf, d.Offset+int64(d.BMOffset)*512); err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	for i := range words {
		words[i] = binary.LittleEndian.Uint64(buf[8*i:])
	}
	if n := d.bits() % 64; n != 0 && len(words) > 0 {
		words[len(words)-1] &= 1<<n - 1
	}
	return words, nil
}

// drbdTransaction is one block of DRBD's activity log.
type drbdTransaction struct {
	number  uint32
	fresh   bool // drbdmeta has laid out the log, nothing was written since
	slots   []uint16
	extents []uint32
	first   int
	context []uint32
}

// kernelCRC is Linux's crc32c() with a seed of 0: the standard one begins and ends with all bits inverted.
func kernelCRC(p *Page) uint32 { return ^crc32.Update(^uint32(0), crcTable, p[:]) }

func decodeDRBDTransaction(p *Page) *drbdTransaction {
	be16 := func(o int) uint16 { return binary.BigEndian.Uint16(p[o:]) }
	be32 := func(o int) uint32 { return binary.BigEndian.Uint32(p[o:]) }
	if be32(0) != drbdALMagic {
		return nil
	}
	sum := be32(8)
	clean := *p
	clear(clean[8:12])
	if kernelCRC(&clean) != sum {
		return nil
	}
	n, size := int(be16(14)), int(be16(16))
	if n > 64 || size > 919 {
		return nil
	}
	t := &drbdTransaction{number: be32(4), first: int(be16(18)), fresh: be16(12) == 0xffff}
	const slotsAt, extentsAt, contextAt = 36, 36 + 128, 36 + 128 + 256
	for i := range n {
		t.slots = append(t.slots, be16(slotsAt+2*i))
		t.extents = append(t.extents, be32(extentsAt+4*i))
	}
	for i := range size {
		if contextAt+4*i+4 > PageSize {
			break
		}
		t.context = append(t.context, be32(contextAt+4*i))
	}
	return t
}

// HotExtents returns the 4 MiB extents that were hot when the kernel last wrote. An activity log of which a block is
// unreadable makes all hot.
func (d *DRBD08) HotExtents(disk io.ReaderAt) (extents []uint32, all bool, err error) {
	if d.Flags&DRBDALDisabled != 0 || !d.Unclean && d.Flags&DRBDALClean != 0 {
		return nil, false, nil
	}
	n := int(d.Stripes * d.Stripe4k)
	byNumber := map[uint32]*drbdTransaction{}
	var last uint32
	found := false
	for i := range n {
		var p Page
		if _, err := disk.ReadAt(p[:], d.Offset+int64(d.ALOffset)*512+int64(i)*PageSize); err != nil {
			return nil, true, err
		}
		t := decodeDRBDTransaction(&p)
		if t == nil {
			all = all || p != (Page{})
			continue
		}
		if t.fresh {
			continue
		}
		byNumber[t.number] = t
		if !found || int32(t.number-last) > 0 {
			last, found = t.number, true
		}
	}
	return d.replay(byNumber, last, found), all, nil
}

func (d *DRBD08) replay(byNumber map[uint32]*drbdTransaction, last uint32, found bool) (extents []uint32) {
	if !found {
		return nil
	}
	table := map[int]uint32{}
	first := last
	for byNumber[first-1] != nil && last-first < uint32(len(byNumber)) {
		first--
	}
	for i := first; ; i++ {
		t := byNumber[i]
		for k, x := range t.context {
			table[t.first+k] = x
		}
		for k, s := range t.slots {
			table[int(s)] = t.extents[k]
		}
		if i == last {
			break
		}
	}
	seen := map[uint32]bool{}
	for slot := range int(d.ALExtents) + 64 {
		if x, ok := table[slot]; ok && x != ExtentFree && !seen[x] {
			seen[x] = true
			extents = append(extents, x)
		}
	}
	return extents
}

// Dirty is the bitmap as the next attach would use it: with the hot extents set if the activity log was not applied.
func (d *DRBD08) Dirty(disk io.ReaderAt) ([]uint64, error) {
	words, err := d.Bitmap(disk)
	if err != nil {
		return nil, err
	}
	hot, all, err := d.HotExtents(disk)
	if err != nil {
		return nil, err
	}
	set := func(lo, hi uint64) {
		for i := lo; i < min(hi, d.bits()); i++ {
			words[i/64] |= 1 << (i % 64)
		}
	}
	if all || d.Flags&DRBDFullSync != 0 {
		set(0, d.bits())
	}
	for _, x := range hot {
		set(uint64(x)<<(drbdExtentShift-12), (uint64(x)+1)<<(drbdExtentShift-12))
	}
	return words, nil
}

// DumpDRBD08 prints v08 metadata for a person.
func DumpDRBD08(w io.Writer, d *DRBD08, disk io.ReaderAt) error {
	names := []string{
		"consistent", "primary-ind", "connected-ind", "full-sync", "was-up-to-date", "peer-outdated", "crashed-primary",
		"al-clean", "al-disabled",
	}
	fmt.Fprintf(w, "format DRBD v08, superblock at %d, unclean %v\n", d.Offset, d.Unclean)
	fmt.Fprintf(w, "size %d, flags %s, device %016X\n", d.Size, flagNames(d.Flags, names), d.DeviceUUID)
	fmt.Fprintf(w, "current %016X bitmap %016X history %016X %016X\n", d.UUID[0], d.UUID[1], d.UUID[2], d.UUID[3])
	hot, all, err := d.HotExtents(disk)
	if err != nil {
		return err
	}
	words, err := d.Dirty(disk)
	if err != nil {
		return err
	}
	n := 0
	for _, x := range words {
		n += bits.OnesCount64(x)
	}
	fmt.Fprintf(w, "activity log: %d hot extents, everything %v\nbitmap: %d of %d bits dirty\n", len(hot), all, n, d.bits())
	return nil
}
