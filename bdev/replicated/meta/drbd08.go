package meta

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
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
	drbdSector       = 512
	drbdBlock        = 4096 // what a bit stands for
	drbdExtentBits   = 4 << 20 / drbdBlock
	drbdIndexSize    = 128 << 20 // of each metadata on a disk that is shared by index
	drbdSizeMax      = 1 << 50   // DRBD's own bound
	drbdRingMin      = 8         // blocks
	drbdRingMax      = 16 << 30 / PageSize
	// DRBDIndexMax is the largest index of external metadata.
	DRBDIndexMax = 1<<16 - 1
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

// Errors of OpenDRBD08, beside ErrImplausible.
var (
	ErrNotDRBD   = errors.New("no DRBD superblock")
	ErrOtherDRBD = errors.New("not DRBD v08")
)

// drbdInternal is where internal metadata has its superblock: the last aligned 4 KiB.
func drbdInternal(size int64) int64 { return size&^(PageSize-1) - PageSize }

// OpenDRBD08 looks for internal metadata at the end of a disk, and then for external metadata, of which index says which on a
// shared disk; flexible external metadata is where index 0 is. Metadata of another format is refused by name.
func OpenDRBD08(disk io.ReaderAt, size int64, index int) (*DRBD08, error) {
	if index < 0 || index > DRBDIndexMax {
		return nil, fmt.Errorf("index %d: DRBD has 0 to %d", index, DRBDIndexMax)
	}
	for _, off := range []int64{drbdInternal(size), int64(index) * drbdIndexSize} {
		if off < 0 || off+PageSize > size {
			continue
		}
		var p Page
		if _, err := disk.ReadAt(p[:], off); err != nil {
			return nil, fmt.Errorf("DRBD superblock at %d: %w", off, err)
		}
		if d := decodeDRBD08(&p, off); d != nil {
			return d, d.plausible(size)
		}
	}
	return nil, otherDRBD(disk, size, index)
}

func decodeDRBD08(p *Page, off int64) *DRBD08 {
	be32 := func(o int) uint32 { return binary.BigEndian.Uint32(p[o:]) }
	be64 := func(o int) uint64 { return binary.BigEndian.Uint64(p[o:]) }
	magic := be32(60)
	if magic != drbdMagic && magic != drbdMagicUnclean {
		return nil
	}
	d := &DRBD08{
		Size: be64(0) * drbdSector, DeviceUUID: be64(40), Flags: be32(56), Unclean: magic == drbdMagicUnclean,
		SizeMeta: be32(64), ALOffset: int32(be32(68)), ALExtents: be32(72), BMOffset: int32(be32(76)),
		BytesPer: be32(80), MaxBio: be32(84), Stripes: be32(88), Stripe4k: be32(92), Offset: off,
	}
	if be64(0) > drbdSizeMax/drbdSector {
		d.Size = 1<<64 - 1 // not what it would be modulo 2^64
	}
	for i := range d.UUID {
		d.UUID[i] = be64(8 + 8*i)
	}
	if d.Stripes == 0 && d.Stripe4k == 0 { // before 8.4.0 the ring was always this one
		d.Stripes, d.Stripe4k = 1, drbdRingMin
	}
	return d
}

// area is a part of the disk.
type area struct {
	name     string
	from, to int64
}

// plausible refuses a superblock whose fields contradict one another or the disk: it has no checksum that would tell.
func (d *DRBD08) plausible(size int64) error {
	wrong := func(format string, args ...any) error {
		return fmt.Errorf("DRBD v08 superblock at %d: %w: %s; the image is damaged or cut short: take another copy, or the peer's disk",
			d.Offset, ErrImplausible, fmt.Sprintf(format, args...))
	}
	switch ring := uint64(d.Stripes) * uint64(d.Stripe4k); {
	case d.BytesPer != drbdBlock:
		return wrong("one bit for %d bytes, not %d", d.BytesPer, drbdBlock)
	case d.Size > drbdSizeMax:
		return wrong("la-size beyond DRBD's bound of %d bytes", uint64(drbdSizeMax))
	case ring < drbdRingMin || ring > drbdRingMax:
		return wrong("an activity log of %d stripes of %d blocks, not %d to %d together", d.Stripes, d.Stripe4k, drbdRingMin, drbdRingMax)
	}
	parts := []area{
		{"superblock", d.Offset, d.Offset + PageSize},
		{"activity log", d.alStart(), d.alStart() + int64(d.ring())*PageSize},
		{"bitmap", d.bmStart(), d.bmStart() + 8*int64(d.words())},
	}
	if d.ALOffset < 0 { // internal: the data begin at 0
		parts = append(parts, area{"data", 0, int64(d.Size)})
	}
	for i, a := range parts {
		if a.from < 0 || a.to > size {
			return wrong("the %s would be at %d to %d of %d bytes", a.name, a.from, a.to, size)
		}
		for _, b := range parts[:i] {
			if a.from < b.to && b.from < a.to {
				return wrong("%s and %s overlap", b.name, a.name)
			}
		}
	}
	return nil
}

func (d *DRBD08) alStart() int64 { return d.Offset + int64(d.ALOffset)*drbdSector }
func (d *DRBD08) bmStart() int64 { return d.Offset + int64(d.BMOffset)*drbdSector }
func (d *DRBD08) ring() int      { return int(d.Stripes * d.Stripe4k) }
func (d *DRBD08) bits() uint64   { return (d.Size + drbdBlock - 1) / drbdBlock }
func (d *DRBD08) words() uint64  { return (d.bits() + 63) / 64 }

// Bitmap reads the bitmap; bits past the end are clear.
func (d *DRBD08) Bitmap(disk io.ReaderAt) ([]uint64, error) {
	words := make([]uint64, d.words())
	buf := make([]byte, 8*len(words))
	if _, err := disk.ReadAt(buf, d.bmStart()); err != nil {
		return nil, fmt.Errorf("DRBD bitmap at %d: %w; read the disk with ddrescue and look at the copy", d.bmStart(), err)
	}
	for i := range words {
		words[i] = binary.LittleEndian.Uint64(buf[8*i:])
	}
	d.trim(words)
	return words, nil
}

// trim clears what lies past the end: drbdmeta sets the bits of whole extents there.
func (d *DRBD08) trim(words []uint64) {
	if n := d.bits() % 64; n != 0 {
		words[len(words)-1] &= 1<<n - 1
	}
}

// Dirty is the bitmap as the next attach would use it: with the hot extents set, and everything where DRBD says so.
func (d *DRBD08) Dirty(disk io.ReaderAt) ([]uint64, error) {
	words, err := d.Bitmap(disk)
	if err != nil {
		return nil, err
	}
	log := d.ActivityLog(disk)
	if log.All || d.everything() {
		for i := range words {
			words[i] = ^uint64(0)
		}
		d.trim(words)
	}
	for _, x := range log.Hot {
		for i := uint64(x) * drbdExtentBits; i < min((uint64(x)+1)*drbdExtentBits, d.bits()); i++ {
			words[i/64] |= 1 << (i % 64)
		}
	}
	return words, nil
}

// everything tells that the kernel sets all bits when it attaches: it was about to, or a Primary crashed that kept no activity
// log.
func (d *DRBD08) everything() bool {
	return d.Flags&DRBDFullSync != 0 || d.Flags&DRBDALDisabled != 0 && d.Flags&(DRBDPrimary|DRBDCrashedPrimary) != 0
}
