package scsi

import (
	"bytes"
	"encoding/binary"
	"testing"

	"pollux/bdev"
)

func TestReadWriteAllLengths(t *testing.T) {
	b := newBench(t, 2)
	n := b.open(1, "a")
	for i, c := range []struct {
		name        string
		write, read []byte
	}{
		{"6", []byte{0x0a, 0, 0, 7, 2, 0}, []byte{0x08, 0, 0, 7, 2, 0}},
		{"10", cdb10(0x2a, 0, 7, 2), cdb10(0x28, 0, 7, 2)},
		{"12", cdb12(0xaa, 0, 7, 2), cdb12(0xa8, 0, 7, 2)},
		{"16", cdb16(0x8a, 0, 7, 2), cdb16(0x88, 0, 7, 2)},
		{"10 FUA", cdb10(0x2a, 8, 7, 2), cdb10(0x28, 8, 7, 2)},
		{"10 DPO", cdb10(0x2a, 0x10, 7, 2), cdb10(0x28, 0x10, 7, 2)},
		{"and verify 10", cdb10(0x2e, 2, 7, 2), cdb10(0x28, 0, 7, 2)},
		{"and verify 12", cdb12(0xae, 0, 7, 2), cdb10(0x28, 0, 7, 2)},
		{"and verify 16", cdb16(0x8e, 2, 7, 2), cdb10(0x28, 0, 7, 2)},
	} {
		want := fill(2*benchBlock, byte('a'+i))
		n.cmd(c.write, want)
		if got := n.cmd(c.read, nil); !bytes.Equal(got, want) {
			t.Errorf("%s: read back %d bytes, %x...", c.name, len(got), got[:4])
		}
	}
}

func TestSixByteZeroIs256(t *testing.T) {
	b := newBench(t, 1)
	n := b.open(0, "a")
	r := n.run(0, []byte{0x08, 0, 0, 0, 0, 0}, nil, 1<<20)
	if r.wantGood(); r.DataInLen != 256*benchBlock {
		t.Fatalf("%d bytes", r.DataInLen)
	}
}

func TestRangeIsChecked(t *testing.T) {
	b := newBench(t, 1)
	n := b.open(0, "a")
	const last = benchBlocks - 1
	for _, cdb := range [][]byte{
		cdb10(0x28, 0, benchBlocks, 0), cdb10(0x28, 0, last, 2), cdb10(0x28, 0, 0xffffffff, 1),
		cdb16(0x88, 0, 1<<63, 1), cdb16(0x88, 0, 1<<64-1, 1), cdb16(0x88, 0, 1<<64-1, 0xffffffff),
		cdb16(0x8f, 0, 1, benchBlocks), cdb16(0x91, 0, 0, benchBlocks+1), cdb16(0x90, 0, last, 2),
		cdbAlloc16(0x12, benchBlocks, 24), cdbSwap(benchBlocks, 0), cdb10(0x41, 0, benchBlocks+1, 0),
		cdb16(0x93, 1, 1<<64-1, 1), cdb10(0x2f, 0, last, 2), cdb10(0x34, 0, benchBlocks, 0),
	} {
		n.lun(0, cdb).wantSense(senseLBAOutOfRange)
	}
	n.cmd(cdb10(0x28, 0, last, 1), nil)
	n.cmd(cdb16(0x88, 0, last, 0), nil)
}

func TestTransferLengthIsBounded(t *testing.T) {
	b := newBenchSpec(t, 1, diskOps, bdev.Spec{Blocks: 1 << 20})
	n := b.open(0, "a")
	n.lun(0, cdb16(0x88, 0, 0, MaxTransferBytes/benchBlock+1)).wantField(10)
	n.lun(0, cdb12(0xa8, 0, 0, MaxTransferBytes/benchBlock+1)).wantField(6)
	n.run(0, cdb10(0x28, 0, 0, MaxTransferBytes/benchBlock), nil, MaxTransferBytes).wantGood()
}

