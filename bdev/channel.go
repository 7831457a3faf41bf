package bdev

import (
	"fmt"
	"syscall"

	"pollux/reactor"
)

// Channel is the path from one reactor to an open device. Data plane; everything on its reactor.
type Channel struct {
	desc     *Desc
	lane     *lane
	writable bool

	outstanding int
	locks       int // range locks that have not been released

	closed   func()
	closing  bool
	closeMsg reactor.Message
}

// OpenChannel makes the path from r (on r; rare, may allocate).
func (s *Desc) OpenChannel(r *reactor.Reactor) (*Channel, error) {
	l := s.dev.lanes[r.ID()]
	if l.removed {
		return nil, fmt.Errorf("bdev %s: open channel: %w", s.dev.Name(), syscall.ENODEV)
	}
	if l.queue == nil {
		q, err := s.dev.spec.Backend.OpenQueue(r)
		if err != nil {
			return nil, fmt.Errorf("bdev %s: open queue on reactor %d: %w", s.dev.Name(), r.ID(), err)
		}
		l.queue = q
	}
	l.channels++
	s.channels.Add(1)
	c := &Channel{desc: s, lane: l, writable: s.writable}
	c.closeMsg.Bind(c.finishClose)
	return c, nil
}

// Desc is the open device of the channel.
func (c *Channel) Desc() *Desc { return c.desc }

// Reactor is where the channel belongs.
func (c *Channel) Reactor() *reactor.Reactor { return c.lane.r }

// Submit starts q. It always completes by q.Done, later than this call.
func (c *Channel) Submit(q *Request) {
	if q.state != stateIdle || c.closing {
		panic("bdev: " + c.lane.dev.spec.Name + ": request submitted twice, or to a channel that is being closed")
	}
	l := c.lane
	c.outstanding++
	q.channel, q.Status, q.Result, q.started, q.paid = c, StatusOK, 0, l.r.Now(), false
	l.start(q)
}

// Outstanding is how many requests of this channel have not completed.
func (c *Channel) Outstanding() int { return c.outstanding }

// Close ends the path; closed runs, on the reactor, when the last request has completed and nothing refers to it.
func (c *Channel) Close(closed func()) {
	if c.closing {
		panic("bdev: " + c.lane.dev.spec.Name + ": channel closed twice")
	}
	c.closing, c.closed = true, closed
	c.closeIfIdle()
}

// closeIfIdle ends a channel that is being closed, after what runs now.
func (c *Channel) closeIfIdle() {
	if c.closing && c.outstanding == 0 && c.locks == 0 && !c.closeMsg.Queued() {
		c.lane.r.Defer(&c.closeMsg)
	}
}

func (c *Channel) finishClose() {
	l := c.lane
	if l.channels--; l.channels == 0 {
		l.queue.Close()
		l.queue = nil
	}
	c.desc.channels.Add(-1)
	if c.closed != nil {
		c.closed()
	}
}
