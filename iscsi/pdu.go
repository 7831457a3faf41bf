package iscsi

import (
	"errors"
	"fmt"
	"io"
)

// Sink is who takes the PDUs that a Decoder cuts from a stream. h belongs to the Decoder and is valid until End has returned.
type Sink interface {
	// Header is called when the header segments are whole and their digest is right. It validates, decides where the data goes, and
	// returns false to stop the Decoder.
	Header(h *BHS, ahs []byte) bool
	// Data takes the next piece of the data segment, valid during the call; padding is not part of it.
	Data(p []byte)
	// End is called when the PDU is whole, with FaultDataDigest when the data is damaged. It returns false to stop the Decoder.
	End(h *BHS, fault Fault) bool
	// Broken is called instead of Header when the header digest is wrong: the stream ends there (RFC 7143 7.7).
	Broken(fault Fault)
}

// Decoder cuts a stream into PDUs and checks digests. It copies headers only; it holds no data and allocates nothing. It does
// not validate: a Sink that stops at a header with an unbelievable length keeps it from being believed.
type Decoder struct {
	HeaderDigest, DataDigest bool // change them between PDUs only
	// NoAHS shows a header that announces additional segments to the sink at once, without them: the sink must refuse it. In a
	// login, where no PDU has any, a peer that speaks no iSCSI is so told apart by its first 48 bytes.
	NoAHS bool

	state  decodeState
	stop   bool
	have   int // bytes of the current part
	want   int // bytes of the data segment still to come
	digest Digest
	header [BHSLength + AHSMax + DigestLength]byte
	tail   [4 + DigestLength]byte // padding and data digest
}

// decodeState is the part of a PDU that is being received.
type decodeState uint8

const (
	decodeBHS decodeState = iota
	decodeAHS             // additional header segments and header digest
	decodeData
	decodeTail // padding and data digest
)

// Feed takes the next bytes of the stream and returns how many it took: all, unless the sink stopped it.
func (d *Decoder) Feed(b []byte, s Sink) int {
	rest := b
	d.stop = false
	for len(rest) > 0 && !d.stop {
		switch d.state {
		case decodeBHS:
			rest = d.feedHeader(rest, BHSLength, s)
		case decodeAHS:
			rest = d.feedHeader(rest, d.headerLength(), s)
		case decodeData:
			rest = d.feedData(rest, s)
		case decodeTail:
			rest = d.feedTail(rest, s)
		}
	}
	return len(b) - len(rest)
}

// Between reports whether the stream is between two PDUs.
func (d *Decoder) Between() bool { return d.state == decodeBHS && d.have == 0 }

func (d *Decoder) bhs() *BHS { return (*BHS)(d.header[:]) }

// headerLength is the length of BHS, AHS and header digest.
func (d *Decoder) headerLength() int {
	n := BHSLength + d.bhs().TotalAHSLength()
	if d.HeaderDigest {
		n += DigestLength
	}
	return n
}

// tailLength is the length of padding and data digest; there is neither without data.
func (d *Decoder) tailLength() int {
	n := d.bhs().DataSegmentLength()
	if n == 0 {
		return 0
	}
	if d.DataDigest {
		return Padding(n) + DigestLength
	}
	return Padding(n)
}

// feedHeader fills the header up to length.
func (d *Decoder) feedHeader(b []byte, length int, s Sink) []byte {
	n := copy(d.header[d.have:length], b)
	d.have += n
	if d.have < length {
		return b[n:]
	}
	switch whole := d.headerLength(); {
	case d.NoAHS && whole > BHSLength:
		d.stop = true
		if s.Header(d.bhs(), nil) {
			panic("iscsi: a sink takes additional header segments that its decoder does not")
		}
	case d.have < whole:
		d.state = decodeAHS
	default:
		d.headerDone(s)
	}
	return b[n:]
}

func (d *Decoder) headerDone(s Sink) {
	h := d.bhs()
	end := BHSLength + h.TotalAHSLength()
	if d.HeaderDigest && !Digest(0).Add(d.header[:end]).Matches(d.header[end:]) {
		d.stop = true
		s.Broken(FaultHeaderDigest)
		return
	}
	d.have, d.want, d.digest = 0, h.DataSegmentLength(), 0
	d.stop = !s.Header(h, d.header[BHSLength:end])
	if d.want > 0 {
		d.state = decodeData
		return
	}
	d.end(s, FaultNone)
}

