package iscsi

import (
	"bytes"
	"errors"
	"io"
	"testing"
)

// collector is a Sink that rebuilds PDUs.
type collector struct {
	pdus   []PDU
	faults []Fault
	broken Fault
	data   []byte
	ahs    []byte
	refuse bool // stop at the header
	single bool // stop at the end of each PDU
}

func (c *collector) Header(_ *BHS, ahs []byte) bool {
	c.data, c.ahs = nil, bytes.Clone(ahs)
	return !c.refuse
}
func (c *collector) Data(p []byte) { c.data = append(c.data, p...) }
func (c *collector) End(h *BHS, fault Fault) bool {
	c.pdus = append(c.pdus, PDU{BHS: *h, AHS: c.ahs, Data: c.data})
	c.faults = append(c.faults, fault)
	return !c.single
}
func (c *collector) Broken(fault Fault) { c.broken = fault }

// samples are PDUs with every combination of header segments, data and padding.
func samples() []PDU {
	var list []PDU
	for n := range 6 {
		for ahs := range 3 {
			p := PDU{BHS: request(OpNOPOut, nil), AHS: bytes.Repeat([]byte{0xa5}, ahs*4), Data: bytes.Repeat([]byte{byte(n)}, n)}
			p.SetCmdSN(uint32(n))
			list = append(list, p)
		}
	}
	return list
}

func encode(pdus []PDU, headerDigest, dataDigest bool) (b []byte) {
	for i := range pdus {
		b = pdus[i].Append(b, headerDigest, dataDigest)
	}
	return b
}

func TestDecoderRebuildsEveryCut(t *testing.T) {
	for digests := range 4 {
		hd, dd := digests&1 != 0, digests&2 != 0
		want := samples()
		stream := encode(want, hd, dd)
		for step := 1; step <= 60; step++ {
			d, c := Decoder{HeaderDigest: hd, DataDigest: dd}, collector{}
			for rest := stream; len(rest) > 0; {
				n := min(step, len(rest))
				if took := d.Feed(rest[:n], &c); took != n {
					t.Fatalf("took %d of %d", took, n)
				}
				rest = rest[n:]
			}
			checkSame(t, c.pdus, want)
			if !d.Between() || c.broken != 0 {
				t.Fatalf("digests %d, step %d: not at the end of a PDU", digests, step)
			}
		}
	}
}

func checkSame(t *testing.T, got, want []PDU) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%d PDUs, want %d", len(got), len(want))
	}
	for i := range got {
		if got[i].BHS != want[i].BHS || !bytes.Equal(got[i].AHS, want[i].AHS) || !bytes.Equal(got[i].Data, want[i].Data) {
			t.Fatalf("PDU %d is %x %x %x", i, got[i].BHS, got[i].AHS, got[i].Data)
		}
	}
}

func TestReadPDUAgreesWithDecoder(t *testing.T) {
	want := samples()
	r := bytes.NewReader(encode(want, true, true))
	var got []PDU
	for {
		p, err := ReadPDU(r, true, true, 100)
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, *p)
	}
	checkSame(t, got, want)
}

func TestEveryTruncationIsUnexpected(t *testing.T) {
	p := PDU{BHS: request(OpNOPOut, nil), AHS: make([]byte, 4), Data: []byte("12345")}
	stream := p.Append(nil, true, true)
	for n := range stream {
		_, err := ReadPDU(bytes.NewReader(stream[:n]), true, true, 100)
		if want := io.ErrUnexpectedEOF; n > 0 && err != want || n == 0 && err != io.EOF {
			t.Errorf("%d of %d bytes: %v", n, len(stream), err)
		}
		d, c := Decoder{HeaderDigest: true, DataDigest: true}, collector{}
		d.Feed(stream[:n], &c)
		if len(c.pdus) != 0 || c.broken != 0 || n > 0 && d.Between() {
			t.Errorf("%d of %d bytes make a PDU", n, len(stream))
		}
	}
	if _, err := ReadPDU(bytes.NewReader(stream), true, true, 4); err == nil {
		t.Error("a data segment beyond the limit was read")
	}
}

