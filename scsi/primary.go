package scsi

import (
	"encoding/binary"

	"pollux/bdev"
)

// primaryCommands are the rows of SPC-5.
func primaryCommands() []command {
	return []command{
		{
			name: "TEST UNIT READY", usage: []byte{0x00, 0, 0, 0, 0, 0},
			class: classPlain, where: onWellKnown, medium: true, run: (*Task).good,
		},
		{
			name: "REQUEST SENSE", usage: []byte{0x03, 0x01, 0, 0, 0xff, 0},
			where: everywhere, quiet: true, allocation: field{4, 1}, run: runRequestSense,
		},
		{
			name: "INQUIRY", usage: []byte{0x12, 0x01, 0xff, 0xff, 0xff, 0},
			where: everywhere, quiet: true, allocation: field{3, 2}, decode: decodeInquiry, run: runInquiry,
		},
		{
			name: "MODE SELECT(6)", usage: []byte{0x15, 0x10, 0, 0, 0xff, 0},
			class: classWrite, list: field{4, 1}, decode: decodeList, run: runModeSelect,
		},
		{
			name: "MODE SELECT(10)", usage: []byte{0x55, 0x10, 0, 0, 0, 0, 0, 0xff, 0xff, 0},
			class: classWrite, list: field{7, 2}, decode: decodeList, run: runModeSelect,
		},
		{
			name: "MODE SENSE(6)", usage: []byte{0x1a, 0x08, 0xff, 0xff, 0xff, 0},
			class: classWrite, allocation: field{4, 1}, decode: decodeModeSense, run: runModeSense,
		},
		{
			name: "MODE SENSE(10)", usage: []byte{0x5a, 0x18, 0xff, 0xff, 0, 0, 0, 0xff, 0xff, 0},
			class: classWrite, allocation: field{7, 2}, decode: decodeModeSense, run: runModeSense,
		},
		{
			name: "START STOP UNIT", usage: []byte{0x1b, 0x01, 0, 0, 0x05, 0},
			classOf: startStopClass, slow: true, run: runStartStop,
		},
		{
			name: "PREVENT ALLOW MEDIUM REMOVAL", usage: []byte{0x1e, 0, 0, 0, 0x01, 0},
			classOf: preventClass, run: (*Task).good, // The medium is not removable, so there is nothing to prevent.
		},
		{
			name: "REPORT LUNS", usage: []byte{0xa0, 0, 0xff, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0, 0},
			where: everywhere, quiet: true, allocation: field{6, 4}, decode: decodeReportLUNs, run: runReportLUNs,
		},
		{
			name: "REPORT SUPPORTED OPERATION CODES", usage: []byte{0xa3, 0x0c, 0x87, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0},
			action: true, class: classWrite, allocation: field{6, 4}, decode: decodeReportCommands, run: runReportCommands,
		},
		{
			name: "REPORT SUPPORTED TASK MANAGEMENT FUNCTIONS", usage: []byte{0xa3, 0x0d, 0x80, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0, 0},
			action: true, class: classWrite, allocation: field{6, 4}, run: runReportFunctions,
		},
	}
}

// decodeList refuses a parameter list of which the initiator sends only a part.
func decodeList(t *Task) bool {
	return t.ExpectedOut >= t.DataOutLen || t.refuse(senseParameterListLength)
}

// runRequestSense reports a unit attention condition, if one waits, as parameter data (SPC-5 6.39).
func runRequestSense(t *Task) {
	u := t.unit
	var s Sense
	switch {
	case u == t.nexus.nowhere:
		s = senseLUNNotSupported
	case u.attentions.n > 0:
		s, _ = u.attentions.first()
		u.attentions.take()
		if s == attentionLUNsChanged {
			t.nexus.dropAttention(s)
		}
	}
	var b [SenseMax]byte
	n := encodeSense(&b, s, detail{}, t.CDB[1]&1 != 0)
	t.reply(b[:n])
}

// startStopClass: starting is allowed in the presence of persistent reservations (SPC-5 table 67).
func startStopClass(t *Task) classes {
	if t.CDB[4]&1 != 0 {
		return classPlain
	}
	return classWrite
}

// runStartStop starts or stops the unit for everybody; before a stop the cache is flushed, unless NO_FLUSH says otherwise.
func runStartStop(t *Task) {
	start, noFlush := t.CDB[4]&1 != 0, t.CDB[4]&4 != 0
	if start || noFlush || !t.unit.lun.ops.has(needsFlush) {
		t.setStopped(!start)
		return
	}
	t.submit(bdev.OpFlush, 0, t.view.blocks, nil, stopFlushed)
}

func stopFlushed(t *Task) {
	if t.Request.Status != bdev.StatusOK {
		t.fail()
		return
	}
	t.setStopped(true)
}

func (t *Task) setStopped(stopped bool) {
	t.forward(func(old *state) effect {
		if old.stopped == stopped {
			return effect{}
		}
		next := *old
		next.stopped = stopped
		return effect{next: &next}
	})
}

// preventClass: allowing removal is allowed in the presence of reservations (SPC-5 table 67).
func preventClass(t *Task) classes {
	if t.CDB[4]&1 != 0 {
		return classWrite | classPlain
	}
	return classFree
}

