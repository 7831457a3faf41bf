package iscsi_test

import (
	"bytes"
	"strings"
	"testing"

	"pollux/iscsi"
)

// first is a header as the first thing that a peer says.
func first(op iscsi.Opcode, edit func(*iscsi.BHS)) []byte {
	var h iscsi.BHS
	h.Clear(op)
	h.SetInitiatorTaskTag(0x1234)
	if edit != nil {
		edit(&h)
	}
	return h[:]
}

// TestStrangersAreToldByTheirFirstHeader: whoever does not begin with a Login Request that a login can hold is refused by its first 48 bytes,
// not by the end of the time for a login, and counted by what was wrong.
func TestStrangersAreToldByTheirFirstHeader(t *testing.T) {
	const (
		notLogin  = "not_a_login_request_during_login"
		length    = "data_segment_longer_than_maxrecvdatasegmentlength"
		ahs       = "additional_header_segment"
		direction = "opcode_of_the_other_direction"
	)
	for _, c := range []struct {
		name   string
		say    []byte
		fault  string
		answer bool // a Login Response says why
	}{
		{"HTTP request", []byte("GET /index.html HTTP/1.1\r\nHost: storage.example.com\r\n\r\n"), length, false},
		{"TLS ClientHello", append([]byte{0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3}, make([]byte, 64)...), length, false},
		{"SMB negotiation", append([]byte("\x00\x00\x00\x85\xffSMB"), make([]byte, 64)...), length, false},
		{"ones", bytes.Repeat([]byte{0xff}, iscsi.BHSLength), direction, false},
		{"command that announces additional headers", first(iscsi.OpSCSICommand, func(h *iscsi.BHS) { h.SetTotalAHSLength(iscsi.AHSMax) }), notLogin, true},
		{"unknown opcode that announces additional headers", first(0x13, func(h *iscsi.BHS) { h.SetTotalAHSLength(64) }), notLogin, true},
		{"Text Request that announces data", first(iscsi.OpText, func(h *iscsi.BHS) { h.SetDataSegmentLength(100) }), notLogin, true},
		{"login that announces additional headers", first(iscsi.OpLogin, func(h *iscsi.BHS) { h.SetTotalAHSLength(4) }), ahs, false},
		{"login that announces too much", first(iscsi.OpLogin, func(h *iscsi.BHS) { h.SetDataSegmentLength(iscsi.LoginDataSegmentMax + 1) }), length, false},
		{"login that announces both", first(iscsi.OpLogin, func(h *iscsi.BHS) { h.SetTotalAHSLength(4); h.SetDataSegmentLength(1 << 20) }), length, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			g := newRig(t, 1, nil)
			p := g.connect(0)
			p.far.Write(c.say[:iscsi.BHSLength])
			g.Run()
			answers := p.receive()
			if !p.gone() || g.server.Counters().Faults[c.fault] != 1 {
				t.Errorf("closed %v, counted %v", p.gone(), g.server.Counters().Faults)
			}
			if c.answer != (len(answers) == 1) || c.answer && answers[0].LoginStatus() != iscsi.LoginInvalidDuringLogin {
				t.Errorf("answered by %v", answers)
			}
			g.close()
		})
	}
}

// TestLongestLoginIsWaitedFor: a header at the bounds of a login is no stranger's.
func TestLongestLoginIsWaitedFor(t *testing.T) {
	g := newRig(t, 1, nil)
	p := g.connect(0)
	p.far.Write(first(iscsi.OpLogin, func(h *iscsi.BHS) { h.SetDataSegmentLength(iscsi.LoginDataSegmentMax) }))
	g.Run()
	if p.gone() {
		t.Error("refused by a header that is in order")
	}
	p.far.Write([]byte(strings.Repeat("A", iscsi.LoginDataSegmentMax)))
	g.Run()
	if all := p.receive(); len(all) != 1 || all[0].LoginStatus() != iscsi.LoginInitiatorError {
		t.Errorf("a text that is none is answered by %v", all)
	}
	g.close()
}

// TestNothingCountsBehindTheRefusal: what a stranger says after its refusal is neither answered nor taken for a login.
func TestNothingCountsBehindTheRefusal(t *testing.T) {
	g := newRig(t, 1, nil)
	p := g.connect(0)
	p.far.SetWindow(10) // The refusal does not get out whole.
	p.far.Write(first(iscsi.OpText, func(h *iscsi.BHS) { h.SetDataSegmentLength(8) }))
	g.Run()
	p.far.Write([]byte("12345678"))
	p.far.Write(first(iscsi.OpText, nil))
	g.Run()
	p.far.SetWindow(1 << 20)
	g.Run()
	if all := p.receive(); len(all) != 1 || all[0].LoginStatus() != iscsi.LoginInvalidDuringLogin {
		t.Errorf("answered by %v", all)
	}
	if n := g.server.Counters().Faults["not_a_login_request_during_login"]; n != 1 {
		t.Errorf("counted %d times", n)
	}
	g.close()
}

// gone reports whether the target has ended the connection.
func (p *peer) gone() bool { return p.far.Ended() || p.far.WasReset() }
