package meta

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"hash/crc32"
	"io"
	"os"
	"strings"
	"testing"
)

// drbdImage is a 2 MiB disk whose internal metadata was written by drbdmeta of drbd-utils 9.22.0: create-md, set-gi and
// restore-md on a loop device. testdata/drbd08-tail.gz is its last 64 KiB.
func drbdImage(t *testing.T) memory {
	t.Helper()
	b, err := os.ReadFile("testdata/drbd08-tail.gz")
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
	m := make(memory, 2<<20)
	copy(m[len(m)-len(tail):], tail)
	return m
}

func TestDRBD08ReadsWhatDrbdmetaWrote(t *testing.T) {
	m := drbdImage(t)
	d, err := OpenDRBD08(m, int64(len(m)))
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
	if err := DumpDRBD08(&out, d, m); err != nil {
		t.Fatal(err)
	}
	if s := out.String(); !strings.Contains(s, "bitmap: 10 of 502 bits dirty") || !strings.Contains(s, "consistent,was-up-to-date,crashed-primary") {
		t.Error(s)
	}
}

// TestDRBD08ActivityLog: the kernel's transactions, made by hand from the documented layout, make their extents dirty.
func TestDRBD08ActivityLog(t *testing.T) {
	const disk = 96 << 20
	m := make(memory, disk)
	sb := m[disk-4096:]
	be := binary.BigEndian
	be.PutUint64(sb[0:], 90<<20/512)
	be.PutUint32(sb[60:], drbdMagicUnclean)
	al, bm := int32(-64), int32(-72)
	be.PutUint32(sb[68:], uint32(al))
	be.PutUint32(sb[72:], 257)
	be.PutUint32(sb[76:], uint32(bm))
	be.PutUint32(sb[80:], 4096)
	transaction := func(page int, number uint32, slot uint16, extent uint32) {
		p := m[disk-4096-64*512+page*4096:][:4096]
		clear(p)
		be.PutUint32(p[0:], drbdALMagic)
		be.PutUint32(p[4:], number)
		be.PutUint16(p[14:], 1)
		be.PutUint16(p[36:], slot)
		be.PutUint32(p[36+128:], extent)
		be.PutUint32(p[8:], ^crc32.Update(^uint32(0), crcTable, p))
	}
	transaction(0, 10, 0, 3)
	transaction(1, 11, 1, 7)
	transaction(2, 12, 0, 5) // 3 has left
	d, err := OpenDRBD08(m, disk)
	if err != nil {
		t.Fatal(err)
	}
	hot, all, err := d.HotExtents(m)
	if err != nil || all || len(hot) != 2 || hot[0] != 5 || hot[1] != 7 {
		t.Fatalf("hot %v all %v: %v", hot, all, err)
	}
	words, err := d.Dirty(m)
	if err != nil {
		t.Fatal(err)
	}
	if words[3*16] != 0 || words[5*16] != ^uint64(0) || words[7*16+15] != ^uint64(0) || words[8*16] != 0 {
		t.Error("the wrong extents are dirty")
	}
	m[disk-4096-64*512+4096+40] ^= 1
	if _, all, _ := d.HotExtents(m); !all {
		t.Error("a damaged transaction must make everything hot")
	}
}

func TestDRBD08RefusesNonsense(t *testing.T) {
	m := drbdImage(t)
	binary.BigEndian.PutUint32(m[len(m)-4096+76:], 0x7fffffff)
	if d, err := OpenDRBD08(m, int64(len(m))); err == nil {
		t.Errorf("%+v", d)
	}
	if _, err := OpenDRBD08(make(memory, 1<<20), 1<<20); err == nil {
		t.Error("zeroes are no metadata")
	}
}
