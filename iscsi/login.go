package iscsi

// LoginStep is what a login wants after one PDU.
type LoginStep uint8

// Steps.
const (
	LoginGoOn LoginStep = iota // send what was built and wait for the next PDU
	LoginDone                  // both sides agree on full feature phase
	LoginOver                  // the login has failed: the target sends what was built and closes, the initiator closes
)

// TargetLogin is the target's side of a login: a state machine without clock, socket or session. Set Admit, call Start, and
// give every Login Request that Validate has passed to Handle.
//
//	request -> header and stages -> text (collected while C is set) -> names -> Admit -> keys of the stage -> transition
//
// It belongs to one connection and may run on a reactor; logins may allocate.
type TargetLogin struct {
	// Admit is called once, when the first text is whole: the names and the session type are in Keys.Result, the identifiers below
	// are set. It looks the target up, checks who may log in from where, and sets Keys.Own (what we want; TargetPortalGroupTag and
	// TargetAlias are declared from it) and Auth; Keys.Leading is already set from TSIH. Any status but LoginSuccess ends the login.
	Admit func(*TargetLogin) LoginStatus

	Keys     Negotiation
	Auth     TargetAuth
	Redirect string // TargetAddress to tell with a status of class 1, set by Admit

	ISID             ISID
	TSIH             uint16 // as the initiator sent it: 0 asks for a new session
	CID              uint16
	InitiatorTaskTag uint32
	CmdSN            uint32 // of the first request: the session's first CmdSN when Leading
	ExpStatSN        uint32 // of the first request

	stage    Stage
	rounds   int
	admitted bool
	declared bool
	text     TextBuffer
	auth     targetCHAP
}

// Start makes the login ready for its first request.
func (l *TargetLogin) Start() {
	*l = TargetLogin{Admit: l.Admit}
	l.Keys.Target = true
	l.Keys.Start()
}

// Handle takes one Login Request and builds the response: its header in rsp (all but StatSN, ExpCmdSN, MaxCmdSN) and its text
// appended to text. With LoginDone the caller makes or finds the session, sets TSIH in rsp and sends it, or turns it into a refusal with
// RefuseLogin. With LoginOver it sends rsp and closes.
func (l *TargetLogin) Handle(h *BHS, segment []byte, rsp *BHS, text []byte) ([]byte, LoginStep) {
	start := len(text)
	l.head(h, rsp)
	text, status := l.take(h, segment, rsp, text)
	if status == LoginSuccess && len(text)-start > TextMax {
		status = LoginOutOfResources
	}
	if status != LoginSuccess {
		RefuseLogin(rsp, status)
		text = l.redirection(text[:start], status)
		rsp.SetDataSegmentLength(len(text) - start)
		return text, LoginOver
	}
	rsp.SetDataSegmentLength(len(text) - start)
	if l.stage == StageFullFeature {
		return text, LoginDone
	}
	return text, LoginGoOn
}

// User is the name that CHAP has proved, empty for none.
func (l *TargetLogin) User() string { return l.auth.name }

// RefuseLogin turns a Login Response into a refusal.
func RefuseLogin(rsp *BHS, status LoginStatus) {
	rsp.SetTransit(false)
	rsp.SetContinue(false)
	rsp.SetNSG(0)
	rsp.SetDataSegmentLength(0)
	rsp.SetLoginStatus(status)
}

// head fills what every response echoes.
func (l *TargetLogin) head(h, rsp *BHS) {
	rsp.Clear(OpLoginResponse)
	rsp.SetCSG(h.CSG())
	rsp.SetISID(h.ISID())
	rsp.SetTSIH(h.TSIH())
	rsp.SetInitiatorTaskTag(h.InitiatorTaskTag())
}

func (l *TargetLogin) redirection(text []byte, status LoginStatus) []byte {
	if status>>8 != LoginMovedTemporarily>>8 {
		return text
	}
	return AppendPair(text, "TargetAddress", l.Redirect)
}

// take is one round: the decisions of Handle.
func (l *TargetLogin) take(h *BHS, segment []byte, rsp *BHS, text []byte) ([]byte, LoginStatus) {
	if status := l.checkHeader(h); status != LoginSuccess {
		return text, status
	}
	if !l.text.Add(segment) {
		return text, LoginInitiatorError
	}
	if h.Continue() { // RFC 7143 6.2: an empty answer asks for the rest
		return text, LoginSuccess
	}
	pairs, ok := l.text.Pairs()
	if !ok {
		return text, LoginInitiatorError
	}
	first := !l.admitted
	if first {
		l.admitted = true
		var status LoginStatus
		if text, status = l.admit(pairs, text); status != LoginSuccess {
			return text, status
		}
	}
	text, status := l.negotiate(pairs, first, text)
	if status != LoginSuccess {
		return text, status
	}
	if !h.Transit() {
		return text, LoginSuccess
	}
	return text, l.transit(h, rsp)
}

