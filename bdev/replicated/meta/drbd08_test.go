package meta

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"testing"
)

// tailed is a disk of which only the end is not a hole.
type tailed struct {
	hole int64
	tail []byte
}

func (d tailed) size() int64 { return d.hole + int64(len(d.tail)) }

func (d tailed) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 || off+int64(len(p)) > d.size() {
		return 0, io.ErrUnexpectedEOF
	}
	clear(p)
	if n := min(max(d.hole-off, 0), int64(len(p))); n < int64(len(p)) {
		copy(p[n:], d.tail[off+n-d.hole:])
	}
	return len(p), nil
}

// image is the end of a disk, unpacked from testdata.
func image(t testing.TB, name string, size int64) tailed {
	t.Helper()
	b, err := os.ReadFile("testdata/" + name)
	if err != nil {
		t.Fatal(err)
	}
	z, err := gzip.NewReader(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	tail, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	return tailed{size - int64(len(tail)), tail}
}

// drbdImage is a 2 MiB disk whose internal metadata was written by drbdmeta of drbd-utils 9.22.0: create-md, set-gi and
// restore-md on a loop device.
func drbdImage(t testing.TB) tailed { return image(t, "drbd08-tail.gz", 2<<20) }

func TestDRBD08ReadsWhatDrbdmetaWrote(t *testing.T) {
	m := drbdImage(t)
	d, err := OpenDRBD08(m, m.size(), 0)
	if err != nil {
		t.Fatal(err)
	}
	want := [4]uint64{0x1111222233334445, 0x5555666677778888, 0x9999AAAABBBBCCCC, 0xDDDDEEEEFFFF0000}
	if d.UUID != want || d.Size != 4016*512 || d.Unclean || d.ALOffset != -64 || d.BMOffset != -72 || d.SizeMeta != 80 ||
		d.Flags != 0x51 {
		t.Errorf("%+v", d)
	}
	words, err := d.Bitmap(m)
	if err != nil {
		t.Fatal(err)
	}
	if len(words) != 8 || words[0] != 0xF5 || words[1] != 0x8000000000000001 || words[7] != 0x300 {
		t.Errorf("%x", words)
	}
	var out bytes.Buffer
	if err := DumpDRBD08(&out, d, m, true); err != nil {
		t.Fatal(err)
	}
	for _, part := range []string{"10 bits set, 10 of 502 dirty", "consistent,was-up-to-date,crashed-primary", "set bits 4 7\n", "dirty bits 0 0\n", "not needed"} {
		if !strings.Contains(out.String(), part) {
			t.Errorf("no %q in\n%s", part, &out)
		}
	}
}

// TestDRBD08ReadsWhatTheKernelLeft: the power went while a Primary wrote (test/vm/drbd_test.go makes such disks). The numbers are
// drbdmeta's after apply-al, less the bits past the device's end.
func TestDRBD08ReadsWhatTheKernelLeft(t *testing.T) {
	for _, c := range []struct {
		name              string
		size              int64
		last              uint32
		hot, stored, bits int
	}{
		{"drbd08-ring-wraps.gz", 1 << 30, 410, 67, 502, 68924},
		{"drbd08-striped.gz", 1<<30 + 5<<10, 414, 67, 502, 68919},
		{"drbd08-two-windows.gz", 6 << 30, 58, 1237, 320, 1266951},
	} {
		m := image(t, c.name, c.size)
		d, err := OpenDRBD08(m, m.size(), 0)
		if err != nil {
			t.Fatal(err)
		}
		log := d.ActivityLog(m)
		stored, err := d.Bitmap(m)
		if err != nil {
			t.Fatal(err)
		}
		dirty, err := d.Dirty(m)
		if err != nil {
			t.Fatal(err)
		}
		if log.All || log.Bad != 0 || log.Last != c.last || len(log.Hot) != c.hot || onesCount(stored) != c.stored || onesCount(dirty) != c.bits {
			t.Errorf("%s: %d hot, %d stored, %d dirty; log %+v", c.name, len(log.Hot), onesCount(stored), onesCount(dirty), log)
		}
	}
}

var bigEndian = binary.BigEndian

// drbdDisk is a disk of 90 MiB in the making, with flexible external metadata.
type drbdDisk struct {
	memory
	stripes, stripe4k int
}

const drbdDiskExtents = 23 // the last one is half

func newDRBDDisk(flags uint32, stripes, stripe4k int) drbdDisk {
	d := drbdDisk{make(memory, 4096+stripes*stripe4k*4096+4096), stripes, stripe4k}
	bigEndian.PutUint64(d.memory[0:], 90<<20/512)
	bigEndian.PutUint32(d.memory[56:], flags)
	bigEndian.PutUint32(d.memory[60:], drbdMagicUnclean)
	bigEndian.PutUint32(d.memory[68:], 8)
	bigEndian.PutUint32(d.memory[72:], 257)
	bigEndian.PutUint32(d.memory[76:], uint32(8+8*stripes*stripe4k))
	bigEndian.PutUint32(d.memory[80:], 4096)
	bigEndian.PutUint32(d.memory[88:], uint32(stripes))
	bigEndian.PutUint32(d.memory[92:], uint32(stripe4k))
	return d
}

// block is where the transaction is that comes i-th in a ring.
func (d drbdDisk) block(i int) []byte {
	at := 4096 + (i%d.stripes*d.stripe4k+i/d.stripes)*4096
	return d.memory[at : at+4096]
}

// put writes a transaction: the table's size, its slots from first on before the updates, and those.
func (d drbdDisk) put(i int, number uint32, table, first int, context []uint32, updates ...Update) {
	p := d.block(i)
	clear(p)
	bigEndian.PutUint32(p[0:], drbdALMagic)
	bigEndian.PutUint32(p[4:], number)
	bigEndian.PutUint16(p[14:], uint16(len(updates)))
	bigEndian.PutUint16(p[16:], uint16(table))
	bigEndian.PutUint16(p[18:], uint16(first))
	for k := range 64 {
		u := Update{0xffff, ExtentFree}
		if k < len(updates) {
			u = updates[k]
		}
		bigEndian.PutUint16(p[36+2*k:], u.Slot)
		bigEndian.PutUint32(p[164+4*k:], u.Extent)
	}
	for k := range 919 {
		x := uint32(ExtentFree)
		if k < len(context) {
			x = context[k]
		}
		bigEndian.PutUint32(p[420+4*k:], x)
	}
	d.seal(i)
}

func (d drbdDisk) seal(i int) {
	bigEndian.PutUint32(d.block(i)[8:], drbdChecksum((*Page)(d.block(i))))
}

// fresh lays a block out as drbdmeta does.
func (d drbdDisk) fresh(i int) {
	clear(d.block(i))
	bigEndian.PutUint32(d.block(i)[0:], drbdALMagic)
	bigEndian.PutUint16(d.block(i)[12:], drbdALFresh)
	d.seal(i)
}

// history writes the last transactions of many: number n puts extent n modulo 23 into slot n modulo table.
func (d drbdDisk) history(last uint32, table int) (hot []uint32) {
	slots := make([]uint32, table)
	for i := range slots {
		slots[i] = ExtentFree
	}
	ring := d.stripes * d.stripe4k
	for n := last - uint32(3*ring+2*table); n != last+1; n++ {
		i := (int(int32(n-last))%ring + ring) % ring // the last is at 0
		d.put(i, n, table, 0, slots[:min(table, 919)], Update{uint16(n % uint32(table)), n % drbdDiskExtents})
		slots[n%uint32(table)] = n % drbdDiskExtents
	}
	slices.Sort(slots)
	return slices.Compact(slots)
}

func TestDRBD08ActivityLog(t *testing.T) {
	const free = ExtentFree
	freeTable := func(n int) []uint32 { return slices.Repeat([]uint32{free}, n) }
	for _, c := range []struct {
		name string
		make func(d drbdDisk)
		hot  []uint32
		all  bool
		bad  int
	}{
		{"an update counts, not the context of the same block", func(d drbdDisk) {
			d.put(0, 10, 2, 0, []uint32{4, 9}, Update{0, 3})
		}, []uint32{3, 9}, false, 0},
		{"the newest block counts", func(d drbdDisk) {
			d.put(0, 10, 2, 0, []uint32{free, 9}, Update{0, 3})
			d.put(1, 11, 2, 0, []uint32{3, 9}, Update{0, 5})
		}, []uint32{5, 9}, false, 0},
		{"numbers wrap", func(d drbdDisk) {
			d.put(3, 1<<32-1, 2, 0, []uint32{free, 9}, Update{0, 3})
			d.put(4, 0, 2, 0, []uint32{3, 9}, Update{0, 5})
		}, []uint32{5, 9}, false, 0},
		{"what is past the device's end", func(d drbdDisk) {
			d.put(0, 10, 2, 0, []uint32{drbdDiskExtents, 9}, Update{0, drbdDiskExtents - 1})
			d.put(1, 11, 2, 0, []uint32{drbdDiskExtents - 1, 9}, Update{1, drbdDiskExtents})
		}, []uint32{drbdDiskExtents - 1}, false, 0},
		{"nothing was written", func(drbdDisk) {}, nil, false, 0},
		{"a table of two windows", func(d drbdDisk) {
			d.put(0, 10, 1237, 919, append([]uint32{7}, freeTable(317)...), Update{1236, 8})
			d.put(1, 11, 1237, 0, freeTable(919), Update{0, 5})
		}, []uint32{5, 7, 8}, false, 0},
		{"a table that is not told in whole", func(d drbdDisk) {
			for i := range 8 {
				d.put(i, uint32(i+10), 1237, 0, freeTable(919), Update{0, 5})
			}
		}, []uint32{5}, true, 0},
		{"the log has begun anew, and its table is not told in whole yet", func(d drbdDisk) {
			d.put(0, 0, 1237, 0, freeTable(919))
		}, nil, false, 0},
		{"an old block is damaged", func(d drbdDisk) {
			d.put(0, 10, 2, 0, []uint32{free, 9}, Update{0, 3})
			d.put(1, 11, 2, 0, []uint32{3, 9}, Update{0, 5})
			d.block(5)[100] ^= 1
		}, []uint32{5, 9}, false, 1},
		{"the next block is damaged", func(d drbdDisk) {
			d.put(0, 10, 2, 0, []uint32{free, 9}, Update{0, 3})
			d.block(1)[100] ^= 1
		}, []uint32{3, 9}, true, 1},
		{"the next block, which is the first, is empty", func(d drbdDisk) {
			d.put(7, 10, 2, 0, []uint32{free, 9}, Update{0, 3})
			clear(d.block(0))
		}, []uint32{3, 9}, true, 1},
		{"nothing is left", func(d drbdDisk) {
			for i := range 8 {
				clear(d.block(i))
			}
		}, nil, true, 8},
		{"too many updates", func(d drbdDisk) {
			d.put(0, 10, 2, 0, []uint32{free, 9}, Update{0, 3})
			bigEndian.PutUint16(d.block(0)[14:], drbdALUpdatesMax+1)
			d.seal(0)
		}, nil, true, 1},
		{"as many updates as there can be", func(d drbdDisk) {
			d.put(0, 10, 2, 0, []uint32{free, 9}, slices.Repeat([]Update{{0, 3}}, drbdALUpdatesMax)...)
		}, []uint32{3, 9}, false, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := newDRBDDisk(DRBDConsistent|DRBDPrimary, 1, 8)
			for i := range 8 {
				m.fresh(i)
			}
			c.make(m)
			d, err := OpenDRBD08(m, int64(len(m.memory)), 0)
			if err != nil {
				t.Fatal(err)
			}
			if log := d.ActivityLog(m); !slices.Equal(log.Hot, c.hot) || log.All != c.all || log.Bad != c.bad {
				t.Errorf("%+v", log)
			}
			if problems := CheckDRBD08(d, m); (len(problems) > 0) != (c.all || c.bad > 0) {
				t.Errorf("check: %v", problems)
			}
		})
	}
}