func TestResiduals(t *testing.T) {
	b := newBench(t, 1)
	n := b.open(0, "a")
	n.cmd(cdb10(0x2a, 0, 0, 2), fill(2*benchBlock, 'a'))

	for _, c := range []struct{ expect, moved int }{{0, 0}, {200, 200}, {512, 512}, {700, 700}, {1024, 1024}, {4000, 1024}} {
		r := n.run(0, cdb10(0x28, 0, 0, 2), nil, c.expect)
		if r.wantGood(); int(r.DataInLen) != c.moved || r.DataInTotal != 1024 || !bytes.Equal(r.data(), fill(c.moved, 'a')) {
			t.Errorf("read, %d expected: %d of %d bytes", c.expect, r.DataInLen, r.DataInTotal)
		}
	}
	r := n.run(0, cdb10(0x2a, 0, 0, 2), fill(benchBlock, 'b'), 0)
	if r.wantGood(); r.DataOutLen != 1024 {
		t.Errorf("write needs %d bytes", r.DataOutLen)
	}
	n.run(0, cdb10(0x2a, 0, 2, 1), fill(4*benchBlock, 'c'), 0).wantGood()
	n.run(0, cdb10(0x2a, 0, 0, 1), []byte{}, 0).wantGood()
	n.run(0, cdb10(0x2a, 0, 0, 1), fill(200, 'x'), 0).wantSense(senseInvalidInformationUnit)
	want := append(append(append(fill(benchBlock, 'b'), fill(benchBlock, 'a')...), fill(benchBlock, 'c')...), make([]byte, benchBlock)...)
	if !bytes.Equal(b.disk.data[:4*benchBlock], want) {
		t.Error("partial writes went wrong")
	}
}

// TestGroupNumberIsIgnored: there are no groups (GROUP_SUP is zero), and the field is not looked at.
func TestGroupNumberIsIgnored(t *testing.T) {
	b := newBench(t, 1)
	n := b.open(0, "a")
	for _, cdb := range [][]byte{cdb10(0x28, 0, 0, 1), cdb10(0x34, 2, 0, 1), cdb12(0xa8, 0, 0, 1), cdb16(0x90, 0, 0, 1)} {
		cdb[map[int]int{10: 6, 12: 10, 16: 14}[len(cdb)]] = 3
		n.cmd(cdb, nil)
	}
}

// TestWrongDirection: a read of which the initiator says that it writes moves nothing; a write is refused, since it would be lost.
func TestWrongDirection(t *testing.T) {
	b := newBench(t, 1)
	n := b.open(0, "a")
	r := n.run(0, cdb10(0x28, 0, 0, 1), fill(benchBlock, 1), 0)
	if r.wantGood(); r.DataInLen != 0 || r.DataOutLen != 0 || r.DataInTotal != benchBlock {
		t.Errorf("read: %d of %d in, %d out", r.DataInLen, r.DataInTotal, r.DataOutLen)
	}
	n.run(0, cdb10(0x2a, 0, 0, 1), nil, benchBlock).wantSense(senseInvalidInformationUnit)
}

func TestVerify(t *testing.T) {
	b := newBench(t, 1)
	n := b.open(0, "a")
	n.cmd(cdb10(0x2a, 0, 0, 3), fill(3*benchBlock, 'v'))
	n.cmd(cdb10(0x2f, 0, 0, 3), nil)
	n.cmd(cdb10(0x2f, 2, 0, 3), fill(3*benchBlock, 'v'))
	n.cmd(cdb16(0x8f, 6, 0, 3), fill(benchBlock, 'v'))
	n.cmd(cdb12(0xaf, 6, 0, 0), []byte{})
	n.run(0, cdb10(0x2f, 4, 0, 3), nil, 0).wantField(1)

	wrong := fill(3*benchBlock, 'v')
	wrong[benchBlock+5] = 'x'
	r := n.run(0, cdb12(0xaf, 2, 0, 3), wrong, 0)
	r.wantSense(senseMiscompare)
	if r.Sense[0] != 0xf0 || binary.BigEndian.Uint32(r.Sense[3:]) != benchBlock+5 {
		t.Errorf("miscompare says % x", r.Sense[:r.SenseLen])
	}
	n.cmd(cdb10(0x2a, 0, 2, 1), wrong[benchBlock:2*benchBlock])
	r = n.run(0, cdb16(0x8f, 6, 0, 3), fill(benchBlock, 'v'), 0)
	r.wantSense(senseMiscompare)
	if binary.BigEndian.Uint32(r.Sense[3:]) != 5 {
		t.Errorf("miscompare says % x", r.Sense[:r.SenseLen])
	}
}

func TestCompareAndWrite(t *testing.T) {
	b := newBench(t, 2)
	n := b.open(1, "a")
	n.cmd(cdb10(0x2a, 0, 4, 2), fill(2*benchBlock, 'a'))
	n.cmd(cdbSwap(4, 2), append(fill(2*benchBlock, 'a'), fill(2*benchBlock, 'b')...))
	if got := b.disk.data[4*benchBlock : 6*benchBlock]; !bytes.Equal(got, fill(2*benchBlock, 'b')) {
		t.Fatal("not written")
	}
	r := n.run(0, cdbSwap(4, 2), append(fill(2*benchBlock, 'a'), fill(2*benchBlock, 'c')...), 0)
	r.wantSense(senseMiscompare)
	n.cmd(cdbSwap(4, 0), []byte{})
	for _, blocks := range []byte{0, 1, 3} {
		n.run(0, cdbSwap(4, blocks), fill(4*benchBlock, 'b'), 0).wantField(13)
	}
}