// checkHeader takes the identifiers of the first request and holds later ones to them (RFC 7143 11.12).
func (l *TargetLogin) checkHeader(h *BHS) LoginStatus {
	l.rounds++
	if l.rounds == 1 {
		l.ISID, l.TSIH, l.CID = h.ISID(), h.TSIH(), h.CID()
		l.CmdSN, l.ExpStatSN = h.CmdSN(), h.ExpStatSN()
		l.Keys.Leading = l.TSIH == 0
		l.stage = h.CSG()
	}
	l.InitiatorTaskTag = h.InitiatorTaskTag()
	switch {
	case h.VersionMin() > 0: // RFC 7143 11.12.5: there is no version but 0
		return LoginUnsupportedVersion
	case l.rounds > LoginRoundsMax:
		return LoginInitiatorError
	case h.ISID() != l.ISID || h.TSIH() != l.TSIH || h.CID() != l.CID:
		return LoginInitiatorError
	case h.CSG() != l.stage || h.CSG() > StageOperational:
		return LoginInitiatorError
	case h.Transit() && (h.Continue() || h.NSG() <= h.CSG() || h.NSG() == StageReserved):
		return LoginInitiatorError
	}
	return LoginSuccess
}

// admit takes the names from the first text and asks Admit.
func (l *TargetLogin) admit(pairs []Pair, text []byte) ([]byte, LoginStatus) {
	for _, p := range pairs {
		if !isName(p.Key) {
			continue
		}
		if _, ok := l.Keys.Take(p, l.stage); !ok {
			return text, LoginInitiatorError
		}
	}
	if status := l.checkNames(); status != LoginSuccess {
		return text, status
	}
	if status := l.Admit(l); status != LoginSuccess {
		return text, status
	}
	if l.stage == StageOperational && !l.Auth.AllowNone { // the initiator skips what we insist on
		return text, LoginAuthenticationFailure
	}
	return l.introduce(text), LoginSuccess
}

// checkNames: RFC 7143 6.3: names and session type come with the first request.
func (l *TargetLogin) checkNames() LoginStatus {
	r := &l.Keys.Result
	switch {
	case r.SessionType != SessionNormal && r.SessionType != SessionDiscovery:
		return LoginSessionTypeNotSupported
	case r.InitiatorName == "" || r.TargetName == "" && !r.Discovery():
		return LoginMissingParameter
	}
	return LoginSuccess
}

// introduce: RFC 7143 13.9: the first response of a normal session tells the portal group.
func (l *TargetLogin) introduce(text []byte) []byte {
	own := &l.Keys.Own
	if own.TargetAlias != "" {
		text = AppendPair(text, "TargetAlias", own.TargetAlias)
	}
	if !l.Keys.Result.Discovery() {
		l.Keys.Result.TargetPortalGroupTag = own.TargetPortalGroupTag
		text = AppendPair(text, "TargetPortalGroupTag", formatNumber(own.TargetPortalGroupTag))
	}
	return text
}

// isName reports whether a key is one that Admit depends on. They are taken before all others and only once.
func isName(name string) bool {
	i, ok := keyIndex[name]
	return ok && keys[i].kind == kindText && keys[i].use&useInitiator != 0
}

// negotiate answers the keys of the stage. Names were taken from the first text by admit.
func (l *TargetLogin) negotiate(pairs []Pair, first bool, text []byte) ([]byte, LoginStatus) {
	for _, p := range pairs {
		switch {
		case isName(p.Key):
			// RFC 7143 6.2 has no key twice, but libiscsi says its names again when it goes on to the next stage.
			if !first && !l.Keys.repeats(p) {
				return text, LoginInitiatorError
			}
		case isAuthKey(p.Key) && l.stage == StageSecurity:
			if !l.auth.collect(p) {
				return text, LoginInitiatorError
			}
		default:
			reply, ok := l.Keys.Take(p, l.stage)
			if !ok {
				return text, LoginInitiatorError
			}
			if reply != "" {
				text = AppendPair(text, p.Key, reply)
			}
		}
	}
	if l.stage == StageSecurity {
		return l.auth.step(&l.Auth, text)
	}
	if !l.declared {
		l.declared = true
		text = l.Keys.Declare(text)
	}
	return text, LoginSuccess
}

// transit grants the transition that the initiator asks for, if nothing is open in this stage.
func (l *TargetLogin) transit(h, rsp *BHS) LoginStatus {
	switch {
	case l.stage == StageSecurity && !l.auth.finished(&l.Auth):
		return l.auth.refusal()
	case l.Keys.Pending():
		return LoginSuccess
	case h.NSG() == StageFullFeature && (!l.Keys.Consistent() || !l.Keys.Acceptable()):
		return LoginInitiatorError
	}
	rsp.SetTransit(true)
	rsp.SetNSG(h.NSG())
	l.stage = h.NSG()
	return LoginSuccess
}
