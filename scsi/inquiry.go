package scsi

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"

	"pollux/bdev"
)

// Vendor is the T10 vendor identification, eight characters.
const Vendor = "POLLUX  "

// Revision is the product revision level, four characters.
const Revision = "0001"

// Peripheral device types and qualifiers (SPC-5 6.6.2).
const (
	peripheralDisk      = 0x00
	peripheralWellKnown = 0x1e
	peripheralNone      = 0x7f // qualifier 011b, type 1Fh: no LUN here
)

// identity is what tells a LUN from all others: it follows from the block device's UUID.
type identity struct {
	uuid    [16]byte
	serial  string // 32 hexadecimal digits
	product [16]byte
}

func identityOf(d *bdev.Device) identity {
	i := identity{uuid: d.UUID()}
	i.serial = hex.EncodeToString(i.uuid[:])
	copy(i.product[:], fmt.Sprintf("%-16.16s", printable(d.Spec().ProductName)))
	return i
}

// printable replaces what is not in the graphic codes of ASCII (SPC-5 4.3.1).
func printable(s string) string {
	b := []byte(s)
	for i, c := range b {
		if c < 0x20 || c > 0x7e {
			b[i] = '_'
		}
	}
	return string(b)
}

func decodeInquiry(t *Task) bool {
	if t.CDB[1]&1 == 0 && t.CDB[2] != 0 {
		return t.refuseField(senseInvalidFieldInCDB, 2, 7) // SPC-5 6.6.1: a page code needs EVPD.
	}
	if t.CDB[1]&1 != 0 && t.vpdPage() == nil {
		return t.refuseField(senseInvalidFieldInCDB, 2, 7)
	}
	return true
}

// peripheral is the first byte of INQUIRY data.
func (u *unit) peripheral() byte {
	switch {
	case u.lun != nil:
		return peripheralDisk
	case u == u.nexus.wellKnown:
		return peripheralWellKnown
	default:
		return peripheralNone
	}
}

func runInquiry(t *Task) {
	b := t.nexus.scratch[:0]
	if t.CDB[1]&1 != 0 {
		b = t.appendVPD(b)
	} else {
		b = t.appendInquiry(b)
	}
	t.nexus.scratch = b
	t.reply(b)
}

// Version descriptors (SPC-5 table 147).
const (
	versionSAM5 = 0x00a0
	versionSPC4 = 0x0460
	versionSBC3 = 0x04c0
)

// standardLen is the length of standard INQUIRY data, with all eight version descriptors.
const standardLen = 96

// appendInquiry writes standard INQUIRY data (SPC-5 6.6.2).
func (t *Task) appendInquiry(b []byte) []byte {
	u := t.unit
	b = append(b, make([]byte, standardLen)...)
	b[0] = u.peripheral()
	b[2] = 6    // SPC-4; version 7 is unknown to many initiators
	b[3] = 0x12 // HISUP, response data format 2
	b[4] = standardLen - 5
	b[7] = 0x02 // CMDQUE
	copy(b[8:], Vendor)
	copy(b[16:32], "                ")
	copy(b[32:], Revision)
	versions := []uint16{versionSAM5, t.nexus.device.options.VersionDescriptor, versionSPC4}
	if u.lun != nil {
		copy(b[16:], u.lun.ident.product[:])
		versions = append(versions, versionSBC3)
	}
	at := 58
	for _, v := range versions {
		if v != 0 {
			binary.BigEndian.PutUint16(b[at:], v)
			at += 2
		}
	}
	return b
}
