package iscsi

import "encoding/binary"

// BHSLength is the length of every basic header segment, in bytes (RFC 7143 11.2).
const BHSLength = 48

// BHS is a basic header segment: 48 bytes in wire order. A header in a buffer is read by converting its address,
// (*BHS)(b), which copies nothing; a short header cannot be expressed.
//
// Accessors bear the names that RFC 7143 prints, and one accessor serves every PDU that has its field at the same place.
// They do not validate: Validate does, once, before dispatch. Which field a PDU has is in section 11 of the standard;
// reading a field that the PDU does not have returns whatever those bytes mean there.
type BHS [BHSLength]byte

// ReservedTag is the value of a task tag or transfer tag that names nothing (RFC 7143 11.2.1.8).
const ReservedTag = 0xffffffff

// Clear makes the header zero and sets its opcode; everything else is then set by name.
func (h *BHS) Clear(op Opcode) {
	*h = BHS{}
	h[0] = byte(op)
}

// Immediate is the I bit: the command takes no CmdSN of its own (11.2.1.1).
func (h *BHS) Immediate() bool { return h[0]&0x40 != 0 }

// SetImmediate sets Immediate.
func (h *BHS) SetImmediate(v bool) { h.setBit(0, 0x40, v) }

// Opcode is the low six bits of byte 0 (11.2.1.2).
func (h *BHS) Opcode() Opcode { return Opcode(h[0] & 0x3f) }

// SetOpcode sets Opcode.
func (h *BHS) SetOpcode(v Opcode) { h[0] = h[0]&^0x3f | byte(v)&0x3f }

// Final is the F bit: the last PDU of a sequence (11.2.1.3).
func (h *BHS) Final() bool { return h[1]&0x80 != 0 }

// SetFinal sets Final.
func (h *BHS) SetFinal(v bool) { h.setBit(1, 0x80, v) }

// Transit is the T bit of login PDUs (11.12.1).
func (h *BHS) Transit() bool { return h[1]&0x80 != 0 }

// SetTransit sets Transit.
func (h *BHS) SetTransit(v bool) { h.setBit(1, 0x80, v) }

// Continue is the C bit of login and text PDUs: the text goes on in the next PDU (11.10.2, 11.12.2).
func (h *BHS) Continue() bool { return h[1]&0x40 != 0 }

// SetContinue sets Continue.
func (h *BHS) SetContinue(v bool) { h.setBit(1, 0x40, v) }

// CSG is the current stage of a login (11.12.3).
func (h *BHS) CSG() Stage { return Stage(h[1] >> 2 & 0x03) }

// SetCSG sets CSG.
func (h *BHS) SetCSG(v Stage) { h[1] = h[1]&^(0x03<<2) | byte(v)&0x03<<2 }

// NSG is the next stage of a login (11.12.3).
func (h *BHS) NSG() Stage { return Stage(h[1] & 0x03) }

// SetNSG sets NSG.
func (h *BHS) SetNSG(v Stage) { h[1] = h[1]&^0x03 | byte(v)&0x03 }

// Read is the R bit of a SCSI Command: data-in is expected (11.3.1).
func (h *BHS) Read() bool { return h[1]&0x40 != 0 }

// SetRead sets Read.
func (h *BHS) SetRead(v bool) { h.setBit(1, 0x40, v) }

// Write is the W bit of a SCSI Command: data-out is expected (11.3.1).
func (h *BHS) Write() bool { return h[1]&0x20 != 0 }

// SetWrite sets Write.
func (h *BHS) SetWrite(v bool) { h.setBit(1, 0x20, v) }

// Attr is the task attribute of a SCSI Command (11.3.1); the codes are those of scsi.Attribute.
func (h *BHS) Attr() uint8 { return uint8(h[1] & 0x07) }

// SetAttr sets Attr.
func (h *BHS) SetAttr(v uint8) { h[1] = h[1]&^0x07 | byte(v)&0x07 }

// Function is the task management function (11.5.1); the codes are those of scsi.Function.
func (h *BHS) Function() uint8 { return uint8(h[1] & 0x7f) }

// SetFunction sets Function.
func (h *BHS) SetFunction(v uint8) { h[1] = h[1]&^0x7f | byte(v)&0x7f }

// ReasonCode is why a Logout Request is sent (11.14.1).
func (h *BHS) ReasonCode() LogoutReason { return LogoutReason(h[1] & 0x7f) }

