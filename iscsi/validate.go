package iscsi

// Fault is what is wrong with a PDU. It says more than the wire can (Reason) and is the index of a counter; it is an error
// for the control plane. FaultNone is zero.
type Fault uint8

// Faults, in the order in which Validate looks for them; the last ones are found by the Decoder.
const (
	FaultNone           Fault = iota
	FaultDirection            // a PDU that only the other side may send
	FaultDataLength           // DataSegmentLength beyond what the receiver declared
	FaultNotLogin             // anything but a Login Request before the login has ended
	FaultLoginAgain           // a Login Request in full feature phase
	FaultOpcode               // an opcode that is not known
	FaultDiscovery            // a request that a discovery session may not make
	FaultAHS                  // additional header segments where none are defined, or malformed ones
	FaultTag                  // the reserved task tag where a task must be named
	FaultFlags                // flags that exclude one another or a reserved value
	FaultDataSegment          // a data segment where none is defined
	FaultImmediateData        // immediate data that was not negotiated, or beyond FirstBurstLength
	FaultUnsolicited          // unsolicited data announced under InitialR2T=Yes
	FaultExpectedLength       // data beyond the expected transfer length, or offsets that wrap
	FaultSNACK                // a SNACK Request under ErrorRecoveryLevel=0
	FaultHeaderDigest         // found by the Decoder: nothing of the header can be believed
	FaultDataDigest           // found by the Decoder: the data segment is damaged, the stream is not
	FaultCount                // the number of faults
)

// faults says, per fault, what the peer is told and whether the stream can go on.
var faults = [FaultCount]struct {
	text   string
	reason RejectReason
	closes bool
}{
	FaultNone:           {"no fault", 0, false},
	FaultDirection:      {"opcode of the other direction", RejectProtocolError, true},
	FaultDataLength:     {"data segment longer than MaxRecvDataSegmentLength", RejectProtocolError, true},
	FaultNotLogin:       {"not a Login Request during login", RejectProtocolError, true},
	FaultLoginAgain:     {"Login Request in full feature phase", RejectProtocolError, false},
	FaultOpcode:         {"unknown opcode", RejectNotSupported, false},
	FaultDiscovery:      {"not allowed in a discovery session", RejectProtocolError, false},
	FaultAHS:            {"additional header segment", RejectInvalidField, false},
	FaultTag:            {"reserved task tag", RejectInvalidField, false},
	FaultFlags:          {"flags", RejectInvalidField, false},
	FaultDataSegment:    {"unexpected data segment", RejectInvalidField, false},
	FaultImmediateData:  {"immediate data beyond what was negotiated", RejectProtocolError, false},
	FaultUnsolicited:    {"unsolicited data under InitialR2T=Yes", RejectProtocolError, false},
	FaultExpectedLength: {"data beyond the expected transfer length", RejectInvalidField, false},
	FaultSNACK:          {"SNACK under ErrorRecoveryLevel=0", RejectSNACK, false},
	FaultHeaderDigest:   {"header digest", 0, true},
	FaultDataDigest:     {"data digest", RejectDataDigest, false},
}

// Error is the fault in words.
func (f Fault) Error() string { return faults[f].text }

// Reason is what a Reject PDU says about the fault.
func (f Fault) Reason() RejectReason { return faults[f].reason }

// Closes reports whether the stream behind the faulty header can no longer be understood, or the peer is so far off the
// standard that the connection must end (RFC 7143 7.7, 7.8).
func (f Fault) Closes() bool { return faults[f].closes }

// Phase is what a connection expects.
type Phase uint8

// Phases.
const (
	PhaseLogin Phase = iota
	PhaseDiscovery
	PhaseFullFeature
)

// Limits is what the receiver of a PDU knows when its header arrives.
type Limits struct {
	Initiator                bool // the receiver is the initiator
	Phase                    Phase
	ImmediateData            bool
	InitialR2T               bool
	MaxRecvDataSegmentLength uint32 // what the receiver declared; LoginDataSegmentMax during login
	FirstBurstLength         uint32
}