func TestEveryBitIsCoveredByADigest(t *testing.T) {
	p := PDU{BHS: request(OpNOPOut, nil), AHS: []byte{1, 2, 3, 4}, Data: []byte("12345")}
	good := p.Append(nil, true, true)
	headerEnd := BHSLength + 4 + DigestLength
	for bit := range len(good) * 8 {
		if i := bit / 8; i >= 4 && i < 8 {
			continue // lengths: the stream is cut elsewhere
		}
		stream := bytes.Clone(good)
		stream[bit/8] ^= 1 << (bit % 8)
		d, c := Decoder{HeaderDigest: true, DataDigest: true}, collector{}
		took := d.Feed(stream, &c)
		_, err := ReadPDU(bytes.NewReader(stream), true, true, 100)
		if bit/8 < headerEnd {
			if c.broken != FaultHeaderDigest || len(c.pdus) != 0 || took != headerEnd || !errors.Is(err, ErrHeaderDigest) {
				t.Fatalf("bit %d: fault %v, took %d, %v", bit, c.broken, took, err)
			}
		} else if len(c.faults) != 1 || c.faults[0] != FaultDataDigest || !errors.Is(err, ErrDataDigest) {
			t.Fatalf("bit %d: faults %v, %v", bit, c.faults, err)
		}
	}
}

func TestSinkStopsTheDecoder(t *testing.T) {
	want := samples()
	stream := encode(want, false, false)
	d, c := Decoder{}, collector{single: true}
	for rest := stream; len(rest) > 0; {
		rest = rest[d.Feed(rest, &c):]
		if !d.Between() {
			t.Fatal("stopped inside a PDU")
		}
	}
	checkSame(t, c.pdus, want)
	c = collector{refuse: true}
	if took := d.Feed(stream[len(stream)-64:], &c); took == 64 || len(c.pdus) != 0 {
		t.Errorf("took %d bytes behind a refused header, %d PDUs", took, len(c.pdus))
	}
}

func TestCRC32C(t *testing.T) { // RFC 3720 B.4
	up := make([]byte, 32)
	for i := range up {
		up[i] = byte(i)
	}
	for _, c := range []struct{ data, want []byte }{
		{make([]byte, 32), []byte{0xaa, 0x36, 0x91, 0x8a}},
		{bytes.Repeat([]byte{0xff}, 32), []byte{0x43, 0xab, 0xa8, 0x62}},
		{up, []byte{0x4e, 0x79, 0xdd, 0x46}},
	} {
		var got [4]byte
		Digest(0).Add(c.data[:7]).Add(c.data[7:]).Put(got[:])
		if !bytes.Equal(got[:], c.want) || !Digest(0).Add(c.data).Matches(c.want) {
			t.Errorf("digest of %x is %x, want %x", c.data, got, c.want)
		}
	}
	for n, want := range []int{0, 3, 2, 1, 0, 3} {
		if Padding(n) != want {
			t.Errorf("padding of %d is %d", n, Padding(n))
		}
	}
}

func TestDecoderDoesNotAllocate(t *testing.T) {
	stream := encode(samples(), true, true)
	d, s := Decoder{HeaderDigest: true, DataDigest: true}, Sink(new(nothing))
	if n := testing.AllocsPerRun(100, func() { d.Feed(stream, s) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// nothing is a Sink that takes everything.
type nothing struct{}

func (*nothing) Header(*BHS, []byte) bool { return true }
func (*nothing) Data([]byte)              {}
func (*nothing) End(*BHS, Fault) bool     { return true }
func (*nothing) Broken(Fault)             {}

func FuzzDecoder(f *testing.F) {
	for digests := range 4 {
		few := samples()[5:7] // the fuzzer shrinks what it finds, which takes it long with long seeds
		f.Add(encode(few, digests&1 != 0, digests&2 != 0), digests&1 != 0, digests&2 != 0, 7)
	}
	f.Fuzz(func(t *testing.T, stream []byte, hd, dd bool, cut int) {
		whole, pieces := collector{}, collector{}
		d := Decoder{HeaderDigest: hd, DataDigest: dd}
		took := d.Feed(stream, &whole)
		if took != len(stream) && whole.broken == 0 {
			t.Fatalf("took %d of %d", took, len(stream))
		}
		d = Decoder{HeaderDigest: hd, DataDigest: dd}
		if cut = int(uint(cut)%64) + 1; took > cut {
			d.Feed(stream[:cut], &pieces)
			d.Feed(stream[cut:took], &pieces)
			if whole.broken == 0 {
				checkSame(t, pieces.pdus, whole.pdus)
			}
		}
	})
}
