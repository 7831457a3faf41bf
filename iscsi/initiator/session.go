package initiator

import (
	"cmp"
	"crypto/rand"
	"errors"
	"fmt"

	"pollux/iscsi"
	"pollux/reactor"
	"pollux/reactor/sock"
)

// Bounds of a session.
const (
	DepthDefault  = 128
	DepthMax      = 4096
	exchangeSlots = 16 // slots beside Depth for exchanges
	burstsPerTask = 9  // Data-Out sequences that one task may have waiting: R2TMax and the unsolicited one
	answersMax    = 64 // answers to NOP-In that may wait
)

// R2TMax is the MaxOutstandingR2T that Offers asks for.
const R2TMax = 8

// Config describes a session. It must not change while the session is open.
type Config struct {
	Offers iscsi.Params        // names, session type, and what is offered; see Offers
	Auth   iscsi.InitiatorAuth // how to log in
	ISID   iscsi.ISID          // zero: RandomISID, drawn at each Open
	TSIH   uint16              // not 0: a further connection to that session, or the one that it has lost
	Agreed *iscsi.Params       // with a TSIH: what the session's first login has agreed on
	CID    uint16
	CmdSN  uint32 // of the login, and so of the first command; iscsi.FirstSN if zero
	Depth  int    // commands sent and not answered; 0 means DepthDefault

	// Batch lets all commands that are ready leave in one send. Without it each PDU with its data leaves in a send of its own, as
	// libiscsi does.
	Batch bool
	// Strict ends the session when the target's numbers, offsets or residuals are wrong.
	Strict bool
}

// Offers are the parameters that this initiator asks for by itself: a normal session without digests, with immediate and
// unsolicited data.
func Offers(initiatorName, targetName string) iscsi.Params {
	p := iscsi.DefaultParams()
	p.InitiatorName, p.TargetName = initiatorName, targetName
	p.MaxRecvDataSegmentLength = 262144
	p.MaxBurstLength = 1 << 20
	p.FirstBurstLength = 262144
	p.MaxOutstandingR2T = R2TMax
	p.InitialR2T = false
	return p
}

// Events are what a session tells its owner, on its reactor. Nil functions are not called.
type Events struct {
	LoggedIn func(err error)    // the login has ended; after an error, Ended follows
	Ended    func(err error)    // nothing refers to the session any more; err is why, nil after Close or a logout
	Async    func(h *iscsi.BHS) // an Asynchronous Message; h is valid during the call
	Rejected func(h *iscsi.BHS) // a Reject that is about no outstanding command
	NOPIn    func(h *iscsi.BHS) // the target asks whether we live; it has been answered
}

// Errors by which a session ends.
var (
	ErrProtocol = errors.New("target breaks the protocol")
	ErrEnded    = errors.New("connection ended")
)

// state is where a session is in its life.
type state uint8

const (
	stateClosed state = iota
	stateLogin
	stateFull
	stateEnding
)

// Session is one session with one connection. Data plane: it belongs to one reactor.
type Session struct {
	Config Config
	Events Events

	conn    sock.Conn
	decoder iscsi.Decoder
	r       *reactor.Reactor
	state   state
	err     error // why it is ending

	login    iscsi.InitiatorLogin
	loginOut bool // a Login Request wants to be sent
	limits   iscsi.Limits
	params   iscsi.Params

	cmdSN, expStatSN   uint32
	expCmdSN, maxCmdSN uint32

	slots   []slot
	free    []uint16
	queue   fifo         // commands and exchanges not yet sent
	bursts  ring[burst]  // Data-Out sequences that were asked for
	answers ring[nopOut] // answers to NOP-In
	held    fifo         // completed, but their data is still in the send in flight
	sent    reactor.Message

	segment []byte   // data of the PDU being received, unless it is a command's
	into    *Command // whose data is being received
	at      uint32   // where the next piece of it goes
}

// Open takes over fd, a connected socket, and logs in (on r). The session must not be open.
func (s *Session) Open(r *reactor.Reactor, fd int) {
	if s.state != stateClosed {
		panic("initiator: Open of a session that is open")
	}
	s.r, s.state, s.err = r, stateLogin, nil
	s.reset()
	isid := s.Config.ISID
	if isid == (iscsi.ISID{}) {
		isid = RandomISID()
	}
	s.login = iscsi.InitiatorLogin{Lenient: !s.Config.Strict, Auth: s.Config.Auth, ISID: isid, TSIH: s.Config.TSIH, CID: s.Config.CID, CmdSN: s.Config.CmdSN}
	s.login.Keys.Own = s.Config.Offers
	s.login.Start()
	s.conn.Open(r, fd, (*handler)(s))
	if !s.Config.Batch {
		s.conn.SendNow()
	}
	s.sendLogin()
}

// RandomISID is an ISID of the random format (RFC 7143 11.12.6.1).
func RandomISID() (id iscsi.ISID) {
	rand.Read(id[1:])
	id[0] = 0x80
	return id
}