// TestDRBD08RingOfAnyShape: after many rounds, and where the numbers wrap, the hot extents are those of the last table; a damaged
// block casts doubt where the next transaction would be, and nowhere else.
func TestDRBD08RingOfAnyShape(t *testing.T) {
	for _, shape := range [][2]int{{1, 8}, {3, 4}, {8, 1}, {5, 7}} {
		for _, last := range []uint32{1000, 1<<32 - 1, 0, 3} {
			m := newDRBDDisk(DRBDPrimary, shape[0], shape[1])
			want := m.history(last, 7)
			d, err := OpenDRBD08(m, int64(len(m.memory)), 0)
			if err != nil {
				t.Fatal(err)
			}
			if log := d.ActivityLog(m); log.All || log.Last != last || !slices.Equal(log.Hot, want) {
				t.Fatalf("%v, last %d: %+v, want %v", shape, last, log, want)
			}
			ring := shape[0] * shape[1]
			for i := range ring {
				m.block(i)[2000] ^= 1
				log := d.ActivityLog(m)
				// The newest block is at 0. Without it, the one before is the newest, and its successor is damaged.
				if log.All != (i == 0 || i == 1) || i != 0 && !slices.Equal(log.Hot, want) {
					t.Fatalf("%v, last %d, block %d of %d damaged: %+v, want %v", shape, last, i, ring, log, want)
				}
				m.block(i)[2000] ^= 1
			}
		}
	}
}

