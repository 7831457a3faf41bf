package sock

import (
	"time"

	"pollux/reactor"
)

// The bounds of holding output back; see Conn.HoldOutput.
const (
	HoldMax   = 20 * time.Microsecond // after the start of the last send
	HoldQuiet = 8 * time.Microsecond  // after the last bytes from the peer
	HoldCount = 32                    // calls of Dirty that are enough for a send

	holdSkipMin = 16   // sends without an attempt after the first that was in vain
	holdSkipMax = 1024 // and after many in a row
)

// hold keeps the output of a busy connection back for a moment, so that one send carries the answers to several requests. A send costs
// several times what an answer does, and a peer that keeps many requests in flight sends them one by one.
//
// A peer with one request in flight would only wait longer. It cannot be told from the others by what it says, so it is tried:
// holding that brought no further answer was in vain, and is tried again only after a number of sends that doubles each time.
type hold struct {
	on    bool
	held  bool // output is being held back
	wants int  // calls of Dirty since the last send
	first int  // wants when holding began
	heard int64
	skip  int // sends until the next attempt
	back  int // what skip becomes when an attempt is in vain
	timer reactor.Timer
}

func (h *hold) reset() {
	h.timer.Stop()
	h.on, h.held, h.wants, h.skip, h.back = false, false, 0, 0, holdSkipMin
}

// HoldOutput lets the connection hold output back while requests keep arriving: until HoldMax after the last send, until the peer has
// been quiet for HoldQuiet, or until HoldCount answers wait. Open turns it off.
func (c *Conn) HoldOutput() { c.hold.on = true }

// holdsBack reports whether the output that wants to leave waits a little longer.
func (c *Conn) holdsBack() bool {
	h := &c.hold
	if !h.on || c.lastFill {
		return false
	}
	if !h.held && h.skip > 0 {
		h.skip--
		return false
	}
	left := min(c.sendSince+int64(HoldMax), h.heard+int64(HoldQuiet)) - c.r.Now()
	if left <= 0 || h.wants >= HoldCount {
		h.judge()
		return false
	}
	if !h.held {
		h.held, h.first = true, h.wants
	}
	if !h.timer.Active() {
		h.timer.Start(time.Duration(left))
	}
	return true
}

// judge looks whether holding back was worth it.
func (h *hold) judge() {
	switch {
	case !h.held:
		return
	case h.wants > h.first:
		h.back = holdSkipMin
	default:
		h.skip = h.back
		h.back = min(2*h.back, holdSkipMax)
	}
	h.held = false
	h.timer.Stop()
}

// onHoldTimer has the output looked at again.
func (c *Conn) onHoldTimer() {
	if c.wantFill && c.state == stateOpen {
		c.flushLater()
	}
}
