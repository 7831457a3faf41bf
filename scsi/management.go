package scsi

import "pollux/reactor"

// Function is a task management function (SAM-5 7).
type Function uint8

// Task management functions, with the codes of RFC 7143 11.5.1.
const (
	FunctionAbortTask        Function = 1
	FunctionAbortTaskSet     Function = 2
	FunctionClearACA         Function = 3
	FunctionClearTaskSet     Function = 4
	FunctionLogicalUnitReset Function = 5
	FunctionTargetWarmReset  Function = 6
	FunctionTargetColdReset  Function = 7
	FunctionQueryTask        Function = 9
)

// Response of a task management function (RFC 7143 11.6.1).
type Response uint8

// Responses.
const (
	ResponseComplete     Response = 0
	ResponseNoTask       Response = 1
	ResponseNoLUN        Response = 2
	ResponseNotSupported Response = 5
	ResponseSucceeded    Response = 7 // QUERY TASK: the task is in the task set (RFC 7144 6.2)
	ResponseRejected     Response = 255
)

// Management is one task management request. Owned and pooled by the transport.
type Management struct {
	Function Function
	LUN      uint64
	Tag      uint64 // of the task, for ABORT TASK and QUERY TASK
	Response Response
	Done     func(*Management)

	nexus     *Nexus
	msg       reactor.Message
	bound     bool
	left      int  // logical units that have not answered
	abandoned bool // the transport does not wait any more
}

// Manage starts m. When Done is called no task that it affects can reach a device any more, on any reactor; tasks it ended have
// finished (with StatusTaskAborted, and their Finished called) before, except those whose data-out the transport still gathers and
// those that wait for a LUN's home reactor: they do nothing any more.
func (n *Nexus) Manage(m *Management) {
	if !m.bound {
		m.msg.Bind(func() { m.finish() })
		m.bound = true
	}
	m.nexus, m.Response, m.left, m.abandoned = n, ResponseComplete, 1, false
	n.managing++
	switch m.Function {
	case FunctionTargetWarmReset, FunctionTargetColdReset:
		for _, u := range n.units {
			if u != nil {
				m.fenceAll(u, (*state).reset)
			}
		}
		m.answered()
	case FunctionAbortTask, FunctionAbortTaskSet, FunctionClearTaskSet, FunctionLogicalUnitReset, FunctionQueryTask:
		n.manageUnit(m, n.find(m.LUN))
	case FunctionClearACA: // There is no ACA.
		m.respond(ResponseNotSupported)
	default: // A peer's number.
		m.respond(ResponseNotSupported)
	}
}

// manageUnit does the functions that are about one LUN.
func (n *Nexus) manageUnit(m *Management, u *unit) {
	if u == n.nowhere {
		m.respond(ResponseNoLUN)
		return
	}
	switch m.Function {
	case FunctionAbortTask:
		u.abortTask(m)
	case FunctionAbortTaskSet:
		u.abortAll(abortSilent, nil)
		u.endDrained(nil, m.answered)
	case FunctionQueryTask:
		if u.findTask(m.Tag) != nil {
			m.Response = ResponseSucceeded
		}
		m.answered()
	case FunctionClearTaskSet:
		m.fenceAll(u, (*state).clear)
		m.answered()
	case FunctionLogicalUnitReset:
		m.fenceAll(u, (*state).reset)
		m.answered()
	case FunctionClearACA, FunctionTargetWarmReset, FunctionTargetColdReset:
		panic("scsi: a function that is not about one LUN")
	}
}

// abortTask aborts the task that m names.
func (u *unit) abortTask(m *Management) {
	t := u.findTask(m.Tag)
	if t == nil {
		m.respond(ResponseNoTask)
		return
	}
	t.abort(abortSilent)
	sequence := t.sequence
	u.endDrained(func(o *Task) bool { return o.sequence == sequence }, m.answered)
}

// endDrained calls done when the tasks that about picks have ended.
func (u *unit) endDrained(about func(*Task) bool, done func()) {
	if Mutated(MutateNoDrain) {
		done()
		return
	}
	u.drain(about, done)
}

func (u *unit) findTask(tag uint64) *Task {
	for t := u.first; t != nil; t = t.next {
		if t.Tag == tag {
			return t
		}
	}
	return nil
}

// fenceAll has u's LUN make a change that ends all tasks of all nexuses.
func (m *Management) fenceAll(u *unit, what func(*state, *Nexus) effect) {
	if u.lun == nil { // The well-known unit has no tasks of others.
		m.left++
		u.abortAll(abortSilent, nil)
		u.endDrained(nil, m.answered)
		return
	}
	m.left++
	n := m.nexus
	u.lun.ask(&change{
		from: n.r, bounded: true,
		apply: func(old *state) effect {
			e := what(old, n)
			e.fence = &fence{affects: func(nexusKey) bool { return true }, abort: true, by: n, taskAborted: old.mode.taskAborted}
			return e
		},
		done: func(e effect) {
			if e.status == StatusBusy {
				m.Response = ResponseRejected
			}
			if e.status == StatusCheckCondition && m.Function != FunctionTargetWarmReset && m.Function != FunctionTargetColdReset {
				m.Response = ResponseNoLUN // It was removed meanwhile.
			}
			m.answered()
		},
	})
}

// clear is CLEAR TASK SET: the others learn that their commands are gone (SAM-5 7.4).
func (s *state) clear(by *Nexus) effect {
	if s.mode.taskAborted {
		return effect{}
	}
	return effect{attend: everybody(attentionCommandsCleared, by)}
}

// reset is LOGICAL UNIT RESET (SAM-5 6.3.3): mode pages are as at first, RESERVE(6) is gone, persistent reservations stay.
func (s *state) reset(by *Nexus) effect {
	next := *s
	next.stopped = false
	next.reservations.exclusive = false
	next.mode = modes{hasCache: s.mode.hasCache}
	return effect{next: &next, attend: everybody(attentionReset, nil)}
}

// answered counts down, and answers in a later pass.
func (m *Management) answered() {
	m.left--
	if m.left == 0 {
		m.nexus.r.Send(&m.msg)
	}
}

func (m *Management) respond(r Response) {
	m.Response = r
	m.answered()
}

func (m *Management) finish() {
	n := m.nexus
	if m.abandoned {
		n.abandoned--
		return
	}
	n.managing--
	m.Done(m)
	n.closeIfQuiet()
}

// Abandon gives up waiting for m, which has not answered, because a device does not: Done will not be called, and m must not be used
// again. What m has begun goes on: the tasks that it ends stay aborted, and what they have in the device ends when that answers.
func (m *Management) Abandon() {
	n := m.nexus
	m.abandoned = true
	n.managing--
	n.abandoned++
	n.closeIfQuiet()
}

// Abandoned is how many management functions were abandoned that the devices still hold up.
func (n *Nexus) Abandoned() int { return n.abandoned }
