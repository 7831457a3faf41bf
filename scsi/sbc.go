package scsi

import (
	"pollux/bdev"
	"pollux/reactor/iobuf"
)

// The block commands (SBC-4) that are one request each. What takes several steps is in steps.go.

// Limits that VPD page B0h tells.
const (
	// UnmapBlocksMax and UnmapDescriptorsMax bound one UNMAP.
	UnmapBlocksMax      = 1 << 20
	UnmapDescriptorsMax = 256
	// WriteSameBlocksMax bounds one WRITE SAME, so that it ends in reasonable time.
	WriteSameBlocksMax = 0xffff
	// SwapBlocksMax bounds COMPARE AND WRITE; its length field has a byte.
	SwapBlocksMax = 255
)

// stepBytes is how much a command moves at a time that goes through a buffer of its own.
const stepBytes = iobuf.MaxSize

var noBuf iobuf.Buf

// inRange refuses a range that is not on the medium. The sum of LBA and length may wrap.
func (t *Task) inRange(lba, blocks uint64) bool {
	capacity := t.view.blocks
	if lba >= capacity || blocks > capacity-lba {
		return t.refuse(senseLBAOutOfRange)
	}
	return true
}

// decodeRange reads and checks the range of a command.
func decodeRange(t *Task) bool {
	t.lba, t.blocks = t.blockRange()
	return t.inRange(t.lba, t.blocks)
}

// decodeTransfer reads the range of a command that moves it.
func decodeTransfer(t *Task) bool {
	if !decodeRange(t) {
		return false
	}
	if t.blocks > t.unit.lun.most {
		return t.refuseField(senseInvalidFieldInCDB, t.transferField(), 7)
	}
	return true
}

func (t *Task) bytesOf(blocks uint64) uint32 { return uint32(blocks) * t.unit.lun.blockSize() }

func decodeRead(t *Task) bool {
	if !decodeTransfer(t) {
		return false
	}
	t.DataInMax = t.bytesOf(t.blocks)
	return true
}

// decodeWrite lets the initiator send less than the command asks for, if it is whole blocks.
func decodeWrite(t *Task) bool {
	if !decodeTransfer(t) {
		return false
	}
	t.DataOutLen = t.bytesOf(t.blocks)
	if t.ExpectedOut < t.DataOutLen && t.ExpectedOut%t.unit.lun.blockSize() != 0 {
		return t.refuse(senseInvalidInformationUnit)
	}
	return true
}

// needsAll refuses a task whose initiator sends less than the command needs.
func (t *Task) needsAll() bool {
	return t.ExpectedOut >= t.DataOutLen || t.refuse(senseInvalidInformationUnit)
}

// needsExactly refuses a task whose initiator sends anything but what the command needs.
func (t *Task) needsExactly() bool {
	return t.ExpectedOut == t.DataOutLen || t.refuse(senseInvalidInformationUnit)
}

// runRead reads into the transport's memory.
func runRead(t *Task) {
	bytes := min(t.DataInMax, t.ExpectedIn)
	size := t.unit.lun.blockSize()
	t.DataInTotal, t.DataInLen = t.DataInMax, bytes
	switch {
	case bytes == 0:
		t.good()
	case t.readsMedium():
		t.submit(bdev.OpFlush, 0, t.view.blocks, nil, readFlushed)
	case bytes%size != 0:
		readParts(t)
	default:
		t.submit(bdev.OpRead, t.lba, uint64(bytes/size), t.fit(t.DataIn, uint64(bytes)), (*Task).endBy)
	}
}

// readsMedium reports whether the read must see the medium and not the cache: FUA, on a device that has one (SBC-4 5.12).
func (t *Task) readsMedium() bool {
	return t.command.fua && t.CDB[1]&0x08 != 0 && t.unit.lun.spec().WriteCache
}

func readFlushed(t *Task) {
	if t.Request.Status != bdev.StatusOK {
		t.fail()
		return
	}
	readParts(t)
}

// readParts reads the whole blocks that the initiator expects, and then the piece of a block, if any, through a buffer.
func readParts(t *Task) {
	size := t.unit.lun.blockSize()
	whole := uint64(t.DataInLen / size)
	if whole == 0 {
		readTail(t)
		return
	}
	t.pieces = cut(t.pieces[:0], t.DataIn, 0, whole*uint64(size))
	t.submit(bdev.OpRead, t.lba, whole, t.pieces, readWhole)
}

