package scsi

import (
	"bytes"
	"encoding/binary"
	"testing"

	"pollux/bdev"
)

var inquiry = []byte{0x12, 0, 0, 0, 96, 0}

func vpd(page byte) []byte { return []byte{0x12, 1, page, 0xff, 0xff, 0} }

func TestStandardInquiry(t *testing.T) {
	b := newBench(t, 1)
	n := b.open(0, "a")
	got := n.cmd(inquiry, nil)
	want := "\x00\x00\x06\x12\x5b\x00\x00\x02POLLUX  Malloc disk     0001"
	if len(got) != 96 || string(got[:36]) != want {
		t.Errorf("%d bytes, %q", len(got), got[:36])
	}
	if !bytes.Equal(got[58:68], []byte{0x00, 0xa0, 0x09, 0x60, 0x04, 0x60, 0x04, 0xc0, 0, 0}) {
		t.Errorf("version descriptors % x", got[58:68])
	}
	n.lun(0, []byte{0x12, 0, 0x83, 0, 96, 0}).wantField(2)
	n.lun(0, []byte{0x12, 2, 0, 0, 96, 0}).wantField(1)
	n.lun(0, vpd(0xc0)).wantField(2)
}

func TestVPDPages(t *testing.T) {
	b := newBenchSpec(t, 1, diskOps, bdev.Spec{UUID: [16]byte{0xa1, 1, 2, 3, 4, 5, 6, 7, 0x88, 9, 10, 11, 12, 13, 14, 15}})
	n := b.open(0, "a")
	list := n.cmd(vpd(0), nil)
	if !bytes.Equal(list, []byte{0, 0, 0, 7, 0, 0x80, 0x83, 0x86, 0xb0, 0xb1, 0xb2}) {
		t.Errorf("page 00h % x", list)
	}
	for _, page := range list[4:] {
		got := n.cmd(vpd(page), nil)
		if got[1] != page || int(binary.BigEndian.Uint16(got[2:])) != len(got)-4 {
			t.Errorf("page %02xh: header % x of %d bytes", page, got[:4], len(got))
		}
	}
	if got := n.cmd(vpd(0x80), nil); string(got[4:]) != "a10102030405060788090a0b0c0d0e0f" {
		t.Errorf("serial %q", got[4:])
	}
	id := n.cmd(vpd(0x83), nil)
	if !bytes.Contains(id, []byte{1, 3, 0, 8, 0x38, 9, 10, 11, 12, 13, 14, 15}) {
		t.Errorf("no NAA designator: % x", id)
	}
	if !bytes.Contains(id, []byte("iqn.2016-06.io.spdk:disk1,t,0x0001\x00")) || !bytes.Contains(id, []byte("POLLUX  a101")) {
		t.Errorf("page 83h %q", id)
	}
	limits := n.cmd(vpd(0xb0), nil)
	if limits[3] != 0x3c || limits[5] != 255 || binary.BigEndian.Uint32(limits[8:]) != MaxTransferBytes/512 ||
		binary.BigEndian.Uint32(limits[20:]) != UnmapBlocksMax || binary.BigEndian.Uint64(limits[36:]) != WriteSameBlocksMax {
		t.Errorf("page B0h % x", limits)
	}
	if p := n.cmd(vpd(0xb2), nil); p[5] != 0xe4 || p[6] != 2 {
		t.Errorf("page B2h % x", p)
	}
}

// TestPromisesFollowFromTheBacking is the table of promises by what a backing can do: what it cannot is not advertised anywhere.
func TestPromisesFollowFromTheBacking(t *testing.T) {
	const all = bdev.OpCount
	for _, c := range []struct {
		lacks                    bdev.Op
		unmap, same, write, swap bool
	}{
		{all, true, true, true, true},
		{bdev.OpUnmap, false, true, true, true},
		{bdev.OpWrite, true, false, false, false},
	} {
		can := diskOps &^ (1 << c.lacks)
		if c.lacks == bdev.OpWrite {
			can &^= ops(bdev.OpWriteZeroes)
		}
		b := newBenchSpec(t, 1, can, bdev.Spec{})
		n := b.open(0, "a")
		offered := map[byte]bool{}
		list := n.cmd([]byte{0xa3, 0x0c, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0, 0}, nil)
		for d := list[4:]; len(d) > 0; d = d[8:] {
			offered[d[0]] = true
		}
		if offered[0x42] != c.unmap || offered[0x41] != c.same || offered[0x2a] != c.write || offered[0x89] != c.swap {
			t.Errorf("without %d: offered %v", c.lacks, offered)
		}
		p, l, capacity := n.cmd(vpd(0xb2), nil), n.cmd(vpd(0xb0), nil), n.cmd(cdbAlloc16(0x10, 0, 32), nil)
		if p[5]&0x80 != 0 != c.unmap || binary.BigEndian.Uint32(l[20:]) != 0 != c.unmap || capacity[14]&0x80 != 0 != c.unmap || l[5] != 0 != c.swap {
			t.Errorf("without %d: B2h % x, B0h % x, capacity % x", c.lacks, p, l, capacity)
		}
		if !c.unmap {
			n.run(0, cdbUnmap(24), unmapList(0, 1), 0).wantSense(senseInvalidOpcode)
			n.run(0, cdb16(0x93, 8, 0, 1), make([]byte, benchBlock), 0).wantField(1)
			if one := n.cmd([]byte{0xa3, 0x0c, 1, 0x93, 0, 0, 0, 0, 0xff, 0xff, 0, 0}, nil); one[5]&8 != 0 {
				t.Errorf("WRITE SAME(16) usage % x", one)
			}
		}
	}
}

