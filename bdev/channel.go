package bdev

import "pollux/reactor"

// Channel is the path from one reactor to an open device. Data plane; everything on its reactor.
type Channel struct{ desc *Desc }

// OpenChannel makes the path from r (on r; rare, may allocate).
func (s *Desc) OpenChannel(r *reactor.Reactor) (*Channel, error) { panic("api") }

// Desc is the open device of the channel.
func (c *Channel) Desc() *Desc { return c.desc }

// Submit starts q. It always completes by q.Done, later than this call.
func (c *Channel) Submit(q *Request) { panic("api") }

// Outstanding is how many requests of this channel have not completed.
func (c *Channel) Outstanding() int { panic("api") }

// Close ends the path; closed runs, on the reactor, when the last request has completed and nothing refers to it.
func (c *Channel) Close(closed func()) { panic("api") }

// RangeLock makes a sequence of requests on a range one instant for everybody else: while it is held, overlapping requests of
// all channels that do not carry it wait. It is embedded in its user, and reused.
type RangeLock struct{ granted *reactor.Message }

// Lock asks for the range; granted is sent to the channel's reactor when no overlapping request is in flight on any reactor.
// Locks on overlapping ranges are granted in the order in which they reached the device's home reactor.
func (c *Channel) Lock(l *RangeLock, lba, blocks uint64, granted *reactor.Message) { panic("api") }

// Unlock ends it; held-back requests go on. released runs when every channel has forgotten the lock and it may be reused.
func (c *Channel) Unlock(l *RangeLock, released *reactor.Message) { panic("api") }