// SetReasonCode sets ReasonCode.
func (h *BHS) SetReasonCode(v LogoutReason) { h[1] = h[1]&^0x7f | byte(v)&0x7f }

// SNACKType is the type of a SNACK Request (11.16.1).
func (h *BHS) SNACKType() uint8 { return uint8(h[1] & 0x0f) }

// SetSNACKType sets SNACKType.
func (h *BHS) SetSNACKType(v uint8) { h[1] = h[1]&^0x0f | byte(v)&0x0f }

// BidiOverflow is the o bit of a SCSI Response: residual overflow of the read half (11.4.1).
func (h *BHS) BidiOverflow() bool { return h[1]&0x10 != 0 }

// SetBidiOverflow sets BidiOverflow.
func (h *BHS) SetBidiOverflow(v bool) { h.setBit(1, 0x10, v) }

// BidiUnderflow is the u bit of a SCSI Response: residual underflow of the read half (11.4.1).
func (h *BHS) BidiUnderflow() bool { return h[1]&0x08 != 0 }

// SetBidiUnderflow sets BidiUnderflow.
func (h *BHS) SetBidiUnderflow(v bool) { h.setBit(1, 0x08, v) }

// Overflow is the O bit of SCSI Response and Data-In: ResidualCount bytes were not moved for want of expected length (11.4.1).
func (h *BHS) Overflow() bool { return h[1]&0x04 != 0 }

// SetOverflow sets Overflow.
func (h *BHS) SetOverflow(v bool) { h.setBit(1, 0x04, v) }

// Underflow is the U bit of SCSI Response and Data-In: ResidualCount bytes of the expected length were not moved (11.4.1).
func (h *BHS) Underflow() bool { return h[1]&0x02 != 0 }

// SetUnderflow sets Underflow.
func (h *BHS) SetUnderflow(v bool) { h.setBit(1, 0x02, v) }

// StatusBit is the S bit of Data-In: the PDU carries the command's status (11.7.3).
func (h *BHS) StatusBit() bool { return h[1]&0x01 != 0 }

// SetStatusBit sets StatusBit.
func (h *BHS) SetStatusBit(v bool) { h.setBit(1, 0x01, v) }

// Acknowledge is the A bit of Data-In: the initiator is asked for a DataACK SNACK (11.7.2).
func (h *BHS) Acknowledge() bool { return h[1]&0x40 != 0 }

// SetAcknowledge sets Acknowledge.
func (h *BHS) SetAcknowledge(v bool) { h.setBit(1, 0x40, v) }

// VersionMax is the highest version of a login PDU (11.12.4).
func (h *BHS) VersionMax() uint8 { return h[2] }

// SetVersionMax sets VersionMax.
func (h *BHS) SetVersionMax(v uint8) { h[2] = v }

// VersionMin is the lowest version of a Login Request (11.12.5).
func (h *BHS) VersionMin() uint8 { return h[3] }

// SetVersionMin sets VersionMin.
func (h *BHS) SetVersionMin(v uint8) { h[3] = v }

// VersionActive is the version chosen in a Login Response (11.13.3).
func (h *BHS) VersionActive() uint8 { return h[3] }

// SetVersionActive sets VersionActive.
func (h *BHS) SetVersionActive(v uint8) { h[3] = v }

// Response is byte 2 of SCSI Response, Task Management Function Response and Logout Response (11.4.3, 11.6.1, 11.15.1).
func (h *BHS) Response() uint8 { return h[2] }

// SetResponse sets Response.
func (h *BHS) SetResponse(v uint8) { h[2] = v }

// Reason is why a PDU is rejected (11.17.1).
func (h *BHS) Reason() RejectReason { return RejectReason(h[2]) }

// SetReason sets Reason.
func (h *BHS) SetReason(v RejectReason) { h[2] = byte(v) }

// Status is the SCSI status of SCSI Response and, with the S bit, of Data-In (11.4.2).
func (h *BHS) Status() uint8 { return h[3] }

// SetStatus sets Status.
func (h *BHS) SetStatus(v uint8) { h[3] = v }

// TotalAHSLength is the length of all additional header segments in bytes; the wire counts four-byte words (11.2.1.5).
func (h *BHS) TotalAHSLength() int { return int(h[4]) * 4 }