func TestReportSupportedOperationCodes(t *testing.T) {
	b := newBench(t, 1)
	n := b.open(0, "a")
	ask := func(options, op byte, action uint16) result {
		c := []byte{0xa3, 0x0c, options, op, byte(action >> 8), byte(action), 0, 0, 0xff, 0xff, 0, 0}
		return n.run(0, c, nil, 1<<16)
	}
	all := ask(0, 0, 0).wantGood()
	if n := int(binary.BigEndian.Uint32(all)); n != len(all)-4 || n != 8*len(commands) {
		t.Errorf("%d bytes for %d commands", n, len(commands))
	}
	if timed := ask(0x80, 0, 0).wantGood(); len(timed) != 4+20*len(commands) || timed[4+5]&2 == 0 || timed[4+9] != 10 {
		t.Errorf("with time-outs: %d bytes", len(timed))
	}
	for d := all[4:]; len(d) > 0; d = d[8:] {
		action := binary.BigEndian.Uint16(d[2:])
		with, without := byte(2), byte(1)
		if d[5]&1 == 0 {
			with, without = without, with
		}
		ask(without, d[0], action).wantField(2)
		one := ask(with, d[0], action).wantGood()
		if one[1] != 3 || one[4] != d[0] || one[3] != d[7] || len(one) != 4+int(d[7]) {
			t.Errorf("command %#x %#x: % x", d[0], action, one)
		}
		ask(3, d[0], action).wantGood()
		if timed := ask(with|0x80, d[0], action).wantGood(); timed[1] != 0x83 || len(timed) != 16+int(d[7]) {
			t.Errorf("command %#x with time-outs: % x", d[0], timed)
		}
	}
	if got := ask(1, 0xcc, 0).wantGood(); !bytes.Equal(got, []byte{0, 1, 0, 0}) {
		t.Errorf("unknown command: % x", got)
	}
	if got := ask(2, 0x9e, 5).wantGood(); got[1] != 1 {
		t.Errorf("unknown service action: % x", got)
	}
	ask(4, 0, 0).wantField(2)
	if got := n.cmd([]byte{0xa3, 0x0d, 0, 0, 0, 0, 0, 0, 0, 16, 0, 0}, nil); !bytes.Equal(got, []byte{0xd9, 0, 0, 0}) {
		t.Errorf("task management functions % x", got)
	}
}

// TestUsageBitsAreAll sets each bit of each CDB: what the usage data do not have is refused, with a pointer to it.
func TestUsageBitsAreAll(t *testing.T) {
	b := newBench(t, 1)
	n := b.open(0, "a")
	for i := range commands {
		c := &commands[i]
		for bit := 8; bit < 8*len(c.usage); bit++ {
			at, mask := bit/8, byte(0x80>>(bit%8))
			if c.usage[at]&mask != 0 || c.action && at == 1 && mask <= 0x10 || at == c.group && mask <= 0x20 {
				continue
			}
			cdb := make([]byte, len(c.usage))
			cdb[0] = c.usage[0]
			if c.action {
				cdb[1] = c.usage[1] & 0x1f
			}
			cdb[at] |= mask
			n.lun(0, cdb).wantField(at)
		}
	}
}

func TestUnknownCommands(t *testing.T) {
	b := newBench(t, 1)
	n := b.open(0, "a")
	for op := range 256 {
		if byOpcode[op] == nil && byAction[op] == nil {
			n.lun(0, []byte{byte(op), 0, 0, 0, 0, 0}).wantSense(senseInvalidOpcode)
		}
	}
	n.lun(0, []byte{0x5e, 4, 0, 0, 0, 0, 0, 0, 8, 0}).wantField(1)
	task := n.new(0, cdb16(0x88, 0, 0, 1), nil, 512)
	task.CDBLen = 10
	result{testTask: task.start().wait()}.wantSense(senseInvalidFieldInCDB)
}

