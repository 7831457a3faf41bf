package scsi

import (
	"testing"

	"pollux/bdev"
)

// seeds are CDBs with parameter lists, from the encoders of the tests.
func seeds() (all [][2][]byte) {
	add := func(cdb, out []byte) { all = append(all, [2][]byte{cdb, out}) }
	for i := range commands {
		c := &commands[i]
		cdb := make([]byte, len(c.usage))
		cdb[0] = c.usage[0]
		if c.action {
			cdb[1] = c.usage[1] & 0x1f
		}
		add(cdb, nil)
		for at := 2; at < len(cdb)-1; at++ {
			cdb[at] = c.usage[at] & 0x01
		}
		add(cdb, nil)
	}
	block := fill(benchBlock, 0x5a)
	add(cdb10(0x28, 8, 5, 3), nil)
	add(cdb10(0x2a, 8, 5, 1), block)
	add(cdb16(0x93, 9, 5, 70), nil)
	add(cdb16(0x93, 0, 5, 70), block)
	add(cdb16(0x8b, 0, 5, 1), block)
	add(cdbSwap(5, 1), append(block, block...))
	add(cdb10(0x2f, 6, 5, 80), block)
	add(cdb10(0x2e, 2, 5, 1), block)
	unmap := unmapList(1, 2, 3, 4)
	add(cdbUnmap(len(unmap)), unmap)
	for action := range byte(8) {
		add(cdbOut(action, 5, 24), outList(1, 2))
	}
	for _, list := range [][]byte{
		{0, 0, 0, 0, 0x0a, 10, 4, 0x10, 8, 0x40, 0, 0, 0, 0, 0, 0},
		{0, 0, 0, 8, 0, 0, 8, 0, 0, 0, 2, 0, 0x0a, 10, 0, 0x10, 0, 0, 0, 0, 0, 0, 0, 0},
	} {
		add(selectMode(list), list)
	}
	add([]byte{0x5a, 0x10, 0x3f, 0xff, 0, 0, 0, 2, 0, 0}, nil)
	for page := range vpdPages {
		add(vpd(vpdPages[page].code), nil)
	}
	return all
}

// FuzzCDB gives a LUN any CDB with any data-out: it never panics, ends each command once, and answers with what an answer can be.
func FuzzCDB(f *testing.F) {
	for _, s := range seeds() {
		f.Add(s[0], s[1], uint16(300), byte(0))
		f.Add(s[0], s[1], uint16(4096), byte(2))
	}
	f.Fuzz(func(t *testing.T, cdb, out []byte, in uint16, how byte) {
		b := newBenchSpec(t, 1, diskOps, bdev.Spec{Blocks: 256, WriteCache: how&4 != 0})
		defer b.w.Close()
		n := b.open(0, "a")
		runAny(n, cdb, out, int(in), how)
		n.close()
		if out := b.w.Reactors[0].Buffers().Out(); out != 0 {
			t.Fatalf("%d buffers are left", out)
		}
	})
}

// runAny runs one command and checks the form of its answer.
func runAny(n *initiator, cdb, out []byte, in int, how byte) {
	t := n.b.t
	if len(cdb) > CDBMax {
		cdb = cdb[:CDBMax]
	}
	task := n.new(uint64(how>>7), cdb, out, in)
	task.CDBLen = max(6, len(cdb))
	task.Attribute = Attribute(how & 3)
	task.start().wait()
	switch task.Status {
	case StatusGood, StatusBusy, StatusReservationConflict:
		if task.SenseLen != 0 {
			t.Fatalf("% x: status %#x with sense", cdb, task.Status)
		}
	case StatusCheckCondition:
		if task.SenseLen < 8 || task.DataInLen != 0 || task.SenseLen != 8+int(task.Sense[7]) {
			t.Fatalf("% x: sense % x, %d bytes", cdb, task.Sense[:task.SenseLen], task.DataInLen)
		}
	default:
		t.Fatalf("% x: status %#x", cdb, task.Status)
	}
	if task.DataInLen > min(task.DataInMax, task.ExpectedIn) || task.DataInLen > task.DataInTotal || task.DataInTotal > task.DataInMax {
		t.Fatalf("% x: %d of %d bytes, at most %d, %d expected", cdb, task.DataInLen, task.DataInTotal, task.DataInMax, task.ExpectedIn)
	}
}

// TestTruncations cuts every seed's CDB and parameter list at every length.
func TestTruncations(t *testing.T) {
	b := newBench(t, 1)
	n := b.open(0, "a")
	for _, s := range seeds() {
		for i := range len(s[0]) {
			runAny(n, s[0][:i], s[1], 300, 0)
		}
		for i := range min(len(s[1]), 64) {
			runAny(n, s[0], s[1][:i], 0, 0)
		}
	}
}
