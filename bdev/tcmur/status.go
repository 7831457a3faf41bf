package tcmur

import "pollux/bdev"

// The statuses of tcmu-runner that something is decided by.
const (
	stsAsyncHandled  = -2
	stsNotHandled    = -1
	stsOK            = 0
	stsPassthrough   = 2
	stsMiscompare    = 6
	stsInvalidCmd    = 7
	stsFenced        = 12
	stsLast          = 28
	senseKeyShift    = 16 // info of stsPassthrough: sense key, then the additional sense code
	senseAscMask     = 0xffff
	ascSpaceAlloc    = 0x2707
	ascLBAOutOfRange = 0x2100
)

// statuses says what becomes of each status (libtcmu's enum, 0 to 28).
var statuses = [stsLast + 1]bdev.Status{
	stsOK:          bdev.StatusOK,
	1:              bdev.StatusNoMemory,      // NO_RESOURCE
	stsPassthrough: bdev.StatusHardwareError, // see senseStatus
	3:              bdev.StatusNotReady,      // BUSY
	4:              bdev.StatusMediumError,   // WR_ERR
	5:              bdev.StatusMediumError,   // RD_ERR
	stsMiscompare:  bdev.StatusMiscompare,
	stsInvalidCmd:  bdev.StatusUnsupported,
	8:              bdev.StatusInvalid,  // INVALID_CDB
	9:              bdev.StatusInvalid,  // INVALID_PARAM_LIST
	10:             bdev.StatusInvalid,  // INVALID_PARAM_LIST_LEN
	11:             bdev.StatusNotReady, // TIMEOUT
	stsFenced:      bdev.StatusConflict,
	13:             bdev.StatusHardwareError, // HW_ERR
	14:             bdev.StatusOutOfRange,    // RANGE
	15:             bdev.StatusNotReady,      // FRMT_IN_PROGRESS
	16:             bdev.StatusNotReady,      // CAPACITY_CHANGED: sent again, it meets the new size
	17:             bdev.StatusUnsupported,   // NOTSUPP_SAVE_PARAMS
	18:             bdev.StatusMediumError,   // WR_ERR_INCOMPAT_FRMT
	19:             bdev.StatusNotReady,      // TRANSITION
	20:             bdev.StatusNotReady,      // IMPL_TRANSITION_ERR
	21:             bdev.StatusNotReady,      // EXPL_TRANSITION_ERR
	22:             bdev.StatusNotReady,      // NO_LOCK_HOLDERS
	23:             bdev.StatusInvalid,       // NOTSUPP_MULTI_SEG and the rest of EXTENDED COPY
	24:             bdev.StatusInvalid,
	25:             bdev.StatusInvalid,
	26:             bdev.StatusInvalid,
	27:             bdev.StatusInvalid,
	stsLast:        bdev.StatusInvalid,
}

// statusOf translates what a handler answered. info is the completion's: sense data for stsPassthrough.
func statusOf(sts int32, info uint64) bdev.Status {
	switch {
	case sts == stsNotHandled:
		return bdev.StatusUnsupported
	case sts < 0 || sts > stsLast:
		return bdev.StatusHardwareError
	case sts == stsPassthrough:
		return senseStatus(uint8(info>>senseKeyShift), uint16(info&senseAscMask))
	}
	return statuses[sts]
}

// senseStatus is for handlers that write sense data themselves (SPC-5 4.4).
func senseStatus(key uint8, asc uint16) bdev.Status {
	switch {
	case asc == ascSpaceAlloc:
		return bdev.StatusNoSpace
	case asc == ascLBAOutOfRange:
		return bdev.StatusOutOfRange
	}
	switch key {
	case 0x2, 0x6:
		return bdev.StatusNotReady
	case 0x3:
		return bdev.StatusMediumError
	case 0x5:
		return bdev.StatusInvalid
	case 0x7:
		return bdev.StatusReadOnly
	case 0xb:
		return bdev.StatusAborted
	default:
		return bdev.StatusHardwareError
	}
}