func TestWriteSame(t *testing.T) {
	b := newBench(t, 1)
	n := b.open(0, "a")
	clear := func() { n.cmd(cdb10(0x2a, 0, 0, 200), fill(200*benchBlock, 'o')) }
	check := func(what string, blocks int, c byte) {
		t.Helper()
		if got := b.disk.data[:200*benchBlock]; !bytes.Equal(got[:blocks*benchBlock], fill(blocks*benchBlock, c)) ||
			!bytes.Equal(got[blocks*benchBlock:], fill((200-blocks)*benchBlock, 'o')) {
			t.Errorf("%s: wrong blocks were written", what)
		}
	}
	clear()
	n.cmd(cdb10(0x41, 0, 0, 150), fill(benchBlock, 's'))
	check("10", 150, 's')
	clear()
	n.cmd(cdb16(0x93, 8, 0, 70), make([]byte, benchBlock))
	check("16 UNMAP", 70, 0)
	clear()
	n.cmd(cdb16(0x93, 8, 0, 70), fill(benchBlock, 'u'))
	check("16 UNMAP of what is not zero", 70, 'u')
	clear()
	n.cmd(cdb16(0x93, 1, 0, 70), nil)
	check("16 NDOB", 70, 0)
	n.run(0, cdb10(0x41, 0x10, 0, 1), fill(benchBlock, 0), 0).wantField(1)
	n.run(0, cdb10(0x41, 1, 0, 1), fill(benchBlock, 0), 0).wantField(1)
	n.run(0, cdb10(0x41, 8, 0, 1), fill(benchBlock/2, 0), 0).wantSense(senseInvalidInformationUnit)
	n.run(0, cdb10(0x41, 8, 0, 1), fill(2*benchBlock, 0), 0).wantSense(senseInvalidInformationUnit)

	n.cmd(cdb10(0x41, 0, 200, 0), fill(benchBlock, 'z'))
	if !bytes.Equal(b.disk.data[200*benchBlock:], fill((benchBlocks-200)*benchBlock, 'z')) {
		t.Error("a length of zero does not go to the end")
	}
}

func TestWriteSameLengthIsBounded(t *testing.T) {
	const most = WriteSameBlocksMax
	b := newBenchSpec(t, 1, diskOps, bdev.Spec{Blocks: most + 100})
	n := b.open(0, "a")
	n.run(0, cdb16(0x93, 0, 0, most+1), fill(benchBlock, 0), 0).wantField(10)
	n.run(0, cdb16(0x93, 0, 0, 0), fill(benchBlock, 0), 0).wantField(10)
}

func unmapList(pairs ...uint64) []byte {
	l := make([]byte, 8)
	for i := 0; i < len(pairs); i += 2 {
		l = binary.BigEndian.AppendUint64(l, pairs[i])
		l = binary.BigEndian.AppendUint32(l, uint32(pairs[i+1]))
		l = append(l, 0, 0, 0, 0)
	}
	binary.BigEndian.PutUint16(l, uint16(len(l)-2))
	binary.BigEndian.PutUint16(l[2:], uint16(len(l)-8))
	return l
}

func cdbUnmap(n int) []byte { return []byte{0x42, 0, 0, 0, 0, 0, 0, byte(n >> 8), byte(n), 0} }

func TestUnmap(t *testing.T) {
	b := newBench(t, 1)
	n := b.open(0, "a")
	copy(b.disk.data, fill(len(b.disk.data), 'x'))
	l := unmapList(0, 2, 10, 0, 20, 3)
	n.cmd(cdbUnmap(len(l)), l)
	for i := range 30 {
		want := byte('x')
		if i < 2 || i >= 20 && i < 23 {
			want = 0
		}
		if b.disk.data[i*benchBlock] != want {
			t.Errorf("block %d is %q", i, b.disk.data[i*benchBlock])
		}
	}
	n.cmd(cdbUnmap(0), []byte{})
	n.cmd(cdbUnmap(8), unmapList())
	l = unmapList(0, 1, benchBlocks-1, 2)
	n.run(0, cdbUnmap(len(l)), l, 0).wantSense(senseLBAOutOfRange)
	l = unmapList(30, 1)
	n.run(0, cdbUnmap(7), l[:7], 0).wantSense(senseParameterListLength)
	n.run(0, cdbUnmap(23), l[:23], 0).wantSense(senseParameterListLength)
	n.run(0, cdbUnmap(24), l[:20], 0).wantSense(senseParameterListLength)
	n.run(0, []byte{0x42, 1, 0, 0, 0, 0, 0, 0, 24, 0}, l, 0).wantField(1)
}

