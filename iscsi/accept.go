package iscsi

import (
	"cmp"
	"strings"

	"pollux/reactor"
	"pollux/reactor/sock"
)

// loginConn is a connection from accept to the end of its login. It lives on the reactor that accepted it; the session that comes out
// of it may live on another. It may allocate: logins are rare and bounded (PendingLoginsMax, LoginTimeout, LoginRoundsMax).
type loginConn struct {
	sock  sock.Conn
	local *local
	tag   int32 // of the portal group
	in    Decoder
	login TargetLogin
	view  *config
	timer reactor.Timer
	state loginState

	segment []byte // of the request that is being received
	out     []byte // text of the response
	rsp     BHS
	say     bool // rsp and out wait to be sent
	opening opening
	sent    uint32 // responses
	fd      int    // after Detach; negative: lost
	closed  bool   // the socket is gone
	spoken  bool   // a whole request has come
	heard   int64  // when the last one came, or else when the connection did
	ending  bool   // it does not count as pending any more
}

// loginState is how far a loginConn has come.
type loginState uint8

const (
	loginReading loginState = iota
	loginAsking             // the home reactor decides about the session
	loginMoving             // the descriptor is on its way to the session's reactor
	loginLast               // a last response is being sent, then the connection closes
)

// accept takes a new connection at a portal group (on l). A negative fd says that there was one and no descriptor for it.
func (l *local) accept(fd int, tag int32) {
	if fd < 0 {
		l.count(countAcceptErrors)
		return
	}
	if l.closing {
		l.count(countAcceptRefused)
		l.drop(fd)
		return
	}
	c := &loginConn{local: l, tag: tag, view: l.server.view.Load(), heard: l.r.Now()}
	c.sock.Open(l.r, fd, c) // Only now it is known who has come.
	if !l.makeRoom(c.source()) {
		l.count(countAcceptRefused)
		c.ending = true // It never was pending.
		c.sock.Close()
		return
	}
	l.pending++
	l.count(countAccepted)
	c.in.NoAHS = true
	c.login.Admit = c.admit
	c.login.Start()
	c.opening.ask.Bind(func() { l.server.home.ask(&c.opening) })
	c.opening.answer.Bind(c.answered)
	c.timer.Bind(l.r, c.timeout)
	c.timer.Start(LoginTimeout)
	l.logins = append(l.logins, c)
}

func (c *loginConn) timeout() {
	c.local.count(countLoginTimeout)
	c.end()
}

// Received feeds the decoder (sock.Handler).
func (c *loginConn) Received(b []byte) { c.in.Feed(b, c) }

// loginLimits hold during every login.
var loginLimits = Limits{Phase: PhaseLogin, MaxRecvDataSegmentLength: LoginDataSegmentMax}

// Header begins a request (Sink). Whatever is wrong with one ends the connection.
func (c *loginConn) Header(h *BHS, _ []byte) bool {
	c.segment = c.segment[:0]
	f := Validate(h, &loginLimits)
	switch {
	case f == FaultNotLogin:
		c.local.fault(f)
		c.rsp.Clear(OpLoginResponse)
		c.rsp.SetInitiatorTaskTag(h.InitiatorTaskTag())
		c.out = c.out[:0]
		RefuseLogin(&c.rsp, LoginInvalidDuringLogin)
		c.sayLast()
		return false
	case f == FaultNone && (c.state != loginReading || c.say):
		// RFC 7143 6.3: one request at a time, and nothing before the last response.
		f = FaultNotLogin
	case f == FaultNone:
		return true
	}
	c.Broken(f)
	return false
}

// Data collects the request's text (Sink).
func (c *loginConn) Data(p []byte) { c.segment = append(c.segment, p...) }

// End handles a whole request (Sink). There are no digests yet.
func (c *loginConn) End(h *BHS, _ Fault) bool {
	c.spoken, c.heard = true, c.local.r.Now()
	var step LoginStep
	c.out, step = c.login.Handle(h, c.segment, &c.rsp, c.out[:0])
	switch step {
	case LoginGoOn:
		c.sayIt()
	case LoginOver:
		if c.login.Redirect == "" {
			c.local.count(countLoginRefused)
		}
		c.sayLast()
	case LoginDone:
		c.state = loginAsking
		c.askHome()
	}
	return step != LoginOver
}

// Broken counts what was wrong and ends the connection (Sink).
func (c *loginConn) Broken(f Fault) {
	c.local.fault(f)
	c.end()
}

