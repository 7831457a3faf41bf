package scsi

import (
	"encoding/binary"

	"pollux/bdev"
	"pollux/reactor"
)

// The block commands that take several requests.

// BYTCHK of VERIFY and WRITE AND VERIFY (SBC-4 5.37).
const (
	checkMedium = 0 // the medium can be read
	checkAll    = 1 // it equals data-out
	checkBlock  = 3 // each block equals the one block of data-out
)

func (t *Task) byteCheck() byte { return t.CDB[1] >> 1 & 3 }

func decodeVerify(t *Task) bool {
	switch t.byteCheck() {
	case checkMedium:
		return decodeRange(t)
	case checkAll:
		if !decodeTransfer(t) {
			return false
		}
		t.DataOutLen = t.bytesOf(t.blocks)
		return t.needsAll()
	case checkBlock:
		if !decodeRange(t) {
			return false
		}
		if t.blocks > 0 {
			t.DataOutLen = t.bytesOf(1)
		}
		return t.needsAll()
	default:
		return t.refuseField(senseInvalidFieldInCDB, 1, 2)
	}
}

func runVerify(t *Task) {
	switch {
	case t.blocks == 0:
		t.good()
	case t.byteCheck() == checkMedium:
		t.verifyMedium(t.blocks)
	case t.byteCheck() == checkAll:
		t.submit(bdev.OpCompare, t.lba, t.blocks, t.fit(t.DataOut, uint64(t.DataOutLen)), (*Task).endBy)
	default:
		t.at, t.left = t.lba, t.blocks
		compareStep(t)
	}
}

func runWriteVerify(t *Task) { t.write(written) }

// written goes on with what was written: it is compared or read.
func written(t *Task) {
	if t.Request.Status != bdev.StatusOK {
		t.fail()
		return
	}
	blocks := t.Request.Blocks
	t.Flags = 0
	if t.byteCheck() == checkMedium {
		t.verifyMedium(blocks)
		return
	}
	t.submit(bdev.OpCompare, t.lba, blocks, t.Request.Data, (*Task).endBy)
}

// verifyMedium reads the blocks and forgets them.
func (t *Task) verifyMedium(blocks uint64) {
	if !t.takeStep(blocks) {
		t.busy()
		return
	}
	t.at, t.left, t.step = t.lba, blocks, 0
	verifyStep(t)
}

func verifyStep(t *Task) {
	if t.step > 0 && t.Request.Status != bdev.StatusOK {
		t.fail()
		return
	}
	t.at, t.left = t.at+t.step, t.left-t.step
	if t.left == 0 {
		t.good()
		return
	}
	size := uint64(t.unit.lun.blockSize())
	t.step = min(t.left, uint64(len(t.bounce.Bytes()))/size)
	t.pieces = append(t.pieces[:0], t.bounce.Bytes()[:t.step*size])
	t.submit(bdev.OpRead, t.at, t.step, t.pieces, verifyStep)
}

// takeStep takes a buffer for the steps of a command on so many blocks.
func (t *Task) takeStep(blocks uint64) bool {
	return t.takeBounce(int(min(stepBytes, blocks*uint64(t.unit.lun.blockSize()))))
}

// repeatMax is how many times a block is repeated in one request.
const repeatMax = 64

// repeat makes a list of n times the block that data-out holds.
func (t *Task) repeat(n uint64) [][]byte {
	block := t.more[0]
	t.pieces = t.pieces[:0]
	for range n {
		t.pieces = append(t.pieces, block)
	}
	return t.pieces
}

// onePiece makes more[0] the one block of data-out; false if it cannot, for want of memory.
func (t *Task) onePiece() bool {
	size := t.unit.lun.blockSize()
	t.more = cut(t.more[:0], t.DataOut, 0, uint64(size))
	if len(t.more) == 1 {
		return true
	}
	if !t.takeBounce(int(size)) {
		return false
	}
	block := t.bounce.Bytes()[:0:size]
	for _, p := range t.more {
		block = append(block, p...)
	}
	t.more = append(t.more[:0], block)
	return true
}

func compareStep(t *Task) {
	if t.more == nil || t.left == t.blocks {
		if !t.onePiece() {
			t.busy()
			return
		}
	}
	t.step = min(t.left, repeatMax)
	t.submit(bdev.OpCompare, t.at, t.step, t.repeat(t.step), compared)
}

func compared(t *Task) {
	if t.Request.Status != bdev.StatusOK {
		// The offset in data-out, which has one block.
		t.Result %= uint64(t.unit.lun.blockSize())
		t.fail()
		return
	}
	t.at, t.left = t.at+t.step, t.left-t.step
	if t.left == 0 {
		t.good()
		return
	}
	compareStep(t)
}

// Bits of byte 1 of WRITE SAME.
const (
	sameUnmap  = 0x08
	sameNoData = 0x01 // NDOB, WRITE SAME(16) only
)

