package scsi

import (
	"encoding/binary"
	"math/bits"
)

// blockCommands are the rows of SBC-4.
func blockCommands() []command {
	rows := append(append(readCommands(), writeCommands()...), rangeCommands()...)
	for i := range rows {
		if c := &rows[i]; c.medium && c.allocation.size == 0 {
			c.group = groupField(c.usage)
		}
	}
	return rows
}

func readCommands() []command {
	read := command{class: classRead, needs: needsRead, medium: true, decode: decodeRead, run: runRead}
	verify := command{class: classRead, needs: needsCompare, medium: true, slow: true, decode: decodeVerify, run: runVerify}
	return []command{
		read.as("READ(6)", 0x08, 0x1f, 0xff, 0xff, 0xff, 0),
		read.as("READ(10)", 0x28, 0x18, 0xff, 0xff, 0xff, 0xff, 0, 0xff, 0xff, 0).withFUA(),
		read.as("READ(12)", 0xa8, 0x18, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0).withFUA(),
		read.as("READ(16)", 0x88, 0x18, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0).withFUA(),
		verify.as("VERIFY(10)", 0x2f, 0x16, 0xff, 0xff, 0xff, 0xff, 0, 0xff, 0xff, 0),
		verify.as("VERIFY(12)", 0xaf, 0x16, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0),
		verify.as("VERIFY(16)", 0x8f, 0x16, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0),
	}
}

func writeCommands() []command {
	write := command{class: classWrite, needs: needsWrite, medium: true, writes: true, decode: decodeWrite, run: runWrite}
	check := command{class: classWrite, needs: needsWrite | needsCompare, medium: true, writes: true, slow: true, decode: decodeWrite, run: runWriteVerify}
	same := command{class: classWrite, needs: needsSame, medium: true, writes: true, slow: true, decode: decodeSame, run: runSame, usageOf: sameUsage}
	swap := command{class: classWrite, needs: needsSwap, medium: true, writes: true, decode: decodeSwap, run: runSwap}
	or := command{class: classWrite, needs: needsRead | needsWrite, medium: true, writes: true, decode: decodeOrWrite, run: runOrWrite}
	unmap := command{class: classWrite, needs: needsUnmap, medium: true, writes: true, slow: true, list: field{7, 2}, decode: decodeUnmap, run: runUnmap}
	return []command{
		write.as("WRITE(6)", 0x0a, 0x1f, 0xff, 0xff, 0xff, 0),
		write.as("WRITE(10)", 0x2a, 0x18, 0xff, 0xff, 0xff, 0xff, 0, 0xff, 0xff, 0).withFUA(),
		write.as("WRITE(12)", 0xaa, 0x18, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0).withFUA(),
		write.as("WRITE(16)", 0x8a, 0x18, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0).withFUA(),
		check.as("WRITE AND VERIFY(10)", 0x2e, 0x12, 0xff, 0xff, 0xff, 0xff, 0, 0xff, 0xff, 0),
		check.as("WRITE AND VERIFY(12)", 0xae, 0x12, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0),
		check.as("WRITE AND VERIFY(16)", 0x8e, 0x12, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0),
		same.as("WRITE SAME(10)", 0x41, sameUnmap, 0xff, 0xff, 0xff, 0xff, 0, 0xff, 0xff, 0),
		same.as("WRITE SAME(16)", 0x93, sameUnmap|sameNoData, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0),
		swap.as("COMPARE AND WRITE", 0x89, 0x18, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0xff, 0, 0).withFUA(),
		or.as("ORWRITE(16)", 0x8b, 0x18, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0).withFUA(),
		unmap.as("UNMAP", 0x42, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0),
	}
}

