package sock

import (
	"time"

	"pollux/reactor"
)

// The bounds of holding output back; see Conn.HoldOutput.
const (
	HoldMax   = 32 * time.Microsecond // after the start of the last send
	HoldQuiet = 8 * time.Microsecond  // after the last bytes from the peer
	HoldCount = 8                     // calls of Dirty that are enough for a send

	// holdShare is the part of a peer's requests in flight whose answers leave together. A whole would make the two ends take
	// turns instead of working at the same time.
	holdShare = 4

	holdSkipMin = 16   // sends between two looks at how much the peer keeps in flight
	holdSkipMax = 1024 // and when the last looks were in vain
)

// hold keeps the output of a busy connection back for a moment, so that one send carries the answers to several requests. A send costs
// several times what an answer does, and a peer that keeps many requests in flight sends them one by one.
//
// How many those are is not said anywhere, so it is looked at now and then: output is held until the peer is quiet, and as many answers
// as wait then are what it had in flight. A look at a peer with few of them was in vain, and the next one comes after twice as many sends.
type hold struct {
	on      bool
	held    bool // output is being held back
	looking bool // and only the peer's silence ends it
	wants   int  // calls of Dirty since the last send
	batch   int  // wants that are worth a send; less than 2: output leaves at once
	heard   int64
	skip    int // sends until the next look
	back    int // what skip becomes when the look is in vain
	timer   reactor.Timer
}

func (h *hold) reset() {
	h.timer.Stop()
	*h = hold{back: holdSkipMin, timer: h.timer}
}

// HoldOutput lets the connection hold output back while requests keep arriving: until HoldMax after the last send, until the peer has
// been quiet for HoldQuiet, or until HoldCount answers wait, and only if the peer keeps many requests in flight. Open turns it off.
func (c *Conn) HoldOutput() { c.hold.on = true }

// holdsBack reports whether the output that wants to leave waits a little longer.
func (c *Conn) holdsBack() bool {
	h := &c.hold
	if !h.on || c.lastFill || !h.held && !h.mayBegin() {
		return false
	}
	now := c.r.Now()
	quiet, late := h.heard+int64(HoldQuiet), c.sendSince+int64(HoldMax)
	switch {
	case now >= late || !h.looking && h.wants >= h.batch:
		h.end(HoldCount * holdShare)
	case now >= quiet:
		h.end(h.wants)
	default:
		h.begin(min(quiet, late) - now)
		return true
	}
	return false
}

// mayBegin counts a send that is about to leave, and decides whether it is to be held back.
func (h *hold) mayBegin() bool {
	if h.skip == 0 {
		h.looking = true
		return true
	}
	h.skip--
	return h.batch > 1
}

func (h *hold) begin(nanos int64) {
	h.held = true
	if !h.timer.Active() {
		h.timer.Start(time.Duration(nanos))
	}
}

// end lets output leave. inFlight is what the peer seems to keep in flight, if this was a look at it.
func (h *hold) end(inFlight int) {
	h.timer.Stop()
	if h.held && h.looking {
		h.batch, h.looking = min(inFlight/holdShare, HoldCount), false
		h.skip = h.back
		h.back = min(2*h.back, holdSkipMax)
		if h.batch > 1 {
			h.back = holdSkipMin
		}
	}
	h.held = false
}

// onHoldTimer has the output looked at again.
func (c *Conn) onHoldTimer() {
	if c.wantFill && c.state == stateOpen {
		c.flushLater()
	}
}
