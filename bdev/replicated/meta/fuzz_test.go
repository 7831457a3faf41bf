package meta

import (
	"slices"
	"testing"
)

func FuzzDecode(f *testing.F) {
	var p Page
	s := Super{Slots: 1, BMShift: 12, ALPages: 64, ALSlots: 10, ALShift: 22, Block: 512}
	s.Encode(&p)
	f.Add(p[:])
	tr := Transaction{Number: 1, Updates: []Update{{1, 2}}, Context: []uint32{1, 2}, Slots: 10}
	tr.Encode(&p)
	f.Add(p[:])
	f.Fuzz(func(t *testing.T, b []byte) {
		var p Page
		copy(p[:], b)
		DecodeSuper(&p)
		DecodeTransaction(&p)
		DecodeBitmap(&p, 0, 0, make([]uint64, PageBits/64))
		decodeDRBD08(&p, 0)
		decodeDRBDTransaction(&p)
		bigEndian.PutUint32(p[0:], drbdALMagic)
		bigEndian.PutUint32(p[8:], drbdChecksum(&p))
		decodeDRBDTransaction(&p)
		copy(p[:], b)
		p.seal(superCRC)
		DecodeSuper(&p)
		copy(p[:], b)
		p.seal(alCRC)
		DecodeTransaction(&p)
	})
}

// fuzzBlock is what FuzzDRBD08 knows of a block of the activity log: its header's 16 bytes behind the checksum and the number, two
// slots of updates, their extents, and the first of the context. Small inputs are fuzzed a thousand times as fast as whole blocks.
const fuzzBlock = 4 + 16 + 4 + 8 + 8

func packBlock(p []byte) []byte {
	return slices.Concat(p[4:8], p[12:28], p[drbdALSlots:][:4], p[drbdALExtents:][:8], p[drbdALContext:][:8])
}

func unpackBlock(b []byte) *Page {
	var p Page
	var whole [fuzzBlock]byte
	copy(whole[:], b)
	for i := drbdALSlots; i < PageSize; i++ {
		p[i] = 0xff // free
	}
	bigEndian.PutUint32(p[0:], drbdALMagic)
	copy(p[4:8], whole[:])
	copy(p[12:28], whole[4:])
	copy(p[drbdALSlots:][:4], whole[20:])
	copy(p[drbdALExtents:][:8], whole[24:])
	copy(p[drbdALContext:][:8], whole[32:])
	bigEndian.PutUint32(p[8:], drbdChecksum(&p))
	return &p
}

// FuzzDRBD08 makes a disk of 64 MiB: a superblock at its end (or, external, at its start), blocks of the activity log where the superblock
// says, in the order of the disk, and a bitmap. It is refused, or its bits are all those of the bitmap and of the hot extents, and none
// past the end. The seeds are what a kernel has left.
func FuzzDRBD08(f *testing.F) {
	const size, within = 64 << 20, 128 << 10
	for name, size := range map[string]int64{"drbd08-ring-wraps.gz": 1 << 30, "drbd08-striped.gz": 1<<30 + 5<<10} {
		m := image(f, name, size)
		d, err := OpenDRBD08(m, m.size(), 0)
		if err != nil {
			f.Fatal(err)
		}
		super := slices.Clone(m.tail[d.Offset-m.hole:][:96])
		bigEndian.PutUint64(super, 60<<20/drbdSector)
		var log []byte
		for i := range d.ring() {
			log = append(log, packBlock(m.tail[d.alStart()-m.hole+int64(i)*PageSize:])...)
		}
		f.Add(super, log, m.tail[d.bmStart()-m.hole:][:16], false)
	}
	f.Add([]byte(newDRBDDisk(DRBDPrimary, 3, 4).memory[:96]), []byte{}, []byte{1}, true)
	f.Fuzz(func(t *testing.T, super, log, bitmap []byte, external bool) {
		disk := tailed{size - within, make([]byte, within)}
		at := int64(size - PageSize)
		if external {
			disk, at = tailed{0, make([]byte, within)}, 0
		}
		put := func(off int64, b []byte) {
			if off -= disk.hole; off >= 0 && off < within {
				copy(disk.tail[off:], b)
			}
		}
		put(at, super[:min(len(super), PageSize)])
		d := decodeDRBD08((*Page)(disk.tail[at-disk.hole:]), at)
		if d == nil {
			return
		}
		put(d.bmStart(), bitmap)
		for i := int64(0); len(log) > 0; i++ {
			put(d.alStart()+i*PageSize, unpackBlock(log)[:])
			log = log[min(fuzzBlock, len(log)):]
		}
		readDRBD08(t, disk)
	})
}

// readDRBD08 reads all there is.
func readDRBD08(t *testing.T, disk tailed) {
	d, err := OpenDRBD08(disk, disk.size(), 0)
	if err != nil {
		return
	}
	CheckDRBD08(d, disk)
	stored, err := d.Bitmap(disk)
	if err != nil {
		t.Fatal(err)
	}
	dirty, err := d.Dirty(disk)
	if err != nil {
		t.Fatal(err)
	}
	for i := range stored {
		if stored[i]&^dirty[i] != 0 {
			t.Fatalf("word %d: %x is dirty, %x is stored", i, dirty[i], stored[i])
		}
	}
	log := d.ActivityLog(disk)
	if n := uint64(onesCount(dirty)); n > d.bits() || log.All && n < d.bits() {
		t.Fatalf("%d of %d bits are dirty; log %+v", n, d.bits(), log)
	}
	for _, x := range log.Hot {
		if i := uint64(x) * drbdExtentBits; dirty[i/64]>>(i%64)&1 == 0 {
			t.Fatalf("extent %d is hot and clean", x)
		}
	}
}
