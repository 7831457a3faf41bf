package iscsi

import (
	"time"

	"pollux/reactor"
	"pollux/reactor/sock"
)

// connState is where a full-feature connection is in its life.
type connState uint8

const (
	connRunning    connState = iota
	connLoggingOut           // a Logout Request has come: tasks end, then it is answered
	connLast                 // a last answer is being sent
	connEnding               // closed; resources come back
)

// conn is a connection in full feature phase. Data plane: it belongs to one reactor from openHere until settle has found that
// nothing refers to it any more.
//
// It ends by end, whatever the reason: the socket is closed, tasks that wait to be sent go back at once, the nexus ends those that
// gather data and those that execute, and memory that is being sent comes back with the socket's last completion. If the session is
// kept (retain.go), so is the nexus; else it is closed.
type conn struct {
	sock    sock.Conn
	local   *local
	session *session
	state   connState

	in                       Decoder
	limits                   Limits
	sink                     sink
	headerDigest, dataDigest bool
	maxSend                  uint32 // longest data segment that the initiator takes

	statSN   uint32
	out      outputList
	filled   uint32 // bytes of data in the send being filled
	controls int    // queued
	tasks    *task  // all live tasks
	live     int    // how many
	managing int    // task management functions under way

	held                int64 // memory within the connection's share
	waitFirst, waitLast *task // tasks that wait for memory

	text textState
	ping pinger

	replaced                              bool // a login brings another connection
	keeping                               bool // the session outlives the connection
	tasksEnded                            bool // of a nexus that is kept
	nexusClosing, nexusClosed, sockClosed bool

	logout *control // the answer to a Logout Request, until the tasks have ended
	cid    uint16
	timer  reactor.Timer // NOP-In, logout grace

	opened int64 // when, for iscsi_get_connections
}

// openHere makes the connection of a session, new or kept, and sends the login's last response (on the session's reactor). fd is negative
// when the connection was lost on the way.
func (s *session) openHere(lc *loginConn) {
	l := s.local
	if s.doomed || lc.fd < 0 || l.closing {
		if lc.fd >= 0 {
			l.drop(lc.fd)
		}
		s.notOpened()
		return
	}
	c := &conn{local: l, session: s, statSN: lc.statSN(), cid: lc.login.CID}
	s.conn = c
	if s.opened {
		s.params.Reconnect(&lc.opening.params)
		l.count(countContinued)
	} else {
		s.begin(lc)
	}
	c.negotiated(&s.params)
	l.conns = append(l.conns, c)
	c.sock.Open(l.r, lc.fd, c)
	if l.server.coalesce {
		c.sock.HoldOutput()
	}
	c.opened = l.r.Now()
	c.nexusClosed = s.nexus == nil
	c.startTimer(lc.view.options)
	c.sayLogin(lc)
	if s.dropFirst {
		s.dropFirst = false
		s.dropHere()
	}
}

// begin is what a session has from its first connection to its end.
func (s *session) begin(lc *loginConn) {
	l := s.local
	s.opened = true
	s.expCmdSN = lc.login.CmdSN
	s.window = min(s.queueDepth(), lc.view.options.MaxQueueDepth, l.windowFor(&s.params))
	s.maxCmdSN = s.expCmdSN - 1
	if s.target != nil {
		s.nexus = s.target.node.device.OpenNexus(l.r, s.initiatorPort(), s.targetPort())
	}
	l.count(countSessions)
}

// negotiated takes over what the login has agreed on.
func (c *conn) negotiated(p *Params) {
	c.headerDigest, c.dataDigest = p.HasHeaderDigest(), p.HasDataDigest()
	c.in.HeaderDigest, c.in.DataDigest = c.headerDigest, c.dataDigest
	c.maxSend = p.MaxSendDataSegmentLength
	c.limits = Limits{
		Phase: PhaseFullFeature, ImmediateData: p.ImmediateData, InitialR2T: p.InitialR2T,
		MaxRecvDataSegmentLength: p.MaxRecvDataSegmentLength, FirstBurstLength: p.FirstBurstLength,
	}
	if p.Discovery() {
		c.limits.Phase = PhaseDiscovery
	}
}

