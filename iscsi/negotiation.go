package iscsi

import (
	"slices"
	"strconv"
	"strings"
)

// Negotiation settles the keys of one connection by the table in keys.go, for either side. Set Own, Target and Leading, call
// Start, then give every pair that arrives to Take. Control plane, or a reactor during login.
type Negotiation struct {
	Own     Params // what we want: offers, limits, lists in order of preference
	Result  Params // what holds; the defaults until a key is settled
	Target  bool   // we are the target
	Leading bool   // this is the session's first connection

	offered [len(keys)]bool // we have sent an offer or declaration
	settled [len(keys)]bool // the peer has sent its offer, answer or declaration
}

// Start resets the result to the defaults.
func (n *Negotiation) Start() { n.Result = DefaultParams() }

// Take handles one pair from the peer, in the given stage. reply is the value to answer with under the same key, empty for none. ok is false
// when the pair breaks the protocol so that a login must fail and a Text Request must be rejected: a key repeated, an answer
// that was not among the offers, a key of another stage or sender.
func (n *Negotiation) Take(p Pair, stage Stage) (reply string, ok bool) {
	i, known := keyIndex[p.Key]
	if !known {
		return n.takeUnknown(p)
	}
	k := &keys[i]
	from := useInitiator
	if !n.Target {
		from = useTarget
	}
	answer := n.offered[i] && k.kind >= kindMin
	switch {
	case k.kind == kindElse:
		return "", false
	case k.use&from == 0 && k.kind != kindRefuse:
		return "", false
	case len(p.Value) > ValueMax: // RFC 7143 6.1
		return "", false
	case !k.use.allows(stage):
		return n.misplaced(answer, stage)
	case n.settled[i] && stage != StageFullFeature: // RFC 7143 6.2: no key twice in one login
		return "", false
	}
	n.settled[i] = true
	switch {
	case answer:
		return "", n.takeAnswer(k, p.Value)
	case k.use&useLeading != 0 && !n.Leading:
		return Reject, true
	case k.use&useDiscovery == 0 && n.Result.Discovery():
		return Irrelevant, true
	case isReservedValue(p.Value):
		return "", false
	}
	return n.respond(i, p.Value)
}

// repeats tells whether a pair says a name again that was taken already, unchanged.
func (n *Negotiation) repeats(p Pair) bool {
	i, known := keyIndex[p.Key]
	return known && n.settled[i] && keys[i].kind == kindText && *keys[i].text(&n.Result) == p.Value
}

// takeUnknown: RFC 7143 6.2: what is not understood is said to be so; such an answer is no question.
func (n *Negotiation) takeUnknown(p Pair) (string, bool) {
	if isReservedValue(p.Value) {
		return "", false
	}
	return NotUnderstood, true
}

// misplaced: in full feature phase a login key is refused (RFC 7143 13), during login the login fails.
func (n *Negotiation) misplaced(answer bool, stage Stage) (string, bool) {
	if stage == StageFullFeature && !answer {
		return Reject, true
	}
	return "", false
}

func isReservedValue(v string) bool { return v == NotUnderstood || v == Irrelevant || v == Reject }

// respond answers an offer or takes a declaration.
func (n *Negotiation) respond(i int, value string) (reply string, ok bool) {
	k := &keys[i]
	switch k.kind {
	case kindText:
		return "", n.takeText(k, value)
	case kindDeclare:
		return "", n.takeDeclaration(k, value)
	case kindMin, kindMax:
		return n.respondNumber(k, value)
	case kindAnd, kindOr:
		return n.respondFlag(k, value)
	case kindList:
		return n.respondList(k, value)
	default:
		return k.answer, true
	}
}

func (n *Negotiation) takeText(k *key, value string) bool {
	if value == "" || len(value) > int(k.max) {
		return false
	}
	*k.text(&n.Result) = value
	return true
}

