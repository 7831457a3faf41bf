package scsi

import (
	"encoding/binary"
	"math/bits"

	"pollux/bdev"
)

// ParameterMax bounds parameter data and parameter lists, in bytes.
const ParameterMax = 64 << 10

// command is a row of the table of commands.
type command struct {
	name  string
	usage []byte // CDB usage data (SPC-5 6.41.4): byte 0 is the operation code, a bit of the others is set if it is looked at
	// action is set if byte 1 holds a service action in its low five bits; the usage data name it.
	action bool

	class   classes
	classOf func(*Task) classes // instead of class, if the CDB decides
	needs   opSet               // what the backing must be able to do
	where   places              // besides LUNs that exist
	quiet   bool                // unit attention conditions are not reported
	medium  bool                // needs a unit that was not stopped
	writes  bool                // refused if the medium is write-protected
	fua     bool                // byte 1 has a FUA bit
	slow    bool                // may take minutes, since it works through any number of blocks

	group      int                // byte with a GROUP NUMBER, which is ignored (SBC-4 4.23), or 0
	allocation field              // ALLOCATION LENGTH, of commands that return parameter data
	list       field              // PARAMETER LIST LENGTH, of commands that take a parameter list
	decode     func(*Task) bool   // the rest: range and length; false if it has refused
	run        func(*Task)        // ends the task, once, later or now
	usageOf    func(*LUN, []byte) // corrects a copy of usage for what the LUN cannot do

	allowed [2]uint64 // bits of the first 16 bytes that may be set
}

// field is a place in a CDB.
type field struct{ at, size int }

// places are where else a command is served.
type places uint8

const (
	onWellKnown places = 1 << iota // the REPORT LUNS well-known logical unit
	onNowhere                      // logical units that do not exist
)

const everywhere = onWellKnown | onNowhere

// What commands need of the backing.
var (
	needsRead    = ops(bdev.OpRead)
	needsWrite   = ops(bdev.OpWrite)
	needsFlush   = ops(bdev.OpFlush)
	needsUnmap   = ops(bdev.OpUnmap)
	needsCompare = ops(bdev.OpRead, bdev.OpCompare)
	needsSwap    = ops(bdev.OpCompareAndWrite)
	needsSame    = ops(bdev.OpWrite, bdev.OpWriteZeroes)
)

// commands is THE table: every command that any LUN offers. It is filled in init, since REPORT SUPPORTED OPERATION CODES reads it.
var commands []command

// byOpcode and byAction find the row; both are made from commands.
var (
	byOpcode [256]*command
	byAction [256]*[32]*command
)

func init() {
	commands = append(append(primaryCommands(), reservationCommands()...), blockCommands()...)
	for i := range commands {
		commands[i].index()
	}
}

// index enters c into the tables by which lookup finds it.
func (c *command) index() {
	var mask [16]byte
	copy(mask[:], c.usage)
	mask[0] = 0xff
	if c.action {
		mask[1] |= 0x1f
	}
	if c.group > 0 {
		mask[c.group] |= 0x3f
	}
	for i := len(c.usage); i < len(mask); i++ {
		mask[i] = 0xff
	}
	c.allowed = [2]uint64{binary.BigEndian.Uint64(mask[:8]), binary.BigEndian.Uint64(mask[8:])}
	op := c.usage[0]
	if !c.action {
		byOpcode[op] = c
		return
	}
	if byAction[op] == nil {
		byAction[op] = new([32]*command)
	}
	byAction[op][c.usage[1]&0x1f] = c
}

// lookup finds the command of a CDB, or nil.
func lookup(cdb *[CDBMax]byte) *command {
	if a := byAction[cdb[0]]; a != nil {
		return a[cdb[1]&0x1f]
	}
	return byOpcode[cdb[0]]
}

// offers reports whether the unit has the command.
func (u *unit) offers(c *command) bool {
	switch {
	case u.lun != nil:
		return u.lun.ops.has(c.needs)
	case u == u.nexus.wellKnown:
		return c.where&onWellKnown != 0
	default:
		return c.where&onNowhere != 0
	}
}

// reservationClass is the class of the command that t holds.
func (c *command) reservationClass(t *Task) classes {
	if c.classOf != nil {
		return c.classOf(t)
	}
	return c.class
}

// usageFor is the CDB usage data of c on l.
func (c *command) usageFor(l *LUN) []byte {
	if c.usageOf == nil || l == nil {
		return c.usage
	}
	u := append([]byte(nil), c.usage...)
	c.usageOf(l, u)
	return u
}

// unknown stands for a command that the unit does not have.
var unknown = command{name: "unknown", class: classPlain}

// prepare finds and checks the task's command, in the order of SAM-5 5.3.3: it returns false when it has refused.
func (t *Task) prepare() bool {
	u := t.unit
	c := lookup(&t.CDB)
	if c == nil || !u.offers(c) {
		c = &unknown
	}
	t.command = c
	if !c.quiet && u.attentions.n > 0 && t.reportAttention(true) {
		return false
	}
	if u.lun != nil && !t.permitted(u.state()) {
		return false
	}
	if !c.quiet && u.attentions.n > 0 && t.reportAttention(false) {
		return false
	}
	return t.known() && t.fieldsFit() && t.attributeFits() && (u.lun == nil || t.ready(t.view)) && t.measure()
}

