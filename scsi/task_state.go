package scsi

import (
	"pollux/bdev"
	"pollux/reactor"
	"pollux/reactor/iobuf"
)

// phase is where a task stands.
type phase uint8

const (
	phaseIdle      phase = iota // not ours
	phasePrepared               // known to the nexus; the transport gathers its data-out
	phaseWaiting                // executed, held back by an ordered task, or an ordered one without its turn
	phaseRunning                // its handler has it
	phaseForwarded              // a change that the LUN's home reactor is asked to make
)

// abortion says how a task that was aborted ends.
type abortion uint8

const (
	abortNone    abortion = iota
	abortSilent           // no response: aborted by its own nexus, or TAS is zero (SAM-5 5.6)
	abortStatus           // TASK ABORTED
	abortRemoved          // its LUN is gone, and it says so
)

// progress is what this package remembers of a task between Prepare and Finished.
type progress struct {
	nexus    *Nexus
	unit     *unit
	command  *command
	phase    phase
	aborted  abortion
	sequence uint64 // order of arrival at the nexus
	turn     *turn  // of an ordered task that only its turn keeps from running
	next     *Task  // the unit's tasks, in order of arrival
	prev     *Task

	view        *state // the snapshot by which it was admitted
	lba, blocks uint64 // the range in the CDB
	detail      detail // for sense data

	then      func(*Task)     // what follows the request or the message under way
	msg       reactor.Message // runs then
	bound     bool
	inExecute bool // inside Execute: Finished must wait for the pass to get there
	inDevice  bool // the block layer has the request
	aborting  bool // an OpAbort refers to the request
	ended     bool // finish has been asked for while aborting

	// Of commands that take several steps.
	at, left uint64 // next block, blocks left
	step     uint64 // blocks of the step under way
	cursor   int
	pieces   [][]byte // a list of pieces of its own; the memory is reused
	more     [][]byte // a second one
	extents  []extent
	bounce   iobuf.Buf
}

// begin makes t a new task of n, keeping what is bound.
func (t *Task) begin(n *Nexus) {
	if t.phase != phaseIdle {
		panic("scsi: Prepare of a task that is under way")
	}
	if !t.bound {
		t.Request.Done = func(*bdev.Request) {
			t.inDevice = false
			t.then(t)
		}
		t.msg.Bind(func() { t.then(t) })
		t.bound = true
	}
	t.Direction, t.DataOutLen, t.DataInMax = DirNone, 0, 0
	t.Status, t.SenseLen, t.DataInLen, t.DataInTotal, t.NoResponse = StatusGood, 0, 0, 0, false
	t.nexus, t.unit, t.command, t.view = n, nil, nil, nil
	t.aborted, t.aborting, t.ended = abortNone, false, false
	t.detail = detail{}
	t.lba, t.blocks = 0, 0
	t.Flags, t.Lock, t.Compare = 0, nil, nil
}

// submit gives the task's request to the device; then runs when it has completed. An aborted task starts nothing more.
func (t *Task) submit(op bdev.Op, lba, blocks uint64, data [][]byte, then func(*Task)) {
	q := &t.Request
	t.then = then
	if t.aborted != abortNone {
		q.Status = bdev.StatusAborted
		t.nexus.r.Defer(&t.msg)
		return
	}
	q.Op, q.LBA, q.Blocks, q.Data = op, lba, blocks, data
	t.inDevice = true
	t.unit.path.channel.Submit(q)
}

// abort marks the task, and asks the device to give up its request.
func (t *Task) abort(how abortion) {
	if t.aborted != abortNone {
		return
	}
	t.aborted = how
	switch t.phase {
	case phaseWaiting:
		t.unit.waiting--
		t.phase = phaseRunning
		t.endLater()
	case phaseRunning:
		t.abortRequest()
	case phasePrepared: // Execute ends it.
	case phaseForwarded: // It ends when the home reactor has answered.
	case phaseIdle:
		panic("scsi: abort of a task that is not under way")
	}
}

// abortRequest submits an OpAbort; what it refers to stays until it has completed.
func (t *Task) abortRequest() {
	if !t.inDevice {
		return
	}
	t.aborting = true
	q := &bdev.Request{Op: bdev.OpAbort, Target: &t.Request}
	q.Done = func(*bdev.Request) {
		t.aborting = false
		if t.ended {
			t.finish()
		}
	}
	t.unit.path.channel.Submit(q)
}

// good ends the task with GOOD status.
func (t *Task) good() { t.end(StatusGood) }

// check ends the task with CHECK CONDITION.
func (t *Task) check(s Sense) {
	t.setSense(s)
	t.end(StatusCheckCondition)
}

// checkField ends the task with sense data that point at the highest bit of byte field of the CDB or the parameter list.
func (t *Task) checkField(s Sense, field int, bit uint8) {
	t.pointAt(s, field, bit)
	t.check(s)
}

func (t *Task) pointAt(s Sense, field int, bit uint8) {
	t.detail.hasField, t.detail.inCDB = true, s == senseInvalidFieldInCDB
	t.detail.field, t.detail.bit = uint16(field), bit
}

func (t *Task) setSense(s Sense) {
	t.SenseLen = encodeSense(&t.Sense, s, t.detail, t.unit.descriptorSense())
	t.DataInLen, t.DataInTotal = 0, 0
}

// endBy ends the task as its request ended.
func (t *Task) endBy() {
	if t.Request.Status == bdev.StatusOK {
		t.good()
		return
	}
	t.fail()
}

// fail ends the task as its request failed.
func (t *Task) fail() {
	q := &t.Request
	if q.Status == bdev.StatusMiscompare {
		t.detail.hasInfo, t.detail.info = true, q.Result
	}
	v := verdictOf(q.Op, q.Status)
	if v.status == StatusCheckCondition {
		t.setSense(v.sense)
	}
	t.DataInLen, t.DataInTotal = 0, 0
	t.end(v.status)
}

func (t *Task) end(status byte) {
	t.Status = status
	if t.inExecute {
		t.endLater()
		return
	}
	t.finish()
}

// endLater finishes the task after what runs now has returned.
func (t *Task) endLater() {
	t.then = (*Task).finish
	t.nexus.r.Defer(&t.msg)
}

// finish gives the task back. Afterwards it may be reused at once.
func (t *Task) finish() {
	if t.aborting {
		t.ended = true
		return
	}
	u := t.unit
	t.releaseBounce()
	u.remove(t)
	t.phase = phaseIdle
	if t.turn != nil {
		t.leaveTurn()
	}
	if t.aborted != abortNone {
		t.answerAborted()
	}
	t.Finished(t)
	u.settle()
}

func (t *Task) answerAborted() {
	t.Status, t.SenseLen, t.DataInLen, t.DataInTotal = StatusTaskAborted, 0, 0, 0
	t.NoResponse = t.aborted == abortSilent
	if t.aborted == abortRemoved {
		t.detail = detail{}
		t.Status = StatusCheckCondition
		t.setSense(senseLUNNotSupported)
	}
}
