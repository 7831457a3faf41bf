package meta

import "testing"

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
		p.seal(superCRC)
		DecodeSuper(&p)
		copy(p[:], b)
		p.seal(alCRC)
		DecodeTransaction(&p)
	})
}

// FuzzDRBD08 reads any disk: it is refused, or its bits are all those of the bitmap and of the hot extents, and none past the end.
// The first MiB may be a hole, as data before internal metadata.
func FuzzDRBD08(f *testing.F) {
	const holeMax = 64 // MiB
	f.Add([]byte(drbdImage(f).tail), uint8(2))
	for _, name := range []string{"drbd08-ring-wraps.gz", "drbd08-striped.gz"} {
		f.Add(image(f, name, 1<<30).tail, uint8(holeMax))
	}
	crashed := newDRBDDisk(DRBDPrimary, 3, 4)
	crashed.history(3, 7)
	f.Add([]byte(crashed.memory), uint8(0))
	f.Fuzz(func(t *testing.T, tail []byte, hole uint8) {
		disk := tailed{int64(hole%(holeMax+1)) << 20, tail}
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
		n := uint64(onesCount(dirty))
		if n > d.bits() || log.All && n < d.bits() {
			t.Fatalf("%d of %d bits are dirty; log %+v", n, d.bits(), log)
		}
		for _, x := range log.Hot {
			if i := uint64(x) * drbdExtentBits; dirty[i/64]>>(i%64)&1 == 0 {
				t.Fatalf("extent %d is hot and clean", x)
			}
		}
	})
}
