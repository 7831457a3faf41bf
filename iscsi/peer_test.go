package iscsi_test

import (
	"math/rand/v2"

	"pollux/iscsi"
	"pollux/reactor/reactortest"
)

// enter logs a raw peer in and returns the last response.
func enter(p *peer, edit func(*iscsi.PDU)) *iscsi.PDU {
	p.g.t.Helper()
	var q iscsi.PDU
	q.Clear(iscsi.OpLogin)
	q.SetImmediate(true)
	q.SetTransit(true)
	q.SetCSG(iscsi.StageOperational)
	q.SetNSG(iscsi.StageFullFeature)
	q.SetISID(iscsi.ISID{0x80, 0, 0, 0, 0, 9})
	q.SetInitiatorTaskTag(1)
	q.SetCmdSN(nearWrap)
	for _, pair := range [][2]string{
		{"InitiatorName", rigInitiator},
		{"TargetName", rigTarget},
		{"SessionType", "Normal"},
		{"InitialR2T", "No"},
		{"ImmediateData", "Yes"},
		{"MaxBurstLength", "16384"},
		{"FirstBurstLength", "8192"},
		{"MaxOutstandingR2T", "2"},
	} {
		q.Data = iscsi.AppendPair(q.Data, pair[0], pair[1])
	}
	if edit != nil {
		edit(&q)
	}
	p.send(&q)
	p.g.Run()
	all := p.receive()
	if len(all) != 1 || all[0].LoginStatus() != iscsi.LoginSuccess || !all[0].Transit() {
		p.g.t.Fatalf("login was not answered as it should be: %v", all)
	}
	return all[0]
}

// script is the bytes of a whole conversation from an initiator's side: a login, then writes with immediate, unsolicited and
// solicited data (at tags that may exist), reads, pings, a text.
func script(rng *rand.Rand) []byte {
	var all []byte
	add := func(p *iscsi.PDU) { all = p.Append(all, false, false) }
	cmdSN := uint32(nearWrap)
	for i := range 12 {
		var p iscsi.PDU
		itt := uint32(100 + i)
		switch rng.IntN(5) {
		case 0:
			p.Clear(iscsi.OpNOPOut)
			p.SetFinal(true)
			p.SetTargetTransferTag(iscsi.ReservedTag)
			p.Data = pattern(1+rng.IntN(4), 1)
		case 1:
			p.Clear(iscsi.OpSCSICommand)
			p.SetFinal(true)
			p.SetRead(true)
			p.SetCDB(rw(opRead10, 3000, 60).CDB[:])
			p.SetExpectedDataTransferLength(60 * rigBlockSize)
		default:
			p.Clear(iscsi.OpSCSICommand)
			p.SetWrite(true)
			p.SetFinal(rng.IntN(2) == 0)
			p.SetCDB(rw(opWrite10, 3000, 60).CDB[:])
			p.SetExpectedDataTransferLength(60 * rigBlockSize)
			p.Data = pattern(rng.IntN(8), byte(i))
		}
		p.SetInitiatorTaskTag(itt)
		p.SetCmdSN(cmdSN)
		cmdSN++
		add(&p)
		if p.Opcode() == iscsi.OpSCSICommand && p.Write() && !p.Final() {
			add(dataOut(itt, uint32(len(p.Data)), iscsi.FirstSN(), pattern(2, 7)))
		}
	}
	return all
}

// dataOut is an unsolicited Data-Out.
func dataOut(itt, offset, dataSN uint32, data []byte) *iscsi.PDU {
	p := &iscsi.PDU{Data: data}
	p.Clear(iscsi.OpDataOut)
	p.SetInitiatorTaskTag(itt)
	p.SetTargetTransferTag(iscsi.ReservedTag)
	p.SetBufferOffset(offset)
	p.SetDataSN(dataSN)
	return p
}

// rawPeer logs a peer in that sends a part of a script, ended anywhere, and reads little of the answers.
func (g *cutRig) rawPeer() *reactortest.Peer {
	p := g.connect(g.rng.IntN(len(g.Reactors)))
	enter(p, nil)
	all := script(g.rng)
	all = all[:g.rng.IntN(len(all))]
	p.far.SetWindow(1 + g.rng.IntN(9000))
	for len(all) > 0 {
		n := min(len(all), 1+g.rng.IntN(3000))
		p.far.Write(all[:n])
		all = all[n:]
		g.stir()
		p.far.ReadAtMost(g.rng.IntN(5000))
	}
	return p.far
}
