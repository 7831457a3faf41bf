package iscsi

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
)

// InitiatorAuth is how an initiator authenticates. An empty Name is AuthMethod=None, by way of skipping the security stage.
type InitiatorAuth struct {
	Name, Secret string
	// TargetName and TargetSecret, if not empty, are what the target must prove (mutual CHAP). An empty TargetName takes any.
	TargetName, TargetSecret string
	Algorithms               []CHAPAlgorithm // nil: CHAPAlgorithms
	// Security begins with the security stage even without a Name, as open-iscsi does.
	Security bool
}

// Errors of a login that the initiator finds itself; what the target says is a LoginStatus.
var (
	ErrLoginProtocol = errors.New("target breaks the login protocol")
	ErrLoginTarget   = errors.New("target could not prove its identity")
)

// InitiatorLogin is the initiator's side of a login: a state machine like TargetLogin. Set Keys.Own (names, session type,
// offers), Auth and the identifiers, call Start, then send what Request builds and give each response to Handle, in turn.
type InitiatorLogin struct {
	Keys  Negotiation
	Auth  InitiatorAuth
	ISID  ISID
	TSIH  uint16 // 0 for a new session; after LoginDone the session's
	CID   uint16
	CmdSN uint32
	// Lenient puts up with what some targets get wrong without harm: an ISID that does not come back, offers left without an
	// answer (their defaults hold), text padded into its length.
	Lenient bool

	InitiatorTaskTag uint32
	// Redirect is the TargetAddress that came with a status of class 1.
	Redirect string

	stage   Stage
	next    []byte // text of the next request
	transit bool   // the next request asks for a transition
	rounds  int
	text    TextBuffer
	asked   CHAPChallenge // ours, in mutual CHAP
	proved  bool          // the target has answered it
	method  bool          // AuthMethod is settled
	done    bool          // there is nothing left to say in the security stage
}

// Start makes the login ready for its first request.
func (l *InitiatorLogin) Start() {
	own, auth := l.Keys.Own, l.Auth
	*l = InitiatorLogin{Lenient: l.Lenient, Auth: auth, ISID: l.ISID, TSIH: l.TSIH, CID: l.CID, CmdSN: l.CmdSN, InitiatorTaskTag: l.InitiatorTaskTag}
	l.Keys.Own, l.Keys.Leading = own, l.TSIH == 0
	l.Keys.Start()
	l.Keys.Result.InitiatorName, l.Keys.Result.TargetName, l.Keys.Result.SessionType = own.InitiatorName, own.TargetName, own.SessionType
	l.next = l.names(nil)
	if auth.Name == "" && !auth.Security {
		l.stage = StageOperational
		l.offer()
		return
	}
	method := "CHAP"
	if auth.Name == "" {
		method, l.transit = None, true
	}
	l.next = AppendPair(l.next, "AuthMethod", method)
}

// names: RFC 7143 6.3: who we are, whom we want.
func (l *InitiatorLogin) names(text []byte) []byte {
	own := &l.Keys.Own
	text = AppendPair(text, "InitiatorName", own.InitiatorName)
	if own.InitiatorAlias != "" {
		text = AppendPair(text, "InitiatorAlias", own.InitiatorAlias)
	}
	if l.Keys.Leading {
		text = AppendPair(text, "SessionType", own.SessionType)
	}
	if own.TargetName != "" {
		text = AppendPair(text, "TargetName", own.TargetName)
	}
	return text
}

func (l *InitiatorLogin) offer() {
	l.next = l.Keys.Offer(l.next)
	l.transit = true
}

// Request builds the next Login Request: its header in h (all but ExpStatSN) and its text appended to text.
func (l *InitiatorLogin) Request(h *BHS, text []byte) []byte {
	h.Clear(OpLogin)
	h.SetImmediate(true)
	h.SetCSG(l.stage)
	if l.transit {
		h.SetTransit(true)
		h.SetNSG(l.nextStage())
	}
	h.SetISID(l.ISID)
	h.SetTSIH(l.TSIH)
	h.SetCID(l.CID)
	h.SetInitiatorTaskTag(l.InitiatorTaskTag)
	h.SetCmdSN(l.CmdSN)
	h.SetDataSegmentLength(len(l.next))
	text = append(text, l.next...)
	l.next = l.next[:0]
	return text
}

func (l *InitiatorLogin) nextStage() Stage {
	if l.stage == StageSecurity {
		return StageOperational
	}
	return StageFullFeature
}

// Handle takes one Login Response. With LoginOver the error says why: a LoginStatus, ErrLoginProtocol or ErrLoginTarget.
func (l *InitiatorLogin) Handle(h *BHS, segment []byte) (LoginStep, error) {
	if err := l.checkHeader(h); err != nil {
		return LoginOver, err
	}
	if l.Lenient {
		segment = append(bytes.TrimRight(segment, "\x00"), segment[len(segment)-min(len(segment), 1):]...)
	}
	if !l.text.Add(segment) {
		return LoginOver, ErrLoginProtocol
	}
	if h.Continue() {
		l.transit = false
		return LoginGoOn, nil
	}
	pairs, ok := l.text.Pairs()
	if !ok {
		return LoginOver, ErrLoginProtocol
	}
	if status := h.LoginStatus(); status != LoginSuccess {
		l.redirected(pairs)
		return LoginOver, status
	}
	if err := l.take(pairs); err != nil {
		return LoginOver, err
	}
	if !h.Transit() {
		l.transit = l.stage == StageOperational || l.done
		return LoginGoOn, nil
	}
	return l.advance(h)
}

