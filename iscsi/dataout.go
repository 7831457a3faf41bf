package iscsi

import "pollux/scsi"

// gather is a write's data on its way in. Data comes in order, PDU by PDU and burst by burst (DataPDUInOrder and
// DataSequenceInOrder are Yes): first unsolicited, then what R2Ts ask for.
type gather struct {
	wanted      uint32 // bytes that the command takes
	got         uint32 // bytes that have arrived: where the next must begin
	asked       uint32 // bytes that unsolicited data and R2Ts cover
	limit       uint32 // how far unsolicited data may go
	unsolicited bool   // unsolicited data is still to come
	dataSN      uint32 // next of the unsolicited sequence
	since       int64  // when data last arrived

	r2tSN    uint32
	r2ts     [R2TMax]r2t // outstanding, the oldest first
	count    int
	unsent   int    // of them, at the end, not yet sent
	transfer uint32 // counts R2Ts over all uses of the task, so that a tag is not used again soon
}

// r2t is one request for data.
type r2t struct {
	tag    uint32
	offset uint32
	length uint32
	got    uint32
	dataSN uint32 // next of this sequence
}

// A transfer tag is the task's id and a count. Fewer than 2^20-1 tasks exist, so no tag is the reserved one.
const transferBits = 12

func (t *task) newTransferTag() uint32 {
	t.gather.transfer++
	return t.id<<transferBits | t.gather.transfer&(1<<transferBits-1)
}

// startGather prepares a task for its data-out. The data segment of h, immediate data, follows.
func (t *task) startGather(h *BHS) {
	c, g := t.conn, &t.gather
	immediate := uint32(h.DataSegmentLength())
	g.unsolicited = !h.Final()
	g.limit = min(c.limits.FirstBurstLength, t.ExpectedOut)
	g.since = t.started
	if !t.getMemory(g.wanted) {
		if immediate > 0 || g.unsolicited {
			// There is nowhere to put what is already on its way.
			c.local.count(countTaskSetFull)
			t.answerStatus(scsi.StatusTaskSetFull)
			return
		}
		t.starve()
		return
	}
	c.sink = sink{kind: sinkCommand, task: t}
}

// dataOut begins a Data-Out PDU.
func (c *conn) dataOut(h *BHS) {
	t := c.gathering(h)
	if t == nil {
		c.local.count(countStrayDataOut) // of a task that has been aborted or has failed: dropped
		return
	}
	if sense := t.gather.check(h); sense != (scsiSense{}) {
		c.local.count(countDataOutOrder)
		t.fail(sense)
		return
	}
	if n := c.tasks; Mutated(MutateWrongTask) && n.state == taskGathering {
		t = n
	}
	c.sink = sink{kind: sinkDataOut, task: t, offset: h.BufferOffset()}
}

// gathering finds the task that a Data-Out is for: by its transfer tag if it was asked for, else by its task tag.
func (c *conn) gathering(h *BHS) *task {
	tag := h.TargetTransferTag()
	if tag == ReservedTag {
		return c.findUnsolicited(h.InitiatorTaskTag())
	}
	id := tag >> transferBits
	if id >= uint32(len(c.local.tasks.all)) {
		return nil
	}
	t := c.local.tasks.all[id]
	if t.conn != c || t.state != taskGathering || t.itt != h.InitiatorTaskTag() {
		return nil
	}
	for i := range t.gather.count - t.gather.unsent {
		if t.gather.r2ts[i].tag == tag {
			return t
		}
	}
	return nil
}

// findUnsolicited: the newest tasks are in front, and unsolicited data follows its command closely.
func (c *conn) findUnsolicited(itt uint32) *task {
	for t := c.tasks; t != nil; t = t.next {
		if t.itt == itt && t.state == taskGathering && t.gather.unsolicited {
			return t
		}
	}
	return nil
}

// check holds a Data-Out to the order of its sequence. The zero sense is none.
func (g *gather) check(h *BHS) scsiSense {
	n := uint32(h.DataSegmentLength())
	if h.TargetTransferTag() == ReservedTag {
		switch {
		case h.BufferOffset() != g.got || h.DataSN() != g.dataSN:
			return senseServiceCRC
		case n > g.limit-g.got:
			return senseUnexpectedUnsolicited
		}
		return scsiSense{}
	}
	r := &g.r2ts[0]
	switch {
	case h.TargetTransferTag() != r.tag || h.DataSN() != r.dataSN || h.BufferOffset() != g.got:
		return senseServiceCRC
	case n > r.length-r.got || h.Final() && n < r.length-r.got:
		return senseIncorrectAmount
	}
	return scsiSense{}
}

// arrived counts the data of a whole PDU, and goes on.
func (t *task) arrived(h *BHS) {
	g, n := &t.gather, uint32(h.DataSegmentLength())
	g.since = t.local.r.Now()
	g.got += n
	switch {
	case h.Opcode() == OpSCSICommand:
	case h.TargetTransferTag() == ReservedTag:
		g.dataSN++
		g.unsolicited = !h.Final()
	default:
		r := &g.r2ts[0]
		r.got += n
		r.dataSN++
		if r.got == r.length {
			g.count--
			copy(g.r2ts[:], g.r2ts[1:g.count+1])
		}
	}
	t.advance()
}

// advance executes the task when its data is whole, and asks for more when it is not.
func (t *task) advance() {
	g := &t.gather
	switch {
	case g.unsolicited:
	case g.got >= g.wanted:
		if g.wanted == 0 {
			t.startIn()
			return
		}
		t.execute()
	default:
		t.askForData()
	}
}

// askForData queues as many R2Ts as may be outstanding. The memory for what they ask is held.
func (t *task) askForData() {
	c, g := t.conn, &t.gather
	g.asked = max(g.asked, g.got)
	depth := min(R2TMax, int(c.session.params.MaxOutstandingR2T))
	for g.count < depth && g.asked < g.wanted {
		n := min(c.session.params.MaxBurstLength, g.wanted-g.asked)
		g.r2ts[g.count] = r2t{tag: t.newTransferTag(), offset: g.asked, length: n, dataSN: FirstSN()}
		g.count++
		g.unsent++
		g.asked += n
	}
	if g.unsent > 0 && !t.output.queued {
		c.say(&t.output)
	}
}

// fillR2T writes the R2Ts that have not been sent (RFC 7143 11.8). They carry the next StatSN and take none.
func (t *task) fillR2T() progress {
	c, g := t.conn, &t.gather
	for g.unsent > 0 {
		if !c.room(0, 0) {
			return progressFull
		}
		r := &g.r2ts[g.count-g.unsent]
		f, h := c.begin(OpR2T, 0)
		h.SetFinal(true)
		h.SetLUN(t.Task.LUN)
		h.SetInitiatorTaskTag(t.itt)
		h.SetTargetTransferTag(r.tag)
		h.SetR2TSN(g.r2tSN)
		h.SetBufferOffset(r.offset)
		h.SetDesiredDataTransferLength(r.length)
		c.stamp(h, false)
		c.seal(&f)
		g.r2tSN++
		g.unsent--
	}
	return progressDone
}
