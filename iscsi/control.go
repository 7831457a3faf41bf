package iscsi

// control is a PDU from the target that belongs to no SCSI task: NOP-In, Text Response, Reject, and the like. Pooled per reactor.
type control struct {
	conn   *conn
	next   *control
	output output
	bhs    BHS
	data   []byte // its memory is kept for the next use
	status bool   // takes a StatSN
	plain  bool   // without digests: the last PDU of the login
	last   bool   // the connection closes behind it
}

// getControl takes a control PDU, or nil when the connection ends because its peer does not read its answers.
func (c *conn) getControl(op Opcode) *control {
	if c.controls >= ControlMax {
		c.local.count(countControlOverflow)
		c.end()
		return nil
	}
	o := c.local.controls
	if o == nil {
		o = &control{}
		o.output.control = o
	} else {
		c.local.controls = o.next
	}
	c.controls++
	o.conn, o.next = c, nil
	o.data, o.status, o.plain, o.last = o.data[:0], false, false, false
	o.bhs.Clear(op)
	return o
}

// put gives the control PDU back.
func (o *control) put() {
	l := o.conn.local
	o.conn.controls--
	o.conn = nil
	o.next, l.controls = l.controls, o
}

// sayControl queues it.
func (c *conn) sayControl(o *control) {
	if c.state == connEnding {
		o.put()
		return
	}
	c.say(&o.output)
	if o.last {
		c.state = connLast
		c.sock.CloseAfterSend()
	}
}

// fill writes the PDU into the send set.
func (o *control) fill() progress {
	c := o.conn
	if !c.room(len(o.data), 0) {
		return progressFull
	}
	headerDigest, dataDigest := c.headerDigest, c.dataDigest
	if o.plain {
		c.headerDigest, c.dataDigest = false, false
	}
	f, h := c.begin(o.bhs.Opcode(), len(o.data))
	*h = o.bhs
	h.SetDataSegmentLength(len(o.data))
	copy(f.inline(), o.data)
	c.stamp(h, o.status)
	c.seal(&f)
	c.headerDigest, c.dataDigest = headerDigest, dataDigest
	o.put()
	return progressDone
}

// dropControls gives back what waits to be sent.
func (c *conn) dropControls() {
	for c.out.head != nil {
		o := c.out.head
		c.out.remove(o)
		if o.control != nil {
			o.control.put()
		}
	}
	if c.logout != nil {
		c.logout.put()
		c.logout = nil
	}
	if c.ping.echo != nil {
		c.ping.echo.put()
		c.ping.echo = nil
	}
}
