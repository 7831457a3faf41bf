package iscsi

import "testing"

// request builds a header with a task tag, final.
func request(op Opcode, edit func(*BHS)) BHS {
	var h BHS
	h.Clear(op)
	h.SetFinal(true)
	h.SetInitiatorTaskTag(7)
	if edit != nil {
		edit(&h)
	}
	return h
}

func TestValidate(t *testing.T) {
	normal := Limits{Phase: PhaseFullFeature, MaxRecvDataSegmentLength: 65536, ImmediateData: true, FirstBurstLength: 8192}
	login := Limits{Phase: PhaseLogin, MaxRecvDataSegmentLength: LoginDataSegmentMax}
	discovery := Limits{Phase: PhaseDiscovery, MaxRecvDataSegmentLength: 8192}
	solicited := normal
	solicited.ImmediateData, solicited.InitialR2T = false, true
	initiator := Limits{Initiator: true, Phase: PhaseFullFeature, MaxRecvDataSegmentLength: 65536}
	write := func(immediate int, expected uint32) func(*BHS) {
		return func(h *BHS) {
			h.SetWrite(true)
			h.SetDataSegmentLength(immediate)
			h.SetExpectedDataTransferLength(expected)
		}
	}
	noTag := func(h *BHS) { h.SetInitiatorTaskTag(ReservedTag) }
	for _, c := range []struct {
		name   string
		limits Limits
		h      BHS
		want   Fault
	}{
		{"read", normal, request(OpSCSICommand, func(h *BHS) { h.SetRead(true) }), FaultNone},
		{"write", normal, request(OpSCSICommand, write(8192, 8192)), FaultNone},
		{"vendor opcode", normal, request(0x1c, nil), FaultOpcode},
		{"response to a target", normal, request(OpSCSIResponse, nil), FaultDirection},
		{"command to an initiator", initiator, request(OpSCSICommand, nil), FaultDirection},
		{"segment too long", normal, request(OpDataOut, func(h *BHS) { h.SetDataSegmentLength(65537) }), FaultDataLength},
		{"segment as long as declared", normal, request(OpDataOut, func(h *BHS) { h.SetDataSegmentLength(65536) }), FaultNone},
		{"login", login, request(OpLogin, nil), FaultNone},
		{"login text too long", login, request(OpLogin, func(h *BHS) { h.SetDataSegmentLength(8193) }), FaultDataLength},
		{"command before login", login, request(OpSCSICommand, nil), FaultNotLogin},
		{"NOP before login", login, request(OpNOPOut, nil), FaultNotLogin},
		{"login after login", normal, request(OpLogin, nil), FaultLoginAgain},
		{"command in discovery", discovery, request(OpSCSICommand, nil), FaultDiscovery},
		{"text in discovery", discovery, request(OpText, nil), FaultNone},
		{"logout in discovery", discovery, request(OpLogout, nil), FaultNone},
		{"AHS on a NOP", normal, request(OpNOPOut, func(h *BHS) { h.SetTotalAHSLength(4) }), FaultAHS},
		{"AHS on a command", normal, request(OpSCSICommand, func(h *BHS) { h.SetTotalAHSLength(8) }), FaultNone},
		{"command without tag", normal, request(OpSCSICommand, noTag), FaultTag},
		{"neither final nor write", normal, request(OpSCSICommand, func(h *BHS) { h.SetFinal(false) }), FaultFlags},
		{"attribute 5", normal, request(OpSCSICommand, func(h *BHS) { h.SetAttr(5) }), FaultFlags},
		{"data with a read", normal, request(OpSCSICommand, func(h *BHS) { h.SetRead(true); h.SetDataSegmentLength(4) }), FaultDataSegment},
		{"immediate data not agreed on", solicited, request(OpSCSICommand, write(512, 512)), FaultImmediateData},
		{"immediate data beyond first burst", normal, request(OpSCSICommand, write(8193, 65536)), FaultImmediateData},
		{"immediate data beyond expected length", normal, request(OpSCSICommand, write(513, 512)), FaultExpectedLength},
		{"unsolicited data not agreed on", solicited, request(OpSCSICommand, func(h *BHS) { h.SetWrite(true); h.SetFinal(false) }), FaultUnsolicited},
		{"Data-Out without tag", normal, request(OpDataOut, noTag), FaultTag},
		{"Data-Out that wraps", normal, request(OpDataOut, func(h *BHS) { h.SetBufferOffset(0xffffffff); h.SetDataSegmentLength(1) }), FaultExpectedLength},
		{"NOP without tag", normal, request(OpNOPOut, noTag), FaultTag},
		{"immediate NOP without tag", normal, request(OpNOPOut, func(h *BHS) { noTag(h); h.SetImmediate(true) }), FaultNone},
		{"task management with data", normal, request(OpTaskManagement, func(h *BHS) { h.SetDataSegmentLength(1) }), FaultDataSegment},
		{"logout without tag", normal, request(OpLogout, noTag), FaultTag},
		{"text final and continued", normal, request(OpText, func(h *BHS) { h.SetContinue(true) }), FaultFlags},
		{"login transit and continued", login, request(OpLogin, func(h *BHS) { h.SetContinue(true) }), FaultFlags},
		{"SNACK", normal, request(OpSNACK, nil), FaultSNACK},
		{"Data-In", initiator, request(OpDataIn, func(h *BHS) { h.SetStatusBit(true) }), FaultNone},
		{"Data-In with status, not final", initiator, request(OpDataIn, func(h *BHS) { h.SetStatusBit(true); h.SetFinal(false) }), FaultFlags},
		{"Data-In that wraps", initiator, request(OpDataIn, func(h *BHS) { h.SetBufferOffset(0xfffffffe); h.SetDataSegmentLength(2) }), FaultExpectedLength},
		{"R2T for nothing", initiator, request(OpR2T, nil), FaultFlags},
		{"unknown response", initiator, request(0x3e, nil), FaultOpcode},
	} {
		if got := Validate(&c.h, &c.limits); got != c.want {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
}

func TestEveryFaultHasWordsAndReason(t *testing.T) {
	for f := FaultNone + 1; f < FaultCount; f++ {
		if f.Error() == "" || f.Reason() == 0 && f != FaultHeaderDigest {
			t.Errorf("fault %d: %q, reason %d", f, f.Error(), f.Reason())
		}
	}
	if FaultDataDigest.Closes() || !FaultHeaderDigest.Closes() || !FaultDataLength.Closes() {
		t.Error("the wrong faults close the connection")
	}
}

func FuzzBHS(f *testing.F) {
	for op := range opcodeNames {
		h := request(op, nil)
		f.Add(h[:], true)
		f.Add(h[:], false)
	}
	f.Fuzz(func(t *testing.T, b []byte, initiator bool) {
		if len(b) < BHSLength {
			return
		}
		h := (*BHS)(b)
		before := *h
		for phase := PhaseLogin; phase <= PhaseFullFeature; phase++ {
			l := Limits{Initiator: initiator, Phase: phase, MaxRecvDataSegmentLength: 8192, FirstBurstLength: 8192}
			fault := Validate(h, &l)
			if fault >= FaultCount || *h != before {
				t.Fatalf("fault %d, header %x, was %x", fault, *h, before)
			}
			if fault == FaultNone && (h.DataSegmentLength() > 8192 || h.Opcode().FromTarget() != initiator) {
				t.Fatalf("%x passes", *h)
			}
		}
	})
}
