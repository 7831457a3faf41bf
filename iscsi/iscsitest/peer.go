package iscsitest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"syscall"
	"time"

	"pollux/iscsi"
)

// TimeoutDefault is how long a Peer waits for anything, unless its options say otherwise. Only what is broken takes as long.
const TimeoutDefault = 10 * time.Second

// readMax is the longest data segment that a Peer reads.
const readMax = 1 << 24

// Options describe a peer and whom it talks to.
type Options struct {
	Portal     string // host:port
	Initiator  string // empty: a name of this package
	Target     string // empty: a discovery session
	ISID       iscsi.ISID
	TSIH       uint16 // not 0: of the session to join or to continue
	CID        uint16
	CmdSN      uint32
	RecvBuffer int // SO_RCVBUF before the connection is made, so that the window is as small; 0: the kernel's choice
	Timeout    time.Duration
	Auth       iscsi.InitiatorAuth
	Edit       func(*iscsi.Params) // what else to offer; the defaults of RFC 7143 otherwise
}

// Peer is one connection that does what it is told to. The numbers are kept as an honest initiator would, and may be changed.
type Peer struct {
	Conn    *net.TCPConn
	Timeout time.Duration
	Params  iscsi.Params // after LogIn

	HeaderDigest, DataDigest bool
	BreakHeader, BreakData   bool // damage the digest of what is sent next
	CmdSN, ExpStatSN, ITT    uint32
	MaxCmdSN                 uint32 // as the target has last said
	TSIH                     uint16
}

// Connect makes a connection and says nothing.
func Connect(o Options) (*Peer, error) {
	if o.Timeout == 0 {
		o.Timeout = TimeoutDefault
	}
	d := net.Dialer{Timeout: o.Timeout}
	if o.RecvBuffer > 0 {
		d.ControlContext = func(_ context.Context, _, _ string, raw syscall.RawConn) error {
			var err error
			return errors.Join(raw.Control(func(fd uintptr) {
				err = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF, o.RecvBuffer)
			}), err)
		}
	}
	c, err := d.Dial("tcp", o.Portal)
	if err != nil {
		return nil, err
	}
	return &Peer{Conn: c.(*net.TCPConn), Timeout: o.Timeout, CmdSN: o.CmdSN, ITT: 1}, nil
}

// LogIn connects and logs in.
func LogIn(o Options) (*Peer, error) {
	p, err := Connect(o)
	if err != nil {
		return nil, err
	}
	if err := p.LogIn(o); err != nil {
		p.Close()
		return nil, err
	}
	return p, nil
}

// NewLogin is the initiator's side of a login as o wants it.
func NewLogin(o Options) *iscsi.InitiatorLogin {
	l := &iscsi.InitiatorLogin{Auth: o.Auth, ISID: o.ISID, TSIH: o.TSIH, CID: o.CID, CmdSN: o.CmdSN}
	l.Keys.Own = iscsi.DefaultParams()
	l.Keys.Own.InitiatorName, l.Keys.Own.TargetName = o.Initiator, o.Target
	if o.Initiator == "" {
		l.Keys.Own.InitiatorName = "iqn.2024-01.com.example:iscsitest"
	}
	if o.Target == "" {
		l.Keys.Own.SessionType = iscsi.SessionDiscovery
	}
	if o.Edit != nil {
		o.Edit(&l.Keys.Own)
	}
	l.Start()
	return l
}

// LogIn logs in over the peer's connection.
func (p *Peer) LogIn(o Options) error {
	l := NewLogin(o)
	for {
		var req iscsi.PDU
		req.Data = l.Request(&req.BHS, nil)
		req.SetExpStatSN(p.ExpStatSN)
		if err := p.Send(&req); err != nil {
			return err
		}
		rsp, err := p.Receive()
		if err != nil {
			return err
		}
		step, err := l.Handle(&rsp.BHS, rsp.Data)
		if err != nil {
			return err
		}
		if step == iscsi.LoginDone {
			p.Params, p.TSIH = l.Keys.Result, l.TSIH
			p.HeaderDigest, p.DataDigest = p.Params.HasHeaderDigest(), p.Params.HasDataDigest()
			return nil
		}
	}
}

// Send sends a PDU as it is, with lengths set and digests as agreed on.
func (p *Peer) Send(pdu *iscsi.PDU) error {
	b := pdu.Append(nil, p.HeaderDigest, p.DataDigest)
	if p.BreakHeader {
		b[iscsi.BHSLength+len(pdu.AHS)] ^= 1 // the first byte of the digest
	}
	if p.BreakData {
		b[len(b)-1] ^= 1
	}
	p.BreakHeader, p.BreakData = false, false
	return p.SendBytes(b)
}

