package iscsi

import (
	"reflect"
	"strings"
	"testing"
)

// fields says where RFC 7143 11 prints each field: first byte, bytes, and the mask of a single byte.
var fields = map[string]struct {
	first, bytes int
	mask         byte
}{
	"Immediate": {0, 1, 0x40}, "Opcode": {0, 1, 0x3f},
	"Final": {1, 1, 0x80}, "Transit": {1, 1, 0x80}, "Continue": {1, 1, 0x40}, "CSG": {1, 1, 0x0c}, "NSG": {1, 1, 0x03},
	"Read": {1, 1, 0x40}, "Write": {1, 1, 0x20}, "Attr": {1, 1, 0x07}, "Function": {1, 1, 0x7f}, "ReasonCode": {1, 1, 0x7f},
	"SNACKType": {1, 1, 0x0f}, "BidiOverflow": {1, 1, 0x10}, "BidiUnderflow": {1, 1, 0x08}, "Overflow": {1, 1, 0x04},
	"Underflow": {1, 1, 0x02}, "StatusBit": {1, 1, 0x01}, "Acknowledge": {1, 1, 0x40},
	"VersionMax": {2, 1, 0xff}, "VersionMin": {3, 1, 0xff}, "VersionActive": {3, 1, 0xff},
	"Response": {2, 1, 0xff}, "Reason": {2, 1, 0xff}, "Status": {3, 1, 0xff},
	"TotalAHSLength": {4, 1, 0xff}, "DataSegmentLength": {5, 3, 0}, "LUN": {8, 8, 0}, "ISID": {8, 6, 0}, "TSIH": {14, 2, 0},
	"InitiatorTaskTag": {16, 4, 0}, "TargetTransferTag": {20, 4, 0}, "ExpectedDataTransferLength": {20, 4, 0},
	"ReferencedTaskTag": {20, 4, 0}, "SNACKTag": {20, 4, 0}, "CID": {20, 2, 0},
	"CmdSN": {24, 4, 0}, "StatSN": {24, 4, 0}, "ExpStatSN": {28, 4, 0}, "ExpCmdSN": {28, 4, 0}, "MaxCmdSN": {32, 4, 0},
	"RefCmdSN": {32, 4, 0}, "StatusClass": {36, 1, 0xff}, "StatusDetail": {37, 1, 0xff}, "LoginStatus": {36, 2, 0},
	"AsyncEvent": {36, 1, 0xff}, "AsyncVCode": {37, 1, 0xff}, "Parameter1": {38, 2, 0}, "Parameter2": {40, 2, 0}, "Parameter3": {42, 2, 0},
	"ExpDataSN": {36, 4, 0}, "DataSN": {36, 4, 0}, "R2TSN": {36, 4, 0}, "BufferOffset": {40, 4, 0}, "BegRun": {40, 4, 0},
	"BidirectionalReadResidualCount": {40, 4, 0}, "Time2Wait": {40, 2, 0}, "Time2Retain": {42, 2, 0},
	"ResidualCount": {44, 4, 0}, "DesiredDataTransferLength": {44, 4, 0}, "RunLength": {44, 4, 0},
}

// where is the bits of a header that a field covers.
func where(name string) (b BHS) {
	f := fields[name]
	for i := range f.bytes {
		b[f.first+i] = 0xff
	}
	if f.bytes == 1 {
		b[f.first] = f.mask
	}
	return b
}

func TestFieldsStandWhereTheStandardPrintsThem(t *testing.T) {
	seen := 0
	for m := range reflect.TypeFor[*BHS]().Methods() {
		name, found := strings.CutPrefix(m.Name, "Set")
		if !found || name == "CDB" {
			continue
		}
		seen++
		want := where(name)
		if want == (BHS{}) {
			t.Errorf("%s: not in the table", name)
			continue
		}
		checkField(t, name, want)
	}
	if seen != len(fields) {
		t.Errorf("%d fields, %d in the table", seen, len(fields))
	}
}