func readWhole(t *Task) {
	switch {
	case t.Request.Status != bdev.StatusOK:
		t.fail()
	case t.DataInLen%t.unit.lun.blockSize() == 0:
		t.good()
	default:
		readTail(t)
	}
}

func readTail(t *Task) {
	size := t.unit.lun.blockSize()
	if !t.takeBounce(int(size)) {
		t.busy()
		return
	}
	t.pieces = append(t.pieces[:0], t.bounce.Bytes()[:size])
	t.submit(bdev.OpRead, t.lba+uint64(t.DataInLen/size), 1, t.pieces, readTailDone)
}

func readTailDone(t *Task) {
	if t.Request.Status != bdev.StatusOK {
		t.fail()
		return
	}
	tail := t.DataInLen % t.unit.lun.blockSize()
	scatter(t.DataIn, uint64(t.DataInLen-tail), t.bounce.Bytes()[:tail])
	t.good()
}

// busy ends the task because there is no memory for it now.
func (t *Task) busy() {
	t.DataInLen, t.DataInTotal = 0, 0
	t.end(StatusBusy)
}

// writeFlags makes a write durable if the command or the caching page says so.
func (t *Task) writeFlags() bdev.Flags {
	fua := t.command.fua && t.CDB[1]&0x08 != 0
	if fua || t.view.mode.writeThrough {
		return bdev.FlagFUA
	}
	return 0
}

// outBytes is what the initiator sends of what the command needs.
func (t *Task) outBytes() uint64 { return uint64(min(t.DataOutLen, t.ExpectedOut)) }

func runWrite(t *Task) { t.write((*Task).endBy) }

// write writes the blocks that the initiator sends.
func (t *Task) write(then func(*Task)) {
	bytes := t.outBytes()
	if bytes == 0 {
		t.good()
		return
	}
	t.Flags = t.writeFlags()
	t.submit(bdev.OpWrite, t.lba, bytes/uint64(t.unit.lun.blockSize()), t.fit(t.DataOut, bytes), then)
}

func decodeSwap(t *Task) bool {
	t.lba, t.blocks = t.readUint(2, 8), uint64(t.CDB[13])
	if !t.inRange(t.lba, t.blocks) {
		return false
	}
	if t.blocks > t.unit.lun.swapBlocksMax() {
		return t.refuseField(senseInvalidFieldInCDB, 13, 7)
	}
	t.DataOutLen = 2 * t.bytesOf(t.blocks)
	if t.ExpectedOut != t.DataOutLen {
		// The CDB says one number of blocks and the initiator sends another: 256 do not fit in the field, for instance.
		return t.refuseField(senseInvalidFieldInCDB, 13, 7)
	}
	return true
}

// swapBlocksMax is MAXIMUM COMPARE AND WRITE LENGTH.
func (l *LUN) swapBlocksMax() uint64 {
	return min(SwapBlocksMax, uint64(MaxTransferBytes/2/l.blockSize()))
}

// runSwap does COMPARE AND WRITE: the first half of data-out is what must be there.
func runSwap(t *Task) {
	half := uint64(t.DataOutLen / 2)
	if half == 0 {
		t.good()
		return
	}
	t.more = cut(t.more[:0], t.DataOut, 0, half)
	t.pieces = cut(t.pieces[:0], t.DataOut, half, half)
	if Mutated(MutateTornSwap) {
		t.submit(bdev.OpCompare, t.lba, t.blocks, t.more, tornSwap)
		return
	}
	t.Compare = t.more
	t.Flags = t.writeFlags()
	t.submit(bdev.OpCompareAndWrite, t.lba, t.blocks, t.pieces, (*Task).endBy)
}

func tornSwap(t *Task) {
	if t.Request.Status != bdev.StatusOK {
		t.fail()
		return
	}
	t.submit(bdev.OpWrite, t.lba, t.blocks, t.pieces, (*Task).endBy)
}

// runFlush does SYNCHRONIZE CACHE; with IMMED too it answers when all is durable, which is sooner than nobody can tell.
func runFlush(t *Task) {
	if !t.unit.lun.ops.has(needsFlush) {
		t.good()
		return
	}
	t.submit(bdev.OpFlush, 0, t.view.blocks, nil, (*Task).endBy)
}

// runPrefetch does PRE-FETCH: GOOD, not CONDITION MET, says that not everything is in a cache.
func runPrefetch(t *Task) { t.good() }
