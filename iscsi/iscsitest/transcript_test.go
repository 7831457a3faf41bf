package iscsitest

import (
	"bytes"
	"math/rand/v2"
	"strings"
	"testing"

	"pollux/iscsi"
)

func TestPrintAndParseAreInverse(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for round := range 2000 {
		var p iscsi.PDU
		for i := range p.BHS {
			p.BHS[i] = byte(r.Uint32() & r.Uint32N(256)) // about a quarter of the bits
		}
		p.BHS[0] &^= 0x80
		p.AHS = make([]byte, r.IntN(3)*4)
		p.Data = make([]byte, r.IntN(100))
		if round%2 == 0 {
			p.Data = iscsi.AppendPair(nil, "Key", "some value")
		}
		p.SetTotalAHSLength(len(p.AHS))
		p.SetDataSegmentLength(len(p.Data))
		text := Print(&p)
		back, err := Parse(text)
		if err != nil || back.BHS != p.BHS || !bytes.Equal(back.AHS, p.AHS) || !bytes.Equal(back.Data, p.Data) {
			t.Fatalf("%x %x %x\n%s%v, %+v", p.BHS, p.AHS, p.Data, text, err, back)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	for _, text := range []string{"", "Commando", "Command Nonsense=1", "Command ITT=x", "Command @99=00", "Command\n  cdb zz", "Command\n  what"} {
		if p, err := Parse(text); err == nil {
			t.Errorf("%q became %v", text, p.Opcode())
		}
	}
}

func TestPrintReadsWell(t *testing.T) {
	p, err := Parse("Command F R ITT=0x7 EDTL=512 CmdSN=0xffffffe0\n  cdb 28000000000000000100000000000000\n")
	if err != nil {
		t.Fatal(err)
	}
	if !p.Final() || !p.Read() || p.CmdSN() != 0xffffffe0 || p.CDB()[0] != 0x28 || strings.Count(Print(p), "\n") != 2 {
		t.Errorf("%x\n%s", p.BHS, Print(p))
	}
}