func rangeCommands() []command {
	flush := command{class: classWrite, medium: true, slow: true, decode: decodeRange, run: runFlush}
	fetch := command{class: classRead, medium: true, decode: decodeRange, run: runPrefetch}
	capacity := command{class: classPlain}
	return []command{
		flush.as("SYNCHRONIZE CACHE(10)", 0x35, 0x02, 0xff, 0xff, 0xff, 0xff, 0, 0xff, 0xff, 0),
		flush.as("SYNCHRONIZE CACHE(16)", 0x91, 0x02, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0),
		fetch.as("PRE-FETCH(10)", 0x34, 0x02, 0xff, 0xff, 0xff, 0xff, 0, 0xff, 0xff, 0),
		fetch.as("PRE-FETCH(16)", 0x90, 0x02, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0),
		capacity.as("READ CAPACITY(10)", 0x25, 0, 0, 0, 0, 0, 0, 0, 0, 0).with(decodeCapacity10, runCapacity10),
		capacity.as("READ CAPACITY(16)", 0x9e, 0x10, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0, 0).withAction(field{10, 4}, nil, runCapacity16),
		fetch.as("READ DEFECT DATA(10)", 0x37, 0, 0x1f, 0, 0, 0, 0, 0xff, 0xff, 0).withList(field{7, 2}, runDefects10),
		fetch.as("READ DEFECT DATA(12)", 0xb7, 0x1f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0).withList(field{6, 4}, runDefects12),
		fetch.as("GET LBA STATUS", 0x9e, 0x12, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0).
			withAction(field{10, 4}, decodeLBAStatus, runLBAStatus),
	}
}

// as is the row with a name and usage data of its own.
func (c command) as(name string, usage ...byte) command {
	c.name, c.usage = name, usage
	return c
}

// groupField is where block commands of 10, 12 and 16 bytes have the GROUP NUMBER.
func groupField(usage []byte) int {
	switch usage[0] >> 5 {
	case 0:
		return 0
	case 4:
		return 14
	case 5:
		return 10
	default:
		return 6
	}
}

func (c command) with(decode func(*Task) bool, run func(*Task)) command {
	c.decode, c.run = decode, run
	return c
}

// withAction makes it a row with a service action and an allocation length.
func (c command) withAction(allocation field, decode func(*Task) bool, run func(*Task)) command {
	c.action, c.allocation, c.decode, c.run = true, allocation, decode, run
	return c
}

// withList makes it a row that returns a list.
func (c command) withList(allocation field, run func(*Task)) command {
	c.allocation, c.decode, c.run = allocation, nil, run
	return c
}

// withFUA says that byte 1 has the FUA bit.
func (c command) withFUA() command {
	c.fua = true
	return c
}

// sameUsage takes UNMAP from the usage data where the backing cannot.
func sameUsage(l *LUN, usage []byte) {
	if !l.ops.has(needsUnmap) {
		usage[1] &^= sameUnmap
	}
}

func decodeCapacity10(t *Task) bool {
	t.DataInMax = 8
	return true
}

// runCapacity10 tells the last LBA, or ffffffff if it does not fit (SBC-4 5.20).
func runCapacity10(t *Task) {
	var b [8]byte
	binary.BigEndian.PutUint32(b[:], uint32(min(t.view.blocks-1, 0xffffffff)))
	binary.BigEndian.PutUint32(b[4:], t.unit.lun.blockSize())
	t.reply(b[:])
}

// runDefects10 returns the lists that are asked for, primary and grown, in the format asked for: they are empty, since the medium has no
// defects that are replaced (SBC-4 5.17).
func runDefects10(t *Task) { t.reply([]byte{0, t.CDB[2] & 0x1f, 0, 0}) }

func runDefects12(t *Task) { t.reply([]byte{0, t.CDB[1] & 0x1f, 0, 0, 0, 0, 0, 0}) }

// runCapacity16 tells all about the medium's geometry (SBC-4 5.21).
func runCapacity16(t *Task) {
	const lbpme, lbprz = 0x80, 0x40
	l := t.unit.lun
	var b [32]byte
	binary.BigEndian.PutUint64(b[:], t.view.blocks-1)
	binary.BigEndian.PutUint32(b[8:], l.blockSize())
	if physical := l.spec().PhysicalBlockSize; physical > l.blockSize() {
		b[13] = byte(bits.TrailingZeros32(physical / l.blockSize()))
	}
	if l.ops.has(needsUnmap) {
		b[14] = lbpme | lbprz
	}
	t.reply(b[:])
}
