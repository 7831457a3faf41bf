package scsi

import "encoding/binary"

// reservationCommands are PERSISTENT RESERVE IN and OUT (SPC-5 6.15, 6.16) and RESERVE and RELEASE (SPC-2).
func reservationCommands() []command {
	in := command{action: true, class: classOwn, allocation: field{7, 2}}
	out := command{action: true, class: classOwn, list: field{5, 4}, decode: decodeReserveOut, run: runReserveOut}
	legacy := command{class: classLegacy}
	rows := []command{
		in.as("PERSISTENT RESERVE IN: READ KEYS", 0x5e, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0).with(nil, runReadKeys),
		in.as("PERSISTENT RESERVE IN: READ RESERVATION", 0x5e, 1, 0, 0, 0, 0, 0, 0xff, 0xff, 0).with(nil, runReadReservation),
		in.as("PERSISTENT RESERVE IN: REPORT CAPABILITIES", 0x5e, 2, 0, 0, 0, 0, 0, 0xff, 0xff, 0).with(nil, runReportCapabilities),
		in.as("PERSISTENT RESERVE IN: READ FULL STATUS", 0x5e, 3, 0, 0, 0, 0, 0, 0xff, 0xff, 0).with(nil, runReadFullStatus),
		legacy.as("RESERVE(6)", 0x16, 0, 0, 0, 0, 0).with(nil, runReserve),
		legacy.as("RELEASE(6)", 0x17, 0, 0, 0, 0, 0).with(nil, runRelease),
		legacy.as("RESERVE(10)", 0x56, 0, 0, 0, 0, 0, 0, 0, 0, 0).with(nil, runReserve),
		legacy.as("RELEASE(10)", 0x57, 0, 0, 0, 0, 0, 0, 0, 0, 0).with(nil, runRelease),
	}
	for action, name := range [...]string{
		outRegister: "REGISTER", outReserve: "RESERVE", outRelease: "RELEASE", outClear: "CLEAR", outPreempt: "PREEMPT",
		outPreemptAbort: "PREEMPT AND ABORT", outRegisterIgnore: "REGISTER AND IGNORE EXISTING KEY", outRegisterAndMove: "REGISTER AND MOVE",
	} {
		rows = append(rows, out.as("PERSISTENT RESERVE OUT: "+name, 0x5f, byte(action), 0xff, 0, 0, 0xff, 0xff, 0xff, 0xff, 0))
	}
	return rows
}

// replyReserve ends the task with what follows PRGENERATION and ADDITIONAL LENGTH.
func (t *Task) replyReserve(body []byte) {
	b := binary.BigEndian.AppendUint32(nil, t.view.reservations.generation)
	b = binary.BigEndian.AppendUint32(b, uint32(len(body)))
	t.reply(append(b, body...))
}

func runReadKeys(t *Task) {
	var b []byte
	for _, g := range t.view.reservations.registrants {
		b = binary.BigEndian.AppendUint64(b, g.key)
	}
	t.replyReserve(b)
}

func runReadReservation(t *Task) {
	r := &t.view.reservations
	if r.kind == typeNone {
		t.replyReserve(nil)
		return
	}
	var b [16]byte
	if !r.kind.isForAll() { // SPC-5 6.15.3.2: the key is zero if all registrants hold it.
		binary.BigEndian.PutUint64(b[:], r.keyOfHolder())
	}
	b[13] = byte(r.kind)
	t.replyReserve(b[:])
}

func runReportCapabilities(t *Task) {
	// No COMPATIBLE RESERVATION HANDLING, no SPEC_I_PT.
	const maskValid, allPorts, capable, activated = 0x80, 0x04, 0x01, 0x01
	b := [8]byte{1: 8, 2: allPorts, 3: maskValid, 4: 0xea, 5: 0x01}
	if t.unit.lun.ptpl != nil {
		b[2] |= capable
	}
	if t.view.reservations.persistent {
		b[3] |= activated
	}
	t.reply(b[:])
}

func runReadFullStatus(t *Task) {
	r := &t.view.reservations
	var b []byte
	for _, g := range r.registrants {
		var d [24]byte
		binary.BigEndian.PutUint64(d[:], g.key)
		if r.isHolder(g.nexus) {
			d[12], d[13] = 0x01, byte(r.kind) // R_HOLDER
		}
		binary.BigEndian.PutUint16(d[18:], g.nexus.port)
		binary.BigEndian.PutUint32(d[20:], uint32(len(g.transportID)))
		b = append(append(b, d[:]...), g.transportID...)
	}
	t.replyReserve(b)
}

// The parameter list of PERSISTENT RESERVE OUT (SPC-5 6.16.3).
const (
	reserveListLen = 24
	moveHeaderLen  = 24
	specifyPorts   = 0x08 // SPEC_I_PT, byte 20
	allTargetPorts = 0x04 // ALL_TG_PT
	throughPower   = 0x01 // APTPL
)

// decodeReserveOut checks type and scope, where the service action has them, and the length of the list.
func decodeReserveOut(t *Task) bool {
	switch t.CDB[1] & 0x1f {
	case outReserve, outRelease, outPreempt, outPreemptAbort:
		if t.CDB[2]>>4 != 0 {
			return t.refuseField(senseInvalidFieldInCDB, 2, 7) // The scope is the logical unit.
		}
		if !reservationType(t.CDB[2] & 0x0f).isValid() {
			return t.refuseField(senseInvalidFieldInCDB, 2, 3)
		}
	}
	return t.DataOutLen >= reserveListLen && t.ExpectedOut >= t.DataOutLen || t.refuse(senseParameterListLength)
}

