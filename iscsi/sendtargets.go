package iscsi

import (
	"slices"
	"strings"
)

// textState is a negotiation in full feature phase: a request may take several PDUs, and so may its answer.
type textState struct {
	segment []byte // of the request PDU that is being received
	request TextBuffer
	rest    []byte // of the answer
	tag     uint32 // names the exchange while it goes on
	open    bool
}

// textRequest answers a whole Text Request PDU (RFC 7143 11.10).
func (c *conn) textRequest(h *BHS) {
	x := &c.text
	goesOn := h.TargetTransferTag() != ReservedTag
	if goesOn && (!x.open || h.TargetTransferTag() != x.tag) {
		c.local.fault(FaultTag)
		c.reject(h, RejectInvalidField)
		return
	}
	if !goesOn { // RFC 7143 11.10.4: a new exchange; what was left of another is forgotten
		*x = textState{segment: x.segment, tag: x.tag}
	}
	if goesOn && len(x.rest) > 0 && len(x.segment) == 0 {
		c.sayText(h)
		return
	}
	if !x.request.Add(x.segment) {
		c.endText(h)
		return
	}
	if h.Continue() {
		x.rest = nil
		c.sayText(h)
		return
	}
	pairs, ok := x.request.Pairs()
	if ok {
		x.rest, ok = c.answerText(pairs)
	}
	if !ok {
		c.endText(h)
		return
	}
	c.sayText(h)
}

// endText rejects an exchange that breaks the rules.
func (c *conn) endText(h *BHS) {
	c.text = textState{segment: c.text.segment, tag: c.text.tag}
	c.local.fault(FaultFlags)
	c.reject(h, RejectProtocolError)
}

// sayText sends the next part of the answer. The exchange goes on while text is left, or while the initiator has more to say.
func (c *conn) sayText(h *BHS) {
	x := &c.text
	o := c.getControl(OpTextResponse)
	if o == nil {
		return
	}
	n := min(len(x.rest), int(c.maxSend), LoginDataSegmentMax)
	o.data = append(o.data, x.rest[:n]...)
	x.rest = x.rest[n:]
	final := len(x.rest) == 0 && !h.Continue() && h.Final()
	x.open = !final
	o.bhs.SetFinal(final)
	o.bhs.SetContinue(len(x.rest) > 0)
	o.bhs.SetInitiatorTaskTag(h.InitiatorTaskTag())
	o.bhs.SetTargetTransferTag(ReservedTag)
	if x.open {
		x.tag = (x.tag + 1) & 0x7fffffff
		o.bhs.SetTargetTransferTag(x.tag)
	}
	o.status = true
	c.sayControl(o)
}

// answerText answers the keys of a whole text. Text is rare: it may allocate.
func (c *conn) answerText(pairs []Pair) (text []byte, ok bool) {
	n := Negotiation{Own: c.session.params, Result: c.session.params, Target: true, Leading: true}
	for _, p := range pairs {
		if p.Key == "SendTargets" {
			if text, ok = c.sendTargets(text, p.Value); !ok {
				return nil, false
			}
			continue
		}
		reply, ok := n.Take(p, StageFullFeature)
		if !ok {
			return nil, false
		}
		if reply != "" {
			text = AppendPair(text, p.Key, reply)
		}
	}
	c.maxSend = n.Result.MaxSendDataSegmentLength
	return text, true
}

// sendTargets lists what the initiator may log in to (RFC 7143 appendix C): in a discovery session All or a name, in a normal one
// only its own target.
func (c *conn) sendTargets(text []byte, what string) ([]byte, bool) {
	view := c.local.server.view.Load()
	s := c.session
	if s.target != nil {
		if what == "All" || what != "" && !strings.EqualFold(what, s.target.Name) {
			return nil, false
		}
		what = s.target.Name
	} else if what == "" {
		return nil, false
	}
	for _, t := range view.targets {
		if t.node.gone.Load() || what != "All" && !strings.EqualFold(what, t.Name) {
			continue
		}
		portals := c.visiblePortals(view, t)
		if len(portals) == 0 || len(text)+len(t.Name)+len(portals)*64 > SendTargetsMax {
			continue
		}
		text = AppendPair(text, "TargetName", t.Name)
		for _, p := range portals {
			text = AppendPair(text, "TargetAddress", p)
		}
	}
	return text, true
}

// visiblePortals are the addresses at which this initiator may use t.
func (c *conn) visiblePortals(view *config, t *Target) (portals []string) {
	local, remote := c.sock.LocalAddr(), c.sock.RemoteAddr().Addr()
	var seen []int32
	told := map[string]bool{} // A wildcard may stand for a portal that is there by itself.
	for _, m := range t.Maps {
		g := view.portalGroup(m.PortalGroup)
		if g == nil || g.Private && g.Tag != c.session.key.portalGroup || slices.Contains(seen, g.Tag) || !g.started() {
			continue
		}
		if !view.allows(t, g.Tag, c.session.key.initiator, remote) {
			continue
		}
		seen = append(seen, g.Tag)
		for _, addr := range g.addresses {
			if a := targetAddress(addr, local, g.Tag); !told[a] {
				told[a] = true
				portals = append(portals, a)
			}
		}
	}
	return portals
}
