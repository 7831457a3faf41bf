package iscsi

import (
	"bytes"
	"slices"
	"strconv"
	"strings"
)

// CHAPSecret is what is known of one initiator: its secret, and the name and secret by which the target answers when the
// initiator asks back (empty: it cannot).
type CHAPSecret struct {
	Secret                   string
	TargetName, TargetSecret string
}

// TargetAuth is how an initiator must authenticate.
type TargetAuth struct {
	AllowNone  bool // AuthMethod=None will do
	AllowCHAP  bool
	NeedMutual bool            // the initiator must ask back
	Algorithms []CHAPAlgorithm // nil: CHAPAlgorithms
	// Secret finds what is known of the initiator that calls itself name (CHAP_N). It must not wait.
	Secret func(name string) (CHAPSecret, bool)
}

// authKeys are the keys of AuthMethod=CHAP (RFC 7143 12.1.3), in the order of targetCHAP.values.
var authKeys = [...]string{"AuthMethod", "CHAP_A", "CHAP_I", "CHAP_C", "CHAP_N", "CHAP_R"}

const (
	authMethod = iota
	chapA
	chapI
	chapC
	chapN
	chapR
	authKeyCount
)

func isAuthKey(name string) bool { return slices.Contains(authKeys[:], name) }

// authValues are the authentication keys of one text.
type authValues [authKeyCount]string

// take keeps one pair; it is false when the key came twice or has no value.
func (v *authValues) take(p Pair) bool {
	i := slices.Index(authKeys[:], p.Key)
	if i < 0 || v[i] != "" || p.Value == "" {
		return false
	}
	v[i] = p.Value
	return true
}

// only reports whether exactly the keys of the list have values.
func (v *authValues) only(list ...int) bool {
	for i := range v {
		if (v[i] != "") != slices.Contains(list, i) {
			return false
		}
	}
	return true
}

// chapState is how far an authentication has come.
type chapState uint8

const (
	chapIdle      chapState = iota // AuthMethod is expected, or none at all
	chapAlgorithm                  // CHAP_A is expected
	chapAnswer                     // CHAP_N and CHAP_R are expected
	chapPassed
	chapFailed
)

// targetCHAP is the target's side of SecurityNegotiation.
type targetCHAP struct {
	state     chapState
	values    authValues
	challenge CHAPChallenge
	name      string // who has authenticated
}

func (c *targetCHAP) collect(p Pair) bool { return c.values.take(p) }

// step answers the authentication keys of one text.
func (c *targetCHAP) step(a *TargetAuth, text []byte) ([]byte, LoginStatus) {
	v := c.values
	c.values = authValues{}
	ok := true
	switch {
	case v.only():
		return text, LoginSuccess
	case c.state == chapIdle && v.only(authMethod):
		text, ok = c.choose(a, v[authMethod], text)
	case c.state == chapAlgorithm && v.only(chapA):
		text, ok = c.ask(a, v[chapA], text)
	case c.state == chapAnswer && (v.only(chapN, chapR) || v.only(chapN, chapR, chapI, chapC)):
		text, ok = c.verify(a, &v, text)
	default:
		return text, LoginInitiatorError
	}
	if !ok {
		c.state = chapFailed
		return text, LoginAuthenticationFailure
	}
	return text, LoginSuccess
}

// choose answers AuthMethod with the first of the initiator's list that we allow.
func (c *targetCHAP) choose(a *TargetAuth, list string, text []byte) ([]byte, bool) {
	for method := range strings.SplitSeq(list, ",") {
		switch {
		case method == None && a.AllowNone:
			c.state = chapPassed
			return AppendPair(text, "AuthMethod", None), true
		case method == "CHAP" && a.AllowCHAP:
			c.state = chapAlgorithm
			return AppendPair(text, "AuthMethod", "CHAP"), true
		}
	}
	return text, false
}

// ask answers CHAP_A with an algorithm and a challenge.
func (c *targetCHAP) ask(a *TargetAuth, list string, text []byte) ([]byte, bool) {
	allowed := a.Algorithms
	if allowed == nil {
		allowed = CHAPAlgorithms
	}
	algorithm := ChooseCHAPAlgorithm(list, allowed)
	if algorithm == 0 {
		return text, false
	}
	c.challenge = NewCHAPChallenge(algorithm)
	c.state = chapAnswer
	text = AppendPair(text, "CHAP_A", strconv.Itoa(int(algorithm)))
	return appendChallenge(text, &c.challenge), true
}

func appendChallenge(text []byte, c *CHAPChallenge) []byte {
	text = AppendPair(text, "CHAP_I", strconv.Itoa(int(c.Identifier)))
	return AppendPair(text, "CHAP_C", FormatBinary(c.Challenge))
}

// verify checks CHAP_N and CHAP_R, and answers the initiator's own challenge. An unknown name costs the same time as a wrong secret.
func (c *targetCHAP) verify(a *TargetAuth, v *authValues, text []byte) ([]byte, bool) {
	response, ok := ParseBinary(v[chapR], CHAPChallengeMax)
	if !ok || len(v[chapN]) > CHAPNameMax {
		return text, false
	}
	known, found := a.Secret(v[chapN])
	right := c.challenge.Verify(known.Secret, response)
	if !found || known.Secret == "" || !right {
		return text, false
	}
	if v[chapC] == "" {
		c.pass(v[chapN])
		return text, !a.NeedMutual
	}
	back, ok := parseChallenge(c.challenge.Algorithm, v)
	if !ok || !answerable(&back, &c.challenge, &known) {
		return text, false
	}
	c.pass(v[chapN])
	text = AppendPair(text, "CHAP_N", known.TargetName)
	return AppendPair(text, "CHAP_R", FormatBinary(CHAPResponse(back.Algorithm, back.Identifier, known.TargetSecret, back.Challenge))), true
}

func (c *targetCHAP) pass(name string) { c.state, c.name = chapPassed, name }

// answerable: RFC 7143 9.2.1: a reflected challenge is an attack, and so is one secret for both directions.
func answerable(back, ours *CHAPChallenge, known *CHAPSecret) bool {
	return known.TargetSecret != "" && known.TargetSecret != known.Secret && !bytes.Equal(back.Challenge, ours.Challenge)
}

// parseChallenge reads CHAP_I and CHAP_C.
func parseChallenge(algorithm CHAPAlgorithm, v *authValues) (c CHAPChallenge, ok bool) {
	identifier, ok := parseNumber(v[chapI], 0, 255)
	if !ok {
		return c, false
	}
	challenge, ok := ParseBinary(v[chapC], CHAPChallengeMax)
	return CHAPChallenge{algorithm, uint8(identifier), challenge}, ok && len(challenge) > 0
}

// finished reports whether the security stage may be left. Leaving it without a word about AuthMethod is AuthMethod=None.
func (c *targetCHAP) finished(a *TargetAuth) bool {
	return c.state == chapPassed || c.state == chapIdle && a.AllowNone
}

// refusal is the answer to a transition that is asked for too early: in the middle of CHAP it is only not granted.
func (c *targetCHAP) refusal() LoginStatus {
	if c.state == chapIdle {
		return LoginAuthenticationFailure
	}
	return LoginSuccess
}
