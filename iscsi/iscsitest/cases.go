package iscsitest

import (
	"bytes"
	"fmt"
	"strings"

	"pollux/iscsi"
)

// send is a case that sends one PDU in the form of Print, before or after login; tags and numbers that it names are sent as they are.
func send(text string) func(*Peer, *Stage) error {
	return func(p *Peer, _ *Stage) error {
		pdu, err := Parse(text)
		if err != nil {
			return err
		}
		return p.Send(pdu)
	}
}

// raw is a case that sends bytes.
func raw(b []byte) func(*Peer, *Stage) error {
	return func(p *Peer, _ *Stage) error { return p.SendBytes(b) }
}

// announce is a case that sends a header alone, which says that so much follows.
func announce(op iscsi.Opcode, ahs, data int) func(*Peer, *Stage) error {
	var h iscsi.BHS
	h.Clear(op)
	h.SetFinal(true)
	h.SetTotalAHSLength(ahs)
	h.SetDataSegmentLength(data)
	return raw(h[:])
}

// request is a case that sends a request with its numbers in order, after edit has changed it.
func request(op iscsi.Opcode, edit func(*iscsi.PDU)) func(*Peer, *Stage) error {
	return func(p *Peer, _ *Stage) error {
		pdu := p.Request(op, false)
		if edit != nil {
			edit(pdu)
		}
		return p.Send(pdu)
	}
}

// write is a case that sends a WRITE(10) of n blocks at LBA 0, after edit has changed it.
func write(n int, edit func(*iscsi.PDU, *Stage)) func(*Peer, *Stage) error {
	return func(p *Peer, s *Stage) error {
		pdu := p.write(s, n)
		if edit != nil {
			edit(pdu, s)
		}
		return p.Send(pdu)
	}
}

func (p *Peer) write(s *Stage, n int) *iscsi.PDU {
	return p.Command(s.LUN, []byte{0x2a, 7: byte(n >> 8), 8: byte(n), 9: 0}, uint32(n*s.Block), true)
}

// solicited is a case that sends a WRITE(10) of n blocks, waits for its first R2T, and answers with play.
func solicited(n int, play func(p *Peer, r2t *iscsi.PDU) error) func(*Peer, *Stage) error {
	return func(p *Peer, s *Stage) error {
		if err := p.Send(p.write(s, n)); err != nil {
			return err
		}
		r2t, err := p.Receive()
		if err != nil {
			return err
		}
		if r2t.Opcode() != iscsi.OpR2T {
			return fmt.Errorf("want an R2T, got\n%s", Print(r2t))
		}
		return play(p, r2t)
	}
}

// dataOut answers an R2T with one PDU that edit has changed.
func dataOut(edit func(*iscsi.PDU)) func(*Peer, *iscsi.PDU) error {
	return func(p *Peer, r2t *iscsi.PDU) error {
		pdu := p.DataOut(r2t, 0, make([]byte, r2t.DesiredDataTransferLength()), 0, true)
		edit(pdu)
		return p.Send(pdu)
	}
}

func noImmediate(p *iscsi.Params)  { p.ImmediateData, p.InitialR2T = false, true }
func withDigests(p *iscsi.Params)  { p.HeaderDigest, p.DataDigest = iscsi.CRC32C, iscsi.CRC32C }
func solicitedCRC(p *iscsi.Params) { noImmediate(p); withDigests(p) }

const hostName = "\n  InitiatorName=iqn.2024-01.com.example:iscsitest"