// SetTotalAHSLength sets TotalAHSLength.
func (h *BHS) SetTotalAHSLength(v int) { h[4] = byte(v / 4) }

// DataSegmentLength is the length of the data segment in bytes, padding not counted (11.2.1.6).
func (h *BHS) DataSegmentLength() int { return int(h[5])<<16 | int(h[6])<<8 | int(h[7]) }

// SetDataSegmentLength sets DataSegmentLength.
func (h *BHS) SetDataSegmentLength(v int) { h[5], h[6], h[7] = byte(v>>16), byte(v>>8), byte(v) }

// LUN is the logical unit number as SAM-5 prints it: eight bytes, big-endian (11.2.1.7).
func (h *BHS) LUN() uint64 { return binary.BigEndian.Uint64(h[8:]) }

// SetLUN sets LUN.
func (h *BHS) SetLUN(v uint64) { binary.BigEndian.PutUint64(h[8:], v) }

// ISID is the initiator's part of the session identifier, in login PDUs (11.12.6).
func (h *BHS) ISID() ISID { return ISID(h[8:14]) }

// SetISID sets ISID.
func (h *BHS) SetISID(v ISID) { copy(h[8:14], v[:]) }

// TSIH is the target's session identifying handle, in login PDUs (11.12.7).
func (h *BHS) TSIH() uint16 { return binary.BigEndian.Uint16(h[14:]) }

// SetTSIH sets TSIH.
func (h *BHS) SetTSIH(v uint16) { binary.BigEndian.PutUint16(h[14:], v) }

// InitiatorTaskTag is the initiator's name of the task (11.2.1.8).
func (h *BHS) InitiatorTaskTag() uint32 { return binary.BigEndian.Uint32(h[16:]) }

// SetInitiatorTaskTag sets InitiatorTaskTag.
func (h *BHS) SetInitiatorTaskTag(v uint32) { binary.BigEndian.PutUint32(h[16:], v) }

// TargetTransferTag is the target's name of the transfer (11.7.4).
func (h *BHS) TargetTransferTag() uint32 { return binary.BigEndian.Uint32(h[20:]) }

// SetTargetTransferTag sets TargetTransferTag.
func (h *BHS) SetTargetTransferTag(v uint32) { binary.BigEndian.PutUint32(h[20:], v) }

// ExpectedDataTransferLength is the bytes that a SCSI Command expects to move (11.3.4).
func (h *BHS) ExpectedDataTransferLength() uint32 { return binary.BigEndian.Uint32(h[20:]) }

// SetExpectedDataTransferLength sets ExpectedDataTransferLength.
func (h *BHS) SetExpectedDataTransferLength(v uint32) { binary.BigEndian.PutUint32(h[20:], v) }

// ReferencedTaskTag is the task that a Task Management Function Request is about (11.5.5).
func (h *BHS) ReferencedTaskTag() uint32 { return binary.BigEndian.Uint32(h[20:]) }

// SetReferencedTaskTag sets ReferencedTaskTag.
func (h *BHS) SetReferencedTaskTag(v uint32) { binary.BigEndian.PutUint32(h[20:], v) }

// SNACKTag is the tag of a SCSI Response or SNACK Request (11.4.6, 11.16.4).
func (h *BHS) SNACKTag() uint32 { return binary.BigEndian.Uint32(h[20:]) }

// SetSNACKTag sets SNACKTag.
func (h *BHS) SetSNACKTag(v uint32) { binary.BigEndian.PutUint32(h[20:], v) }

// CID is the connection's identifier in Login and Logout Requests (11.12.8, 11.14.3).
func (h *BHS) CID() uint16 { return binary.BigEndian.Uint16(h[20:]) }

// SetCID sets CID.
func (h *BHS) SetCID(v uint16) { binary.BigEndian.PutUint16(h[20:], v) }

// CmdSN is the sequence number of a command, in PDUs from the initiator (11.3.5).
func (h *BHS) CmdSN() uint32 { return binary.BigEndian.Uint32(h[24:]) }

// SetCmdSN sets CmdSN.
func (h *BHS) SetCmdSN(v uint32) { binary.BigEndian.PutUint32(h[24:], v) }

// StatSN is the sequence number of a status, in PDUs from the target (11.4.7).
func (h *BHS) StatSN() uint32 { return binary.BigEndian.Uint32(h[24:]) }

