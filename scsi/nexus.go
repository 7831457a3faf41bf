package scsi

import (
	"slices"

	"pollux/reactor"
)

// nexusKey identifies an I_T nexus across sessions: a registration outlives the session that made it (SPC-5 5.14.5).
type nexusKey struct {
	initiator string
	port      uint16 // relative target port identifier
}

// Nexus is an I_T nexus with all its LUNs, on one reactor.
type Nexus struct {
	r         *reactor.Reactor
	device    *Device
	here      *outpost
	initiator PortID
	target    PortID
	key       nexusKey

	units     []*unit // by LUN number; nil where there is none
	wellKnown *unit   // the REPORT LUNS well-known logical unit
	nowhere   *unit   // takes the commands to LUNs that do not exist
	orphans   []*unit // of LUNs that were removed, with tasks that the transport still has to execute

	sequence  uint64 // of the last task
	scratch   []byte // parameter data are built here
	managing  int    // task management functions that have not answered
	abandoned int    // further ones, which nobody waits for
	closing   bool
	leaving   bool // all tasks have ended
	closed    func()
	closeLeft int
}

// OpenNexus makes the nexus on r; Close drains it. (on r; rare, may allocate)
func (d *Device) OpenNexus(r *reactor.Reactor, initiator, target PortID) *Nexus {
	n := &Nexus{
		r: r, device: d, here: d.outposts[r.ID()], initiator: initiator, target: target,
		key: nexusKey{initiator.Name, target.RelativeID},
	}
	n.wellKnown, n.nowhere = newUnit(n, nil), newUnit(n, nil)
	for _, p := range n.here.paths {
		n.addUnit(p)
	}
	n.here.nexuses = append(n.here.nexuses, n)
	return n
}

// addUnit lets the nexus see the LUN behind p.
func (n *Nexus) addUnit(p *path) {
	number := p.lun.number
	for len(n.units) <= number {
		n.units = append(n.units, nil)
	}
	u := newUnit(n, p)
	u.attentions.add(attentionPowerOn)
	u.holdBack()
	n.units[number] = u
	p.units = append(p.units, u)
}

// orphan takes u off the nexus, because its LUN goes away.
func (n *Nexus) orphan(u *unit) {
	n.units[u.lun.number] = nil
	n.orphans = append(slices.DeleteFunc(n.orphans, (*unit).isIdle), u)
}

// find is the unit that lun addresses.
func (n *Nexus) find(lun uint64) *unit {
	if lun == wellKnownLUN {
		return n.wellKnown
	}
	if number := decodeLUN(lun); number >= 0 && number < len(n.units) && n.units[number] != nil {
		return n.units[number]
	}
	return n.nowhere
}

// Prepare decodes. It returns false when the command has been refused: then Execute is not needed, the transport discards
// data-out, and the answer is in t as at Finished. If it returns true the nexus knows the task, and task management finds it, until
// Finished or Cancel. A task that is aborted meanwhile is only marked: the transport calls Execute as ever, with what it has.
//
// Block commands move whole blocks. If the initiator expects to move less than the command asks for, a read returns what is
// expected, and WRITE and WRITE AND VERIFY write the blocks that are expected, with GOOD status: the residual count tells (RFC
// 7143 11.4.5.1). What cannot be done in part (a piece of a block, a compare, a pattern, a parameter list) is refused.
func (n *Nexus) Prepare(t *Task) bool {
	t.begin(n)
	t.unit = n.find(t.LUN)
	if !t.prepare() {
		return false
	}
	n.sequence++
	t.sequence = n.sequence
	t.phase = phasePrepared
	t.unit.append(t)
	return true
}

// Execute runs t; t.Finished is called once, not within this call. A task that is being ended already stays so.
func (n *Nexus) Execute(t *Task) {
	if t.nexus == n && t.isEnding() {
		return
	}
	if t.phase != phasePrepared || t.nexus != n {
		panic("scsi: Execute of a task that was not prepared")
	}
	if t.unit.mayStart(t) || t.aborted != abortNone {
		t.proceed()
		return
	}
	t.wait()
}

// proceed starts a task that its own nexus does not hold back. An ordered one has to have its turn among the others.
func (t *Task) proceed() {
	if t.Attribute != AttributeOrdered || t.unit.lun == nil || t.aborted != abortNone {
		t.start()
		return
	}
	t.wait()
	t.takeTurn()
}

func (t *Task) wait() {
	t.phase = phaseWaiting
	t.unit.waiting++
}

// Cancel forgets a task that was prepared and will not be executed, for instance because its data-out was damaged. Finished is
// not called. It is false when the task is being ended already (its LUN or the nexus is closing): then Finished is called, soon.
func (n *Nexus) Cancel(t *Task) bool {
	if t.nexus == n && t.isEnding() {
		return false
	}
	if t.phase != phasePrepared || t.nexus != n {
		panic("scsi: Cancel of a task that was not prepared")
	}
	t.unit.remove(t)
	t.phase = phaseIdle
	t.unit.settle()
	return true
}

// isEnding reports whether endAll has found the task prepared and ends it.
func (t *Task) isEnding() bool {
	return t.phase == phaseRunning && t.aborted != abortNone && !t.inDevice
}

// start runs the task's handler.
func (t *Task) start() {
	t.inExecute = true
	t.phase = phaseRunning
	switch {
	case t.aborted != abortNone:
		t.endLater()
	case t.admit():
		t.command.run(t)
	default:
		t.endLater() // The answer is in t.
	}
	t.inExecute = false
}

// EndTasks ends all tasks as Close does, and calls ended on the reactor when they have. The nexus stays, with its unit attentions and
// reservations; tasks may be prepared again from then on.
func (n *Nexus) EndTasks(ended func()) {
	left := 1
	step := func() {
		if left--; left == 0 {
			ended()
		}
	}
	for _, u := range n.allUnits() {
		left++
		u.endAll(step)
	}
	step()
}

// Close ends all tasks (Finished is called for each, prepared ones too), drains, and calls closed on the reactor. What the nexus
// held that does not outlive it (RESERVE(6), PREVENT ALLOW) is gone by then. No task may be prepared after Close.
func (n *Nexus) Close(closed func()) {
	if n.closing {
		panic("scsi: second Close of a nexus")
	}
	n.closing, n.closed = true, closed
	n.closeLeft = 1
	for _, u := range n.allUnits() {
		n.closeLeft++
		u.endAll(n.closeStep)
	}
	n.closeStep()
}

// closeStep runs when a unit has drained, and when the last management function has answered.
func (n *Nexus) closeStep() {
	n.closeLeft--
	n.closeIfQuiet()
}

// closeIfQuiet leaves the LUNs when nothing is under way any more.
func (n *Nexus) closeIfQuiet() {
	if !n.closing || n.leaving || n.closeLeft > 0 || n.managing > 0 {
		return
	}
	n.leaving = true
	n.closeLeft = 1
	for _, u := range n.units {
		if u == nil {
			continue
		}
		n.closeLeft++
		u.path.detach(u)
		u.lun.forget(n, n.detached)
	}
	n.detached()
}

// detached runs when a LUN's home reactor has forgotten the nexus.
func (n *Nexus) detached() {
	n.closeLeft--
	if n.closeLeft > 0 {
		return
	}
	n.here.removeNexus(n)
	n.closed()
}

// allUnits is every unit that can have tasks.
func (n *Nexus) allUnits() []*unit {
	all := append([]*unit{n.wellKnown, n.nowhere}, n.orphans...)
	for _, u := range n.units {
		if u != nil {
			all = append(all, u)
		}
	}
	return all
}
