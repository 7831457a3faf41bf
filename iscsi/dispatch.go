package iscsi

// sinkKind is what becomes of the PDU that is being received when it is whole.
type sinkKind uint8

const (
	sinkDrop    sinkKind = iota // nothing: it was handled at its header, or is not wanted
	sinkReject                  // a Reject with sink.reason
	sinkCommand                 // immediate data of sink.task
	sinkDataOut                 // Data-Out for sink.task
	sinkText                    // a Text Request
	sinkPing                    // a NOP-Out that is to be returned
)

// sink is where the data of the PDU that is being received goes.
type sink struct {
	kind   sinkKind
	reason RejectReason
	task   *task // nil when it has ended meanwhile
	offset uint32
}

// Received feeds the decoder (sock.Handler).
func (c *conn) Received(b []byte) {
	c.ping.heard, c.ping.asked = c.local.r.Now(), false
	c.in.Feed(b, c)
}

// Header dispatches a PDU (Sink). What carries data is finished by End.
func (c *conn) Header(h *BHS, ahs []byte) bool {
	c.sink = sink{}
	if f := Validate(h, &c.limits); f != FaultNone {
		return c.refuse(h, f)
	}
	if c.state != connRunning {
		if c.state != connEnding { // A cold reset has the same effect.
			c.local.count(countBehindEnd)
		}
		return c.state != connEnding // RFC 7143 11.14: nothing counts any more behind a Logout Request
	}
	if h.Opcode() == OpDataOut {
		c.dataOut(h)
		return true
	}
	switch c.session.admit(h) {
	case admitted:
		c.request(h, ahs)
	case ignored:
		c.local.count(countIgnoredCmdSN)
	case gap:
		c.local.count(countCmdSNGap)
		c.end()
	}
	return c.state != connEnding
}

// request starts a request whose CmdSN is in order.
func (c *conn) request(h *BHS, ahs []byte) {
	switch h.Opcode() {
	case OpSCSICommand:
		c.command(h, ahs)
	case OpNOPOut:
		c.nopOut(h)
	case OpTaskManagement:
		c.manage(h)
	case OpText:
		c.sink.kind = sinkText
		c.text.segment = c.text.segment[:0]
	case OpLogout:
		c.logoutRequest(h)
	default:
		panic("iscsi: Validate has passed " + h.Opcode().String())
	}
}

// refuse answers a PDU that breaks the rules: with a Reject when it is whole, or by closing.
func (c *conn) refuse(h *BHS, f Fault) bool {
	c.local.fault(f)
	if f.Closes() {
		c.end()
		return false
	}
	if hasCmdSN(h.Opcode()) && c.session.admit(h) != admitted {
		return true
	}
	c.sink = sink{kind: sinkReject, reason: f.Reason()}
	return true
}

// hasCmdSN reports whether PDUs of the opcode take a number from the command window.
func hasCmdSN(op Opcode) bool {
	switch op {
	case OpSCSICommand, OpNOPOut, OpTaskManagement, OpText, OpLogout:
		return true
	default:
		return false
	}
}

// Data takes a piece of the data segment (Sink).
func (c *conn) Data(p []byte) {
	switch c.sink.kind {
	case sinkCommand, sinkDataOut:
		if c.sink.task != nil {
			c.sink.task.copyIn(c.sink.offset, p)
			c.sink.offset += uint32(len(p))
		}
	case sinkText:
		c.text.segment = append(c.text.segment, p...)
	case sinkPing:
		o := c.ping.echo
		o.data = append(o.data, p[:min(len(p), cap(o.data)-len(o.data))]...)
	case sinkDrop, sinkReject:
	}
}

// End finishes a PDU (Sink).
func (c *conn) End(h *BHS, f Fault) bool {
	k := c.sink
	c.sink = sink{}
	if f != FaultNone {
		c.damaged(h, k, f)
		return c.state != connEnding
	}
	switch k.kind {
	case sinkReject:
		c.reject(h, k.reason)
	case sinkCommand, sinkDataOut:
		if k.task != nil {
			k.task.arrived(h)
		}
	case sinkText:
		c.textRequest(h)
	case sinkPing:
		c.sayPing()
	case sinkDrop:
	}
	return c.state != connEnding
}

// damaged answers a data digest error: a Reject, and the end of the task that the data was for (RFC 7143 7.8).
func (c *conn) damaged(h *BHS, k sink, f Fault) {
	c.local.fault(f)
	c.reject(h, f.Reason())
	if k.task != nil && c.state == connRunning {
		k.task.fail(senseServiceCRC)
	}
	if k.kind == sinkPing && c.ping.echo != nil {
		c.ping.echo.put()
		c.ping.echo = nil
	}
}

// Broken ends the connection: behind a header digest error nothing can be believed (Sink).
func (c *conn) Broken(f Fault) {
	c.local.fault(f)
	c.end()
}

// reject sends a Reject with the offending header (RFC 7143 11.17).
func (c *conn) reject(h *BHS, reason RejectReason) {
	o := c.getControl(OpReject)
	if o == nil {
		return
	}
	c.local.count(countRejects)
	o.bhs.SetFinal(true)
	o.bhs.SetReason(reason)
	o.bhs.SetInitiatorTaskTag(ReservedTag)
	o.data = append(o.data, h[:]...)
	o.status = true
	c.sayControl(o)
}
