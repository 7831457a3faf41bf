package scsi

import (
	"bytes"
	"encoding/hex"
	"testing"

	"pollux/bdev"
)

func TestSenseFormats(t *testing.T) {
	for _, c := range []struct {
		name       string
		sense      Sense
		detail     detail
		descriptor bool
		want       string
	}{
		{"plain", senseTargetFailure, detail{}, false, "700004000000000a00000000440000000000"},
		{"plain descriptor", senseTargetFailure, detail{}, true, "7204440000000000"},
		{"information", senseMiscompare, detail{hasInfo: true, info: 0x10203}, false, "f0000e000102030a000000001d0000000000"},
		{"long information", senseReadError, detail{hasInfo: true, info: 1 << 32}, false, "700003000000000a00000000110000000000"},
		{"long information, descriptor", senseReadError, detail{hasInfo: true, info: 1 << 32}, true, "720311000000000c000a80000000000100000000"},
		{"field of the CDB", senseInvalidFieldInCDB, detail{hasField: true, inCDB: true, field: 2, bit: 7}, false, "700005000000000a00000000240000cf0002"},
		{"field of the list", senseInvalidFieldInParameter, detail{hasField: true, field: 0x102, bit: 3}, false, "700005000000000a000000002600008b0102"},
	} {
		var b [SenseMax]byte
		n := encodeSense(&b, c.sense, c.detail, c.descriptor)
		want, err := hex.DecodeString(c.want)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(b[:n], want) {
			t.Errorf("%s:\ngot  %x\nwant %x", c.name, b[:n], want)
		}
	}
}

// TestEveryStatusHasAVerdict goes over all values that the block layer can give.
func TestEveryStatusHasAVerdict(t *testing.T) {
	for s := range bdev.StatusCount {
		for op := range bdev.OpCount {
			v := verdictOf(op, s)
			if (v.status == StatusGood) != (s == bdev.StatusOK) || (v.status == StatusCheckCondition) != (v.sense != Sense{}) {
				t.Errorf("%s of %s is %+v", s, op, v)
			}
		}
	}
	if verdictOf(bdev.OpWrite, bdev.StatusMediumError).sense != senseWriteError || verdictOf(bdev.OpRead, bdev.StatusMediumError).sense != senseReadError {
		t.Error("medium errors are not told apart")
	}
}

// TestFailuresReachTheInitiator forces each status on each kind of block command, also those of several steps.
func TestFailuresReachTheInitiator(t *testing.T) {
	b := newBench(t, 1)
	n := b.open(0, "a")
	unmap := unmapList(0, 1)
	for _, c := range []struct{ cdb, out []byte }{
		{cdb10(0x28, 0, 0, 1), nil},
		{cdb10(0x2a, 0, 0, 1), fill(benchBlock, 1)},
		{cdb10(0x2e, 2, 0, 1), fill(benchBlock, 1)},
		{cdb10(0x2f, 0, 0, 1), nil},
		{cdb10(0x2f, 2, 0, 1), fill(benchBlock, 1)},
		{cdb10(0x2f, 6, 0, 1), fill(benchBlock, 1)},
		{cdb10(0x41, 0, 0, 9), fill(benchBlock, 1)},
		{cdb10(0x41, 0, 0, 9), make([]byte, benchBlock)},
		{cdb16(0x8b, 0, 0, 1), fill(benchBlock, 1)},
		{cdbSwap(0, 1), make([]byte, 2*benchBlock)},
		{cdbUnmap(len(unmap)), unmap},
		{cdb10(0x35, 0, 0, 0), nil},
	} {
		for s := bdev.StatusAborted; s < bdev.StatusCount; s++ {
			if s == bdev.StatusNoMemory || s == bdev.StatusUnsupported {
				continue // The block layer tries again, or emulates.
			}
			b.disk.fail = s
			r := n.run(0, c.cdb, c.out, benchBlock)
			want := verdictOf(r.Op, s)
			if r.Status != want.status || r.sense() != want.sense || r.DataInLen != 0 {
				t.Errorf("% x, %s: status %#x, sense %+v, want %+v", c.cdb, s, r.Status, r.sense(), want)
			}
		}
		b.disk.fail = bdev.StatusOK
		n.run(0, c.cdb, c.out, benchBlock)
	}
}