func TestOrWrite(t *testing.T) {
	b := newBench(t, 2)
	n := b.open(0, "a")
	const blocks = 600 // more than a step
	n.cmd(cdb16(0x8a, 0, 3, blocks), fill(blocks*benchBlock, 0xa0))
	n.cmd(cdb16(0x8b, 0, 3, blocks), fill(blocks*benchBlock, 0x0b))
	if !bytes.Equal(b.disk.data[3*benchBlock:(3+blocks)*benchBlock], fill(blocks*benchBlock, 0xab)) {
		t.Error("not ored")
	}
	if b.disk.data[2*benchBlock] != 0 || b.disk.data[(3+blocks)*benchBlock] != 0 {
		t.Error("neighbours were written")
	}
}

func TestCapacityOfLargeDevices(t *testing.T) {
	for _, c := range []struct {
		blocks uint64
		ten    uint32
	}{
		{1 << 20, 1<<20 - 1}, {0xffffffff, 0xfffffffe}, {1 << 32, 0xffffffff}, {6 << 30, 0xffffffff}, {1 << 54, 0xffffffff},
	} {
		b := newBenchSpec(t, 1, diskOps, bdev.Spec{Blocks: c.blocks, PhysicalBlockSize: 4096})
		n := b.open(0, "a")
		if got := n.cmd([]byte{0x25, 0, 0, 0, 0, 0, 0, 0, 0, 0}, nil); binary.BigEndian.Uint32(got) != c.ten || got[6] != 2 {
			t.Errorf("%d blocks: READ CAPACITY(10) says % x", c.blocks, got)
		}
		got := n.cmd(cdbAlloc16(0x10, 0, 32), nil)
		if binary.BigEndian.Uint64(got) != c.blocks-1 || len(got) != 32 || got[13] != 3 || got[14] != 0xc0 {
			t.Errorf("%d blocks: READ CAPACITY(16) says % x", c.blocks, got)
		}
		var seen []uint64
		b.disk.hook = func(q *bdev.Request) { seen = append(seen, q.LBA) }
		b.disk.data = nil
		for _, lba := range []uint64{1<<32 - 1, 1 << 32, 1<<32 + 1, c.blocks - 1} {
			if lba < c.blocks {
				b.disk.fail = bdev.StatusMediumError
				n.lun(0, cdb16(0x88, 0, lba, 1)).wantSense(senseReadError)
				if seen[len(seen)-1] != lba {
					t.Errorf("LBA %d became %d", lba, seen[len(seen)-1])
				}
			}
		}
		n.lun(0, cdb16(0x88, 0, c.blocks-1, 2)).wantSense(senseLBAOutOfRange)
	}
}

func TestGetLBAStatusWithoutSeek(t *testing.T) {
	b := newBench(t, 1)
	n := b.open(0, "a")
	got := n.cmd(cdbAlloc16(0x12, 5, 24), nil)
	want := []byte{0, 0, 0, 20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 5, 0, 0, 7, 0xfb, 0, 0, 0, 0}
	if !bytes.Equal(got, want) {
		t.Errorf("got  % x\nwant % x", got, want)
	}
}

func TestReadDefectData(t *testing.T) {
	b := newBench(t, 1)
	n := b.open(0, "a")
	if got := n.cmd([]byte{0x37, 0, 0x1d, 0, 0, 0, 0, 0, 255, 0}, nil); !bytes.Equal(got, []byte{0, 0x1d, 0, 0}) {
		t.Errorf("10: % x", got)
	}
	if got := n.cmd([]byte{0xb7, 0x0b, 0, 0, 0, 0, 0, 0, 0, 255, 0, 0}, nil); !bytes.Equal(got, []byte{0, 0x0b, 0, 0, 0, 0, 0, 0}) {
		t.Errorf("12: % x", got)
	}
}

func TestReadOnlyDevice(t *testing.T) {
	b := newBenchSpec(t, 1, diskOps, bdev.Spec{ReadOnly: true})
	n := b.open(0, "a")
	n.run(0, cdb10(0x2a, 0, 0, 1), fill(benchBlock, 1), 0).wantSense(senseWriteProtected)
	n.run(0, cdb16(0x93, 1, 0, 1), nil, 0).wantSense(senseWriteProtected)
	n.cmd(cdb10(0x28, 0, 0, 1), nil)
	if got := n.cmd([]byte{0x1a, 0, 0x3f, 0, 255, 0}, nil); got[2]&0x80 == 0 {
		t.Error("WP is not set")
	}
}
