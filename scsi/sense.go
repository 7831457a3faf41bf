package scsi

import (
	"encoding/binary"

	"pollux/bdev"
)

// Sense is a sense key with its additional sense code and qualifier (SPC-5 4.4). The zero Sense is NO SENSE.
type Sense struct{ Key, ASC, ASCQ uint8 }

// Sense keys (SPC-5 table 49).
const (
	KeyNoSense        = 0x0
	KeyNotReady       = 0x2
	KeyMediumError    = 0x3
	KeyHardwareError  = 0x4
	KeyIllegalRequest = 0x5
	KeyUnitAttention  = 0x6
	KeyDataProtect    = 0x7
	KeyAbortedCommand = 0xb
	KeyMiscompare     = 0xe
)

// What commands end with. The names are those of SPC-5 annex F.
var (
	senseInvalidOpcode           = Sense{KeyIllegalRequest, 0x20, 0x00}
	senseLBAOutOfRange           = Sense{KeyIllegalRequest, 0x21, 0x00}
	senseInvalidFieldInCDB       = Sense{KeyIllegalRequest, 0x24, 0x00}
	senseLUNNotSupported         = Sense{KeyIllegalRequest, 0x25, 0x00}
	senseInvalidFieldInParameter = Sense{KeyIllegalRequest, 0x26, 0x00}
	senseInvalidRelease          = Sense{KeyIllegalRequest, 0x26, 0x04}
	senseParameterListLength     = Sense{KeyIllegalRequest, 0x1a, 0x00}
	senseSavingNotSupported      = Sense{KeyIllegalRequest, 0x39, 0x00}
	senseNoRegistrationResources = Sense{KeyIllegalRequest, 0x55, 0x04}
	senseInvalidInformationUnit  = Sense{KeyIllegalRequest, 0x0e, 0x03}
	senseBecomingReady           = Sense{KeyNotReady, 0x04, 0x01}
	senseStopped                 = Sense{KeyNotReady, 0x04, 0x02}
	senseWriteProtected          = Sense{KeyDataProtect, 0x27, 0x00}
	senseSpaceAllocation         = Sense{KeyDataProtect, 0x27, 0x07}
	senseWriteError              = Sense{KeyMediumError, 0x0c, 0x00}
	senseReadError               = Sense{KeyMediumError, 0x11, 0x00}
	senseTargetFailure           = Sense{KeyHardwareError, 0x44, 0x00}
	senseAborted                 = Sense{KeyAbortedCommand, 0x00, 0x00}
	senseInvalidMessage          = Sense{KeyAbortedCommand, 0x49, 0x00}
	senseMiscompare              = Sense{KeyMiscompare, 0x1d, 0x00}
)

// Unit attention conditions.
var (
	attentionPowerOn              = Sense{KeyUnitAttention, 0x29, 0x00}
	attentionReset                = Sense{KeyUnitAttention, 0x29, 0x03}
	attentionModeChanged          = Sense{KeyUnitAttention, 0x2a, 0x01}
	attentionReservationsPreempt  = Sense{KeyUnitAttention, 0x2a, 0x03}
	attentionReservationsReleased = Sense{KeyUnitAttention, 0x2a, 0x04}
	attentionRegistrationsPreempt = Sense{KeyUnitAttention, 0x2a, 0x05}
	attentionCapacityChanged      = Sense{KeyUnitAttention, 0x2a, 0x09}
	attentionCommandsCleared      = Sense{KeyUnitAttention, 0x2f, 0x00}
	attentionLUNsChanged          = Sense{KeyUnitAttention, 0x3f, 0x0e}
)

// detail is what sense data say beyond the three codes.
type detail struct {
	hasInfo  bool
	info     uint64
	hasField bool // SKSV: field points at what was wrong
	inCDB    bool // in the CDB, else in the parameter list
	field    uint16
	bit      uint8 // the highest wrong bit of the field
}

// Sizes of sense data.
const (
	senseFixedLen      = 18
	senseHeaderLen     = 8
	senseInfoLen       = 12
	senseKeySpecifcLen = 8
)

