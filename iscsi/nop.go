package iscsi

import "time"

// pinger notices a peer that has vanished: after nop_in_interval of silence it sends a NOP-In, and if nothing at all is heard for
// nop_timeout after that, it ends the connection.
type pinger struct {
	interval, timeout time.Duration
	heard             int64 // when bytes last arrived
	asked             bool  // a NOP-In is out, and nothing has been heard since
	leaving           bool  // the timer is that of a logout
	tag               uint32
	echo              *control // the answer to the NOP-Out that is being received
}

func (c *conn) startTimer(o Options) {
	p := &c.ping
	p.interval, p.timeout = time.Duration(o.NOPInInterval)*time.Second, time.Duration(o.NOPTimeout)*time.Second
	p.heard = c.local.r.Now()
	c.timer.Bind(c.local.r, c.tick)
	if p.interval > 0 && p.timeout > 0 {
		c.timer.Start(p.interval)
	}
}

// tick is the connection's timer.
func (c *conn) tick() {
	p, now := &c.ping, c.local.r.Now()
	switch {
	case c.state == connEnding:
		c.quarantine()
	case p.leaving:
		c.end()
	case c.stalled(now):
		c.local.count(countDataOutTimeout)
		c.end()
	case p.asked:
		c.local.count(countNOPTimeout)
		c.end()
	case now-p.heard >= int64(p.interval) && c.limits.Phase == PhaseFullFeature:
		p.asked = true
		c.sayPingRequest()
		c.timer.Start(p.timeout)
	default:
		c.timer.Start(max(p.interval-time.Duration(now-p.heard), time.Second))
	}
}

// stalled reports whether a task has waited for its data-out for too long.
func (c *conn) stalled(now int64) bool {
	for t := c.tasks; t != nil; t = t.next {
		if t.state == taskGathering && !t.waiting && now-t.gather.since > int64(DataOutTimeout) {
			return true
		}
	}
	return false
}

// sayPingRequest asks whether the peer is there. It takes no StatSN (RFC 7143 11.19.2).
func (c *conn) sayPingRequest() {
	o := c.getControl(OpNOPIn)
	if o == nil {
		return
	}
	c.ping.tag++
	if c.ping.tag == ReservedTag {
		c.ping.tag = 0
	}
	o.bhs.SetFinal(true)
	o.bhs.SetInitiatorTaskTag(ReservedTag)
	o.bhs.SetTargetTransferTag(c.ping.tag)
	c.sayControl(o)
}

// nopOut takes a NOP-Out: an answer to our NOP-In, of which it matters only that bytes arrived, or a question whose data is returned
// (RFC 7143 11.18).
func (c *conn) nopOut(h *BHS) {
	if h.InitiatorTaskTag() == ReservedTag {
		return
	}
	o := c.getControl(OpNOPIn)
	if o == nil {
		return
	}
	n := min(h.DataSegmentLength(), PingMax, int(c.maxSend))
	if cap(o.data) < n {
		o.data = make([]byte, 0, PingMax)
	}
	o.data = o.data[:0:n]
	o.bhs.SetFinal(true)
	o.bhs.SetLUN(h.LUN())
	o.bhs.SetInitiatorTaskTag(h.InitiatorTaskTag())
	o.bhs.SetTargetTransferTag(ReservedTag)
	o.status = true
	c.ping.echo = o
	c.sink.kind = sinkPing
}

// sayPing returns the data of a whole NOP-Out.
func (c *conn) sayPing() {
	o := c.ping.echo
	c.ping.echo = nil
	if o != nil {
		c.sayControl(o)
	}
}
