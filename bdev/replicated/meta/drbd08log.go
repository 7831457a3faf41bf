package meta

import (
	"encoding/binary"
	"hash/crc32"
	"io"
	"slices"
)

// DRBDLog is what DRBD's activity log says.
type DRBDLog struct {
	Applied bool     // it says nothing any more: the bitmap holds all
	All     bool     // it cannot be believed: everything counts as hot
	Bad     int      // blocks that are damaged or unreadable
	Last    uint32   // number of the newest transaction
	Slots   int      // of the table
	Hot     []uint32 // extents of 4 MiB, ascending
}

const (
	drbdALMagic      = 0x69cb65a2
	drbdALFresh      = 0xffff // type of a block that drbdmeta has laid out and nobody has written since
	drbdALUpdatesMax = 64
	drbdALSlots      = 36
	drbdALExtents    = drbdALSlots + 2*drbdALUpdatesMax
	drbdALContext    = drbdALExtents + 4*drbdALUpdatesMax
	drbdALContextMax = (PageSize - drbdALContext) / 4
)

// drbdTransaction is one block of the activity log. Its context is a window of the slot table as it was before its updates.
type drbdTransaction struct {
	number  uint32
	fresh   bool
	slots   int // of the whole table
	first   int // slot that the context begins with
	context []uint32
	updates []Update
}

// drbdChecksum is that of a block whose field for it, at 8, counts as zero. Linux's crc32c() begins with a seed of 0, and nothing
// is inverted in the end, unlike the standard one.
func drbdChecksum(p *Page) uint32 {
	clean := *p
	clear(clean[8:12])
	return ^crc32.Update(^uint32(0), crcTable, clean[:])
}

// decodeDRBDTransaction reads a block, or returns nil if it is not what the kernel or drbdmeta writes.
func decodeDRBDTransaction(p *Page) *drbdTransaction {
	be16 := func(o int) int { return int(binary.BigEndian.Uint16(p[o:])) }
	be32 := func(o int) uint32 { return binary.BigEndian.Uint32(p[o:]) }
	if be32(0) != drbdALMagic || drbdChecksum(p) != be32(8) {
		return nil
	}
	t := &drbdTransaction{number: be32(4), fresh: be16(12) == drbdALFresh, slots: be16(16), first: be16(18)}
	n := be16(14)
	if n > drbdALUpdatesMax || t.first > t.slots {
		return nil
	}
	for i := range n {
		t.updates = append(t.updates, Update{uint16(be16(drbdALSlots + 2*i)), be32(drbdALExtents + 4*i)})
	}
	for i := range min(t.slots-t.first, drbdALContextMax) {
		t.context = append(t.context, be32(drbdALContext+4*i))
	}
	return t
}

// ActivityLog reads the log and tells which extents count as dirty whatever the bitmap says. Only what was Primary when the
// power went has any: the kernel writes the bitmap before it leaves that role.
func (d *DRBD08) ActivityLog(disk io.ReaderAt) DRBDLog {
	log := DRBDLog{Applied: d.Flags&DRBDPrimary == 0 || !d.Unclean && d.Flags&DRBDALClean != 0}
	if log.Applied {
		return log
	}
	blocks := make([]drbdRingBlock, d.ring())
	newest := -1
	fresh := true
	for i := range blocks {
		t := d.transaction(disk, i)
		if t == nil {
			log.Bad++
			continue
		}
		blocks[i] = drbdRingBlock{true, t.fresh, t.number}
		if !t.fresh && (newest < 0 || int32(t.number-blocks[newest].number) > 0) { // the numbers wrap
			newest = i
		}
		fresh = fresh && t.fresh
	}
	if newest < 0 {
		log.All = log.Bad > 0
		return log
	}
	d.replay(disk, blocks, newest, &log)
	return log
}

// drbdRingBlock is what the search for the newest transaction keeps of each.
type drbdRingBlock struct {
	good, fresh bool
	number      uint32
}

// transaction reads the block that is number i in the order of writing, which goes round the stripes.
func (d *DRBD08) transaction(disk io.ReaderAt, i int) *drbdTransaction {
	stripes, size := int(d.Stripes), int(d.Stripe4k)
	var p Page
	if _, err := disk.ReadAt(p[:], d.alStart()+int64(i%stripes*size+i/stripes)*PageSize); err != nil {
		return nil
	}
	return decodeDRBDTransaction(&p)
}

// replay goes back from the newest transaction as far as they follow one another; of each slot the newest word counts. It ends
// in doubt if a slot is not spoken of, or if the block where a still newer one would be is damaged.
func (d *DRBD08) replay(disk io.ReaderAt, blocks []drbdRingBlock, newest int, log *DRBDLog) {
	ring := len(blocks)
	table := map[int]uint32{}
	put := func(slot int, extent uint32) {
		if _, known := table[slot]; !known {
			table[slot] = extent
		}
	}
	begin := false // the log was empty before the oldest of them
	for n := range ring {
		at := (newest - n + ring) % ring
		t := d.transaction(disk, at)
		if t == nil {
			break
		}
		if n == 0 {
			log.Last, log.Slots = t.number, t.slots
		}
		for _, u := range slices.Backward(t.updates) {
			put(int(u.Slot), u.Extent)
		}
		for i, x := range t.context {
			put(t.first+i, x)
		}
		before := blocks[(at-1+ring)%ring]
		begin = before.good && before.fresh
		if !before.good || before.fresh || before.number != t.number-1 {
			break
		}
	}
	log.All = !blocks[(newest+1)%ring].good
	for slot := range log.Slots {
		if _, known := table[slot]; !known && !begin {
			log.All = true
		}
	}
	log.Hot = d.extents(table)
}

// extents are those that the table holds, once each; beyond the end of the device there are none.
func (d *DRBD08) extents(table map[int]uint32) (hot []uint32) {
	end := (d.bits() + drbdExtentBits - 1) / drbdExtentBits
	for _, x := range table {
		if uint64(x) < end {
			hot = append(hot, x)
		}
	}
	slices.Sort(hot)
	return slices.Compact(hot)
}