func TestDRBD08Dirty(t *testing.T) {
	const bits = 90 << 20 / 4096
	for _, c := range []struct {
		name  string
		flags uint32
		clean bool
		want  int
	}{
		{"Primary", DRBDPrimary, false, 1 + 1024},
		{"Primary, and the log was applied", DRBDPrimary | DRBDALClean, true, 1},
		{"Primary, and the kernel has written since the log was applied", DRBDPrimary | DRBDALClean, false, 1 + 1024},
		{"Secondary", DRBDConsistent, false, 1},
		{"Secondary that was a crashed Primary", DRBDCrashedPrimary, false, 1},
		{"about to set all", DRBDFullSync, false, bits},
		{"Primary without a log", DRBDPrimary | DRBDALDisabled, false, bits},
		{"crashed Primary without a log", DRBDCrashedPrimary | DRBDALDisabled, true, bits},
		{"Secondary without a log", DRBDALDisabled, false, 1},
	} {
		m := newDRBDDisk(c.flags, 1, 8)
		for i := range 8 {
			m.fresh(i)
		}
		m.put(0, 10, 1, 0, []uint32{ExtentFree}, Update{0, 3})
		if c.clean {
			bigEndian.PutUint32(m.memory[60:], drbdMagic)
		}
		m.memory[len(m.memory)-4096] = 1      // bit 0
		m.memory[len(m.memory)-4096+2880] = 1 // the first past the end
		d, err := OpenDRBD08(m, int64(len(m.memory)), 0)
		if err != nil {
			t.Fatal(err)
		}
		words, err := d.Dirty(m)
		if err != nil || onesCount(words) != c.want {
			t.Errorf("%s: %d bits are dirty, not %d: %v", c.name, onesCount(words), c.want, err)
		}
	}
}

