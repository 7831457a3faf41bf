package iscsitest

import "pollux/iscsi"

// InSession are misbehaviours of peers that have logged in to a normal session.
var InSession = loggedIn([]Case{
	{Name: "unknown opcode", Play: request(0x1c, nil), Want: rejected(iscsi.RejectNotSupported)},
	{Name: "response to a target", Play: request(iscsi.OpSCSIResponse, nil), Want: closed},
	{Name: "login again", Play: send("Login I T CSG=1 NSG=3"), Want: rejected(iscsi.RejectProtocolError)},
	{Name: "data segment longer than declared", Play: tooLong, Want: closed},
	{Name: "SNACK", Play: send("SNACK F ITT=0x100 TTT=0xffffffff"), Want: rejected(iscsi.RejectSNACK)},
	{Name: "NOP-Out with additional header", Play: request(iscsi.OpNOPOut, func(p *iscsi.PDU) { p.AHS = make([]byte, 4) }), Want: rejected(iscsi.RejectInvalidField)},
	{Name: "NOP-Out without a tag, not immediate", Play: request(iscsi.OpNOPOut, func(p *iscsi.PDU) { p.SetInitiatorTaskTag(iscsi.ReservedTag) }), Want: rejected(iscsi.RejectInvalidField)},
	{Name: "Text Request final and going on", Play: request(iscsi.OpText, func(p *iscsi.PDU) { p.SetContinue(true); p.SetTargetTransferTag(iscsi.ReservedTag) }), Want: rejected(iscsi.RejectInvalidField)},
	{Name: "Logout Request with data", Play: request(iscsi.OpLogout, func(p *iscsi.PDU) { p.Data = []byte("bye.") }), Want: rejected(iscsi.RejectInvalidField)},
	{Name: "task management with data", Play: request(iscsi.OpTaskManagement, func(p *iscsi.PDU) { p.SetFunction(1); p.Data = make([]byte, 8) }), Want: rejected(iscsi.RejectInvalidField)},
	{Name: "unknown task management function", Allowed: true, Play: request(iscsi.OpTaskManagement, func(p *iscsi.PDU) { p.SetFunction(0x55) }), Want: answered},
	{Name: "task reassignment", Allowed: true, Play: request(iscsi.OpTaskManagement, func(p *iscsi.PDU) { p.SetFunction(iscsi.TMFFunctionTaskReassign) }), Want: answered},
	{Name: "unknown key", Allowed: true, Play: request(iscsi.OpText, func(p *iscsi.PDU) {
		p.SetTargetTransferTag(iscsi.ReservedTag)
		p.Data = iscsi.AppendPair(nil, "X-com.example.nonsense", "1")
	}), Want: answered},
	{Name: "text that is none", Play: request(iscsi.OpText, func(p *iscsi.PDU) {
		p.SetTargetTransferTag(iscsi.ReservedTag)
		p.Data = []byte("no equals sign")
	}), Want: rejected(iscsi.RejectProtocolError)},

	{Name: "command without a tag", Play: request(iscsi.OpSCSICommand, func(p *iscsi.PDU) { p.SetInitiatorTaskTag(iscsi.ReservedTag) }), Want: rejected(iscsi.RejectInvalidField)},
	{Name: "command neither final nor a write", Play: request(iscsi.OpSCSICommand, func(p *iscsi.PDU) { p.SetFinal(false) }), Want: rejected(iscsi.RejectInvalidField)},
	{Name: "command with a reserved attribute", Play: request(iscsi.OpSCSICommand, func(p *iscsi.PDU) { p.SetAttr(7) }), Want: rejected(iscsi.RejectInvalidField)},
	{Name: "read with data", Play: request(iscsi.OpSCSICommand, func(p *iscsi.PDU) { p.SetRead(true); p.Data = make([]byte, 512) }), Want: rejected(iscsi.RejectInvalidField)},
	{Name: "command with an unknown additional header", Play: request(iscsi.OpSCSICommand, func(p *iscsi.PDU) { p.AHS = []byte{0, 1, 0x3f, 0} }), Want: rejected(iscsi.RejectInvalidField)},
	{Name: "command with additional header beyond its end", Play: request(iscsi.OpSCSICommand, func(p *iscsi.PDU) { p.AHS = []byte{0xff, 0xff, 1, 0} }), Want: rejected(iscsi.RejectInvalidField)},
	{Name: "command to no LUN", Allowed: true, Play: func(p *Peer, _ *Stage) error {
		return p.Send(p.Command(0x3fff<<48, make([]byte, 6), 0, false))
	}, Want: checkCondition(keyIllegalRequest)},
	{Name: "unknown operation code", Allowed: true, Play: func(p *Peer, s *Stage) error { return p.Send(p.Command(s.LUN, []byte{0xff}, 0, false)) }, Want: checkCondition(keyIllegalRequest)},
	{Name: "CmdSN beyond the window", Play: func(p *Peer, s *Stage) error {
		pdu := p.Command(s.LUN, make([]byte, 6), 0, false)
		pdu.SetCmdSN(pdu.CmdSN() + 0x10000)
		p.CmdSN--
		return p.Send(pdu)
	}, Want: silence},
	{Name: "CmdSN of the past", Play: func(p *Peer, s *Stage) error {
		pdu := p.Command(s.LUN, make([]byte, 6), 0, false)
		pdu.SetCmdSN(pdu.CmdSN() - 1)
		p.CmdSN--
		return p.Send(pdu)
	}, Want: silence},
	{Name: "tag in use", Allowed: true, Play: tagInUse, Want: answered},

	{Name: "immediate data not agreed on", Offer: noImmediate, Play: write(1, func(p *iscsi.PDU, s *Stage) { p.Data = make([]byte, s.Block) }), Want: rejected(iscsi.RejectProtocolError)},
	{Name: "immediate data beyond FirstBurstLength", Offer: func(p *iscsi.Params) { p.FirstBurstLength = 512 }, Play: write(8, func(p *iscsi.PDU, _ *Stage) { p.Data = make([]byte, 1024) }), Want: rejected(iscsi.RejectProtocolError)},
	{Name: "immediate data beyond the expected length", Play: write(1, func(p *iscsi.PDU, s *Stage) { p.Data = make([]byte, 2*s.Block) }), Want: rejected(iscsi.RejectInvalidField)},
	{Name: "unsolicited data not agreed on", Offer: noImmediate, Play: write(8, func(p *iscsi.PDU, _ *Stage) { p.SetFinal(false) }), Want: rejected(iscsi.RejectProtocolError)},
	{Name: "Data-Out for nobody", Play: send("Data-Out F ITT=0x7777 TTT=0x123\n  data 00*512"), Want: silence},
	{Name: "unsolicited Data-Out for nobody", Play: send("Data-Out F ITT=0x7777 TTT=0xffffffff\n  data 00*512"), Want: silence},
	{Name: "Data-Out without a tag", Play: send("Data-Out F ITT=0xffffffff TTT=0x1"), Want: rejected(iscsi.RejectInvalidField)},
	{Name: "Data-Out whose offset wraps", Play: send("Data-Out F ITT=0x1 TTT=0x1 BufferOffset=4294967295\n  data 0000"), Want: rejected(iscsi.RejectInvalidField)},
	{Name: "Data-Out at another offset", Offer: noImmediate, Play: solicited(8, dataOut(func(p *iscsi.PDU) { p.SetBufferOffset(512) })), Want: checkCondition(keyAborted)},
	{Name: "Data-Out with another DataSN", Offer: noImmediate, Play: solicited(8, dataOut(func(p *iscsi.PDU) { p.SetDataSN(5) })), Want: checkCondition(keyAborted)},
	{Name: "Data-Out beyond what was asked for", Offer: noImmediate, Play: solicited(8, dataOut(func(p *iscsi.PDU) { p.Data = append(p.Data, make([]byte, 512)...) })), Want: checkCondition(keyAborted)},
	{Name: "Data-Out that ends early", Offer: noImmediate, Play: solicited(8, dataOut(func(p *iscsi.PDU) { p.Data = p.Data[:512] })), Want: checkCondition(keyAborted)},

	{Name: "wrong header digest", Offer: withDigests, Play: func(p *Peer, _ *Stage) error {
		p.BreakHeader = true
		return p.Send(p.Request(iscsi.OpNOPOut, true))
	}, Want: closed},
	{Name: "wrong digest of a NOP-Out's data", Offer: withDigests, Play: func(p *Peer, _ *Stage) error {
		pdu := p.Request(iscsi.OpNOPOut, false)
		pdu.SetTargetTransferTag(iscsi.ReservedTag)
		pdu.Data = []byte("damaged")
		p.BreakData = true
		return p.Send(pdu)
	}, Want: rejected(iscsi.RejectDataDigest)},
	{Name: "wrong digest of immediate data", Offer: withDigests, Play: damagedImmediate, Want: checkCondition(keyAborted)},
	{Name: "wrong digest of solicited data", Offer: solicitedCRC, Play: solicited(1, damagedDataOut), Want: checkCondition(keyAborted)},

	{Name: "second connection", Play: secondConnection, Want: silence},
	{Name: "connection replaced by one with its CID", Play: replaced, Want: silence},
	{Name: "reset connection, continued by another CID", Play: continued, Want: silence},
	{Name: "command behind a logout", Play: behindLogout, Want: closed},
})

