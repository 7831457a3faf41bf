package sim

import (
	"fmt"

	"pollux/bdev/replicated/engine"
)

func (s *Sim) traceEvent(n *node, e *engine.Event) {
	if s.Trace == nil {
		return
	}
	switch e.Kind {
	case engine.EvWrite, engine.EvRead, engine.EvFlush:
		s.trace("n%d: request %d kind %d off %d len %d %v", n.index, e.ID, e.Kind, e.Off/blockSize, e.Len/blockSize, versionsOf(e.Data))
	case engine.EvMessage:
		s.trace("n%d <- %s", n.index, msgString(e.Msg))
	case engine.EvLinkUp, engine.EvLinkDown:
		s.trace("n%d: link event %d row %d", n.index, e.Kind, e.Peer)
	case engine.EvCommand:
		s.trace("n%d: command %d row %d leg %d flag %v value %d", n.index, e.Cmd, e.Peer, e.Leg, e.Flag, e.Value)
	case engine.EvLegDone:
		s.trace("n%d: leg %d done id %x ok %v", n.index, e.Leg, e.ID, e.OK)
	case engine.EvMetaDone:
		s.trace("n%d: meta done, failed %x", n.index, e.Mask)
	}
}

func versionsOf(d any) any {
	if p, ok := d.(*payload); ok {
		return p.vers
	}
	return ""
}

func msgString(m *engine.Msg) string {
	t := fmt.Sprintf("%v block %x off %d len %d epoch %d count %d uuid %x %v", m.Type, m.Block, m.Off/blockSize, m.Len/blockSize,
		m.Epoch, m.Count, m.UUID, versionsOf(m.Data))
	if m.Type == engine.MsgState {
		t += fmt.Sprintf(" %v/%v/%v", m.State.Role, m.State.Disk, m.State.Conn)
	}
	if m.Hello != nil {
		h := m.Hello
		t += fmt.Sprintf(" GI %x %x %x crashed %v open %v weak %v target %v follows %v dirty %d %v", h.GI.Current, h.GI.Bitmap, h.GI.History[:4],
			h.Crashed, h.Open, h.Weak, h.Target, h.Follows, h.Dirty, h.State)
		t += doubtString(&h.Doubt)
	}
	return t + doubtString(&m.Doubt)
}

// doubtString lists the nodes that a doubt names: what it is, whose, and by way of whom it came.
func doubtString(d *engine.Doubt) (t string) {
	for node, o := range d.Origins {
		flags := d.Crashed>>node&1 | d.Open>>node&1<<1 | d.Weak>>node&1<<2
		if flags != 0 {
			t += fmt.Sprintf(" [%03b towards n%d of n%d by %b]", flags, node, o.Node, o.Way)
		}
	}
	return t
}

func (s *Sim) traceAction(n *node, a *engine.Action) {
	if s.Trace == nil {
		return
	}
	switch a.Kind {
	case engine.ActComplete:
		s.trace("n%d:   complete %d ok %v mask %x %v", n.index, a.ID, a.OK, a.Mask, versionsOf(a.Data))
	case engine.ActSend:
		s.trace("n%d:   send row %d %s", n.index, a.Peer, msgString(&a.Msg))
	case engine.ActLegRead, engine.ActLegWrite, engine.ActLegFlush:
		s.trace("n%d:   leg %d io %d off %d len %d id %x %v", n.index, a.Leg, a.Kind, a.Off/blockSize, a.Len/blockSize, a.ID, versionsOf(a.Data))
	case engine.ActMetaSuper:
		s.trace("n%d:   super current %x rows %x flags %x", n.index, a.Super.Current, a.Super.Rows[:len(s.nodes)-1], a.Super.Flags)
	case engine.ActMetaAL:
		s.trace("n%d:   al %v", n.index, a.AL)
	case engine.ActMetaBitmap:
		s.trace("n%d:   bitmap row %d page %d %x", n.index, a.Peer, a.Page, a.Words)
	case engine.ActNotify:
		s.trace("n%d:   notify row %d %s", n.index, a.Peer, a.Text)
	case engine.ActReply:
		s.trace("n%d:   reply %d %v", n.index, a.ID, a.Err)
	}
}