func runReserveOut(t *Task) {
	list := t.parameterList()
	q := &reserveOut{
		action: int(t.CDB[1] & 0x1f), kind: reservationType(t.CDB[2] & 0x0f),
		nexus: registrant{nexus: t.nexus.key, transportID: t.nexus.initiator.TransportID},
		key:   binary.BigEndian.Uint64(list), actionKey: binary.BigEndian.Uint64(list[8:]),
	}
	if s, field := q.parse(list, t.unit.lun); s != (Sense{}) {
		if field >= 0 {
			t.pointAt(s, field, 7)
		}
		t.check(s)
		return
	}
	t.forward(func(old *state) effect { return old.reserveOut(q, t) })
}

// parse reads the rest of the parameter list. What the capabilities do not promise is refused.
func (q *reserveOut) parse(list []byte, l *LUN) (Sense, int) {
	if q.action == outRegisterAndMove {
		return q.parseMove(list, l)
	}
	flags, refused := list[20], byte(specifyPorts|throughPower)
	if l.ptpl != nil {
		refused = specifyPorts
	}
	registers := q.action == outRegister || q.action == outRegisterIgnore
	q.persist = registers && flags&throughPower != 0
	if registers && flags&allTargetPorts != 0 {
		q.ports = l.device.allPorts()
	}
	switch {
	case len(list) != reserveListLen && flags&specifyPorts == 0:
		return senseParameterListLength, -1
	case flags&refused != 0 && registers:
		return senseInvalidFieldInParameter, 20
	case len(list) != reserveListLen:
		return senseParameterListLength, -1
	}
	return Sense{}, -1
}

// parseMove reads the list of REGISTER AND MOVE (SPC-5 6.16.4).
func (q *reserveOut) parseMove(list []byte, l *LUN) (Sense, int) {
	const unregister = 0x02
	n := int(binary.BigEndian.Uint32(list[20:]))
	switch {
	case n > len(list)-moveHeaderLen || n < 24 || n%4 != 0:
		return senseParameterListLength, -1
	case list[17]&throughPower != 0 && l.ptpl == nil:
		return senseInvalidFieldInParameter, 17
	}
	id := string(list[moveHeaderLen : moveHeaderLen+n])
	name := TransportIDName(id)
	if name == "" {
		return senseInvalidFieldInParameter, moveHeaderLen
	}
	q.stay, q.persist = list[17]&unregister == 0, list[17]&throughPower != 0
	q.move = registrant{nexus: nexusKey{name, binary.BigEndian.Uint16(list[18:])}, transportID: id}
	return Sense{}, -1
}

// TransportIDName is the name in a TransportID of iSCSI initiator ports (SPC-5 7.6.4.6, format 01b: a name with ",i,0x" and the ISID), or "".
func TransportIDName(id string) string {
	const formatPort, protocolISCSI = 0x40, 0x05
	if len(id) < 4 || id[0] != formatPort|protocolISCSI {
		return ""
	}
	for i := 4; i < len(id); i++ {
		if id[i] == 0 {
			return id[4:i]
		}
	}
	return id[4:]
}

// reserveOut is the effect of q on the LUN (on home).
func (s *state) reserveOut(q *reserveOut, by *Task) effect {
	r := s.reservations.out(q)
	e := effect{status: r.status, sense: r.sense, field: r.field}
	if r.status != StatusGood || r.next == nil {
		return e
	}
	next := *s
	next.reservations = *r.next
	e.next, e.persist = &next, s.reservations.persistent || next.reservations.persistent
	if len(r.attentions) > 0 {
		e.attend = attend(r.attentions)
	}
	if q.action == outPreempt || q.action == outPreemptAbort {
		gone := map[nexusKey]bool{}
		for _, k := range r.removed {
			gone[k] = true
		}
		e.fence = &fence{
			affects: func(k nexusKey) bool { return gone[k] }, abort: q.action == outPreemptAbort,
			by: by.nexus, task: by, taskAborted: s.mode.taskAborted,
		}
	}
	return e
}

// attend picks from a list of unit attention conditions.
func attend(list []attentionFor) func(nexusKey) (Sense, bool) {
	byNexus := map[nexusKey]Sense{}
	for _, a := range list {
		byNexus[a.nexus] = a.sense
	}
	return func(k nexusKey) (Sense, bool) {
		s, ok := byNexus[k]
		return s, ok
	}
}

// runReserve does RESERVE: the LUN is the nexus's until RELEASE, a reset, or the end of the nexus.
func runReserve(t *Task) {
	key := t.nexus.key
	t.forward(func(old *state) effect {
		r := &old.reservations
		switch {
		case r.exclusive && r.exclusiveHolder != key, len(r.registrants) > 0:
			return effect{status: StatusReservationConflict}
		case r.exclusive:
			return effect{}
		}
		next := *old
		next.reservations.exclusive, next.reservations.exclusiveHolder = true, key
		return effect{next: &next}
	})
}

// runRelease does RELEASE; from a nexus that does not hold the LUN it does nothing, and succeeds.
func runRelease(t *Task) {
	key := t.nexus.key
	t.forward(func(old *state) effect { return effect{next: old.without(key)} })
}

// forward has the LUN's home reactor make a change and ends the task by it.
func (t *Task) forward(apply func(old *state) effect) {
	t.phase = phaseForwarded
	t.unit.lun.ask(&change{
		from: t.nexus.r, nexus: t.nexus, apply: apply,
		done: func(e effect) {
			t.phase = phaseRunning
			t.endByEffect(e)
		},
	})
	t.unit.checkDrains() // Fences do not wait for it any more, and it may be queued behind one of them.
}

func (t *Task) endByEffect(e effect) {
	if e.status != StatusCheckCondition {
		t.end(e.status)
		return
	}
	if e.field >= 0 {
		t.pointAt(e.sense, e.field, 7)
	}
	t.check(e.sense)
}
