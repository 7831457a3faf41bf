package iscsitest

import (
	"bytes"
	"fmt"

	"pollux/iscsi"
)

// Ending is how a peer leaves in the middle of something.
type Ending struct {
	Name string
	End  func(*Peer)
}

// Endings are RST, FIN, and a FIN of which the target has to find out by itself that nothing more will come.
var Endings = []Ending{
	{"RST", (*Peer).Reset},
	{"FIN", (*Peer).Close},
	{"half close", func(p *Peer) {
		_ = p.Conn.CloseWrite()
		_ = p.Gone() // What it still says does not matter.
		p.Close()
	}},
}

// Cut is a point in a session at which a peer leaves.
type Cut struct {
	Name string
	Play func(*Peer, *Stage) error
}

// Cuts are the states of a connection that an end can meet: parts of a login and of a header, of immediate and solicited data, commands
// that execute, answers that nobody reads. The login of a session has gone before, except where the name says otherwise.
func Cuts() []Cut {
	cuts := []Cut{
		{"idle", func(*Peer, *Stage) error { return nil }},
		{"reads in flight", func(p *Peer, s *Stage) error { return p.reads(s, 8, 64) }},
		{"writes in flight", func(p *Peer, s *Stage) error {
			for range 8 {
				pdu := p.write(s, 1)
				pdu.Data = make([]byte, s.Block)
				if err := p.Send(pdu); err != nil {
					return err
				}
			}
			return nil
		}},
		{"R2T not answered", solicited(64, func(*Peer, *iscsi.PDU) error { return nil })},
		{"logout asked for", request(iscsi.OpLogout, nil)},
	}
	for _, n := range []int{1, 24, 47, 48, 49, 300, 559} {
		cuts = append(cuts, Cut{fmt.Sprintf("write cut at byte %d", n), func(p *Peer, s *Stage) error {
			pdu := p.write(s, 1)
			pdu.Data = make([]byte, s.Block)
			return p.SendBytes(pdu.Append(nil, false, false)[:n])
		}})
	}
	for _, n := range []int{20, 48, 1000} {
		cuts = append(cuts, Cut{fmt.Sprintf("Data-Out cut at byte %d", n), solicited(64, func(p *Peer, r2t *iscsi.PDU) error {
			pdu := p.DataOut(r2t, 0, make([]byte, r2t.DesiredDataTransferLength()), 0, true)
			return p.SendBytes(pdu.Append(nil, false, false)[:n])
		})})
	}
	return cuts
}

// LoginCuts are points within a login, as bytes of its first request; a Peer that has only connected plays them.
func LoginCuts(o Options) (cuts []Cut) {
	l := NewLogin(o)
	var req iscsi.PDU
	req.Data = l.Request(&req.BHS, nil)
	b := req.Append(nil, false, false)
	for _, n := range []int{0, 1, 47, 48, 60, len(b) - 1, len(b)} {
		cuts = append(cuts, Cut{fmt.Sprintf("login cut at byte %d of %d", n, len(b)), func(p *Peer, _ *Stage) error { return p.SendBytes(b[:n]) }})
	}
	return cuts
}

// reads sends n READ(10) of blocks blocks each, from LBA 0 on, without reading what comes back.
func (p *Peer) reads(s *Stage, n, blocks int) error {
	for i := range n {
		lba := i * blocks
		cdb := []byte{0x28, 0, byte(lba >> 24), byte(lba >> 16), byte(lba >> 8), byte(lba), 0, byte(blocks >> 8), byte(blocks), 0}
		if err := p.Send(p.Command(s.LUN, cdb, uint32(blocks*s.Block), false)); err != nil {
			return err
		}
	}
	return nil
}

// Flood makes n connections that say nothing, or the first bytes of a login. It returns a function that ends them. A target may refuse
// any of them; that is no error.
func Flood(o Options, n int, say []byte) (stop func(), made int) {
	var list []*Peer
	for range n {
		p, err := Connect(o)
		if err != nil {
			continue
		}
		if p.SendBytes(say) == nil {
			made++
		}
		list = append(list, p)
	}
	return func() {
		for _, p := range list {
			p.Close()
		}
	}, made
}