// refuse gives the answer of a task that is not executed.
func (t *Task) refuse(s Sense) bool {
	t.Status = StatusCheckCondition
	t.setSense(s)
	return false
}

func (t *Task) refuseField(s Sense, field int, bit uint8) bool {
	t.pointAt(s, field, bit)
	return t.refuse(s)
}

// reportAttention answers with a unit attention condition that waits, and clears it (SAM-5 5.14): with a reset, if resets is
// set, else with any.
func (t *Task) reportAttention(resets bool) bool {
	a := &t.unit.attentions
	s, _ := a.first()
	if resets && !isReset(s) {
		return false
	}
	a.take()
	if s == attentionLUNsChanged {
		t.nexus.dropAttention(s)
	}
	t.refuse(s)
	return true
}

// dropAttention clears s on all LUNs of the nexus: REPORTED LUNS DATA HAS CHANGED is learned once (SPC-5 6.33).
func (n *Nexus) dropAttention(s Sense) {
	for _, u := range n.units {
		if u != nil {
			u.attentions.drop(s)
		}
	}
}

// permitted checks the task against the reservations in s, by which it is then admitted.
func (t *Task) permitted(s *state) bool {
	t.view = s
	if t.unit.denied != 0 && t.unit.denied&t.command.reservationClass(t) != 0 {
		t.Status = StatusReservationConflict
		return false
	}
	return true
}

// ready checks whether the medium is there and may be written.
func (t *Task) ready(s *state) bool {
	switch {
	case s.stopped && t.command.medium:
		return t.refuse(senseStopped)
	case t.command.writes && (s.readOnly || s.mode.writeProtect):
		return t.refuse(senseWriteProtected)
	}
	return true
}

// admit checks again, when the task starts, what may have changed since it was prepared.
func (t *Task) admit() bool {
	if t.unit.lun == nil || Mutated(MutateStaleView) {
		return true
	}
	s := t.unit.state()
	return s == t.view || t.permitted(s) && t.ready(s) && t.inRange(t.lba, t.blocks)
}

// known refuses commands that the unit does not have.
func (t *Task) known() bool {
	switch {
	case t.command != &unknown:
		return true
	case t.unit == t.nexus.nowhere:
		return t.refuse(senseLUNNotSupported)
	case byAction[t.CDB[0]] != nil:
		return t.refuseField(senseInvalidFieldInCDB, 1, 4)
	default:
		return t.refuse(senseInvalidOpcode)
	}
}

// fieldsFit refuses CDBs that are too short, or in which reserved bits are set.
func (t *Task) fieldsFit() bool {
	c := t.command
	if t.CDBLen < len(c.usage) {
		return t.refuse(senseInvalidFieldInCDB)
	}
	if binary.BigEndian.Uint64(t.CDB[:])&^c.allowed[0]|binary.BigEndian.Uint64(t.CDB[8:])&^c.allowed[1] == 0 {
		return true
	}
	for i := 1; i < len(c.usage); i++ {
		allowed := c.usage[i]
		switch {
		case i == 1 && c.action:
			allowed |= 0x1f
		case i == c.group:
			allowed |= 0x3f
		}
		if wrong := t.CDB[i] &^ allowed; wrong != 0 {
			return t.refuseField(senseInvalidFieldInCDB, i, uint8(bits.Len8(wrong)-1))
		}
	}
	return true
}

// attributeFits refuses the ACA attribute, since no ACA can be in effect (NACA is refused).
func (t *Task) attributeFits() bool {
	return t.Attribute != AttributeACA || t.refuse(senseInvalidMessage)
}

// measure works out what data the task moves.
func (t *Task) measure() bool {
	c := t.command
	switch {
	case c.allocation.size > 0:
		t.DataInMax = uint32(min(t.readUint(c.allocation.at, c.allocation.size), ParameterMax))
	case c.list.size > 0:
		n := t.readUint(c.list.at, c.list.size)
		if n > ParameterMax {
			return t.refuseField(senseInvalidFieldInCDB, c.list.at, 7)
		}
		t.DataOutLen = uint32(n)
	}
	if c.decode != nil && !c.decode(t) {
		return false
	}
	switch {
	case t.DataInMax > 0:
		t.Direction = DirIn
	case t.DataOutLen > 0:
		t.Direction = DirOut
	}
	return t.directionFits()
}

// directionFits refuses a task whose data-out the initiator expects to be data-in. The other way round nothing moves, and the
// residual count says so.
func (t *Task) directionFits() bool {
	if t.Direction == DirOut && t.ExpectedOut == 0 && t.ExpectedIn > 0 {
		return t.refuse(senseInvalidInformationUnit)
	}
	return true
}