// sayLogin queues the response that ends the login. Digests begin with the PDU after it (RFC 7143 6.3).
func (c *conn) sayLogin(lc *loginConn) {
	o := c.getControl(OpLoginResponse)
	o.bhs = lc.rsp
	o.bhs.SetTSIH(c.session.tsih)
	o.data = append(o.data[:0], lc.out...)
	o.status, o.plain = true, true
	c.sayControl(o)
}

// endHere is home's order to end the session (on its reactor). A last answer that is on its way still leaves, such as that to
// the reset that ends the session; the socket bounds how long it may take.
func (s *session) endHere() {
	s.doomed = true
	switch c := s.conn; {
	case c == nil && s.nexus != nil:
		s.nexus.Close(func() {
			s.nexus = nil
			s.gone()
		})
	case c == nil: // openHere is still to come.
	case c.state == connLast:
		c.closeNexus()
	case c.state == connEnding:
		c.forsake()
	default:
		c.end()
	}
}

// gone tells home that nothing of the session is left.
func (s *session) gone() { s.local.server.home.r.Send(&s.closed) }

// end begins the end of the connection and, as it is the only one, of its session, unless that is kept for a while.
func (c *conn) end() {
	if c.state == connEnding {
		return
	}
	c.keeping = c.keeps()
	c.state = connEnding
	c.timer.Start(QuarantineAfter)
	c.sock.Close()
	c.dropReplies()
	c.dropControls()
	if c.keeping {
		c.lose()
	} else {
		c.closeNexus()
	}
	c.settle()
}

// dropReplies gives back the tasks whose answers wait to be sent.
func (c *conn) dropReplies() {
	for t := c.tasks; t != nil; {
		next := t.next
		if t.state == taskReplying {
			t.discard()
		}
		t = next
	}
}

// closeNexus ends the tasks that gather data or execute.
func (c *conn) closeNexus() {
	if c.session.nexus != nil && !c.nexusClosing {
		c.nexusClosing = true
		c.session.nexus.Close(c.nexusGone)
	}
}

func (c *conn) nexusGone() {
	c.nexusClosed = true
	if c.logout != nil && c.state == connLoggingOut {
		c.answerLogout()
	}
	c.settle()
}

// Closed says that the socket refers to nothing of ours any more (sock.Handler).
func (c *conn) Closed(reason sock.Reason) {
	if reason == sock.ReasonTimeout {
		c.local.count(countSendTimeout)
	}
	c.sockClosed = true
	c.end()
	c.settle()
}

// settle finds out whether the connection's end is over.
func (c *conn) settle() {
	if c.state != connEnding || !c.sockClosed || !c.nexusClosed && !(c.keeping && c.tasksEnded) || c.live > 0 || c.managing > 0 {
		return
	}
	s, l := c.session, c.local
	if s.conn == nil {
		return
	}
	c.timer.Stop()
	s.conn = nil
	l.conns = without(l.conns, c)
	l.exited++
	l.settle()
	if c.keeping {
		l.server.home.r.Send(&s.rested)
		return
	}
	s.nexus = nil
	s.gone()
}

// addTask and removeTask keep the list of live tasks.
func (c *conn) addTask(t *task) {
	t.next, t.prev = c.tasks, nil
	if c.tasks != nil {
		c.tasks.prev = t
	}
	c.tasks = t
	c.live++
}

func (c *conn) removeTask(t *task) {
	if t.prev == nil {
		c.tasks = t.next
	} else {
		t.prev.next = t.next
	}
	if t.next != nil {
		t.next.prev = t.prev
	}
	c.live--
	if c.sink.task == t {
		c.sink = sink{}
	}
}

// askLogout sends an Asynchronous Message that asks for a logout within grace (RFC 7143 11.9.1).
func (c *conn) askLogout(grace time.Duration) {
	if c.state != connRunning {
		return // It is on its way out: by its own logout, or by the grace of an earlier request.
	}
	if c.session.target == nil {
		c.end()
		return
	}
	o := c.getControl(OpAsync)
	if o == nil {
		return
	}
	o.bhs.SetFinal(true)
	o.bhs.SetInitiatorTaskTag(ReservedTag)
	o.bhs.SetAsyncEvent(AsyncRequestLogout)
	o.bhs.SetParameter3(uint16(grace / time.Second))
	o.status = true
	c.sayControl(o)
	c.ping.leaving = true
	c.timer.Start(grace)
}