// SlowReader is a session with a small receive window that asks for much and reads nothing until Drain.
type SlowReader struct {
	*Peer
	commands, blocks, block int
}

// SlowWindow is the SO_RCVBUF of a SlowReader: about one page of window.
const SlowWindow = 4096

// NewSlowReader asks for the first commands*blocks blocks.
func NewSlowReader(s *Stage, commands, blocks int) (*SlowReader, error) {
	o := s.Options
	o.RecvBuffer = SlowWindow
	p, err := LogIn(o)
	if err != nil {
		return nil, err
	}
	if err := p.ready(s.LUN); err != nil {
		return nil, err
	}
	return &SlowReader{p, commands, blocks, s.Block}, p.reads(s, commands, blocks)
}

// Drain reads all answers, and gives each command's data to check. Commands may be answered in any order.
func (r *SlowReader) Drain(check func(lba int, data []byte) error) error {
	first := r.ITT - uint32(r.commands)
	data := make([][]byte, r.commands)
	for left := r.commands; left > 0; {
		pdu, err := r.Receive()
		if err != nil {
			return err
		}
		i := pdu.InitiatorTaskTag() - first
		switch {
		case pdu.Opcode() == iscsi.OpNOPIn && pdu.InitiatorTaskTag() == iscsi.ReservedTag:
			continue
		case i >= uint32(r.commands):
			return fmt.Errorf("what is this?\n%s", Print(pdu))
		case pdu.Opcode() == iscsi.OpDataIn && int(pdu.BufferOffset()) == len(data[i]):
			data[i] = append(data[i], pdu.Data...)
			if !pdu.StatusBit() {
				continue
			}
		case pdu.Opcode() != iscsi.OpSCSIResponse:
			return fmt.Errorf("what is this?\n%s", Print(pdu))
		}
		left--
		if pdu.Status() != 0 {
			return fmt.Errorf("read %d ends with status %#x", i, pdu.Status())
		}
	}
	for i, b := range data {
		if len(b) != r.blocks*r.block {
			return fmt.Errorf("read %d has %d bytes", i, len(b))
		}
		if err := check(i*r.blocks, b); err != nil {
			return err
		}
	}
	return nil
}

// Honest is a session that behaves, to see that others' misbehaviour does not touch it.
type Honest struct {
	*Peer
	stage *Stage
	round byte
}

// NewHonest logs in.
func NewHonest(s *Stage) (*Honest, error) {
	o := s.Options
	o.ISID[5] ^= 0x55
	p, err := LogIn(o)
	if err != nil {
		return nil, err
	}
	return &Honest{Peer: p, stage: s}, p.ready(s.LUN)
}

// Check writes one block that nobody else uses and reads it back.
func (h *Honest) Check() error {
	const lba = 2047
	h.round++
	want := bytes.Repeat([]byte{h.round}, h.stage.Block)
	cdb := []byte{0x2a, 0, 0, 0, lba >> 8, lba & 0xff, 0, 0, 1, 0}
	w := h.Command(h.stage.LUN, cdb, uint32(h.stage.Block), true)
	w.Data = want
	if err := h.Send(w); err != nil {
		return err
	}
	rsp, err := h.Receive()
	if err != nil {
		return err
	}
	if rsp.Opcode() != iscsi.OpSCSIResponse || rsp.Status() != 0 {
		return fmt.Errorf("an honest write is answered with\n%s", Print(rsp))
	}
	cdb[0] = 0x28
	if err := h.Send(h.Command(h.stage.LUN, cdb, uint32(h.stage.Block), false)); err != nil {
		return err
	}
	rsp, err = h.Receive()
	if err != nil {
		return err
	}
	if rsp.Opcode() != iscsi.OpDataIn || rsp.Status() != 0 || !bytes.Equal(rsp.Data, want) {
		return fmt.Errorf("an honest read is answered with\n%s", Print(rsp))
	}
	return nil
}