// Validate checks a header before anything is done with it: direction, phase, lengths, and the fields whose values are
// constrained. Reserved fields are ignored, as RFC 7143 11.1 wants. What depends on tasks (tags in use, DataSN, BufferOffset
// against R2Ts) or on sequence numbers is left to whoever keeps them.
func Validate(h *BHS, l *Limits) Fault {
	op := h.Opcode()
	switch {
	case op.FromTarget() != l.Initiator:
		return FaultDirection
	case uint32(h.DataSegmentLength()) > l.MaxRecvDataSegmentLength:
		return FaultDataLength
	case l.Phase == PhaseLogin && op != OpLogin && op != OpLoginResponse && op != OpReject:
		return FaultNotLogin
	case l.Phase != PhaseLogin && (op == OpLogin || op == OpLoginResponse):
		return FaultLoginAgain
	case l.Phase == PhaseDiscovery && !discoveryAllows(op):
		return FaultDiscovery
	case h[4] != 0 && op != OpSCSICommand:
		return FaultAHS
	}
	if l.Initiator {
		return validateResponse(h, op)
	}
	return validateRequest(h, op, l)
}

// discoveryAllows: RFC 7143 4.3: a target accepts only Text and Logout Requests there.
func discoveryAllows(op Opcode) bool {
	return op == OpText || op == OpLogout || op.FromTarget()
}

func validateRequest(h *BHS, op Opcode, l *Limits) Fault {
	switch op {
	case OpSCSICommand:
		return validateCommand(h, l)
	case OpDataOut:
		return validateDataOut(h)
	case OpNOPOut:
		return validateNOPOut(h)
	case OpTaskManagement, OpLogout:
		return validateBare(h)
	case OpLogin, OpText:
		return validateNegotiation(h, op)
	case OpSNACK:
		return FaultSNACK
	default:
		return FaultOpcode
	}
}

func validateCommand(h *BHS, l *Limits) Fault {
	immediate := uint32(h.DataSegmentLength())
	switch {
	case h.InitiatorTaskTag() == ReservedTag:
		return FaultTag
	case !h.Final() && !h.Write(): // RFC 7143 11.3.1
		return FaultFlags
	case h.Attr() > 4:
		return FaultFlags
	case immediate != 0 && !h.Write():
		return FaultDataSegment
	case immediate != 0 && (!l.ImmediateData || immediate > l.FirstBurstLength):
		return FaultImmediateData
	case !h.Final() && l.InitialR2T:
		return FaultUnsolicited
	case immediate > h.ExpectedDataTransferLength():
		return FaultExpectedLength
	}
	return FaultNone
}

func validateDataOut(h *BHS) Fault {
	if h.InitiatorTaskTag() == ReservedTag {
		return FaultTag
	}
	if end := uint64(h.BufferOffset()) + uint64(h.DataSegmentLength()); end > 1<<32-1 {
		return FaultExpectedLength
	}
	return FaultNone
}

// validateNOPOut: RFC 7143 11.18.1: without a task tag it must be immediate.
func validateNOPOut(h *BHS) Fault {
	if h.InitiatorTaskTag() == ReservedTag && !h.Immediate() {
		return FaultTag
	}
	return FaultNone
}

func validateBare(h *BHS) Fault {
	switch {
	case h.InitiatorTaskTag() == ReservedTag:
		return FaultTag
	case h.DataSegmentLength() != 0:
		return FaultDataSegment
	}
	return FaultNone
}

// validateNegotiation: RFC 7143 11.10.2, 11.12.2: text that goes on cannot be final. The stages of a login are the login's matter.
func validateNegotiation(h *BHS, op Opcode) Fault {
	switch {
	case h.InitiatorTaskTag() == ReservedTag && op == OpText:
		return FaultTag
	case h.Final() && h.Continue():
		return FaultFlags
	}
	return FaultNone
}

func validateResponse(h *BHS, op Opcode) Fault {
	switch op {
	case OpDataIn:
		if h.StatusBit() && !h.Final() { // RFC 7143 11.7.3
			return FaultFlags
		}
		if uint64(h.BufferOffset())+uint64(h.DataSegmentLength()) > 1<<32-1 {
			return FaultExpectedLength
		}
	case OpR2T:
		if h.DesiredDataTransferLength() == 0 { // RFC 7143 11.8.4
			return FaultFlags
		}
	case OpLoginResponse, OpTextResponse:
		if h.Final() && h.Continue() {
			return FaultFlags
		}
	case OpNOPIn, OpSCSIResponse, OpTaskManagementResponse, OpLogoutResponse, OpAsync, OpReject:
	default:
		return FaultOpcode
	}
	return FaultNone
}