func TestLUNsThatDoNotExist(t *testing.T) {
	b := newBench(t, 1)
	b.addDisk("Disk1", diskOps, bdev.Spec{})
	_, err := b.dev.AddLUN(5, "Disk1", LUNOptions{})
	b.must(err)
	b.must(b.dev.RemoveLUN(0))
	n := b.open(0, "a")
	for _, lun := range []uint64{0, 1, 255} {
		n.lun(lun, tur).wantSense(senseLUNNotSupported)
		n.lun(lun, cdb10(0x28, 0, 0, 1)).wantSense(senseLUNNotSupported)
		n.lun(lun, []byte{0xff}).wantSense(senseLUNNotSupported)
		if got := n.lun(lun, inquiry).wantGood(); got[0] != 0x7f || len(got) != 96 {
			t.Errorf("lun %d: inquiry % x", lun, got)
		}
		if got := n.lun(lun, []byte{3, 0, 0, 0, 252, 0}).wantGood(); got[2] != 5 || got[12] != 0x25 {
			t.Errorf("lun %d: sense % x", lun, got)
		}
		got := n.lun(lun, []byte{0xa0, 0, 2, 0, 0, 0, 0, 0, 1, 0, 0, 0}).wantGood()
		want := []byte{0, 0, 0, 16, 0, 0, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0xc1, 1, 0, 0, 0, 0, 0, 0}
		if !bytes.Equal(got, want) {
			t.Errorf("lun %d: luns % x", lun, got)
		}
	}
	n.lun(5, tur).wantGood()
	for _, c := range []struct {
		field uint64
		want  int
	}{
		{0x0005_0000_0000_0000, 5},
		{0x4005_0000_0000_0000, 5},
		{0x4123_0000_0000_0000, 0x123},
		{0x0105_0000_0000_0000, -1},
		{0x0005_0001_0000_0000, -1},
		{0xc101_0000_0000_0000, -1},
		{0x8005_0000_0000_0000, -1},
	} {
		if got := decodeLUN(c.field); got != c.want {
			t.Errorf("LUN field %#x is %d", c.field, got)
		}
	}
}

func TestReportLUNs(t *testing.T) {
	b := newBench(t, 1)
	n := b.open(0, "a")
	report := func(what, alloc byte) result {
		return n.lun(0, []byte{0xa0, 0, what, 0, 0, 0, 0, 0, 0, alloc, 0, 0})
	}
	if got := report(0, 16).wantGood(); !bytes.Equal(got, []byte{0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}) {
		t.Errorf("% x", got)
	}
	if got := report(1, 255).wantGood(); len(got) != 16 || got[8] != 0xc1 {
		t.Errorf("% x", got)
	}
	report(3, 255).wantField(2)
	report(0, 8).wantField(6)
	task := n.new(0, inquiry, nil, 96)
	task.LUN = wellKnownLUN
	if got := (result{testTask: task.start().wait()}).wantGood(); got[0] != 0x1e {
		t.Errorf("well-known: % x", got)
	}
}

func TestRequestSense(t *testing.T) {
	b := newBench(t, 1)
	n := b.openRaw(0, "a")
	if got := n.cmd([]byte{3, 0, 0, 0, 252, 0}, nil); len(got) != 18 || got[0] != 0x70 || got[2] != 6 || got[12] != 0x29 {
		t.Errorf("% x", got)
	}
	n.lun(0, tur).wantGood()
	if got := n.cmd([]byte{3, 1, 0, 0, 252, 0}, nil); !bytes.Equal(got, []byte{0x72, 0, 0, 0, 0, 0, 0, 0}) {
		t.Errorf("% x", got)
	}
}

func TestStartStop(t *testing.T) {
	b := newBench(t, 2)
	n, o := b.open(0, "a"), b.open(1, "b")
	n.cmd([]byte{0x1b, 0, 0, 0, 0, 0}, nil)
	o.lun(0, tur).wantSense(senseStopped)
	o.lun(0, cdb10(0x28, 0, 0, 1)).wantSense(senseStopped)
	o.cmd(inquiry, nil)
	o.cmd([]byte{0x1b, 0, 0, 0, 1, 0}, nil)
	n.lun(0, tur).wantGood()
	n.lun(0, []byte{0x1b, 0, 0, 0, 3, 0}).wantField(4)
	n.cmd([]byte{0x1e, 0, 0, 0, 1, 0}, nil)
	n.cmd([]byte{0x1e, 0, 0, 0, 0, 0}, nil)
}

// TestAllocationLengths asks for every length of every kind of parameter data: never more comes, and always the same bytes.
func TestAllocationLengths(t *testing.T) {
	b := newBench(t, 1)
	n := b.open(0, "a")
	for i := range commands {
		c := &commands[i]
		if c.allocation.size == 0 {
			continue
		}
		base := make([]byte, len(c.usage))
		base[0] = c.usage[0]
		if c.action {
			base[1] = c.usage[1] & 0x1f
		}
		if base[0] == 0x1a || base[0] == 0x5a {
			base[2] = 0x3f
		}
		with := func(alloc byte) []byte {
			cdb := bytes.Clone(base)
			cdb[c.allocation.at+c.allocation.size-1] = alloc
			return cdb
		}
		whole := n.cmd(with(255), nil)
		for alloc := range byte(100) {
			if base[0] == 0xa0 && alloc < 16 {
				continue
			}
			r := n.lun(0, with(alloc))
			if got := r.wantGood(); !bytes.Equal(got, whole[:min(int(alloc), len(whole))]) {
				t.Errorf("%s, allocation length %d: % x", c.name, alloc, got)
			}
		}
	}
}