func (d *Decoder) feedData(b []byte, s Sink) []byte {
	n := min(len(b), d.want)
	if d.DataDigest {
		d.digest = d.digest.Add(b[:n])
	}
	s.Data(b[:n])
	d.want -= n
	if d.want > 0 {
		return b[n:]
	}
	d.state, d.have = decodeTail, 0
	if d.tailLength() == 0 {
		d.end(s, FaultNone)
	}
	return b[n:]
}

func (d *Decoder) feedTail(b []byte, s Sink) []byte {
	length := d.tailLength()
	n := copy(d.tail[d.have:length], b)
	d.have += n
	if d.have < length {
		return b[n:]
	}
	fault := FaultNone
	if pad := Padding(d.bhs().DataSegmentLength()); d.DataDigest && !d.digest.Add(d.tail[:pad]).Matches(d.tail[pad:]) {
		fault = FaultDataDigest
	}
	d.end(s, fault)
	return b[n:]
}

// end finishes the PDU. A sink that stopped at the header is not told of its end.
func (d *Decoder) end(s Sink, fault Fault) {
	d.state, d.have = decodeBHS, 0
	if !d.stop {
		d.stop = !s.End(d.bhs(), fault)
	}
}

// PDU is a whole PDU in the Go heap: what the control plane and tests send and receive.
type PDU struct {
	BHS
	AHS  []byte
	Data []byte
}

// ErrHeaderDigest and ErrDataDigest are what ReadPDU returns for damaged PDUs.
var (
	ErrHeaderDigest = errors.New("header digest is wrong")
	ErrDataDigest   = errors.New("data digest is wrong")
)

// Append appends the PDU as it is sent, with its digests, and sets the lengths in its header.
func (p *PDU) Append(b []byte, headerDigest, dataDigest bool) []byte {
	p.SetTotalAHSLength(len(p.AHS))
	p.SetDataSegmentLength(len(p.Data))
	start := len(b)
	b = append(b, p.BHS[:]...)
	b = append(b, p.AHS...)
	if headerDigest {
		b = append(b, zeroes[:]...)
		PutHeaderDigest(b[start:])
	}
	if len(p.Data) == 0 {
		return b
	}
	b = append(b, p.Data...)
	b = append(b, zeroes[:Padding(len(p.Data))]...)
	if dataDigest {
		b = append(b, zeroes[:]...)
		Digest(0).Add(p.Data).AddPadding(len(p.Data)).Put(b[len(b)-DigestLength:])
	}
	return b
}

// ReadPDU reads one PDU of at most limit bytes of data. It blocks: control plane and tests only.
func ReadPDU(r io.Reader, headerDigest, dataDigest bool, limit int) (*PDU, error) {
	p := new(PDU)
	if _, err := io.ReadFull(r, p.BHS[:]); err != nil {
		return nil, err
	}
	if n := p.DataSegmentLength(); n > limit {
		return nil, fmt.Errorf("%v: data segment of %d bytes, limit %d", p.Opcode(), n, limit)
	}
	var check [DigestLength]byte
	p.AHS = make([]byte, p.TotalAHSLength())
	if _, err := io.ReadFull(r, p.AHS); err != nil {
		return nil, unexpected(err)
	}
	if headerDigest {
		if _, err := io.ReadFull(r, check[:]); err != nil {
			return nil, unexpected(err)
		}
		if !Digest(0).Add(p.BHS[:]).Add(p.AHS).Matches(check[:]) {
			return p, ErrHeaderDigest
		}
	}
	return p, p.readData(r, dataDigest)
}

func (p *PDU) readData(r io.Reader, dataDigest bool) error {
	n := p.DataSegmentLength()
	if n == 0 {
		return nil
	}
	tail := Padding(n)
	if dataDigest {
		tail += DigestLength
	}
	b := make([]byte, n+tail)
	if _, err := io.ReadFull(r, b); err != nil {
		return unexpected(err)
	}
	p.Data = b[:n:n]
	if covered := n + Padding(n); dataDigest && !Digest(0).Add(b[:covered]).Matches(b[covered:]) {
		return ErrDataDigest
	}
	return nil
}

// unexpected turns the end of a stream inside a PDU into what it is.
func unexpected(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}