// TestDRBD08RefusesDamage: a field that cannot be is named, and so is what to do.
func TestDRBD08RefusesDamage(t *testing.T) {
	for _, c := range []struct {
		at    int
		value uint32
		want  string
	}{
		{0, 1<<9 - 1, "bitmap would be at"},
		{0, 1 << 9, "la-size beyond"},
		{0, 0xffffffff, "la-size beyond"},
		{4, 1 << 20, "bitmap would be at"},
		{68, 0, "superblock and activity log overlap"},
		{68, 7, "superblock and activity log overlap"},
		{68, 0x7fffffff, "activity log would be at"},
		{68, 0x80000000, "activity log would be at"},
		{76, 0x7fffffff, "bitmap would be at"},
		{76, 8 + 63, "activity log and bitmap overlap"},
		{80, 0, "one bit for 0 bytes, not 4096"},
		{80, 8192, "one bit for 8192 bytes"},
		{88, 0, "0 stripes of 8 blocks"},
		{88, 0xffffffff, "4294967295 stripes"},
		{92, 7, "1 stripes of 7 blocks"},
		{92, drbdRingMax, "activity log would be at"},
		{92, drbdRingMax + 1, "not 8 to 4194304 together"},
	} {
		m := newDRBDDisk(DRBDPrimary, 1, 8)
		bigEndian.PutUint32(m.memory[c.at:], c.value)
		_, err := OpenDRBD08(m, int64(len(m.memory)), 0)
		if !errors.Is(err, ErrImplausible) || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), "superblock at 0") ||
			!strings.Contains(err.Error(), "take another copy") {
			t.Errorf("%d at %d: %v, want %q", c.value, c.at, err, c.want)
		}
	}
	internal := drbdImage(t)
	bigEndian.PutUint64(internal.tail[len(internal.tail)-4096:], 2<<20/512)
	if _, err := OpenDRBD08(internal, internal.size(), 0); err == nil || !strings.Contains(err.Error(), "overlap") {
		t.Errorf("data to the disk's end: %v", err)
	}
	old := newDRBDDisk(DRBDPrimary, 1, 8) // as before 8.4.0
	clear(old.memory[88:96])
	if d, err := OpenDRBD08(old, int64(len(old.memory)), 0); err != nil || d.ring() != 8 {
		t.Errorf("a ring that the superblock does not speak of: %v", err)
	}
}

