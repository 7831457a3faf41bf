package meta

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
)

// Sizes of the format.
const (
	PageSize     = 4096
	PageBits     = (PageSize - bitmapHeader) * 8 // bits of one bitmap page
	SlotsMax     = 16
	ALPages      = 64 // pages of the activity log ring, unless the superblock says otherwise
	bitmapHeader = 64
)

// Page is one page of metadata.
type Page [PageSize]byte

var crcTable = crc32.MakeTable(crc32.Castagnoli)

// checksum is the CRC32C of a page whose checksum field is at off, taken as zero.
func (p *Page) checksum(off int) uint32 {
	c := crc32.Update(0, crcTable, p[:off])
	c = crc32.Update(c, crcTable, []byte{0, 0, 0, 0})
	return crc32.Update(c, crcTable, p[off+4:])
}

func (p *Page) seal(off int)        { binary.LittleEndian.PutUint32(p[off:], p.checksum(off)) }
func (p *Page) sealed(off int) bool { return p.u32(off) == p.checksum(off) }

func (p *Page) u16(off int) uint16      { return binary.LittleEndian.Uint16(p[off:]) }
func (p *Page) u32(off int) uint32      { return binary.LittleEndian.Uint32(p[off:]) }
func (p *Page) u64(off int) uint64      { return binary.LittleEndian.Uint64(p[off:]) }
func (p *Page) set16(off int, v uint16) { binary.LittleEndian.PutUint16(p[off:], v) }
func (p *Page) set32(off int, v uint32) { binary.LittleEndian.PutUint32(p[off:], v) }
func (p *Page) set64(off int, v uint64) { binary.LittleEndian.PutUint64(p[off:], v) }

// Layout says where the areas are, in bytes from the start of the disk.
type Layout struct {
	Disk      int64 // size of the disk
	Data      int64 // bytes that the volume may have at most
	Slots     int
	BMShift   uint8
	ALPages   int
	slotPages int64
}

// Errors.
var (
	ErrTooSmall    = errors.New("the disk is too small for its metadata")
	ErrNoSuper     = errors.New("no valid superblock")
	ErrTorn        = errors.New("checksum does not match")
	ErrNotSuper    = errors.New("not a superblock")
	ErrVersion     = errors.New("unknown version or incompatible feature")
	ErrImplausible = errors.New("fields contradict one another")
)

// Internal lays metadata out at the tail of a disk that also holds the data.
func Internal(disk int64, slots int, shift uint8, alPages int) (Layout, error) {
	l := Layout{Disk: disk &^ (PageSize - 1), Slots: slots, BMShift: shift, ALPages: alPages}
	if slots < 1 || slots > SlotsMax || shift < 12 || shift > 20 || alPages < 4 || alPages > 1024 {
		return l, fmt.Errorf("%d slots, bm_shift %d, %d activity log pages: %w", slots, shift, alPages, ErrImplausible)
	}
	// The bitmap covers the data, and takes space from it: start from the largest and step down.
	fixed := int64(alPages+2) * PageSize
	l.slotPages = pagesFor(l.Disk-fixed, shift)
	for {
		l.Data = l.Disk - fixed - int64(slots)*l.slotPages*PageSize
		if l.Data <= 0 {
			return l, fmt.Errorf("%d bytes: %w", disk, ErrTooSmall)
		}
		need := pagesFor(l.Data, shift)
		if need == l.slotPages {
			return l, nil
		}
		if need > l.slotPages { // one page less would leave data without bits
			l.Data = l.slotPages * PageBits << shift
			return l, nil
		}
		l.slotPages = need
	}
}

// External lays metadata out on a device of its own for a volume of size bytes.
func External(disk, size int64, slots int, shift uint8, alPages int) (Layout, error) {
	l := Layout{Disk: disk &^ (PageSize - 1), Data: size, Slots: slots, BMShift: shift, ALPages: alPages}
	if slots < 1 || slots > SlotsMax || shift < 12 || shift > 20 || alPages < 4 || alPages > 1024 || size <= 0 {
		return l, ErrImplausible
	}
	l.slotPages = pagesFor(size, shift)
	if l.Bitmap(0, 0) < 0 {
		return l, fmt.Errorf("%d bytes for a volume of %d: %w", disk, size, ErrTooSmall)
	}
	return l, nil
}

func pagesFor(data int64, shift uint8) int64 {
	bits := (data + 1<<shift - 1) >> shift
	return (bits + PageBits - 1) / PageBits
}

// Super is the offset of a copy of the superblock: 0 is A, the last page; 1 is B.
func (l *Layout) Super(n int) int64 { return l.Disk - int64(n+1)*PageSize }

// AL is the offset of a page of the activity log ring.
func (l *Layout) AL(n int) int64 { return l.Disk - int64(2+l.ALPages-n)*PageSize }

// Bitmap is the offset of a page of a slot's bitmap.
func (l *Layout) Bitmap(slot, page int) int64 {
	return l.Disk - int64(2+l.ALPages)*PageSize - (int64(l.Slots-slot)*l.slotPages-int64(page))*PageSize
}

// SlotPages is the number of bitmap pages of each slot.
func (l *Layout) SlotPages() int { return int(l.slotPages) }
