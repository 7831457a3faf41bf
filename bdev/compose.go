package bdev

import (
	"pollux/reactor"
	"pollux/reactor/iobuf"
)

// The bounds of composites.
const (
	// CompositesMax is how many requests of one device and reactor are being split or emulated at once; more wait.
	CompositesMax = 256
	// PartsMax is how many parts of one request the module has at once.
	PartsMax = 8
	// SegmentsMax is how many pieces the data of one request may have.
	SegmentsMax = 1024
	// emulationBuffer is the memory of a composite that reads what it compares or copies, in bytes: a block at least.
	emulationBuffer = 64 << 10
)

// stage is a step of a composite; each is over before the next one begins.
type stage uint8

const (
	stageEnd     stage = iota
	stageLock          // have the range to oneself
	stageSpread        // the operation itself, in parts that the module takes
	stageCompare       // read, and compare with Compare (or Data, for OpCompare)
	stageWrite         // write Data
	stageZero          // write zeroes
	stageCopy          // read a part, write it
	stageFlush
)

// stagesMax is the length of the longest program with its stageEnd.
const stagesMax = 5

// composite carries out one request in parts: because it is larger than the module takes, or because the module does
// not know the operation. It belongs to a lane, which has a pool of them.
type composite struct {
	lane  *lane
	whole *Request
	next  *composite // in the pool

	program [stagesMax]stage
	step    int
	op      Op    // of stageSpread's parts
	flags   Flags // of writing parts
	status  Status
	aborted bool

	parts    [PartsMax]part
	inFlight int
	pos      uint64 // blocks of the stage that parts have been made of
	data     Cursor // of the pieces that the stage works through
	copied   bool   // stageCopy: the read has ended, its write comes next

	buf    iobuf.Buf
	hasBuf bool

	lock     RangeLock
	granted  reactor.Message
	released reactor.Message
}

// part is a request to the module on behalf of a composite.
type part struct {
	Request
	pos    uint64 // blocks from the start of the whole request
	pieces [][]byte
	one    [1][]byte
	busy   bool
}

// compositePool holds the free composites of a lane. It grows as needed to CompositesMax.
type compositePool struct {
	free *composite
	made int
}

func (l *lane) newComposite() *composite {
	c := &composite{lane: l}
	for i := range c.parts {
		c.parts[i].parent = c
	}
	c.granted.Bind(c.lockGranted)
	c.released.Bind(c.lockReleased)
	return c
}

// compose starts to carry out q in parts, now or when there is a composite for it.
func (l *lane) compose(q *Request) {
	c := l.takeComposite(q)
	if c == nil {
		q.state = stateParked
		l.parked.push(q)
		if !l.retry.Active() {
			l.retry.Start(retryPeriod)
		}
		return
	}
	c.begin(q)
}

// takeComposite returns a free composite with what q needs, or nil.
func (l *lane) takeComposite(q *Request) *composite {
	p := &l.composites
	if p.free == nil {
		if p.made == CompositesMax {
			return nil
		}
		p.made++
		p.free = l.newComposite()
	}
	c := p.free
	if l.needsBuffer(q) {
		if c.buf, c.hasBuf = l.r.Buffers().Get(emulationBuffer); !c.hasBuf {
			return nil
		}
	}
	p.free, c.next = c.next, nil
	return c
}

// needsBuffer reports whether q is emulated through memory of ours.
func (l *lane) needsBuffer(q *Request) bool {
	switch q.Op {
	case OpCompare, OpCopy:
		return !l.dev.native[q.Op]
	case OpCompareAndWrite:
		return !l.isNativePart(q)
	default:
		return false
	}
}

// isNativePart reports whether a compare-and-write, which cannot be split, can be given to the module as one part.
func (l *lane) isNativePart(q *Request) bool {
	lim := &l.dev.limits[q.Op]
	return l.dev.native[q.Op] && q.Blocks <= lim.max && len(q.Data) <= l.dev.segments && len(q.Compare) <= l.dev.segments &&
		(lim.boundary == 0 || q.LBA%lim.boundary+q.Blocks <= lim.boundary)
}