// TestDRBD08CutShort: whatever is left of an image, there is an error or a result, and the error says where.
func TestDRBD08CutShort(t *testing.T) {
	m := newDRBDDisk(DRBDPrimary, 1, 8)
	m.history(100, 7)
	for size := len(m.memory) - 1; size >= 0; size -= 509 {
		d, err := OpenDRBD08(m.memory[:size], int64(size), 0)
		switch {
		case size >= len(m.memory)-4096+2880: // of the bitmap's page only that much is needed
			if _, err := d.Dirty(m.memory[:size]); err != nil {
				t.Errorf("%d bytes: %v", size, err)
			}
		case size < 4096:
			if !errors.Is(err, ErrNotDRBD) {
				t.Errorf("%d bytes: %v", size, err)
			}
		case !errors.Is(err, ErrImplausible) || !strings.Contains(err.Error(), fmt.Sprintf("of %d bytes", size)):
			t.Errorf("%d bytes: %v", size, err)
		}
	}
}

func TestDRBD08IndexAndOtherFormats(t *testing.T) {
	m := newDRBDDisk(DRBDPrimary, 1, 8)
	shared := tailed{3 * drbdIndexSize, append(m.memory, make([]byte, drbdIndexSize-len(m.memory))...)}
	if d, err := OpenDRBD08(shared, shared.size(), 3); err != nil || d.Offset != 3*drbdIndexSize {
		t.Errorf("index 3: %v", err)
	}
	for _, index := range []int{0, 2, 4, DRBDIndexMax} {
		if _, err := OpenDRBD08(shared, shared.size(), index); !errors.Is(err, ErrNotDRBD) {
			t.Errorf("index %d: %v", index, err)
		}
	}
	for _, index := range []int{-1, DRBDIndexMax + 1} {
		if _, err := OpenDRBD08(shared, shared.size(), index); err == nil || errors.Is(err, ErrNotDRBD) {
			t.Errorf("index %d: %v", index, err)
		}
	}
	for _, c := range []struct {
		hole  int64
		field int
		magic uint32
		want  string
	}{
		{1 << 20, 60, 0x8374026d, "v09"},
		{0, 60, 0x8374026d, "v09"},
		{1 << 20, 28, 0x8374026a, "v07"},
	} {
		other := tailed{c.hole, make([]byte, 4096)}
		if c.want == "v07" {
			other.tail = make([]byte, drbdIndexSize)
		}
		bigEndian.PutUint32(other.tail[c.field:], c.magic)
		if _, err := OpenDRBD08(other, other.size(), 0); !errors.Is(err, ErrOtherDRBD) || !strings.Contains(err.Error(), c.want) ||
			!strings.Contains(err.Error(), "create-md") {
			t.Errorf("%s: %v", c.want, err)
		}
	}
	if _, err := OpenDRBD08(make(memory, 1<<20), 1<<20, 0); !errors.Is(err, ErrNotDRBD) {
		t.Errorf("zeroes: %v", err)
	}
}