// reset makes the session as new, with the memory that it had.
func (s *Session) reset() {
	if s.Config.Depth == 0 {
		s.Config.Depth = DepthDefault
	}
	s.Config.CmdSN = cmp.Or(s.Config.CmdSN, iscsi.FirstSN())
	n := min(s.Config.Depth, DepthMax) + exchangeSlots
	if len(s.slots) != n {
		s.slots = make([]slot, n)
		s.free = make([]uint16, 0, n)
		s.bursts.init(n * burstsPerTask)
		s.answers.init(answersMax)
		s.sent.Bind(s.onSent)
	}
	s.free = s.free[:0]
	for i := range s.slots {
		s.slots[i] = slot{generation: s.slots[i].generation}
		s.free = append(s.free, uint16(n-1-i))
	}
	s.bursts.clear()
	s.answers.clear()
	s.decoder = iscsi.Decoder{}
	s.limits = iscsi.Limits{Initiator: true, Phase: iscsi.PhaseLogin, MaxRecvDataSegmentLength: iscsi.LoginDataSegmentMax}
	s.cmdSN, s.expCmdSN, s.maxCmdSN = s.Config.CmdSN, s.Config.CmdSN, s.Config.CmdSN
	s.expStatSN, s.into = 0, nil
}

// Params are what was agreed on; valid once LoggedIn has been called without error.
func (s *Session) Params() *iscsi.Params { return &s.params }

// TSIH is the session's handle, valid as Params are.
func (s *Session) TSIH() uint16 { return s.login.TSIH }

// Redirect is where a login was redirected to.
func (s *Session) Redirect() string { return s.login.Redirect }

// Window is the CmdSN of the next command and the last one that the target takes.
func (s *Session) Window() (next, last uint32) { return s.cmdSN, s.maxCmdSN }

// Close ends the connection without a logout; Ended tells when it is over.
func (s *Session) Close() { s.end(nil) }

func (s *Session) end(err error) {
	if s.state == stateClosed || s.state == stateEnding {
		return
	}
	wasLogin := s.state == stateLogin
	s.state, s.err = stateEnding, err
	s.conn.Close()
	if wasLogin && s.Events.LoggedIn != nil {
		if err == nil {
			err = ErrEnded
		}
		s.Events.LoggedIn(err)
	}
}

// violate ends the session because of what the target did.
func (s *Session) violate(format string, args ...any) {
	s.end(fmt.Errorf("%w: %s", ErrProtocol, fmt.Sprintf(format, args...)))
}

// closed is the end of the connection: what is outstanding is lost.
func (s *Session) closed(reason sock.Reason) {
	if s.state != stateEnding {
		err := fmt.Errorf("%w: %v", ErrEnded, reason)
		wasLogin := s.state == stateLogin
		s.state, s.err = stateEnding, err
		if wasLogin && s.Events.LoggedIn != nil {
			s.Events.LoggedIn(err)
		}
	}
	s.onSent()
	for i := range s.slots {
		if e := s.slots[i].entry; e != nil {
			s.slots[i].entry = nil
			e.lose()
		}
	}
	for e := s.queue.pop(); e != nil; e = s.queue.pop() {
		if e.exchange == nil || !e.exchange.again { // those were in their slots
			e.lose()
		}
	}
	s.state = stateClosed
	if s.Events.Ended != nil {
		s.Events.Ended(s.err)
	}
}

// sendLogin asks for the next Login Request to be sent.
func (s *Session) sendLogin() {
	s.loginOut = true
	s.conn.Dirty()
}

// fillLogin queues the next Login Request.
func (s *Session) fillLogin() {
	if !s.loginOut {
		return
	}
	s.loginOut = false
	var p iscsi.PDU
	p.Data = s.login.Request(&p.BHS, nil)
	p.SetExpStatSN(s.expStatSN)
	b := p.Append(nil, false, false)
	copy(s.conn.Header(len(b)), b)
}

// takeLogin handles a Login Response.
func (s *Session) takeLogin(h *iscsi.BHS) {
	if h.Opcode() != iscsi.OpLoginResponse {
		s.violate("%v during login", h.Opcode())
		return
	}
	s.expStatSN = h.StatSN() + 1
	step, err := s.login.Handle(h, s.segment)
	switch step {
	case iscsi.LoginGoOn:
		s.sendLogin()
	case iscsi.LoginOver:
		s.end(err)
	case iscsi.LoginDone:
		s.enter(h)
	}
}

// enter begins full feature phase.
func (s *Session) enter(h *iscsi.BHS) {
	s.params = s.login.Keys.Result
	if s.Config.TSIH != 0 && s.Config.Agreed != nil {
		s.params = *s.Config.Agreed
		s.params.Reconnect(&s.login.Keys.Result)
	}
	s.expCmdSN, s.maxCmdSN = h.ExpCmdSN(), h.MaxCmdSN()
	s.limits.Phase = iscsi.PhaseFullFeature
	s.limits.MaxRecvDataSegmentLength = s.params.MaxRecvDataSegmentLength
	s.decoder.HeaderDigest, s.decoder.DataDigest = s.params.HasHeaderDigest(), s.params.HasDataDigest()
	s.state = stateFull
	if s.Events.LoggedIn != nil {
		s.Events.LoggedIn(nil)
	}
}

// handler is the Session as its connection sees it.
type handler Session

// Received implements sock.Handler.
func (h *handler) Received(b []byte) {
	s := (*Session)(h)
	s.decoder.Feed(b, (*sink)(s))
}

// Fill implements sock.Handler.
func (h *handler) Fill() { (*Session)(h).fill() }

// Closed implements sock.Handler.
func (h *handler) Closed(reason sock.Reason) { (*Session)(h).closed(reason) }
