package iscsi

import (
	"pollux/reactor"
	"pollux/scsi"
)

// management is one Task Management Function Request under way. They are rare and bounded (ManagementMax), so each is allocated.
//
// "Function complete" promises that no write of an affected task reaches a device any more, so it waits for devices. One that does not
// answer within ManagementTimeout makes the function rejected: the tasks stay aborted, their memory stays theirs, and the initiator
// knows that the function has not done what it asked for.
type management struct {
	scsi.Management
	conn  *conn
	itt   uint32
	timer reactor.Timer
}

// manage starts a Task Management Function Request (RFC 7143 11.5). On one connection every earlier command has arrived, so the
// function applies to all that came before it.
func (c *conn) manage(h *BHS) {
	m := &management{conn: c, itt: h.InitiatorTaskTag()}
	m.Function, m.LUN, m.Tag = scsi.Function(h.Function()), h.LUN(), uint64(h.ReferencedTaskTag())
	m.Done = func(*scsi.Management) { m.done() }
	switch m.Function {
	case scsi.FunctionAbortTask:
		if response, known := c.abortHere(h); known {
			c.sayManaged(m, response, false)
			return
		}
	case scsi.FunctionAbortTaskSet, scsi.FunctionClearTaskSet, scsi.FunctionLogicalUnitReset:
		c.cancelTasks(func(t *task) bool { return t.Task.LUN == m.LUN })
	case scsi.FunctionTargetWarmReset, scsi.FunctionTargetColdReset:
		c.cancelTasks(func(*task) bool { return true })
	case scsi.FunctionClearACA, scsi.FunctionQueryTask:
	case TMFFunctionTaskReassign:
		c.sayManaged(m, TMFResponseReassignNotSupported, false)
		return
	default:
		c.sayManaged(m, scsi.ResponseNotSupported, false)
		return
	}
	if c.managing+c.session.nexus.Abandoned() >= ManagementMax {
		c.local.count(countTooManyManagement)
		c.sayManaged(m, scsi.ResponseRejected, false)
		return
	}
	c.managing++
	m.timer.Bind(c.local.r, m.giveUp)
	m.timer.Start(ManagementTimeout)
	c.session.nexus.Manage(&m.Management)
}

// abortHere aborts the task if it gathers data or has its answer queued, and says what is known of a task that is not there (RFC 7143
// 11.5.5). known is false when package scsi has it.
func (c *conn) abortHere(h *BHS) (response scsi.Response, known bool) {
	itt := h.ReferencedTaskTag()
	for t := c.tasks; t != nil; t = t.next {
		if t.itt != itt || t.Task.LUN != h.LUN() {
			continue
		}
		switch t.state {
		case taskExecuting:
			return 0, false
		case taskGathering, taskReplying:
			c.local.count(countAborted)
			t.discard()
			return scsi.ResponseComplete, true
		case taskFree, taskSending:
		}
	}
	s := c.session
	if ref := h.RefCmdSN(); ref == s.expCmdSN && SerialLess(ref, h.CmdSN()) && SerialIn(ref, s.expCmdSN, s.maxCmdSN) {
		s.expCmdSN++ // It never came and never will: it counts as received.
		return scsi.ResponseComplete, true
	}
	return scsi.ResponseNoTask, true
}

// cancelTasks ends the tasks of this session that package scsi does not have.
func (c *conn) cancelTasks(about func(*task) bool) {
	for t := c.tasks; t != nil; {
		next := t.next
		if about(t) && (t.state == taskGathering || t.state == taskReplying) {
			c.local.count(countAborted)
			t.discard()
		}
		t = next
	}
}

// done answers when no affected task can reach a device any more.
func (m *management) done() {
	c := m.conn
	m.timer.Stop()
	c.managing--
	cold := m.Function == scsi.FunctionTargetColdReset && m.Response == scsi.ResponseComplete
	c.sayManaged(m, m.Response, cold)
	if cold {
		c.local.server.endSessions(c.session.target.node)
	}
	c.settle()
}

// giveUp answers that a device has not let the function complete.
func (m *management) giveUp() {
	c := m.conn
	c.local.count(countManagementTimeout)
	m.Abandon()
	c.managing--
	c.sayManaged(m, scsi.ResponseRejected, false)
	c.settle()
}

// sayManaged answers; last says that the connection closes behind the answer.
func (c *conn) sayManaged(m *management, response scsi.Response, last bool) {
	if c.state == connEnding {
		return
	}
	o := c.getControl(OpTaskManagementResponse)
	if o == nil {
		return
	}
	o.bhs.SetFinal(true)
	o.bhs.SetResponse(uint8(response))
	o.bhs.SetInitiatorTaskTag(m.itt)
	o.status, o.last = true, last
	c.sayControl(o)
}

// endSessions has home end all sessions of a target (on any reactor; rare).
func (s *Server) endSessions(n *node) {
	m := new(reactor.Message)
	m.Bind(func() { s.home.endAll(n) })
	s.home.r.Send(m)
}