func decodeSame(t *Task) bool {
	t.lba, t.blocks = t.blockRange()
	if !t.inRange(t.lba, t.blocks) {
		return false
	}
	if t.CDB[1]&sameUnmap != 0 && !t.unit.lun.ops.has(needsUnmap) {
		return t.refuseField(senseInvalidFieldInCDB, 1, 3)
	}
	if t.blocks == 0 {
		t.blocks = t.view.blocks - t.lba // SBC-4 5.48: to the end of the medium, unless WSNZ forbids it.
	}
	if t.blocks > WriteSameBlocksMax {
		return t.refuseField(senseInvalidFieldInCDB, t.transferField(), 7)
	}
	if !t.sameNoData() {
		t.DataOutLen = t.bytesOf(1)
	}
	return t.needsExactly()
}

func (t *Task) sameNoData() bool { return t.CDB[0]>>5 == 4 && t.CDB[1]&sameNoData != 0 }

// runSame does WRITE SAME: zeroes are left to the device, which may deallocate if UNMAP says so; anything else is written.
func runSame(t *Task) {
	if !t.sameNoData() && !t.onePiece() {
		t.busy()
		return
	}
	t.Flags = t.writeFlags()
	if t.sameNoData() || isZero(t.more[0]) {
		if t.CDB[1]&sameUnmap != 0 {
			t.Flags |= bdev.FlagUnmap
		}
		t.submit(bdev.OpWriteZeroes, t.lba, t.blocks, nil, (*Task).endBy)
		return
	}
	t.at, t.left, t.step = t.lba, t.blocks, 0
	sameStep(t)
}

func isZero(b []byte) bool {
	for len(b) >= 8 {
		if binary.NativeEndian.Uint64(b) != 0 {
			return false
		}
		b = b[8:]
	}
	return true // Blocks are multiples of 512.
}

func sameStep(t *Task) {
	if t.step > 0 && t.Request.Status != bdev.StatusOK {
		t.fail()
		return
	}
	t.at, t.left = t.at+t.step, t.left-t.step
	if t.left == 0 {
		t.good()
		return
	}
	t.step = min(t.left, repeatMax)
	t.submit(bdev.OpWrite, t.at, t.step, t.repeat(t.step), sameStep)
}

// The UNMAP parameter list (SBC-4 5.35.2).
const (
	unmapHeaderLen     = 8
	unmapDescriptorLen = 16
)

func decodeUnmap(t *Task) bool {
	return t.ExpectedOut >= t.DataOutLen || t.refuse(senseParameterListLength)
}

// runUnmap checks all descriptors before it starts with the first.
func runUnmap(t *Task) {
	if t.DataOutLen == 0 {
		t.good()
		return
	}
	list := t.parameterList()
	if len(list) < unmapHeaderLen || unmapHeaderLen+int(binary.BigEndian.Uint16(list[2:])) > len(list) {
		t.check(senseParameterListLength)
		return
	}
	count := int(binary.BigEndian.Uint16(list[2:])) / unmapDescriptorLen
	if !t.unmapFits(list[unmapHeaderLen:], count) {
		return
	}
	t.more = append(t.more[:0], list[unmapHeaderLen:unmapHeaderLen+count*unmapDescriptorLen])
	t.cursor = 0
	t.Request.Status = bdev.StatusOK
	unmapStep(t)
}

// unmapFits checks the descriptors, and ends the task if one is wrong.
func (t *Task) unmapFits(descriptors []byte, count int) bool {
	if count > UnmapDescriptorsMax {
		t.checkField(senseInvalidFieldInParameter, 2, 7)
		return false
	}
	var sum uint64
	for i := range count {
		lba, blocks := unmapDescriptor(descriptors, i)
		if blocks > 0 && (lba >= t.view.blocks || blocks > t.view.blocks-lba) || lba > t.view.blocks {
			t.check(senseLBAOutOfRange)
			return false
		}
		sum += blocks
		if sum > UnmapBlocksMax {
			t.checkField(senseInvalidFieldInParameter, unmapHeaderLen+i*unmapDescriptorLen+8, 7)
			return false
		}
	}
	return true
}

func unmapDescriptor(d []byte, i int) (lba, blocks uint64) {
	d = d[i*unmapDescriptorLen:]
	return binary.BigEndian.Uint64(d), uint64(binary.BigEndian.Uint32(d[8:]))
}

func unmapStep(t *Task) {
	if t.Request.Status != bdev.StatusOK {
		t.fail()
		return
	}
	d := t.more[0]
	for t.cursor*unmapDescriptorLen < len(d) {
		lba, blocks := unmapDescriptor(d, t.cursor)
		t.cursor++
		if blocks > 0 {
			t.submit(bdev.OpUnmap, lba, blocks, nil, unmapStep)
			return
		}
	}
	t.good()
}

// orwrite is ORWRITE(16) under way: under a range lock it reads, ors and writes, a step at a time. Rare, so it is allocated.
type orwrite struct {
	t        *Task
	lock     bdev.RangeLock
	granted  reactor.Message
	released reactor.Message
	status   bdev.Status
}

func decodeOrWrite(t *Task) bool {
	if !decodeTransfer(t) {
		return false
	}
	t.DataOutLen = t.bytesOf(t.blocks)
	return t.needsAll()
}

