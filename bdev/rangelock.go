package bdev

import "pollux/reactor"

// RangeLock makes a sequence of requests on a range one instant for everybody else: while it is held, overlapping requests of
// all channels that do not carry it wait. It is embedded in its user, and reused, on one device. Data plane: its channel's
// reactor, but for the part that the device's home reactor keeps.
//
// The protocol: Lock sends it to the home, which has a queue of locks in the order of arrival. A lock that overlaps none before it
// is broadcast to the lanes of all reactors; each holds back overlapping requests from then on, and acknowledges when
// those that were in flight have ended. After the last acknowledgement the user is told. Unlock goes the same way. (All reactors, not only those with an
// open queue: a queue that is opened meanwhile would have to learn of the lock, and locks are rare.)
type RangeLock struct {
	lba, blocks uint64
	lane        *lane    // of the user
	channel     *Channel // of the user; nil for a lock of the device's own
	granted     *reactor.Message
	released    *reactor.Message
	state       lockState
	entries     []*lockEntry // one per reactor

	// The home's part.
	toHome  reactor.Message
	back    reactor.Message // home to user: it may be reused
	next    *RangeLock      // in Device.locks
	started bool            // it has been broadcast
	waiting int             // acknowledgements that have not come
}

// lockState is what the user has asked for.
type lockState uint8

const (
	lockFree lockState = iota
	lockAsked
	lockHeld
	lockReturned
)

// lockEntry is what a lane knows of a lock.
type lockEntry struct {
	lock    *RangeLock
	lane    *lane
	down    reactor.Message // home to lane
	up      reactor.Message // lane to home
	listed  bool
	overlap int // requests in flight that the lock waits for
}

// Lock asks for the range; granted is sent to the channel's reactor when no overlapping request is in flight on any reactor.
// Locks on overlapping ranges are granted in the order in which they reached the device's home reactor.
func (c *Channel) Lock(k *RangeLock, lba, blocks uint64, granted *reactor.Message) {
	c.locks++
	c.lane.lock(k, c, lba, blocks, granted)
}

func (l *lane) lock(k *RangeLock, c *Channel, lba, blocks uint64, granted *reactor.Message) {
	if k.state != lockFree {
		panic("bdev: range lock is in use")
	}
	k.bind(l.dev)
	k.state, k.lane, k.channel, k.lba, k.blocks, k.granted = lockAsked, l, c, lba, blocks, granted
	l.dev.home.Send(&k.toHome)
}

// Unlock ends it; held-back requests go on. released runs when every channel has forgotten the lock and it may be reused.
func (c *Channel) Unlock(k *RangeLock, released *reactor.Message) {
	if k.channel != c {
		panic("bdev: range lock is not of this channel")
	}
	k.unlock(released)
}

func (k *RangeLock) unlock(released *reactor.Message) {
	if k.state != lockHeld {
		panic("bdev: range lock is not held")
	}
	k.state, k.released = lockReturned, released
	k.lane.dev.home.Send(&k.toHome)
}

// gaveBack ends the lock's use.
func (k *RangeLock) gaveBack() {
	c := k.channel
	k.state, k.channel = lockFree, nil
	k.lane.r.Defer(k.released)
	if c != nil {
		c.locks--
		c.closeIfIdle()
	}
}

// covers reports whether the blocks lie in the range.
func (k *RangeLock) covers(lba, blocks uint64) bool {
	return k.lba <= lba && lba+blocks <= k.lba+k.blocks
}

// bind makes what a lock needs on every reactor, the first time.
func (k *RangeLock) bind(d *Device) {
	if len(k.entries) > 0 && k.entries[0].lane.dev == d {
		return
	}
	k.entries = nil
	k.toHome.Bind(func() { k.atHome(d) })
	k.back.Bind(k.gaveBack)
	for _, l := range d.lanes {
		e := &lockEntry{lock: k, lane: l}
		e.down.Bind(e.atLane)
		e.up.Bind(e.acknowledged)
		k.entries = append(k.entries, e)
	}
}

// atHome takes the user's wish (on the home reactor).
func (k *RangeLock) atHome(d *Device) {
	if k.state == lockReturned {
		k.broadcast()
		return
	}
	k.started, k.next = false, nil
	at := &d.locks
	for *at != nil {
		at = &(*at).next
	}
	*at = k
	d.startLocks()
}

// startLocks broadcasts every lock that has nothing before it which it overlaps (on the home reactor).
func (d *Device) startLocks() {
	for k := d.locks; k != nil; k = k.next {
		if !k.started && !d.isBehind(k) {
			k.started = true
			k.broadcast()
		}
	}
}

// isBehind reports whether a lock that overlaps k came before it.
func (d *Device) isBehind(k *RangeLock) bool {
	for o := d.locks; o != k; o = o.next {
		if overlaps(o.lba, o.blocks, k.lba, k.blocks) {
			return true
		}
	}
	return false
}

func (k *RangeLock) broadcast() {
	k.waiting = len(k.entries)
	for _, e := range k.entries {
		if Mutated(MutateLockNotBroadcast) && e.lane != k.lane {
			e.lane.dev.home.Send(&e.up)
			continue
		}
		e.lane.r.Send(&e.down)
	}
}

// atLane begins the lock on its lane or ends it there.
func (e *lockEntry) atLane() {
	if e.listed {
		e.remove()
		return
	}
	e.listed = true
	e.lane.gates++
	e.lane.locks = append(e.lane.locks, e)
	e.overlap = 0
	for q := e.lane.flight.head; q != nil; q = q.links[flight].next {
		if e.waitsFor(q) && !Mutated(MutateLockNotDrained) {
			e.overlap++
		}
	}
	if e.overlap == 0 {
		e.acknowledge()
	}
}

// remove ends the lock on its lane; what it held back goes on.
func (e *lockEntry) remove() {
	l := e.lane
	e.listed = false
	for i, o := range l.locks {
		if o == e {
			copy(l.locks[i:], l.locks[i+1:])
			l.locks[len(l.locks)-1] = nil
			l.locks = l.locks[:len(l.locks)-1]
			break
		}
	}
	l.gates--
	e.acknowledge()
	l.releaseHeld()
}

// waitsFor reports whether q and the lock exclude one another.
func (e *lockEntry) waitsFor(q *Request) bool {
	return q.Lock != e.lock && q.touches(e.lock.lba, e.lock.blocks) && !(q.whole != nil && &q.whole.lock == e.lock)
}

// left is told of every request that has left what is in flight on the lane.
func (e *lockEntry) left(q *Request) {
	if e.overlap == 0 || !e.waitsFor(q) {
		return
	}
	if e.overlap--; e.overlap == 0 {
		e.acknowledge()
	}
}

func (e *lockEntry) acknowledge() { e.lane.dev.home.Send(&e.up) }

// acknowledged counts what the lanes say (on the home reactor).
func (e *lockEntry) acknowledged() {
	k, d := e.lock, e.lane.dev
	if k.waiting--; k.waiting > 0 {
		return
	}
	if k.state == lockAsked {
		k.state = lockHeld
		k.lane.r.Send(k.granted)
		return
	}
	d.forget(k)
	d.startLocks()
}

// forget takes a lock that every lane has ended from the queue, and gives it back to its user (on the home reactor).
func (d *Device) forget(k *RangeLock) {
	at := &d.locks
	for *at != k {
		at = &(*at).next
	}
	*at = k.next
	k.lane.r.Send(&k.back)
}
