package scsi

import "slices"

// RegistrantsMax bounds the registrations on one LUN.
const RegistrantsMax = 128

// reservationType is the TYPE of a persistent reservation (SPC-5 6.16.3.4); 0 is none.
type reservationType uint8

const (
	typeNone                     reservationType = 0
	typeWriteExclusive           reservationType = 1
	typeExclusiveAccess          reservationType = 3
	typeWriteExclusiveRegistrant reservationType = 5
	typeExclusiveRegistrant      reservationType = 6
	typeWriteExclusiveAll        reservationType = 7
	typeExclusiveAll             reservationType = 8
)

func (k reservationType) isValid() bool { return k == 1 || k == 3 || k >= 5 && k <= 8 }

// isForRegistrants reports whether every registered nexus has access.
func (k reservationType) isForRegistrants() bool { return k >= typeWriteExclusiveRegistrant }

// isForAll reports whether every registered nexus holds the reservation.
func (k reservationType) isForAll() bool { return k >= typeWriteExclusiveAll }

// isWriteExclusive reports whether everybody may read.
func (k reservationType) isWriteExclusive() bool {
	return k == typeWriteExclusive || k == typeWriteExclusiveRegistrant || k == typeWriteExclusiveAll
}

// classes is a set of classes of commands by what reservations allow (SPC-5 table 67, SBC-4 table 13).
type classes uint8

const (
	classFree   classes = 0         // allowed always
	classRead   classes = 1 << iota // forbidden by exclusive access types
	classWrite                      // forbidden by all types
	classPlain                      // allowed by persistent reservations, not by RESERVE(6): TEST UNIT READY and the like
	classOwn                        // PERSISTENT RESERVE IN and OUT: forbidden only by RESERVE(6)
	classLegacy                     // RESERVE and RELEASE: forbidden while anybody is registered
)

// registrant is a registered I_T nexus.
type registrant struct {
	nexus       nexusKey
	transportID string
	key         uint64
}

// reservations is the state of reservations on a LUN. It is immutable: a change makes a new one.
type reservations struct {
	generation  uint32
	registrants []registrant // in order of registration
	kind        reservationType
	holder      nexusKey // unless kind is for all registrants

	persistent bool // APTPL of the last REGISTER: all this persists through power loss

	exclusive       bool // RESERVE(6)
	exclusiveHolder nexusKey
}

func (r *reservations) find(k nexusKey) int {
	return slices.IndexFunc(r.registrants, func(g registrant) bool { return g.nexus == k })
}

// isHolder reports whether k holds the reservation.
func (r *reservations) isHolder(k nexusKey) bool {
	return r.kind != typeNone && (r.kind.isForAll() && r.find(k) >= 0 || !r.kind.isForAll() && r.holder == k)
}

// denied is what the reservations forbid k.
func (r *reservations) denied(k nexusKey) classes {
	var d classes
	if r.exclusive {
		d |= classOwn // SPC-2 5.5.1: from every nexus, the holder too.
		if r.exclusiveHolder != k {
			return d | classRead | classWrite | classPlain
		}
	}
	if len(r.registrants) > 0 {
		d |= classLegacy
	}
	switch {
	case r.kind == typeNone || r.isHolder(k) || r.kind.isForRegistrants() && r.find(k) >= 0:
		return d
	case r.kind.isWriteExclusive():
		return d | classWrite
	default:
		return d | classRead | classWrite
	}
}

// Service actions of PERSISTENT RESERVE OUT (SPC-5 table 212).
const (
	outRegister        = 0x00
	outReserve         = 0x01
	outRelease         = 0x02
	outClear           = 0x03
	outPreempt         = 0x04
	outPreemptAbort    = 0x05
	outRegisterIgnore  = 0x06
	outRegisterAndMove = 0x07
)

// reserveOut is a PERSISTENT RESERVE OUT command, decoded.
type reserveOut struct {
	action    int
	kind      reservationType
	nexus     registrant // who asks; key is not used
	key       uint64     // RESERVATION KEY
	actionKey uint64     // SERVICE ACTION RESERVATION KEY
	move      registrant // REGISTER AND MOVE: to whom; key is not used
	stay      bool       // REGISTER AND MOVE: UNREG is zero
	persist   bool       // APTPL
	ports     []uint16   // ALL_TG_PT: the target's ports, else nil
}

// reserveEffect is what a PERSISTENT RESERVE OUT command does.
type reserveEffect struct {
	status byte
	sense  Sense
	field  int // that sense points at, or -1
	next   *reservations

	attentions []attentionFor
	removed    []nexusKey // registrations preempted
}