func runOrWrite(t *Task) {
	if t.blocks == 0 {
		t.good()
		return
	}
	if !t.takeStep(t.blocks) {
		t.busy()
		return
	}
	o := &orwrite{t: t}
	o.granted.Bind(func() { o.next() })
	o.released.Bind(func() { o.end() })
	t.at, t.left, t.step = t.lba, t.blocks, 0
	t.unit.path.channel.Lock(&o.lock, t.lba, t.blocks, &o.granted)
}

// next reads the next step's blocks, or lets go of the lock.
func (o *orwrite) next() {
	t := o.t
	t.at, t.left = t.at+t.step, t.left-t.step
	if t.left == 0 {
		o.unlock()
		return
	}
	size := uint64(t.unit.lun.blockSize())
	t.step = min(t.left, uint64(len(t.bounce.Bytes()))/size)
	t.pieces = append(t.pieces[:0], t.bounce.Bytes()[:t.step*size])
	t.Lock, t.Flags = &o.lock, 0
	t.submit(bdev.OpRead, t.at, t.step, t.pieces, o.read)
}

func (o *orwrite) read(t *Task) {
	if t.Request.Status != bdev.StatusOK {
		o.unlock()
		return
	}
	step := t.pieces[0]
	t.more = cut(t.more[:0], t.DataOut, (t.at-t.lba)*uint64(t.unit.lun.blockSize()), uint64(len(step)))
	for _, p := range t.more {
		for i, b := range p {
			step[i] |= b
		}
		step = step[len(p):]
	}
	t.Flags = t.writeFlags()
	t.submit(bdev.OpWrite, t.at, t.step, t.pieces, o.wrote)
}

func (o *orwrite) wrote(t *Task) {
	if t.Request.Status != bdev.StatusOK {
		o.unlock()
		return
	}
	o.next()
}

func (o *orwrite) unlock() {
	o.status = o.t.Request.Status
	o.t.Lock = nil
	o.t.unit.path.channel.Unlock(&o.lock, &o.released)
}

func (o *orwrite) end() {
	o.t.Request.Status = o.status
	o.t.endBy()
}

// LBA status (SBC-4 5.6).
const (
	lbaMapped            = 0
	lbaDeallocated       = 1
	lbaStatusHeaderLen   = 8
	lbaStatusLen         = 16
	lbaStatusExtentsMax  = 64
	lbaStatusBlocksLimit = 0xffffffff
)

func decodeLBAStatus(t *Task) bool {
	t.lba = t.readUint(2, 8)
	return t.inRange(t.lba, 1)
}

// runLBAStatus walks from extent to extent. Devices that cannot tell report everything as mapped.
func runLBAStatus(t *Task) {
	t.extents = t.extents[:0]
	t.at = t.lba
	if !t.unit.lun.ops.has(ops(bdev.OpSeekData, bdev.OpSeekHole)) {
		t.addExtent(t.view.blocks, lbaMapped)
		t.replyExtents()
		return
	}
	seekStep(t)
}

// extent is a run of blocks with one provisioning status.
type extent struct {
	lba, blocks uint64
	status      byte
}

// addExtent adds what lies between t.at and end.
func (t *Task) addExtent(end uint64, status byte) {
	for t.at < end && len(t.extents) < lbaStatusExtentsMax {
		n := min(end-t.at, lbaStatusBlocksLimit)
		t.extents = append(t.extents, extent{t.at, n, status})
		t.at += n
	}
}

// seekStep looks for data from where the last extent ended; if there is none up to the end, all the rest is deallocated.
func seekStep(t *Task) {
	if t.at >= t.view.blocks || len(t.extents) >= lbaStatusExtentsMax || t.extentBytes() >= t.DataInMax {
		t.replyExtents()
		return
	}
	t.submit(bdev.OpSeekData, t.at, 0, nil, seekedData)
}

func seekedData(t *Task) {
	if t.Request.Status != bdev.StatusOK {
		t.fail()
		return
	}
	if t.Result > t.at {
		t.addExtent(min(t.Result, t.view.blocks), lbaDeallocated)
		seekStep(t)
		return
	}
	t.submit(bdev.OpSeekHole, t.at, 0, nil, seekedHole)
}

func seekedHole(t *Task) {
	if t.Request.Status != bdev.StatusOK {
		t.fail()
		return
	}
	// What became a hole meanwhile is reported as one mapped block: it was mapped a moment ago.
	t.addExtent(min(max(t.Result, t.at+1), t.view.blocks), lbaMapped)
	seekStep(t)
}

func (t *Task) extentBytes() uint32 {
	return lbaStatusHeaderLen + lbaStatusLen*uint32(len(t.extents))
}

func (t *Task) replyExtents() {
	b := make([]byte, lbaStatusHeaderLen, t.extentBytes())
	for _, x := range t.extents {
		b = binary.BigEndian.AppendUint64(b, x.lba)
		b = binary.BigEndian.AppendUint32(b, uint32(x.blocks))
		b = append(b, x.status, 0, 0, 0)
	}
	binary.BigEndian.PutUint32(b, uint32(len(b)-4))
	t.reply(b)
}
