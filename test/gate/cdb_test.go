package gate

import "encoding/binary"

// SAM-5 status, SPC-5 sense keys and additional sense codes that tests look for.
const (
	statusGood     = 0x00
	statusCheck    = 0x02
	statusConflict = 0x18

	keyNotReady       = 0x2
	keyIllegalRequest = 0x5
	keyUnitAttention  = 0x6
	keyMiscompare     = 0xe

	ascOutOfRange = 0x2100
)

// sense is fixed-format sense data's message; iSCSI puts two bytes of length before it.
type sense struct {
	key byte
	asc uint16 // ASC and ASCQ
}

func senseOf(b []byte) (s sense) {
	const fixedLen = 14
	if len(b) >= 2 && int(binary.BigEndian.Uint16(b)) == len(b)-2 {
		b = b[2:]
	}
	if len(b) < fixedLen {
		return s
	}
	return sense{b[2] & 0xf, binary.BigEndian.Uint16(b[12:])}
}

func testUnitReady() []byte { return make([]byte, 6) }

// cdb16 is a command with a 64-bit LBA and a 32-bit length, such as READ(16).
func cdb16(opcode byte, lba uint64, blocks uint32) []byte {
	c := make([]byte, 16)
	c[0] = opcode
	binary.BigEndian.PutUint64(c[2:], lba)
	binary.BigEndian.PutUint32(c[10:], blocks)
	return c
}

func read16(lba uint64, blocks uint32) []byte  { return cdb16(0x88, lba, blocks) }
func write16(lba uint64, blocks uint32) []byte { return cdb16(0x8a, lba, blocks) }

func readCapacity10() []byte { return []byte{0x25, 0, 0, 0, 0, 0, 0, 0, 0, 0} }

func readCapacity16() []byte {
	c := make([]byte, 16)
	c[0], c[1], c[13] = 0x9e, 0x10, 32
	return c
}

func compareAndWrite(lba uint64, blocks byte) []byte {
	c := make([]byte, 16)
	c[0], c[13] = 0x89, blocks
	binary.BigEndian.PutUint64(c[2:], lba)
	return c
}

// unmap is the command for one descriptor, and unmapList its parameters.
func unmap() []byte { return []byte{0x42, 0, 0, 0, 0, 0, 0, 0, 24, 0} }

func unmapList(list []byte, lba uint64, blocks uint32) {
	clear(list[:24])
	list[1], list[3] = 22, 16
	binary.BigEndian.PutUint64(list[8:], lba)
	binary.BigEndian.PutUint32(list[16:], blocks)
}

// PERSISTENT RESERVE OUT service actions and the type that the tests use.
const (
	prRegister        = 0x00
	prReserve         = 0x01
	prPreempt         = 0x04
	prPreemptAndAbort = 0x05
	prIgnoreRegister  = 0x06

	prWriteExclusiveRegistrants = 0x05
)

func prOut(action, kind byte) []byte {
	return []byte{0x5f, action, kind, 0, 0, 0, 0, 0, 24, 0}
}

func prOutKeys(key, actionKey uint64) []byte {
	p := make([]byte, 24)
	binary.BigEndian.PutUint64(p, key)
	binary.BigEndian.PutUint64(p[8:], actionKey)
	return p
}
