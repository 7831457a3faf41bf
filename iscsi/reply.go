package iscsi

import (
	"encoding/binary"

	"pollux/scsi"
)

// reply is a command's answer on its way out.
type reply struct {
	read, write bool // the R and W bits of the command
	holdsPlace  bool // in the command window
	length      uint32
	sent        uint32 // bytes of Data-In queued
	dataSN      uint32
	turn        uint32 // bytes queued in this turn
	status      bool   // the status has been queued
}

// answer queues the task's answer, which package scsi has left in it.
func (t *task) answer() {
	t.state = taskReplying
	t.reply.length = min(t.DataInLen, t.ExpectedIn)
	if t.output.queued {
		t.conn.out.remove(&t.output)
	}
	t.conn.say(&t.output)
}

// answerStatus ends a task whose data is not complete with a status.
func (t *task) answerStatus(status byte) {
	t.stopGather()
	if !t.recall() {
		return
	}
	t.Status, t.SenseLen, t.DataInLen, t.DataInTotal, t.DataOutLen = status, 0, 0, 0, 0
	t.putMemory()
	t.answer()
}

// scsiSense is sense key, additional sense code and qualifier.
type scsiSense struct{ key, asc, ascq byte }

// Senses for iSCSI's own conditions (RFC 7143 11.4.7.2).
var (
	senseUnexpectedUnsolicited = scsiSense{0x0b, 0x0c, 0x0c}
	senseIncorrectAmount       = scsiSense{0x0b, 0x0c, 0x0d}
	senseServiceCRC            = scsiSense{0x0b, 0x47, 0x05}
)

// fixedSenseLength is the length of fixed-format sense data with qualifier (SPC-5 4.4.3).
const fixedSenseLength = 18

// fail ends a task whose data did not arrive as it should. What still comes of it is stray data.
func (t *task) fail(s scsiSense) {
	t.answerStatus(scsi.StatusCheckCondition)
	if t.state != taskReplying {
		return
	}
	clear(t.Sense[:fixedSenseLength])
	t.Sense[0], t.Sense[2], t.Sense[7], t.Sense[12], t.Sense[13] = 0x70, s.key, fixedSenseLength-8, s.asc, s.ascq
	t.SenseLen = fixedSenseLength
}

// fill queues the next part of what the task has to say.
func (t *task) fill() progress {
	if t.state == taskGathering {
		return t.fillR2T()
	}
	r := &t.reply
	r.turn = 0
	for r.sent < r.length {
		if r.turn >= dataInQuantum {
			return progressMore
		}
		if !t.fillDataIn() {
			return progressFull
		}
	}
	if !r.status && !t.fillResponse() {
		return progressFull
	}
	t.answered()
	return progressDone
}

// answered ends the task once its memory has left.
func (t *task) answered() {
	t.tally()
	if t.reply.length == 0 {
		t.leave()
		return
	}
	t.state = taskSending
	t.conn.sock.OnSent(&t.sent)
}

// segment is how long the next Data-In may be: what the initiator takes, not beyond a burst, not beyond a fair turn.
func (t *task) segment() uint32 {
	c, r := t.conn, &t.reply
	burst := c.session.params.MaxBurstLength
	return min(r.length-r.sent, c.maxSend, burst-r.sent%burst, segmentMax)
}

// fillDataIn writes one Data-In. The last one carries a GOOD status (RFC 7143 11.7.3); F ends a burst (11.7.1).
func (t *task) fillDataIn() bool {
	c, r := t.conn, &t.reply
	n := t.segment()
	if !c.room(0, piecesOf(r.sent, n)) {
		return false
	}
	f, h := c.begin(OpDataIn, 0)
	h.SetDataSegmentLength(int(n))
	h.SetInitiatorTaskTag(t.itt)
	h.SetTargetTransferTag(ReservedTag)
	h.SetDataSN(r.dataSN)
	h.SetBufferOffset(r.sent)
	last := r.sent+n == r.length
	h.SetFinal(last || (r.sent+n)%c.session.params.MaxBurstLength == 0)
	if last && t.Status == scsi.StatusGood && !(r.read && r.write) {
		r.status = true
		t.freePlace()
		h.SetStatusBit(true)
		h.SetStatus(t.Status)
		t.putResidual(h)
	}
	c.stamp(h, r.status)
	if !r.status {
		h.SetStatSN(0) // RFC 7143 11.7.4: reserved without S
	}
	c.sealAttached(&f, t.attach(r.sent, n, c.dataDigest), int(n))
	r.dataSN++
	r.sent += n
	r.turn += n
	c.filled += n
	return true
}

// fillResponse writes a SCSI Response with the status and the sense data (RFC 7143 11.4).
func (t *task) fillResponse() bool {
	c := t.conn
	n := 0
	if t.SenseLen > 0 {
		n = 2 + t.SenseLen
	}
	if !c.room(n, 0) {
		return false
	}
	t.reply.status = true
	t.freePlace()
	f, h := c.begin(OpSCSIResponse, n)
	h.SetFinal(true)
	h.SetResponse(SCSIResponseCompleted)
	h.SetStatus(t.Status)
	h.SetInitiatorTaskTag(t.itt)
	h.SetExpDataSN(t.reply.dataSN - FirstSN() + t.gather.r2tSN - FirstSN())
	t.putResidual(h)
	if n > 0 {
		binary.BigEndian.PutUint16(f.inline(), uint16(t.SenseLen))
		copy(f.inline()[2:], t.Sense[:t.SenseLen])
	}
	c.stamp(h, true)
	c.seal(&f)
	return true
}

// putResidual tells by how much the command's wish and the initiator's expectation differ (RFC 7143 11.4.5).
func (t *task) putResidual(h *BHS) {
	in := residual(t.ExpectedIn, t.DataInTotal, t.reply.length)
	out := residual(t.ExpectedOut, t.DataOutLen, t.DataOutLen)
	main := out
	switch {
	case t.reply.read && t.reply.write:
		h.SetBidiOverflow(in > 0)
		h.SetBidiUnderflow(in < 0)
		h.SetBidirectionalReadResidualCount(magnitude(in))
	case t.reply.read, !t.reply.write && in != 0:
		main = in
	}
	h.SetOverflow(main > 0)
	h.SetUnderflow(main < 0)
	h.SetResidualCount(magnitude(main))
}

// residual is positive for bytes that the command would have moved beyond what was expected, negative for bytes that were
// expected and not moved.
func residual(expected, total, moved uint32) int64 {
	if total > expected {
		return int64(total) - int64(expected)
	}
	return int64(min(moved, expected)) - int64(expected)
}

func magnitude(n int64) uint32 {
	if n < 0 {
		n = -n
	}
	return uint32(n)
}
