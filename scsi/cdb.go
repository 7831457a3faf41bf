package scsi

import "encoding/binary"

// Fields of a CDB (SPC-5 4.2, SBC-4 4.2).

// readUint reads size bytes of t's CDB at off, big-endian.
func (t *Task) readUint(off, size int) uint64 {
	var v uint64
	for _, b := range t.CDB[off : off+size] {
		v = v<<8 | uint64(b)
	}
	return v
}

// blockRange reads LOGICAL BLOCK ADDRESS and TRANSFER LENGTH, whose places follow from the group of the operation code.
func (t *Task) blockRange() (lba, blocks uint64) {
	switch t.CDB[0] >> 5 {
	case 0:
		lba, blocks = t.readUint(1, 3)&0x1fffff, uint64(t.CDB[4])
		if blocks == 0 {
			blocks = 256 // SBC-4 5.11: zero in a six-byte CDB means 256.
		}
	case 4:
		lba, blocks = binary.BigEndian.Uint64(t.CDB[2:]), uint64(binary.BigEndian.Uint32(t.CDB[10:]))
	case 5:
		lba, blocks = uint64(binary.BigEndian.Uint32(t.CDB[2:])), uint64(binary.BigEndian.Uint32(t.CDB[6:]))
	default:
		lba, blocks = uint64(binary.BigEndian.Uint32(t.CDB[2:])), uint64(binary.BigEndian.Uint16(t.CDB[7:]))
	}
	return lba, blocks
}

// transferField is where blockRange finds the transfer length, for field pointers.
func (t *Task) transferField() int {
	switch t.CDB[0] >> 5 {
	case 0:
		return 4
	case 4:
		return 10
	case 5:
		return 6
	default:
		return 7
	}
}

// Logical unit numbers (SAM-5 4.7).
const (
	// LUNsMax is how many LUN numbers a device has: 0 to LUNsMax-1.
	LUNsMax = 256
	// wellKnownLUN is the REPORT LUNS well-known logical unit (SPC-5 8.2).
	wellKnownLUN = 0xc101_0000_0000_0000
)

// decodeLUN gives the number behind the eight bytes of a LUN field, or -1: a single level, in peripheral device addressing on
// bus 0 or flat space addressing.
func decodeLUN(lun uint64) int {
	if lun<<16 != 0 {
		return -1
	}
	first := uint16(lun >> 48)
	switch {
	case first>>14 == 0 && first>>8 == 0:
		return int(first)
	case first>>14 == 1:
		return int(first & 0x3fff)
	default:
		return -1
	}
}

// EncodeLUN is the LUN field that REPORT LUNS gives for number: peripheral device addressing.
func EncodeLUN(number int) uint64 { return uint64(number&0xff) << 48 }