// encodeSense writes sense data in fixed or descriptor format (SPC-5 4.4.2, 4.4.3) and returns its length.
func encodeSense(dst *[SenseMax]byte, s Sense, d detail, descriptor bool) int {
	if descriptor {
		return encodeDescriptorSense(dst, s, d)
	}
	clear(dst[:senseFixedLen])
	dst[0] = 0x70
	dst[2] = s.Key
	// SPC-5 4.4.3: an information that does not fit in four bytes is not valid in fixed format.
	if d.hasInfo && d.info <= 0xffffffff {
		dst[0] |= 0x80
		binary.BigEndian.PutUint32(dst[3:], uint32(d.info))
	}
	dst[7] = senseFixedLen - senseHeaderLen
	dst[12], dst[13] = s.ASC, s.ASCQ
	if d.hasField {
		putFieldPointer(dst[15:18], d)
	}
	return senseFixedLen
}

func encodeDescriptorSense(dst *[SenseMax]byte, s Sense, d detail) int {
	clear(dst[:])
	dst[0], dst[1], dst[2], dst[3] = 0x72, s.Key, s.ASC, s.ASCQ
	n := senseHeaderLen
	if d.hasInfo {
		dst[n], dst[n+1], dst[n+2] = 0x00, senseInfoLen-2, 0x80
		binary.BigEndian.PutUint64(dst[n+4:], d.info)
		n += senseInfoLen
	}
	if d.hasField {
		dst[n], dst[n+1] = 0x02, senseKeySpecifcLen-2
		putFieldPointer(dst[n+4:n+7], d)
		n += senseKeySpecifcLen
	}
	dst[7] = byte(n - senseHeaderLen)
	return n
}

// putFieldPointer writes the sense key specific bytes of ILLEGAL REQUEST (SPC-5 4.4.2.4.2).
func putFieldPointer(dst []byte, d detail) {
	dst[0] = 0x80 | 0x08 | d.bit&7 // SKSV, BPV
	if d.inCDB {
		dst[0] |= 0x40
	}
	binary.BigEndian.PutUint16(dst[1:], d.field)
}

// verdict is how a bdev.Status ends a command.
type verdict struct {
	status byte
	sense  Sense
}

// verdicts is the translator between the block layer and SCSI. StatusMediumError has its own rule for writes.
var verdicts = [bdev.StatusCount]verdict{
	bdev.StatusOK:            {StatusGood, Sense{}},
	bdev.StatusAborted:       {StatusCheckCondition, senseAborted},
	bdev.StatusNoMemory:      {StatusBusy, Sense{}},
	bdev.StatusInvalid:       {StatusCheckCondition, senseTargetFailure},
	bdev.StatusUnsupported:   {StatusCheckCondition, senseInvalidOpcode},
	bdev.StatusOutOfRange:    {StatusCheckCondition, senseLBAOutOfRange},
	bdev.StatusReadOnly:      {StatusCheckCondition, senseWriteProtected},
	bdev.StatusRemoved:       {StatusCheckCondition, senseLUNNotSupported},
	bdev.StatusMiscompare:    {StatusCheckCondition, senseMiscompare},
	bdev.StatusNoSpace:       {StatusCheckCondition, senseSpaceAllocation},
	bdev.StatusMediumError:   {StatusCheckCondition, senseReadError},
	bdev.StatusHardwareError: {StatusCheckCondition, senseTargetFailure},
	bdev.StatusNotReady:      {StatusCheckCondition, senseBecomingReady},
	bdev.StatusConflict:      {StatusReservationConflict, Sense{}},
}

// verdictOf translates status of a request of kind op.
func verdictOf(op bdev.Op, status bdev.Status) verdict {
	if status >= bdev.StatusCount {
		panic("scsi: unknown bdev status")
	}
	v := verdicts[status]
	if status == bdev.StatusMediumError && !readingOps.has(ops(op)) {
		v.sense = senseWriteError
	}
	return v
}

// readingOps fail with a read error where the medium is bad, all others with a write error.
var readingOps = ops(bdev.OpRead, bdev.OpCompare, bdev.OpSeekData, bdev.OpSeekHole)