// SendBytes sends bytes as they are.
func (p *Peer) SendBytes(b []byte) error {
	if err := p.Conn.SetWriteDeadline(time.Now().Add(p.Timeout)); err != nil {
		return err
	}
	_, err := p.Conn.Write(b)
	return err
}

// Receive reads the next PDU and follows its numbers.
func (p *Peer) Receive() (*iscsi.PDU, error) {
	if err := p.Conn.SetReadDeadline(time.Now().Add(p.Timeout)); err != nil {
		return nil, err
	}
	pdu, err := iscsi.ReadPDU(p.Conn, p.HeaderDigest, p.DataDigest, readMax)
	if err != nil {
		return nil, err
	}
	p.follow(pdu)
	return pdu, nil
}

// follow keeps ExpStatSN and MaxCmdSN.
func (p *Peer) follow(pdu *iscsi.PDU) {
	p.MaxCmdSN = pdu.MaxCmdSN()
	switch pdu.Opcode() {
	case iscsi.OpR2T:
		return
	case iscsi.OpDataIn:
		if !pdu.StatusBit() {
			return
		}
	case iscsi.OpNOPIn:
		if pdu.InitiatorTaskTag() == iscsi.ReservedTag {
			return
		}
	default:
	}
	p.ExpStatSN = pdu.StatSN() + 1
}

// Request is a request of its type with the next tag and, unless it is immediate, the next CmdSN.
func (p *Peer) Request(op iscsi.Opcode, immediate bool) *iscsi.PDU {
	pdu := new(iscsi.PDU)
	pdu.Clear(op)
	pdu.SetFinal(true)
	pdu.SetImmediate(immediate)
	pdu.SetInitiatorTaskTag(p.ITT)
	pdu.SetCmdSN(p.CmdSN)
	pdu.SetExpStatSN(p.ExpStatSN)
	p.ITT++
	if !immediate {
		p.CmdSN++
	}
	return pdu
}

// Command is a SCSI Command that reads expected bytes, or writes them if write is set.
func (p *Peer) Command(lun uint64, cdb []byte, expected uint32, write bool) *iscsi.PDU {
	pdu := p.Request(iscsi.OpSCSICommand, false)
	pdu.SetLUN(lun)
	pdu.SetCDB(cdb)
	pdu.SetAttr(1)
	pdu.SetRead(!write && expected > 0)
	pdu.SetWrite(write)
	pdu.SetExpectedDataTransferLength(expected)
	return pdu
}

// DataOut is the n-th Data-Out, from 0, that answers r2t, with data for offset within what it asks for.
func (p *Peer) DataOut(r2t *iscsi.PDU, n uint32, data []byte, offset uint32, final bool) *iscsi.PDU {
	pdu := new(iscsi.PDU)
	pdu.Clear(iscsi.OpDataOut)
	pdu.SetFinal(final)
	pdu.SetLUN(r2t.LUN())
	pdu.SetInitiatorTaskTag(r2t.InitiatorTaskTag())
	pdu.SetTargetTransferTag(r2t.TargetTransferTag())
	pdu.SetExpStatSN(p.ExpStatSN)
	pdu.SetDataSN(iscsi.FirstSN() + n)
	pdu.SetBufferOffset(r2t.BufferOffset() + offset)
	pdu.Data = data
	return pdu
}

// Ping shows that the session lives: a NOP-Out comes back with its data, and nothing comes before it.
func (p *Peer) Ping() error {
	req := p.Request(iscsi.OpNOPOut, true)
	req.SetTargetTransferTag(iscsi.ReservedTag)
	req.Data = []byte("are you there?")
	if err := p.Send(req); err != nil {
		return fmt.Errorf("ping: %w", err)
	}
	rsp, err := p.Receive()
	switch {
	case err != nil:
		return fmt.Errorf("ping: %w", err)
	case rsp.Opcode() != iscsi.OpNOPIn || rsp.InitiatorTaskTag() != req.InitiatorTaskTag() || string(rsp.Data) != string(req.Data):
		return fmt.Errorf("ping is answered with\n%s", Print(rsp))
	}
	return nil
}

// Gone waits until the target has closed or reset the connection; a PDU that comes instead is an error.
func (p *Peer) Gone() error {
	switch pdu, err := p.Receive(); {
	case err == nil:
		return fmt.Errorf("still there, and says\n%s", Print(pdu))
	case errors.Is(err, io.EOF), errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return nil
	default:
		return err
	}
}

// Reset ends the connection by RST: what was sent last may be lost.
func (p *Peer) Reset() {
	_ = p.Conn.SetLinger(0)
	_ = p.Conn.Close()
}

// Close ends it by FIN.
func (p *Peer) Close() { _ = p.Conn.Close() }