// unpark starts what waited for a composite, as far as they go.
func (l *lane) unpark() {
	for n := l.parked.n; n > 0; n-- {
		c := l.takeComposite(l.parked.head)
		if c == nil {
			return
		}
		c.begin(l.parked.pop())
	}
}

// begin makes the program for q and runs it.
func (c *composite) begin(q *Request) {
	c.whole, q.whole, q.state = q, c, stateRunning
	c.step, c.status, c.aborted = -1, StatusOK, false
	c.op = q.Op
	c.compile(q)
	c.advance()
}

// compile turns an operation into stages.
func (c *composite) compile(q *Request) {
	d, n := c.lane.dev, 0
	add := func(s stage) { c.program[n] = s; n++ }
	switch {
	case q.Op == OpCompareAndWrite && !c.lane.isNativePart(q):
		if q.Lock == nil {
			add(stageLock)
		}
		add(stageCompare)
		add(stageWrite)
	case d.native[q.Op]:
		add(stageSpread)
	case q.Op == OpWriteZeroes && q.Flags&FlagUnmap != 0 && d.native[OpUnmap]:
		c.op = OpUnmap
		add(stageSpread)
	case q.Op == OpWriteZeroes:
		add(stageZero)
	case q.Op == OpCompare:
		add(stageCompare)
	case q.Op == OpCopy:
		add(stageCopy)
	default:
		panic("bdev: no program for " + q.Op.String())
	}
	c.flags = q.Flags
	if q.Flags&FlagFUA != 0 && d.needsFlush(q.Op) {
		c.flags &^= FlagFUA
		add(stageFlush)
	}
	add(stageEnd)
}

// advance begins the next stage.
func (c *composite) advance() {
	if c.status == StatusOK && c.aborted {
		c.status = c.lane.endStatus()
	}
	c.step++
	if c.status != StatusOK {
		c.end()
		return
	}
	c.pos, c.copied = 0, false
	switch c.program[c.step] {
	case stageEnd:
		c.end()
	case stageLock:
		c.takeLock()
	case stageCompare:
		c.data = CursorOf(c.expected())
		c.pump()
	default:
		c.data = CursorOf(c.whole.Data)
		c.pump()
	}
}

// expected is what the medium must hold.
func (c *composite) expected() [][]byte {
	if c.whole.Op == OpCompare {
		return c.whole.Data
	}
	return c.whole.Compare
}

// endStatus is how requests end that are stopped from outside.
func (l *lane) endStatus() Status {
	if l.removed {
		return StatusRemoved
	}
	return StatusAborted
}

// takeLock waits for the range. Meanwhile the request is not in flight, or a lock before it would wait for it.
func (c *composite) takeLock() {
	l, q := c.lane, c.whole
	q.state = stateLocking
	l.lockers.push(q)
	l.leave(q)
	q.channel.Lock(&c.lock, q.LBA, q.Blocks, &c.granted)
}

func (c *composite) lockGranted() {
	l, q := c.lane, c.whole
	l.lockers.remove(q)
	q.state = stateRunning
	l.flight.push(q)
	c.aborted = c.aborted || l.removed
	c.advance()
}

// end gives the whole request back, and the composite too once its lock is forgotten everywhere.
func (c *composite) end() {
	l, q := c.lane, c.whole
	if c.hasBuf {
		l.r.Buffers().Put(c.buf)
		c.hasBuf = false
	}
	c.whole, q.whole = nil, nil
	if c.program[0] == stageLock {
		q.channel.Unlock(&c.lock, &c.released)
	} else {
		c.free()
	}
	q.Status = c.status
	if l.depth > 0 {
		l.later(q)
		return
	}
	l.end(q)
}

func (c *composite) lockReleased() { c.free() }

// free puts the composite back.
func (c *composite) free() {
	l := c.lane
	c.next, l.composites.free = l.composites.free, c
	if l.parked.n > 0 && !l.unparkMsg.Queued() {
		l.r.Defer(&l.unparkMsg)
	}
}