// takeDeclaration: what the peer declares as MaxRecvDataSegmentLength is what we may send.
func (n *Negotiation) takeDeclaration(k *key, value string) bool {
	v, ok := parseNumber(value, k.min, k.max)
	if !ok {
		return false
	}
	if k.name == "MaxRecvDataSegmentLength" {
		n.Result.MaxSendDataSegmentLength = v
		return true
	}
	*k.number(&n.Result) = v
	return true
}

func (n *Negotiation) respondNumber(k *key, value string) (string, bool) {
	v, ok := parseNumber(value, k.min, k.max)
	if !ok {
		return Reject, true
	}
	own := *k.number(&n.Own)
	if k.kind == kindMin {
		v = min(v, own)
	} else {
		v = max(v, own)
	}
	*k.number(&n.Result) = v
	return formatNumber(v), true
}

func (n *Negotiation) respondFlag(k *key, value string) (string, bool) {
	v, ok := parseFlag(value)
	if !ok {
		return Reject, true
	}
	own := *k.flag(&n.Own)
	if k.kind == kindAnd {
		v = v && own
	} else {
		v = v || own
	}
	*k.flag(&n.Result) = v
	return formatFlag(v), true
}

// respondList: RFC 7143 6.2.1: the first of the originator's values that we have.
func (n *Negotiation) respondList(k *key, value string) (string, bool) {
	own := strings.Split(*k.text(&n.Own), ",")
	for v := range strings.SplitSeq(value, ",") {
		if slices.Contains(own, v) {
			*k.text(&n.Result) = v
			return v, true
		}
	}
	return Reject, true
}

// takeAnswer accepts what a responder may say to our offer. With NotUnderstood, Irrelevant and Reject the default stays.
func (n *Negotiation) takeAnswer(k *key, value string) bool {
	if isReservedValue(value) {
		return n.defaultWillDo(k)
	}
	switch k.kind {
	case kindMin, kindMax:
		v, ok := parseNumber(value, k.min, k.max)
		own := *k.number(&n.Own)
		if !ok || k.kind == kindMin && v > own || k.kind == kindMax && v < own {
			return false
		}
		*k.number(&n.Result) = v
	case kindAnd, kindOr:
		v, ok := parseFlag(value)
		own := *k.flag(&n.Own)
		if !ok || k.kind == kindAnd && v && !own || k.kind == kindOr && !v && own {
			return false
		}
		*k.flag(&n.Result) = v
	default:
		if !slices.Contains(strings.Split(*k.text(&n.Own), ","), value) {
			return false
		}
		*k.text(&n.Result) = value
	}
	return true
}

// defaultWillDo reports whether we can live with a key's default: it is what our own value would have allowed as an answer.
func (n *Negotiation) defaultWillDo(k *key) bool {
	defaults := DefaultParams()
	switch k.kind {
	case kindMin:
		return *k.number(&defaults) <= *k.number(&n.Own)
	case kindMax:
		return *k.number(&defaults) >= *k.number(&n.Own)
	case kindAnd:
		return !*k.flag(&defaults) || *k.flag(&n.Own)
	case kindOr:
		return *k.flag(&defaults) || !*k.flag(&n.Own)
	case kindList:
		return slices.Contains(strings.Split(*k.text(&n.Own), ","), *k.text(&defaults))
	default:
		return true
	}
}

// Offer appends everything that we, as the initiator, originate in the operational stage. Keys that RFC 7143 added are offered
// only where their defaults will not do.
func (n *Negotiation) Offer(text []byte) []byte {
	for i := range keys {
		k := &keys[i]
		if !k.use.allows(StageOperational) || k.use&useInitiator == 0 || k.kind == kindText || k.kind == kindRefuse {
			continue
		}
		if k.use&useDiscovery == 0 && n.Own.Discovery() || k.use&useLeading != 0 && !n.Leading {
			continue
		}
		if k.use&useLater != 0 && n.defaultWillDo(k) {
			continue
		}
		text = n.offer(text, i)
	}
	return text
}