// attentionFor is a unit attention condition for one nexus.
type attentionFor struct {
	nexus nexusKey
	sense Sense
}

func reserveConflict() reserveEffect {
	return reserveEffect{status: StatusReservationConflict, field: -1}
}

func reserveCheck(s Sense, field int) reserveEffect {
	return reserveEffect{status: StatusCheckCondition, sense: s, field: field}
}

// clone is a copy that may be changed before it is published.
func (r *reservations) clone() *reservations {
	next := *r
	next.registrants = slices.Clone(r.registrants)
	return &next
}

// out works out what q does to r; r stays as it is.
func (r *reservations) out(q *reserveOut) reserveEffect {
	e := reserveEffect{field: -1, next: r.clone()}
	switch q.action {
	case outRegister, outRegisterIgnore:
		e.register(r, q)
	case outReserve:
		e.reserve(r, q)
	case outRelease:
		e.release(r, q)
	case outClear:
		e.clear(r, q)
	case outPreempt, outPreemptAbort:
		e.preempt(r, q)
	case outRegisterAndMove:
		e.move(r, q)
	default:
		panic("scsi: unknown service action of PERSISTENT RESERVE OUT")
	}
	return e
}

// holdsKey reports whether the asking nexus is registered with the key it gives.
func (r *reservations) holdsKey(q *reserveOut) bool {
	i := r.find(q.nexus.nexus)
	return i >= 0 && r.registrants[i].key == q.key
}

// register does REGISTER and REGISTER AND IGNORE EXISTING KEY (SPC-5 5.14.7).
func (e *reserveEffect) register(r *reservations, q *reserveOut) {
	i := r.find(q.nexus.nexus)
	known := i >= 0
	if q.action == outRegister && (known && r.registrants[i].key != q.key || !known && q.key != 0) {
		*e = reserveConflict()
		return
	}
	switch {
	case known && q.actionKey == 0:
		e.unregister(q.nexus.nexus)
	case known:
		e.next.registrants[i].key = q.actionKey
	case q.actionKey == 0: // Nothing to do, but it succeeds.
	case len(r.registrants) >= RegistrantsMax:
		*e = reserveCheck(senseNoRegistrationResources, -1)
		return
	default:
		g := q.nexus
		g.key = q.actionKey
		e.next.registrants = append(e.next.registrants, g)
	}
	for _, port := range q.ports {
		e.registerAt(port, q)
	}
	if len(e.next.registrants) > RegistrantsMax {
		*e = reserveCheck(senseNoRegistrationResources, -1)
		return
	}
	e.next.persistent = q.persist
	e.next.generation++
}

// registerAt does for another port of the target what has been done for the nexus that asked (ALL_TG_PT).
func (e *reserveEffect) registerAt(port uint16, q *reserveOut) {
	g := registrant{nexusKey{q.nexus.nexus.initiator, port}, q.nexus.transportID, q.actionKey}
	i := e.next.find(g.nexus)
	switch {
	case g.nexus == q.nexus.nexus:
	case i >= 0 && g.key == 0:
		e.unregister(g.nexus)
	case i >= 0:
		e.next.registrants[i].key = g.key
	case g.key != 0:
		e.next.registrants = append(e.next.registrants, g)
	}
}

// unregister removes the registration of k, and its reservation (SPC-5 5.14.11.2.3).
func (e *reserveEffect) unregister(k nexusKey) {
	n := e.next
	held := n.isHolder(k)
	n.registrants = slices.DeleteFunc(n.registrants, func(g registrant) bool { return g.nexus == k })
	if !held || n.kind.isForAll() && len(n.registrants) > 0 {
		return
	}
	if n.kind.isForRegistrants() {
		e.tellOthers(k, attentionReservationsReleased)
	}
	n.kind, n.holder = typeNone, nexusKey{}
}

// tellOthers establishes s for every nexus that is still registered, but not for k.
func (e *reserveEffect) tellOthers(k nexusKey, s Sense) {
	for _, g := range e.next.registrants {
		if g.nexus != k {
			e.attentions = append(e.attentions, attentionFor{g.nexus, s})
		}
	}
}

// reserve does RESERVE (SPC-5 5.14.9).
func (e *reserveEffect) reserve(r *reservations, q *reserveOut) {
	switch {
	case !r.holdsKey(q):
		*e = reserveConflict()
	case r.kind == typeNone:
		e.next.kind, e.next.holder = q.kind, q.nexus.nexus
	case r.isHolder(q.nexus.nexus) && r.kind == q.kind:
		e.next = nil // SPC-5 5.14.9: the holder may ask again.
	default:
		*e = reserveConflict()
	}
}

