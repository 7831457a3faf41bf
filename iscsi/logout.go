package iscsi

// logoutRequest takes a Logout Request (RFC 7143 11.14). There is one connection, so closing it and closing the session are the
// same: tasks end first, then comes the answer, then the connection closes.
func (c *conn) logoutRequest(h *BHS) {
	o := c.getControl(OpLogoutResponse)
	if o == nil {
		return
	}
	p := &c.session.params
	o.bhs.SetFinal(true)
	o.bhs.SetInitiatorTaskTag(h.InitiatorTaskTag())
	o.bhs.SetTime2Wait(uint16(p.DefaultTime2Wait))
	o.bhs.SetTime2Retain(0) // nothing is kept
	o.status = true
	switch {
	case h.ReasonCode() == LogoutRemoveForRetry:
		o.bhs.SetResponse(LogoutResponseRecoveryNotPresent)
		c.sayControl(o)
	case h.ReasonCode() == LogoutCloseConnection && h.CID() != c.cid:
		o.bhs.SetResponse(LogoutResponseCIDNotFound)
		c.sayControl(o)
	case h.ReasonCode() > LogoutRemoveForRetry:
		o.put()
		c.sink = sink{kind: sinkReject, reason: RejectInvalidField}
	default:
		o.bhs.SetResponse(LogoutResponseClosed)
		o.last = true
		c.logout, c.state = o, connLoggingOut
		if c.nexusClosed {
			c.answerLogout()
			return
		}
		c.closeNexus()
	}
}

// answerLogout says that the tasks have ended; the connection closes behind it.
func (c *conn) answerLogout() {
	o := c.logout
	c.logout = nil
	c.sayControl(o)
}