// admit looks up who may log in where, and with what proof (TargetLogin.Admit).
func (c *loginConn) admit(l *TargetLogin) LoginStatus {
	names := &l.Keys.Result
	policy := c.view.discoveryAuth(c.tag)
	own := c.view.ownParams()
	if !names.Discovery() {
		t := c.view.target(names.TargetName)
		switch {
		case t == nil:
			return LoginNotFound
		case t.node.gone.Load():
			return LoginTargetRemoved
		}
		if !c.view.allows(t, c.tag, names.InitiatorName, c.sock.RemoteAddr().Addr()) {
			return LoginAuthorizationFailure
		}
		if l.Redirect = t.redirectOf(c.tag); l.Redirect != "" {
			c.local.count(countRedirected)
			return LoginMovedTemporarily
		}
		c.opening.target = t
		policy = t.auth
		t.require(&own)
	}
	own.TargetPortalGroupTag = uint32(c.tag)
	l.Keys.Own = own
	l.Auth = c.view.targetAuth(policy)
	return LoginSuccess
}

// askHome asks for the session that the login has negotiated.
func (c *loginConn) askHome() {
	o, l := &c.opening, &c.login
	o.params, o.tsih, o.cid, o.from = l.Keys.Result, l.TSIH, l.CID, c.local
	o.key = sessionKey{initiator: strings.ToLower(o.params.InitiatorName), isid: l.ISID, portalGroup: c.tag}
	if o.target != nil {
		o.key.target = o.target.Name
	}
	c.local.server.home.r.Send(&o.ask)
}

// answered goes on with what home has decided.
func (c *loginConn) answered() {
	s := c.opening.session
	switch {
	case s == nil && c.closed:
		c.forget()
	case s == nil:
		c.local.count(countLoginRefused)
		c.out = c.out[:0]
		RefuseLogin(&c.rsp, c.opening.status)
		c.state = loginReading
		c.sayLast()
	case c.closed || c.state != loginAsking:
		c.handOver(-1)
	default:
		c.state = loginMoving
		c.timer.Stop()
		c.sock.Detach(func(fd int, rest []byte) {
			if len(rest) > 0 {
				// Nobody may speak before the last response.
				c.local.drop(fd)
				fd = -1
			}
			c.closed = true
			c.handOver(fd)
		})
	}
}

// handOver sends the connection to the session's reactor; fd is negative when it has not survived.
func (c *loginConn) handOver(fd int) {
	c.fd = fd
	s := c.opening.session
	s.open.Bind(func() { s.openHere(c) })
	c.forget()
	s.local.r.Send(&s.open)
}

// forget takes the connection off its reactor's list, when the socket is gone or moved.
func (c *loginConn) forget() {
	c.noLongerPending()
	c.timer.Stop()
	c.local.logins = without(c.local.logins, c)
	c.local.settle()
}

func (c *loginConn) sayIt() {
	c.say = true
	c.sock.Dirty()
}

func (c *loginConn) sayLast() {
	if c.state == loginLast {
		return
	}
	c.state = loginLast
	c.sayIt()
	c.sock.CloseAfterSend()
}

// Fill queues the response (sock.Handler).
func (c *loginConn) Fill() {
	if !c.say {
		return
	}
	size := BHSLength + len(c.out) + Padding(len(c.out))
	if !c.sock.Room(size, 0) {
		return
	}
	c.say = false
	b := c.sock.Header(size)
	clear(b[BHSLength+copy(b[BHSLength:], c.out):])
	h := (*BHS)(b[:BHSLength])
	*h = c.rsp
	h.SetDataSegmentLength(len(c.out))
	h.SetStatSN(c.statSN())
	h.SetExpCmdSN(c.login.CmdSN)
	h.SetMaxCmdSN(c.login.CmdSN)
	c.sent++
}

// statSN is the number of the next response.
func (c *loginConn) statSN() uint32 {
	return cmp.Or(c.view.options.InitialStatSN, c.local.server.initialStatSN) + c.sent
}

func (c *loginConn) end() {
	c.noLongerPending()
	c.sock.Close()
}

func (c *loginConn) noLongerPending() {
	if !c.ending {
		c.ending = true
		c.local.pending--
	}
}

// Closed says that the socket is gone (sock.Handler). With a request at home it is home's answer that ends the connection.
func (c *loginConn) Closed(sock.Reason) {
	c.closed = true
	switch c.state {
	case loginAsking:
		c.timer.Stop()
	case loginMoving:
		c.handOver(-1)
	case loginReading, loginLast:
		c.forget()
	}
}

// drop closes a descriptor that no connection wants.
func (l *local) drop(fd int) {
	c := new(dropped)
	c.sock.Open(l.r, fd, c)
	c.sock.Close()
}

// dropped is a connection that is closed as soon as it is opened.
type dropped struct{ sock sock.Conn }

// Received, Fill and Closed do nothing (sock.Handler).
func (*dropped) Received([]byte)    {}
func (*dropped) Fill()              {}
func (*dropped) Closed(sock.Reason) {}