// release does RELEASE (SPC-5 5.14.11.2.2).
func (e *reserveEffect) release(r *reservations, q *reserveOut) {
	switch {
	case !r.holdsKey(q):
		*e = reserveConflict()
	case !r.isHolder(q.nexus.nexus):
		e.next = nil // Nothing to release, but it succeeds.
	case r.kind != q.kind:
		*e = reserveCheck(senseInvalidRelease, -1)
	default:
		if r.kind.isForRegistrants() {
			e.tellOthers(q.nexus.nexus, attentionReservationsReleased)
		}
		e.next.kind, e.next.holder = typeNone, nexusKey{}
	}
}

// clear does CLEAR (SPC-5 5.14.11.2.6).
func (e *reserveEffect) clear(r *reservations, q *reserveOut) {
	if !r.holdsKey(q) {
		*e = reserveConflict()
		return
	}
	e.tellOthers(q.nexus.nexus, attentionReservationsPreempt)
	e.next.registrants, e.next.kind, e.next.holder = nil, typeNone, nexusKey{}
	e.next.generation++
}

// preempt does PREEMPT and PREEMPT AND ABORT (SPC-5 5.14.11.2.4, figure 8).
func (e *reserveEffect) preempt(r *reservations, q *reserveOut) {
	switch {
	case !r.holdsKey(q):
		*e = reserveConflict()
	case r.kind.isForAll() && q.actionKey == 0:
		e.takeOver(r, q, func(registrant) bool { return true })
	case q.actionKey == 0:
		*e = reserveCheck(senseInvalidFieldInParameter, 8)
	case r.kind != typeNone && !r.kind.isForAll() && r.keyOfHolder() == q.actionKey:
		e.takeOver(r, q, func(g registrant) bool { return g.key == q.actionKey })
	default:
		e.removeKey(r, q)
	}
}

func (r *reservations) keyOfHolder() uint64 { return r.registrants[r.find(r.holder)].key }

// takeOver makes the asking nexus the holder and removes the other registrations that gone picks.
func (e *reserveEffect) takeOver(r *reservations, q *reserveOut, gone func(registrant) bool) {
	me := q.nexus.nexus
	e.remove(func(g registrant) bool { return g.nexus != me && gone(g) }, me)
	if r.kind != q.kind && r.kind.isForRegistrants() {
		e.tellOthers(me, attentionReservationsReleased)
	}
	e.next.kind, e.next.holder = q.kind, me
	e.next.generation++
}

// removeKey removes all registrations with the service action key; the reservation stays, unless nobody is left who holds it.
func (e *reserveEffect) removeKey(r *reservations, q *reserveOut) {
	e.remove(func(g registrant) bool { return g.key == q.actionKey }, q.nexus.nexus)
	if len(e.next.registrants) == len(r.registrants) {
		*e = reserveConflict()
		return
	}
	if r.kind.isForAll() && len(e.next.registrants) == 0 {
		e.next.kind = typeNone
	}
	e.next.generation++
}

// remove drops the registrations that gone picks, and tells all of them but me.
func (e *reserveEffect) remove(gone func(registrant) bool, me nexusKey) {
	var stay []registrant
	for _, g := range e.next.registrants {
		if !gone(g) {
			stay = append(stay, g)
			continue
		}
		e.removed = append(e.removed, g.nexus)
		if g.nexus != me {
			e.attentions = append(e.attentions, attentionFor{g.nexus, attentionRegistrationsPreempt})
		}
	}
	e.next.registrants = stay
}

// move does REGISTER AND MOVE (SPC-5 5.14.8).
func (e *reserveEffect) move(r *reservations, q *reserveOut) {
	me, to := q.nexus.nexus, q.move
	switch {
	case !r.holdsKey(q) || !r.isHolder(me) || r.kind.isForAll():
		*e = reserveConflict()
		return
	case q.actionKey == 0:
		*e = reserveCheck(senseInvalidFieldInParameter, 8)
		return
	case to.nexus == me:
		*e = reserveCheck(senseInvalidFieldInParameter, 24)
		return
	}
	to.key = q.actionKey
	if i := r.find(to.nexus); i >= 0 {
		e.next.registrants[i].key = to.key
	} else if len(r.registrants) >= RegistrantsMax {
		*e = reserveCheck(senseNoRegistrationResources, -1)
		return
	} else {
		e.next.registrants = append(e.next.registrants, to)
	}
	e.next.holder, e.next.persistent = to.nexus, q.persist
	if !q.stay {
		e.next.registrants = slices.DeleteFunc(e.next.registrants, func(g registrant) bool { return g.nexus == me })
	}
	e.next.generation++
}
