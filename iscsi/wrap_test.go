package iscsi_test

import (
	"bytes"
	"fmt"
	"testing"

	"pollux/iscsi"
	"pollux/iscsi/initiator"
)

// wrapPDUs is how many PDUs of each kind TestNumbersWrap moves in one command: more than there are numbers from nearWrap to 2^32.
const wrapPDUs = 64

// TestNumbersWrap moves more Data-In, R2T and Data-Out PDUs in a command, and more commands and answers in a session, than there are
// numbers before 2^32. CmdSN, StatSN and ExpStatSN begin at nearWrap in every test of this package; DataSN and R2TSN begin there in
// builds with -tags invariants and POLLUX_FIRST_SN=0xffffffe0.
func TestNumbersWrap(t *testing.T) {
	from := fmt.Sprintf("from %#x", iscsi.FirstSN())
	t.Run("Data-In "+from, func(t *testing.T) {
		g := newRig(t, 2, nil)
		h := g.newHost(0, func(c *initiator.Config) { c.Offers.MaxRecvDataSegmentLength = rigBlockSize }).open(1).ready()
		writeAndReadBack(h)
		g.close()
	})
	t.Run("R2T "+from, func(t *testing.T) {
		g := newRig(t, 2, nil)
		h := g.newHost(0, func(c *initiator.Config) {
			c.Offers.InitialR2T, c.Offers.ImmediateData = true, false
			c.Offers.MaxBurstLength, c.Offers.FirstBurstLength = rigBlockSize, rigBlockSize
		}).open(1).ready()
		writeAndReadBack(h)
		g.close()
	})
	t.Run("solicited Data-Out "+from, func(t *testing.T) { writePieces(t, true) })
	t.Run("unsolicited Data-Out "+from, func(t *testing.T) { writePieces(t, false) })
	t.Run(fmt.Sprintf("CmdSN and StatSN from %#x", uint32(nearWrap)), func(t *testing.T) {
		g := newRig(t, 2, nil)
		h := g.newHost(0, nil).open(1).ready()
		for range wrapPDUs {
			h.good(&initiator.Command{})
		}
		if next, _ := h.session.Window(); next >= nearWrap {
			t.Errorf("CmdSN is %#x after %d commands", next, wrapPDUs)
		}
		g.close()
	})
}

// writeAndReadBack moves wrapPDUs blocks in one command each way; the host checks every number.
func writeAndReadBack(h *host) {
	h.g.t.Helper()
	data := pattern(wrapPDUs, 3)
	h.good(writeOf(0, data))
	c := readOf(0, wrapPDUs)
	if h.good(c); !bytes.Equal(c.In, data) {
		h.g.t.Error("what is read is not what was written")
	}
}

// writePieces writes wrapPDUs blocks as so many Data-Outs of one sequence, by hand.
func writePieces(t *testing.T, solicited bool) {
	t.Helper()
	const length = wrapPDUs * rigBlockSize
	g := newRig(t, 2, func(o *iscsi.Options, _ *iscsi.TargetSpec) { o.FirstBurstLength = length })
	p := g.connect(0)
	enter(p, func(q *iscsi.PDU) {
		// Of two values for a key that is sent twice none would be right, so the text is made anew.
		q.Data = nil
		for _, pair := range [][2]string{
			{"InitiatorName", rigInitiator},
			{"TargetName", rigTarget},
			{"InitialR2T", "No"},
			{"MaxBurstLength", fmt.Sprint(length)},
			{"FirstBurstLength", fmt.Sprint(length)},
		} {
			q.Data = iscsi.AppendPair(q.Data, pair[0], pair[1])
		}
	})
	settleAttentions(p)
	cmd := &iscsi.PDU{}
	cmd.Clear(iscsi.OpSCSICommand)
	cmd.SetFinal(solicited)
	cmd.SetWrite(true)
	cmd.SetInitiatorTaskTag(0x77)
	cmd.SetCmdSN(nearWrap + 4)
	cmd.SetExpectedDataTransferLength(length)
	cmd.SetCDB(rw(opWrite10, 0, wrapPDUs).CDB[:])
	p.send(cmd)
	g.Run()
	tag := uint32(iscsi.ReservedTag)
	if solicited {
		r2t := p.one(iscsi.OpR2T)
		if r2t.R2TSN() != iscsi.FirstSN() {
			t.Errorf("the first R2TSN is %#x", r2t.R2TSN())
		}
		tag = r2t.TargetTransferTag()
	}
	for i := range uint32(wrapPDUs) {
		out := dataOut(0x77, i*rigBlockSize, iscsi.FirstSN()+i, pattern(1, byte(i)))
		out.SetTargetTransferTag(tag)
		out.SetFinal(i == wrapPDUs-1)
		p.send(out)
	}
	g.Run()
	if rsp := p.one(iscsi.OpSCSIResponse); rsp.Status() != 0 || solicited && rsp.ExpDataSN() != 1 {
		t.Errorf("status %#x, ExpDataSN %d", rsp.Status(), rsp.ExpDataSN())
	}
	p.far.Close()
	g.close()
}

// one is the only PDU that has come, which must be of a kind.
func (p *peer) one(op iscsi.Opcode) *iscsi.PDU {
	p.g.t.Helper()
	all := p.receive()
	if len(all) != 1 || all[0].Opcode() != op {
		p.g.t.Fatalf("want one %v, got %v", op, all)
	}
	return all[0]
}