func loggedIn(list []Case) []Case {
	for i := range list {
		list[i].LoggedIn = true
	}
	return list
}

// tooLong announces a data segment longer than the target takes.
func tooLong(p *Peer, _ *Stage) error {
	pdu := p.Request(iscsi.OpNOPOut, false)
	pdu.SetDataSegmentLength(int(p.Params.MaxSendDataSegmentLength) + 1)
	return p.SendBytes(pdu.BHS[:])
}

// tagInUse sends a command with the tag of one that waits for its data. SAM-5 5.13 leaves it to the target whether it notices; the
// session must live either way.
func tagInUse(p *Peer, s *Stage) error {
	first := p.write(s, 8)
	if err := p.Send(first); err != nil {
		return err
	}
	if _, err := p.Receive(); err != nil { // R2T
		return err
	}
	second := p.Command(s.LUN, make([]byte, 6), 0, false)
	second.SetInitiatorTaskTag(first.InitiatorTaskTag())
	return p.Send(second)
}

// expectReject reads the Reject that comes before a failed command's status.
func (p *Peer) expectReject(reason iscsi.RejectReason) error {
	return rejected(reason).check(p)
}

func damagedImmediate(p *Peer, s *Stage) error {
	pdu := p.write(s, 1)
	pdu.Data = make([]byte, s.Block)
	p.BreakData = true
	if err := p.Send(pdu); err != nil {
		return err
	}
	return p.expectReject(iscsi.RejectDataDigest)
}

func damagedDataOut(p *Peer, r2t *iscsi.PDU) error {
	p.BreakData = true
	if err := p.Send(p.DataOut(r2t, 0, make([]byte, r2t.DesiredDataTransferLength()), 0, true)); err != nil {
		return err
	}
	return p.expectReject(iscsi.RejectDataDigest)
}

// behindLogout sends a command together with a Logout Request: the one must be answered, the other not.
func behindLogout(p *Peer, s *Stage) error {
	logout := p.Request(iscsi.OpLogout, false)
	b := logout.Append(nil, false, false)
	b = p.Command(s.LUN, make([]byte, 6), 0, false).Append(b, false, false)
	if err := p.SendBytes(b); err != nil {
		return err
	}
	_, err := p.Receive()
	return err
}