// Declare appends what we, as the target, must say in the operational stage: our MaxRecvDataSegmentLength, and an offer for
// each key whose default we cannot live with and for which the initiator has offered nothing.
func (n *Negotiation) Declare(text []byte) []byte {
	for i := range keys {
		k := &keys[i]
		if n.offered[i] || !k.use.allows(StageOperational) || k.use&useBoth != useBoth || k.kind == kindRefuse {
			continue
		}
		irrelevant := k.use&useDiscovery == 0 && n.Result.Discovery() || k.use&useLeading != 0 && !n.Leading
		if k.kind == kindDeclare || !n.settled[i] && !irrelevant && !n.defaultWillDo(k) {
			text = n.offer(text, i)
		}
	}
	return text
}

func (n *Negotiation) offer(text []byte, i int) []byte {
	k := &keys[i]
	n.offered[i] = true
	var value string
	switch {
	case k.number != nil:
		value = formatNumber(*k.number(&n.Own))
	case k.flag != nil:
		value = formatFlag(*k.flag(&n.Own))
	default:
		value = *k.text(&n.Own)
	}
	if k.kind == kindDeclare {
		*k.number(&n.Result) = *k.number(&n.Own)
	}
	return AppendPair(text, k.name, value)
}

// Pending reports whether an offer of ours has had no answer.
func (n *Negotiation) Pending() bool {
	for i := range keys {
		if keys[i].kind >= kindMin && n.offered[i] && !n.settled[i] {
			return true
		}
	}
	return false
}

// Consistent reports whether the results fit one another (RFC 7143 13.14: FirstBurstLength does not exceed MaxBurstLength).
// Where FirstBurstLength has no meaning it is only lowered.
func (n *Negotiation) Consistent() bool {
	r := &n.Result
	if r.FirstBurstLength <= r.MaxBurstLength {
		return true
	}
	meaningless := r.Discovery() || r.InitialR2T && !r.ImmediateData
	r.FirstBurstLength = r.MaxBurstLength
	return meaningless || !n.bothBurstsSettled()
}

// bothBurstsSettled: a default of 65536 above a negotiated MaxBurstLength is nobody's fault.
func (n *Negotiation) bothBurstsSettled() bool {
	return n.settled[keyIndex["FirstBurstLength"]] && n.settled[keyIndex["MaxBurstLength"]]
}

// Acceptable reports whether we can live with the defaults of all keys that nobody has negotiated, or whose offer we have rejected.
func (n *Negotiation) Acceptable() bool {
	for i := range keys {
		k := &keys[i]
		irrelevant := k.use&useDiscovery == 0 && n.Result.Discovery() || k.use&useLeading != 0 && !n.Leading
		if irrelevant || k.kind < kindMin {
			continue
		}
		if !n.settled[i] && !n.defaultWillDo(k) || k.kind == kindList && !slices.Contains(strings.Split(*k.text(&n.Own), ","), *k.text(&n.Result)) {
			return false
		}
	}
	return true
}

func formatNumber(v uint32) string { return strconv.FormatUint(uint64(v), 10) }

// parseNumber takes a decimal or hexadecimal constant (RFC 7143 6.1) within its range.
func parseNumber(s string, low, high uint32) (uint32, bool) {
	digits, base := s, 10
	if len(s) > 2 && s[0] == '0' && s[1]|0x20 == 'x' {
		digits, base = s[2:], 16
	}
	if digits == "" || digits[0] == '+' || digits[0] == '-' {
		return 0, false
	}
	v, err := strconv.ParseUint(digits, base, 32)
	return uint32(v), err == nil && uint32(v) >= low && uint32(v) <= high
}

func parseFlag(s string) (v, ok bool) { return s == "Yes", s == "Yes" || s == "No" }

func formatFlag(v bool) string {
	if v {
		return "Yes"
	}
	return "No"
}
