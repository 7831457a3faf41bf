package scsi

import (
	"encoding/binary"

	"pollux/bdev"
)

// vpdPage is a row of the table of vital product data pages.
type vpdPage struct {
	code   byte
	where  places
	append func(t *Task, b []byte) []byte // adds what follows the four bytes of header
}

// vpdPages is filled in init, since page 00h lists it.
var vpdPages []vpdPage

func init() {
	vpdPages = []vpdPage{
		{0x00, everywhere, (*Task).appendPageList},
		{0x80, 0, (*Task).appendSerial},
		{0x83, onWellKnown, (*Task).appendIdentification},
		{0x86, 0, (*Task).appendExtended},
		{0xb0, 0, (*Task).appendBlockLimits},
		{0xb1, 0, (*Task).appendCharacteristics},
		{0xb2, 0, (*Task).appendProvisioning},
	}
}

func (p *vpdPage) isOn(u *unit) bool {
	switch {
	case u.lun != nil:
		return true
	case u == u.nexus.wellKnown:
		return p.where&onWellKnown != 0
	default:
		return p.where&onNowhere != 0
	}
}

// vpdPage is the page that the CDB asks for, or nil.
func (t *Task) vpdPage() *vpdPage {
	for i := range vpdPages {
		if p := &vpdPages[i]; p.code == t.CDB[2] && p.isOn(t.unit) {
			return p
		}
	}
	return nil
}

func (t *Task) appendVPD(b []byte) []byte {
	p := t.vpdPage()
	b = append(b, t.unit.peripheral(), p.code, 0, 0)
	b = p.append(t, b)
	binary.BigEndian.PutUint16(b[2:], uint16(len(b)-4))
	return b
}

func (t *Task) appendPageList(b []byte) []byte {
	for i := range vpdPages {
		if vpdPages[i].isOn(t.unit) {
			b = append(b, vpdPages[i].code)
		}
	}
	return b
}

func (t *Task) appendSerial(b []byte) []byte { return append(b, t.unit.lun.ident.serial...) }

// Designators of page 83h (SPC-5 7.7.6).
const (
	codeBinary = 0x1
	codeASCII  = 0x2
	codeUTF8   = 0x3

	onLUN    = 0x00 // association
	onPort   = 0x10
	onDevice = 0x20

	designatorT10    = 0x1
	designatorNAA    = 0x3
	designatorPort   = 0x4
	designatorName   = 0x8
	designatorUUID   = 0xa
	naaLocalAssigned = 0x3
)

// appendIdentification writes page 83h: NAA (locally assigned, 60 bits of the UUID), the UUID itself, T10 vendor identification, and
// the names of target port and target device.
func (t *Task) appendIdentification(b []byte) []byte {
	if l := t.unit.lun; l != nil {
		var naa [8]byte
		copy(naa[:], l.ident.uuid[8:])
		naa[0] = naaLocalAssigned<<4 | naa[0]&0x0f
		b = appendDesignator(b, codeBinary, onLUN|designatorNAA, naa[:])
		b = appendDesignator(b, codeBinary, onLUN|designatorUUID, append([]byte{0x10, 0}, l.ident.uuid[:]...))
		b = appendDesignator(b, codeASCII, onLUN|designatorT10, []byte(Vendor+l.ident.serial))
	}
	port := t.nexus.target
	b = appendDesignator(b, codeBinary, onPort|designatorPort, []byte{0, 0, byte(port.RelativeID >> 8), byte(port.RelativeID)})
	b = appendDesignator(b, codeUTF8, onPort|designatorName, scsiName(port.Name))
	return appendDesignator(b, codeUTF8, onDevice|designatorName, scsiName(t.nexus.device.name))
}

// scsiName is a SCSI name string: with a zero, padded to a multiple of four (SPC-5 7.7.6.11).
func scsiName(name string) []byte {
	b := append([]byte(name), 0)
	for len(b)%4 != 0 {
		b = append(b, 0)
	}
	return b[:min(len(b), 256-4)]
}

func appendDesignator(b []byte, codeSet, kind byte, id []byte) []byte {
	const protocolISCSI = 0x5
	first := codeSet
	if kind&0x30 != onLUN {
		first |= protocolISCSI << 4
		kind |= 0x80 // PIV
	}
	b = append(b, first, kind, 0, byte(len(id)))
	return append(b, id...)
}

// appendExtended writes page 86h: simple, ordered and head of queue tasks; no protection, no volatile-cache promises beyond V_SUP.
func (t *Task) appendExtended(b []byte) []byte {
	const headSup, ordSup, simpSup, vSup = 0x04, 0x02, 0x01, 0x01
	p := make([]byte, 60)
	p[1] = headSup | ordSup | simpSup
	if t.unit.lun.spec().WriteCache {
		p[2] = vSup
	}
	return append(b, p...)
}

// appendBlockLimits writes page B0h (SBC-4 6.6.4).
func (t *Task) appendBlockLimits(b []byte) []byte {
	l := t.unit.lun
	p := make([]byte, 60)
	size := uint64(l.blockSize())
	if l.ops.has(needsSwap) {
		p[1] = byte(l.swapBlocksMax())
	}
	s := l.spec()
	binary.BigEndian.PutUint16(p[2:], uint16(max(1, uint64(s.PhysicalBlockSize)/size)))
	binary.BigEndian.PutUint32(p[4:], uint32(l.most))
	if l.ops.has(needsUnmap) {
		binary.BigEndian.PutUint32(p[16:], UnmapBlocksMax)
		binary.BigEndian.PutUint32(p[20:], UnmapDescriptorsMax)
		l.putUnmapGranularity(p)
	}
	binary.BigEndian.PutUint64(p[32:], WriteSameBlocksMax)
	return append(b, p...)
}

func (l *LUN) putUnmapGranularity(p []byte) {
	limits := &l.spec().Limits
	binary.BigEndian.PutUint32(p[24:], limits.UnmapGranularityBlocks)
	if limits.UnmapGranularityBlocks > 0 {
		const alignmentValid = 1 << 31
		binary.BigEndian.PutUint32(p[28:], alignmentValid|limits.UnmapAlignmentBlocks)
	}
}

// appendCharacteristics writes page B1h (SBC-4 6.6.2).
func (t *Task) appendCharacteristics(b []byte) []byte {
	p := make([]byte, 60)
	if !t.unit.lun.spec().Rotational {
		p[1] = 1 // non-rotating medium
	}
	return append(b, p...)
}

// appendProvisioning writes page B2h (SBC-4 6.6.6).
func (t *Task) appendProvisioning(b []byte) []byte {
	const lbpu, lbpws, lbpws10, lbprz, thin = 0x80, 0x40, 0x20, 0x04, 0x02
	p := make([]byte, 4)
	if l := t.unit.lun; l.ops.has(needsUnmap) {
		p[1] = lbpu | lbprz
		if l.ops.has(ops(bdev.OpWriteZeroes)) {
			p[1] |= lbpws | lbpws10
		}
		p[2] = thin
	}
	return append(b, p...)
}