// checkField reads the field out of its own bits, writes it into an empty header and clears it in a full one.
func checkField(t *testing.T, name string, want BHS) {
	t.Helper()
	h := want
	value := reflect.ValueOf(&h).MethodByName(name).Call(nil)[0]
	var empty BHS
	reflect.ValueOf(&empty).MethodByName("Set" + name).Call([]reflect.Value{value})
	if empty != want {
		t.Errorf("%s: set to %v covers\n%x, want\n%x", name, value, empty, want)
	}
	var full BHS
	for i := range full {
		full[i] = 0xff
	}
	reflect.ValueOf(&full).MethodByName("Set" + name).Call([]reflect.Value{reflect.Zero(value.Type())})
	for i := range full {
		if full[i] != ^want[i] {
			t.Errorf("%s: clearing changed byte %d to %02x", name, i, full[i])
		}
	}
}

func TestBigEndian(t *testing.T) {
	var h BHS
	h.Clear(OpSCSICommand)
	h.SetLUN(0x0102030405060708)
	h.SetCmdSN(0x0a0b0c0d)
	h.SetDataSegmentLength(0x112233)
	h.SetTotalAHSLength(8)
	h.SetCDB([]byte{0x28, 0, 1, 2})
	want := BHS{0: 1, 4: 2, 5: 0x11, 6: 0x22, 7: 0x33, 8: 1, 9: 2, 10: 3, 11: 4, 12: 5, 13: 6, 14: 7, 15: 8, 24: 0xa, 25: 0xb, 26: 0xc, 27: 0xd, 32: 0x28, 34: 1, 35: 2}
	if h != want {
		t.Errorf("header is\n%x, want\n%x", h, want)
	}
	if h.Opcode() != OpSCSICommand || h.LUN() != 0x0102030405060708 || h.TotalAHSLength() != 8 || h.CDB()[3] != 2 || len(h.CDB()) != 16 {
		t.Error("read back differs")
	}
}

func TestAccessorsDoNotAllocate(t *testing.T) {
	b := make([]byte, BHSLength)
	limits := Limits{Phase: PhaseFullFeature, MaxRecvDataSegmentLength: 8192}
	if n := testing.AllocsPerRun(100, func() {
		h := (*BHS)(b)
		h.Clear(OpSCSICommand)
		h.SetRead(true)
		h.SetLUN(h.LUN() + 1)
		_ = Validate(h, &limits)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestSerialNumbers(t *testing.T) {
	for _, c := range []struct {
		a, b uint32
		less bool
	}{
		{0, 1, true},
		{1, 0, false},
		{5, 5, false},
		{0xffffffff, 0, true},
		{0, 0xffffffff, false},
		{0xffffffe0, 0x20, true},
		{0x7fffffff, 0x80000000, true},
		{0, 0x7fffffff, true},
	} {
		if SerialLess(c.a, c.b) != c.less || SerialLessEqual(c.a, c.b) != (c.less || c.a == c.b) {
			t.Errorf("%#x before %#x: %v", c.a, c.b, !c.less)
		}
	}
	if SerialMax(0xfffffff0, 2) != 2 || SerialMax(2, 0xfffffff0) != 2 {
		t.Error("SerialMax does not wrap")
	}
	for _, c := range []struct {
		n, first, last uint32
		in             bool
	}{
		{5, 5, 5, true}, {4, 5, 5, false}, {6, 5, 5, false}, {5, 5, 4, false}, {4, 5, 4, false}, // a closed window
		{0, 0xfffffffe, 1, true}, {2, 0xfffffffe, 1, false}, {0xfffffffd, 0xfffffffe, 1, false}, {5, 5, 2, false},
	} {
		if SerialIn(c.n, c.first, c.last) != c.in {
			t.Errorf("%#x in [%#x, %#x]: %v", c.n, c.first, c.last, !c.in)
		}
	}
}