// SetStatSN sets StatSN.
func (h *BHS) SetStatSN(v uint32) { binary.BigEndian.PutUint32(h[24:], v) }

// ExpStatSN is the next StatSN that the initiator expects (11.3.5).
func (h *BHS) ExpStatSN() uint32 { return binary.BigEndian.Uint32(h[28:]) }

// SetExpStatSN sets ExpStatSN.
func (h *BHS) SetExpStatSN(v uint32) { binary.BigEndian.PutUint32(h[28:], v) }

// ExpCmdSN is the next CmdSN that the target expects (11.4.8).
func (h *BHS) ExpCmdSN() uint32 { return binary.BigEndian.Uint32(h[28:]) }

// SetExpCmdSN sets ExpCmdSN.
func (h *BHS) SetExpCmdSN(v uint32) { binary.BigEndian.PutUint32(h[28:], v) }

// MaxCmdSN is the last CmdSN that the target takes (11.4.8).
func (h *BHS) MaxCmdSN() uint32 { return binary.BigEndian.Uint32(h[32:]) }

// SetMaxCmdSN sets MaxCmdSN.
func (h *BHS) SetMaxCmdSN(v uint32) { binary.BigEndian.PutUint32(h[32:], v) }

// CDB is the sixteen bytes of the command descriptor block in the header (11.3.5); they belong to the header.
func (h *BHS) CDB() []byte { return h[32:48:48] }

// RefCmdSN is the CmdSN of the task that ABORT TASK is about (11.5.6).
func (h *BHS) RefCmdSN() uint32 { return binary.BigEndian.Uint32(h[32:]) }

// SetRefCmdSN sets RefCmdSN.
func (h *BHS) SetRefCmdSN(v uint32) { binary.BigEndian.PutUint32(h[32:], v) }

// StatusClass is the class of a Login Response's status (11.13.5).
func (h *BHS) StatusClass() uint8 { return h[36] }

// SetStatusClass sets StatusClass.
func (h *BHS) SetStatusClass(v uint8) { h[36] = v }

// StatusDetail is the detail of a Login Response's status (11.13.5).
func (h *BHS) StatusDetail() uint8 { return h[37] }

// SetStatusDetail sets StatusDetail.
func (h *BHS) SetStatusDetail(v uint8) { h[37] = v }

// AsyncEvent is what an Asynchronous Message tells (11.9.1).
func (h *BHS) AsyncEvent() AsyncEvent { return AsyncEvent(h[36]) }

// SetAsyncEvent sets AsyncEvent.
func (h *BHS) SetAsyncEvent(v AsyncEvent) { h[36] = byte(v) }

// AsyncVCode is the vendor's event code of an Asynchronous Message (11.9.1).
func (h *BHS) AsyncVCode() uint8 { return h[37] }

// SetAsyncVCode sets AsyncVCode.
func (h *BHS) SetAsyncVCode(v uint8) { h[37] = v }

// Parameter1 is the first parameter of an Asynchronous Message (11.9.2).
func (h *BHS) Parameter1() uint16 { return binary.BigEndian.Uint16(h[38:]) }

// SetParameter1 sets Parameter1.
func (h *BHS) SetParameter1(v uint16) { binary.BigEndian.PutUint16(h[38:], v) }

// Parameter2 is the second parameter of an Asynchronous Message (11.9.2).
func (h *BHS) Parameter2() uint16 { return binary.BigEndian.Uint16(h[40:]) }

// SetParameter2 sets Parameter2.
func (h *BHS) SetParameter2(v uint16) { binary.BigEndian.PutUint16(h[40:], v) }

// Parameter3 is the third parameter of an Asynchronous Message (11.9.2).
func (h *BHS) Parameter3() uint16 { return binary.BigEndian.Uint16(h[42:]) }

// SetParameter3 sets Parameter3.
func (h *BHS) SetParameter3(v uint16) { binary.BigEndian.PutUint16(h[42:], v) }

// ExpDataSN is the number of Data-In PDUs or R2Ts that a SCSI Response covers, or the first wanted by TASK REASSIGN (11.4.9, 11.5.7).
func (h *BHS) ExpDataSN() uint32 { return binary.BigEndian.Uint32(h[36:]) }

// SetExpDataSN sets ExpDataSN.
func (h *BHS) SetExpDataSN(v uint32) { binary.BigEndian.PutUint32(h[36:], v) }