func decodeReportLUNs(t *Task) bool {
	// SPC-5 6.33: an allocation length of less than 16 is an error.
	if t.DataInMax < 16 {
		return t.refuseField(senseInvalidFieldInCDB, 6, 7)
	}
	if t.CDB[2] > 2 {
		return t.refuseField(senseInvalidFieldInCDB, 2, 7)
	}
	return true
}

// runReportLUNs lists the LUNs of the nexus: those with numbers, the well-known one, or both.
func runReportLUNs(t *Task) {
	t.nexus.dropAttention(attentionLUNsChanged)
	b := append(t.nexus.scratch[:0], make([]byte, 8)...)
	for number, u := range t.nexus.units {
		if u != nil && t.CDB[2] != 1 {
			b = binary.BigEndian.AppendUint64(b, EncodeLUN(number))
		}
	}
	if t.CDB[2] != 0 {
		b = binary.BigEndian.AppendUint64(b, wellKnownLUN)
	}
	binary.BigEndian.PutUint32(b, uint32(len(b)-8))
	t.nexus.scratch = b
	t.reply(b)
}

// runReportFunctions tells the task management functions (SPC-5 6.42).
func runReportFunctions(t *Task) {
	const abortTask, abortTaskSet, clearTaskSet, reset, query = 0x80, 0x40, 0x10, 0x08, 0x01
	b := make([]byte, 4, 16)
	b[0] = abortTask | abortTaskSet | clearTaskSet | reset | query
	if t.CDB[2]&0x80 != 0 { // REPD: the extended format, without time-outs.
		b[3] = 12
		b = b[:16]
	}
	t.reply(b)
}

// REPORT SUPPORTED OPERATION CODES (SPC-5 6.41).
const (
	reportAll        = 0
	reportCode       = 1 // no service action
	reportAction     = 2
	reportCodeAction = 3 // either
)

func decodeReportCommands(t *Task) bool {
	if t.CDB[2]&7 > reportCodeAction {
		return t.refuseField(senseInvalidFieldInCDB, 2, 2)
	}
	hasActions := byAction[t.CDB[3]] != nil
	switch t.CDB[2] & 7 {
	case reportCode:
		// The operation code has service actions, so it needs one.
		return !hasActions || t.refuseField(senseInvalidFieldInCDB, 2, 2)
	case reportAction:
		return hasActions || t.refuseField(senseInvalidFieldInCDB, 2, 2)
	}
	return true
}

func runReportCommands(t *Task) {
	b := t.nexus.scratch[:0]
	if t.CDB[2]&7 == reportAll {
		b = t.appendAllCommands(b)
	} else {
		b = t.appendOneCommand(b)
	}
	t.nexus.scratch = b
	t.reply(b)
}

// appendAllCommands lists what this LUN offers, with or without time-outs (RCTD).
func (t *Task) appendAllCommands(b []byte) []byte {
	timeouts := t.CDB[2]&0x80 != 0
	b = append(b, 0, 0, 0, 0)
	for i := range commands {
		c := &commands[i]
		if !t.unit.offers(c) {
			continue
		}
		d := [8]byte{0: c.usage[0], 7: byte(len(c.usage))}
		if c.action {
			d[3], d[5] = c.usage[1]&0x1f, 0x01 // SERVACTV
		}
		if timeouts {
			d[5] |= 0x02 // CTDP
		}
		b = append(b, d[:]...)
		if timeouts {
			b = c.appendTimeouts(b)
		}
	}
	binary.BigEndian.PutUint32(b, uint32(len(b)-4))
	return b
}

// appendOneCommand tells whether one command is offered, and its usage data.
func (t *Task) appendOneCommand(b []byte) []byte {
	c := t.commandAskedFor()
	timeouts := t.CDB[2]&0x80 != 0
	const notSupported, supported = 1, 3
	if c == nil || !t.unit.offers(c) {
		return append(b, 0, notSupported, 0, 0)
	}
	flags := byte(supported)
	if timeouts {
		flags |= 0x80
	}
	usage := c.usageFor(t.unit.lun)
	b = append(b, 0, flags, 0, byte(len(usage)))
	b = append(b, usage...)
	if timeouts {
		b = c.appendTimeouts(b)
	}
	return b
}

func (t *Task) commandAskedFor() *command {
	action := binary.BigEndian.Uint16(t.CDB[4:])
	switch a := byAction[t.CDB[3]]; {
	case a == nil && (action == 0 || t.CDB[2]&7 == reportCode):
		return byOpcode[t.CDB[3]]
	case a != nil && action < 32:
		return a[action]
	}
	return nil
}

// Time-outs in seconds (SPC-5 6.41.4): what is usual, and what an initiator had better wait.
const (
	nominalSeconds     = 1
	recommendedSeconds = 30
	slowSeconds        = 300
)

// appendTimeouts adds the command timeouts descriptor.
func (c *command) appendTimeouts(b []byte) []byte {
	recommended := uint32(recommendedSeconds)
	if c.slow {
		recommended = slowSeconds
	}
	b = append(b, 0, 10, 0, 0)
	b = binary.BigEndian.AppendUint32(b, nominalSeconds)
	return binary.BigEndian.AppendUint32(b, recommended)
}
