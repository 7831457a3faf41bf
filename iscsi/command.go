package iscsi

import (
	"encoding/binary"

	"pollux/scsi"
)

// AHS types (RFC 7143 11.2.2.1).
const (
	ahsExtendedCDB      = 1
	ahsBidirectionalIn  = 2
	cdbInHeader         = 16
	ahsBidirectionalLen = 5 // AHSLength of a bidirectional length
)

// command starts a SCSI Command.
func (c *conn) command(h *BHS, ahs []byte) {
	s := c.session
	if h.Immediate() && s.immediate >= ImmediateMax {
		c.local.count(countTooManyImmediate)
		c.sink = sink{kind: sinkReject, reason: RejectTooManyImmediate}
		return
	}
	t := c.local.getTask(c)
	t.begin(h)
	if !t.extend(ahs) {
		c.local.fault(FaultAHS)
		t.discard()
		c.sink = sink{kind: sinkReject, reason: RejectInvalidField}
		return
	}
	if !s.nexus.Prepare(&t.Task) {
		t.answer()
		return
	}
	t.prepared = true
	t.gather.wanted = min(t.DataOutLen, t.ExpectedOut)
	if t.gather.wanted > 0 || h.DataSegmentLength() > 0 || !h.Final() {
		t.startGather(h)
		return
	}
	t.startIn()
}

// begin fills the task from the header and takes its place in the window.
func (t *task) begin(h *BHS) {
	t.itt, t.immediate, t.started = h.InitiatorTaskTag(), h.Immediate(), t.local.r.Now()
	t.state, t.gather, t.reply = taskGathering, gather{transfer: t.gather.transfer, dataSN: FirstSN(), r2tSN: FirstSN()}, reply{dataSN: FirstSN()}
	if t.immediate {
		t.conn.session.immediate++
	} else {
		t.conn.session.inUse++
	}
	t.reply.holdsPlace = true

	t.Task.LUN, t.Task.Tag = h.LUN(), uint64(t.itt)
	t.CDBLen = copy(t.CDB[:], h.CDB())
	t.Attribute = scsi.Attribute(h.Attr())
	t.ExpectedIn, t.ExpectedOut = 0, 0
	switch {
	case h.Write():
		t.ExpectedOut = h.ExpectedDataTransferLength()
		t.reply.write, t.reply.read = true, h.Read()
	case h.Read():
		t.ExpectedIn = h.ExpectedDataTransferLength()
		t.reply.read = true
	}
	t.DataOutLen, t.DataInMax, t.DataInLen, t.DataInTotal, t.SenseLen = 0, 0, 0, 0, 0
	t.DataOut, t.DataIn = nil, nil
}

// extend takes the additional header segments: more bytes of the CDB, the read length of a bidirectional command (RFC 7143 11.2.2).
func (t *task) extend(ahs []byte) bool {
	for len(ahs) >= 4 {
		n := int(binary.BigEndian.Uint16(ahs)) // of what follows the type
		whole := 3 + n + Padding(3+n)
		if n == 0 || whole > len(ahs) {
			return false
		}
		switch ahs[2] & 0x3f {
		case ahsExtendedCDB:
			if n < 2 || t.CDBLen != cdbInHeader || cdbInHeader+n-1 > scsi.CDBMax {
				return false
			}
			t.CDBLen += copy(t.CDB[cdbInHeader:], ahs[4:3+n])
		case ahsBidirectionalIn:
			if n != ahsBidirectionalLen || !t.reply.read || !t.reply.write {
				return false
			}
			t.ExpectedIn = binary.BigEndian.Uint32(ahs[4:])
		default:
			return false
		}
		ahs = ahs[whole:]
	}
	return true
}

// startIn runs a command that takes no data, as soon as there is memory for what it returns.
func (t *task) startIn() {
	if !t.getMemory(t.inLength()) {
		t.starve()
		return
	}
	t.execute()
}

// inLength is the memory for data-in. A command that moves whole blocks reads them whole, also when the initiator takes less.
func (t *task) inLength() uint32 { return min(t.DataInMax, t.ExpectedIn) }

// resume goes on with a task that has waited for memory; false: there is still none.
func (t *task) resume() bool {
	if t.conn.state != connRunning {
		t.unstarve() // It is ending; the nexus has it.
		return true
	}
	n := t.gather.wanted
	if n == 0 {
		n = t.inLength()
	}
	if !t.getMemory(n) {
		return false
	}
	t.unstarve()
	if t.gather.wanted > 0 {
		t.advance()
	} else {
		t.execute()
	}
	return true
}

// execute hands the task to package scsi.
func (t *task) execute() {
	t.state, t.prepared = taskExecuting, false
	if t.gather.wanted > 0 {
		t.DataOut = t.pieces[:t.nbufs]
	} else {
		t.DataIn = t.pieces[:t.nbufs]
	}
	t.conn.session.nexus.Execute(&t.Task)
}

// finished takes the task back from package scsi: executed, or ended before it could be.
func (t *task) finished() {
	if t.state != taskExecuting && t.state != taskGathering {
		panic("iscsi: a task has finished that package scsi did not have")
	}
	t.prepared = false
	t.stopGather()
	if t.conn.state == connEnding || t.NoResponse {
		t.local.count(countAborted)
		t.discard()
		return
	}
	t.answer()
}

// discard ends a task without an answer. None of its memory is being sent. If package scsi is ending it already, it goes when
// that has finished.
func (t *task) discard() {
	t.stopGather()
	t.conn.out.remove(&t.output)
	if !t.recall() {
		return
	}
	t.freePlace()
	t.leave()
}

// recall takes a task that was prepared back from package scsi. It is false when it is ending there: finished will come.
func (t *task) recall() bool {
	if !t.prepared {
		return true
	}
	t.prepared = false
	if t.conn.session.nexus.Cancel(&t.Task) {
		return true
	}
	t.state, t.NoResponse = taskExecuting, true
	return false
}

// stopGather makes sure that nothing more happens to the task's memory: what still comes of its data is stray.
func (t *task) stopGather() {
	t.unstarve()
	if t.conn.sink.task == t {
		t.conn.sink = sink{}
	}
}

// freePlace gives the task's place in the command window back.
func (t *task) freePlace() {
	if !t.reply.holdsPlace {
		return
	}
	t.reply.holdsPlace = false
	if t.immediate {
		t.conn.session.immediate--
	} else {
		t.conn.session.inUse--
	}
}