// DataSN is the sequence number of a data PDU within its sequence (11.7.5).
func (h *BHS) DataSN() uint32 { return binary.BigEndian.Uint32(h[36:]) }

// SetDataSN sets DataSN.
func (h *BHS) SetDataSN(v uint32) { binary.BigEndian.PutUint32(h[36:], v) }

// R2TSN is the sequence number of an R2T within its command (11.8.3).
func (h *BHS) R2TSN() uint32 { return binary.BigEndian.Uint32(h[36:]) }

// SetR2TSN sets R2TSN.
func (h *BHS) SetR2TSN(v uint32) { binary.BigEndian.PutUint32(h[36:], v) }

// BufferOffset is where the data of a data PDU or R2T begins in the whole transfer (11.7.6).
func (h *BHS) BufferOffset() uint32 { return binary.BigEndian.Uint32(h[40:]) }

// SetBufferOffset sets BufferOffset.
func (h *BHS) SetBufferOffset(v uint32) { binary.BigEndian.PutUint32(h[40:], v) }

// BegRun is the first number that a SNACK Request covers (11.16.5).
func (h *BHS) BegRun() uint32 { return binary.BigEndian.Uint32(h[40:]) }

// SetBegRun sets BegRun.
func (h *BHS) SetBegRun(v uint32) { binary.BigEndian.PutUint32(h[40:], v) }

// BidirectionalReadResidualCount is the residual of the read half of a SCSI Response (11.4.5).
func (h *BHS) BidirectionalReadResidualCount() uint32 { return binary.BigEndian.Uint32(h[40:]) }

// SetBidirectionalReadResidualCount sets BidirectionalReadResidualCount.
func (h *BHS) SetBidirectionalReadResidualCount(v uint32) { binary.BigEndian.PutUint32(h[40:], v) }

// Time2Wait is the seconds to wait before reconnecting, in a Logout Response (11.15.3).
func (h *BHS) Time2Wait() uint16 { return binary.BigEndian.Uint16(h[40:]) }

// SetTime2Wait sets Time2Wait.
func (h *BHS) SetTime2Wait(v uint16) { binary.BigEndian.PutUint16(h[40:], v) }

// Time2Retain is the seconds for which tasks are kept, in a Logout Response (11.15.4).
func (h *BHS) Time2Retain() uint16 { return binary.BigEndian.Uint16(h[42:]) }

// SetTime2Retain sets Time2Retain.
func (h *BHS) SetTime2Retain(v uint16) { binary.BigEndian.PutUint16(h[42:], v) }

// ResidualCount is the bytes that were not moved, in SCSI Response and Data-In (11.4.4).
func (h *BHS) ResidualCount() uint32 { return binary.BigEndian.Uint32(h[44:]) }

// SetResidualCount sets ResidualCount.
func (h *BHS) SetResidualCount(v uint32) { binary.BigEndian.PutUint32(h[44:], v) }

// DesiredDataTransferLength is the bytes that an R2T asks for (11.8.4).
func (h *BHS) DesiredDataTransferLength() uint32 { return binary.BigEndian.Uint32(h[44:]) }

// SetDesiredDataTransferLength sets DesiredDataTransferLength.
func (h *BHS) SetDesiredDataTransferLength(v uint32) { binary.BigEndian.PutUint32(h[44:], v) }

// RunLength is how many numbers a SNACK Request covers (11.16.6).
func (h *BHS) RunLength() uint32 { return binary.BigEndian.Uint32(h[44:]) }

// SetRunLength sets RunLength.
func (h *BHS) SetRunLength(v uint32) { binary.BigEndian.PutUint32(h[44:], v) }

// LoginStatus is StatusClass and StatusDetail as one number.
func (h *BHS) LoginStatus() LoginStatus { return LoginStatus(binary.BigEndian.Uint16(h[36:])) }

// SetLoginStatus sets StatusClass and StatusDetail.
func (h *BHS) SetLoginStatus(v LoginStatus) { binary.BigEndian.PutUint16(h[36:], uint16(v)) }

// SetCDB copies the first sixteen bytes of cdb into the header.
func (h *BHS) SetCDB(cdb []byte) { copy(h[32:48], cdb) }

func (h *BHS) setBit(i int, mask byte, on bool) {
	h[i] &^= mask
	if on {
		h[i] |= mask
	}
}