// checkHeader: RFC 7143 11.13.
func (l *InitiatorLogin) checkHeader(h *BHS) error {
	l.rounds++
	refused := h.LoginStatus() != LoginSuccess
	switch {
	case h.Opcode() != OpLoginResponse || l.rounds > LoginRoundsMax:
		return ErrLoginProtocol
	case refused:
		return nil
	case h.VersionActive() != 0 || h.CSG() != l.stage:
		return ErrLoginProtocol
	case h.ISID() != l.ISID && !l.Lenient:
		return ErrLoginProtocol
	case h.Transit() && (!l.transit || h.Continue() || h.NSG() != l.nextStage()):
		return ErrLoginProtocol
	}
	return nil
}

func (l *InitiatorLogin) redirected(pairs []Pair) {
	if i := slices.IndexFunc(pairs, func(p Pair) bool { return p.Key == "TargetAddress" }); i >= 0 {
		l.Redirect = pairs[i].Value
	}
}

// take handles the keys of one response.
func (l *InitiatorLogin) take(pairs []Pair) error {
	var auth authValues
	for _, p := range pairs {
		if l.stage == StageSecurity && isAuthKey(p.Key) {
			if !auth.take(p) {
				return ErrLoginProtocol
			}
			continue
		}
		reply, ok := l.Keys.Take(p, l.stage)
		if !ok {
			return fmt.Errorf("%w: %s=%s", ErrLoginProtocol, p.Key, p.Value)
		}
		if reply != "" {
			l.next = AppendPair(l.next, p.Key, reply)
		}
	}
	if l.stage == StageSecurity {
		return l.authenticate(&auth)
	}
	return nil
}

// authenticate answers the authentication keys of one response.
func (l *InitiatorLogin) authenticate(v *authValues) error {
	switch {
	case v.only():
		return nil
	case !l.method && v.only(authMethod):
		return l.begin(v[authMethod])
	case l.method && v.only(chapA, chapI, chapC):
		return l.answer(v)
	case l.asked.Challenge != nil && !l.proved && v.only(chapN, chapR):
		return l.verify(v)
	}
	return ErrLoginProtocol
}

func (l *InitiatorLogin) algorithms() []CHAPAlgorithm {
	if l.Auth.Algorithms != nil {
		return l.Auth.Algorithms
	}
	return CHAPAlgorithms
}

// begin goes on with the method that the target has chosen: the one that we offered.
func (l *InitiatorLogin) begin(method string) error {
	l.method = true
	switch {
	case method == None && l.Auth.Name == "":
		l.done = true
		return nil
	case method == "CHAP" && l.Auth.Name != "":
		l.next = AppendPair(l.next, "CHAP_A", formatCHAPAlgorithms(l.algorithms()))
		return nil
	}
	return ErrLoginProtocol
}

// answer responds to the target's challenge and, in mutual CHAP, asks back.
func (l *InitiatorLogin) answer(v *authValues) error {
	algorithm := ChooseCHAPAlgorithm(v[chapA], l.algorithms())
	if algorithm == 0 || l.done {
		return ErrLoginProtocol
	}
	c, ok := parseChallenge(algorithm, v)
	if !ok {
		return ErrLoginProtocol
	}
	l.next = AppendPair(l.next, "CHAP_N", l.Auth.Name)
	l.next = AppendPair(l.next, "CHAP_R", FormatBinary(CHAPResponse(algorithm, c.Identifier, l.Auth.Secret, c.Challenge)))
	if l.Auth.TargetSecret != "" {
		l.asked = NewCHAPChallenge(algorithm)
		l.next = appendChallenge(l.next, &l.asked)
	}
	l.transit, l.done = true, true
	return nil
}

// verify checks what the target answers to our challenge. A target that only sends our own response back has the same secret
// for both directions, or is no target (RFC 7143 9.2.1).
func (l *InitiatorLogin) verify(v *authValues) error {
	response, ok := ParseBinary(v[chapR], CHAPChallengeMax)
	named := l.Auth.TargetName == "" || l.Auth.TargetName == v[chapN]
	reflected := bytes.Equal(response, CHAPResponse(l.asked.Algorithm, l.asked.Identifier, l.Auth.Secret, l.asked.Challenge))
	if !ok || !named || reflected || !l.asked.Verify(l.Auth.TargetSecret, response) {
		return ErrLoginTarget
	}
	l.proved = true
	return nil
}

// advance follows a granted transition.
func (l *InitiatorLogin) advance(h *BHS) (LoginStep, error) {
	if l.Auth.TargetSecret != "" && !l.proved {
		return LoginOver, ErrLoginTarget
	}
	if h.NSG() == StageOperational {
		l.stage = StageOperational
		l.offer()
		return LoginGoOn, nil
	}
	if l.Keys.Pending() && !l.Lenient || !l.Keys.Consistent() || len(l.next) > 0 {
		return LoginOver, ErrLoginProtocol
	}
	l.TSIH = h.TSIH()
	return LoginDone, nil
}
