package sim

import (
	"math/rand/v2"

	"pollux/bdev/replicated/engine"
)

// wire is the path between two nodes: at most one connection of two ordered streams each way.
type wire struct {
	a, b int // node indexes, a < b
	cut  [2]bool
	conn *conn
	rng  *rand.Rand // when it connects, and who breaks the tie: no matter what disks have to do

	slowUntil [2]int64 // by sending side: its reader takes its time
}

// conn is one connection. Each side notices its end by itself.
type conn struct {
	w     *wire
	up    [2]bool
	known [2]bool        // the engine has been told that it is up
	queue [2][2][]packet // by sending side and stream
	armed [2][2]bool
}

// packet is a message under way; it arrives no earlier than at, and not before those in front of it.
type packet struct {
	m  engine.Msg
	at int64
}

func (w *wire) side(n int) int {
	if n == w.a {
		return 0
	}
	return 1
}

// stretch makes the reader of what node n sends take its time.
func (w *wire) stretch(n int, until int64) { w.slowUntil[w.side(n)] = until }

func (w *wire) node(side int) int {
	if side == 0 {
		return w.a
	}
	return w.b
}

func (s *Sim) wire(i, j int) *wire {
	if i > j {
		i, j = j, i
	}
	for _, w := range s.wires {
		if w.a == i && w.b == j {
			return w
		}
	}
	panic("no such wire")
}

// rowOf is the peer row that node i uses for node j.
func rowOf(i, j int) int {
	if j > i {
		return j - 1
	}
	return j
}

func nodeOf(i, row int) int {
	if row >= i {
		return row + 1
	}
	return row
}

// tryConnect makes connections where both sides want one.
func (s *Sim) tryConnect(w *wire) {
	s.after(50e6+w.rng.Int64N(200e6), func() { s.tryConnect(w) })
	if w.conn != nil || w.cut[0] || w.cut[1] {
		return
	}
	for side := range 2 {
		n := s.nodes[w.node(side)]
		if n.eng == nil || n.pausedUntil > s.now || !n.wants[w.node(1-side)] {
			return
		}
	}
	c := &conn{w: w}
	w.conn = c
	tie := w.rng.IntN(2)
	for side := range 2 {
		c.up[side] = true
		s.after(1+w.rng.Int64N(2e6), func() {
			n := s.nodes[w.node(side)]
			if c.up[side] && n.eng != nil {
				c.known[side] = true
				s.step(n, &engine.Event{Kind: engine.EvLinkUp, Peer: rowOf(n.index, w.node(1-side)), Flag: side == tie})
			}
		})
	}
}

// sendMsg puts a message on the stream it belongs to.
func (s *Sim) sendMsg(n *node, row int, m engine.Msg) {
	peer := nodeOf(n.index, row)
	w := s.wire(n.index, peer)
	c := w.conn
	from := w.side(n.index)
	if c == nil || !c.up[from] {
		return
	}
	stream := 0
	if m.Type.Meta() {
		stream = 1
	}
	delay := s.prof.netBase + s.rng.Int64N(s.prof.netJitter)
	if s.prof.slow > 0 && s.rng.IntN(100) < s.prof.slow {
		delay += s.rng.Int64N(20e6)
	}
	if w.slowUntil[from] > s.now {
		delay += s.rng.Int64N(30e6)
	}
	c.queue[from][stream] = append(c.queue[from][stream], packet{m, s.now + delay})
	s.pump(c, from, stream)
}

// pump sees to it that the first packet of a stream arrives.
func (s *Sim) pump(c *conn, from, stream int) {
	q := c.queue[from][stream]
	if len(q) == 0 || !c.up[1-from] || c.armed[from][stream] || c.w.cut[from] {
		return
	}
	c.armed[from][stream] = true
	s.at(max(q[0].at, s.now+1), func() {
		c.armed[from][stream] = false
		s.arrive(c, from, stream)
		s.pump(c, from, stream)
	})
}

// arrive gives the first packet of a stream to the engine, if that is there to take it.
func (s *Sim) arrive(c *conn, from, stream int) {
	side := 1 - from
	n := s.nodes[c.w.node(side)]
	q := c.queue[from][stream]
	if c.w.cut[from] {
		return
	}
	if len(q) == 0 {
		return
	}
	if !c.up[side] || n.eng == nil {
		c.queue[from][stream] = nil
		return
	}
	if !c.known[side] || n.pausedUntil > s.now {
		q[0].at = max(s.now+1e6, n.pausedUntil+1)
		return
	}
	m := q[0].m
	c.queue[from][stream] = q[1:]
	if p, ok := m.Data.(*payload); ok && m.Type == engine.MsgData {
		late := *p
		late.late = late.fence < n.fence
		m.Data = &late
	}
	n.watchArrived(&m)
	s.step(n, &engine.Event{Kind: engine.EvMessage, Peer: rowOf(n.index, c.w.node(1-side)), Msg: &m})
}

// closeSide ends the connection for one side now, and for the other when it notices.
func (s *Sim) closeSide(c *conn, side int, tell bool) {
	if !c.up[side] {
		return
	}
	c.up[side] = false
	if n := s.nodes[c.w.node(side)]; tell && c.known[side] && n.eng != nil {
		s.step(n, &engine.Event{Kind: engine.EvLinkDown, Peer: rowOf(n.index, c.w.node(1-side))})
	}
	if c.up[1-side] {
		delay := s.rng.Int64N(3e6)
		if s.rng.IntN(4) == 0 {
			delay = s.rng.Int64N(2e9) // half-open for a while
		}
		s.after(delay, func() { s.closeSide(c, 1-side, true) })
		return
	}
	if c.w.conn == c {
		c.w.conn = nil
	}
}

// cutWire stops one or both directions; keepalives notice after a while.
func (s *Sim) cutWire(w *wire, dirs int) {
	for d := range 2 {
		if dirs>>d&1 != 0 {
			w.cut[d] = true
		}
	}
	if c := w.conn; c != nil {
		s.after(500e6+s.rng.Int64N(2e9), func() {
			if w.conn == c && (w.cut[0] || w.cut[1]) {
				s.closeSide(c, s.rng.IntN(2), true)
			}
		})
	}
}

func (s *Sim) healWire(w *wire) {
	w.cut = [2]bool{}
	if c := w.conn; c != nil {
		for from := range 2 {
			for stream := range 2 {
				s.pump(c, from, stream)
			}
		}
	}
}