// BeforeLogin are misbehaviours of peers that have not logged in.
var BeforeLogin = []Case{
	{Name: "HTTP request", Play: raw([]byte("GET / HTTP/1.1\r\nUser-Agent: " + strings.Repeat("scanner ", 30) + "\r\n\r\n")), Want: closed},
	{Name: "a header of HTTP", Play: raw([]byte("GET /a/path/of/some/length HTTP/1.1\r\nHost: storage")[:iscsi.BHSLength]), Want: closed},
	{Name: "command that announces additional headers", Play: announce(iscsi.OpSCSICommand, iscsi.AHSMax, 0), Want: refused(iscsi.LoginInvalidDuringLogin)},
	{Name: "login that announces additional headers", Play: announce(iscsi.OpLogin, iscsi.AHSMax, 0), Want: closed},
	{Name: "login that announces too much data", Play: announce(iscsi.OpLogin, 0, iscsi.LoginDataSegmentMax+1), Want: closed},
	{Name: "Text Request that announces data", Play: announce(iscsi.OpText, 0, 512), Want: refused(iscsi.LoginInvalidDuringLogin)},
	{Name: "zeroes", Play: raw(make([]byte, 4096)), Want: closed},
	{Name: "ones", Play: raw(bytes.Repeat([]byte{0xff}, 4096)), Want: closed},
	{Name: "command before login", Play: send("Command F R ITT=1 EDTL=512"), Want: closed},
	{Name: "NOP-Out before login", Play: send("NOP-Out I F ITT=1 TTT=0xffffffff"), Want: closed},
	{Name: "Text Request before login", Play: send("Text F ITT=1 TTT=0xffffffff\n  SendTargets=All"), Want: closed},
	{Name: "Data-Out before login", Play: send("Data-Out F ITT=1 TTT=1\n  data 00*512"), Want: closed},
	{Name: "Logout Request before login", Play: send("Logout I F ITT=1"), Want: closed},
	{Name: "response to a target", Play: send("LoginResponse T CSG=1 NSG=3"), Want: closed},
	{Name: "login with too long a text", Play: send("Login I T CSG=1 NSG=3\n  data 41*8193"), Want: closed},
	{Name: "login with additional header", Play: send("Login I T CSG=1 NSG=3\n  ahs 00010100"), Want: closed},
	{Name: "login with broken text", Play: send("Login I T CSG=1 NSG=3\n  data 414141"), Want: refused(iscsi.LoginInitiatorError)},
	{Name: "login without a name", Play: send("Login I T CSG=1 NSG=3\n  SessionType=Discovery"), Want: refused(iscsi.LoginMissingParameter)},
	{Name: "login without a target", Play: send("Login I T CSG=1 NSG=3" + hostName), Want: refused(iscsi.LoginMissingParameter)},
	{Name: "login to an unknown target", Play: send("Login I T CSG=1 NSG=3" + hostName + "\n  TargetName=iqn.nobody"), Want: refused(iscsi.LoginNotFound)},
	{Name: "login in a reserved stage", Play: send("Login I T CSG=2 NSG=3" + hostName), Want: refused(iscsi.LoginInitiatorError)},
	{Name: "login to a reserved stage", Play: send("Login I T CSG=1 NSG=2" + hostName), Want: refused(iscsi.LoginInitiatorError)},
	{Name: "login with a version to come", Play: send("Login I T CSG=1 NSG=3 VersionMax=2 VersionMin=1" + hostName), Want: refused(iscsi.LoginUnsupportedVersion)},
	{Name: "login with a session type to come", Play: send("Login I T CSG=1 NSG=3" + hostName + "\n  SessionType=Other"), Want: refused(iscsi.LoginSessionTypeNotSupported)},
	{Name: "login with an unknown TSIH", Play: unknownTSIH, Want: refused(iscsi.LoginSessionDoesNotExist)},
	{Name: "login with final text that goes on", Play: send("Login I T C CSG=1 NSG=3" + hostName), Want: closed},
	{Name: "login text without an end", Play: endlessText, Want: refused(iscsi.LoginInitiatorError)},
	{Name: "login without an end", Play: endlessLogin, Want: refused(iscsi.LoginInitiatorError)},
}

// unknownTSIH asks for a further connection of a session that does not exist.
func unknownTSIH(p *Peer, s *Stage) error {
	o := s.Options
	o.TSIH = 0xbeef
	l := NewLogin(o)
	var req iscsi.PDU
	req.Data = l.Request(&req.BHS, nil)
	return p.Send(&req)
}

// endlessText never clears the C bit; the target answers with empty responses until its bound.
func endlessText(p *Peer, _ *Stage) error {
	req, err := Parse("Login I C CSG=1\n  data 41*4000")
	if err != nil {
		return err
	}
	for sent := 0; sent <= iscsi.TextMax; sent += 4000 {
		if err := p.Send(req); err != nil {
			return err
		}
		if sent+4000 <= iscsi.TextMax {
			if _, err := p.Receive(); err != nil {
				return err
			}
		}
	}
	return nil
}

// endlessLogin never asks for a transition.
func endlessLogin(p *Peer, s *Stage) error {
	first, err := Parse("Login I CSG=1" + hostName + "\n  TargetName=" + s.Options.Target)
	if err != nil {
		return err
	}
	for round := range iscsi.LoginRoundsMax + 1 {
		if err := p.Send(first); err != nil {
			return err
		}
		first.Data = nil
		if round < iscsi.LoginRoundsMax {
			if _, err := p.Receive(); err != nil {
				return err
			}
		}
	}
	return nil
}
