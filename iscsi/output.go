package iscsi

// output is a place in a connection's queue of answers: of a task or of a control PDU.
type output struct {
	next, prev *output
	queued     bool
	task       *task
	control    *control
}

// outputList is a connection's queue of answers, in the order in which they became ready.
type outputList struct{ head, tail *output }

func (l *outputList) pushBack(o *output) {
	if o.queued {
		panic("iscsi: an answer is queued twice")
	}
	o.queued, o.prev, o.next = true, l.tail, nil
	if l.tail == nil {
		l.head = o
	} else {
		l.tail.next = o
	}
	l.tail = o
}

func (l *outputList) pushFront(o *output) {
	o.queued, o.prev, o.next = true, nil, l.head
	if l.head == nil {
		l.tail = o
	} else {
		l.head.prev = o
	}
	l.head = o
}

func (l *outputList) remove(o *output) {
	if !o.queued {
		return
	}
	if o.prev == nil {
		l.head = o.next
	} else {
		o.prev.next = o.next
	}
	if o.next == nil {
		l.tail = o.prev
	} else {
		o.next.prev = o.prev
	}
	*o = output{task: o.task, control: o.control}
}

// progress is what one turn of an answer in Fill came to.
type progress uint8

const (
	progressDone progress = iota // nothing is left to queue
	progressMore                 // the others have their turn first
	progressFull                 // the send set is full
)

// Fill queues answers in turn until the send set is full (sock.Handler). StatSN is given out here, so that it is in the
// order of sending.
func (c *conn) Fill() {
	c.filled = 0
	for c.out.head != nil {
		o := c.out.head
		c.out.remove(o)
		p := progressDone
		if o.task != nil {
			p = o.task.fill()
		} else {
			p = o.control.fill()
		}
		switch p {
		case progressDone:
		case progressMore:
			c.out.pushBack(o)
		case progressFull:
			c.out.pushFront(o)
			return
		}
	}
}

// say queues an answer and has it sent at the end of the pass.
func (c *conn) say(o *output) {
	c.out.pushBack(o)
	c.sock.Dirty()
}

// headRoom is the most that the digests and the padding of one PDU add to its header and inline data.
const headRoom = 2*DigestLength + 3

// room reports whether a PDU with inline bytes of data and pieces of attached data fits. What does not is asked for when this
// send has ended.
func (c *conn) room(inline, pieces int) bool {
	if c.filled >= sendMax {
		c.sock.Dirty()
		return false
	}
	if pieces > 0 {
		pieces++ // padding and data digest behind the data
	}
	return c.sock.Room(BHSLength+inline+headRoom, pieces)
}

// frame is a PDU being written into the send set: the header, room for its digest, and inline data.
type frame struct {
	b      []byte
	data   int // where inline data begins
	length int // of the data segment
}

// begin takes room for a PDU whose data segment of n bytes lies behind the header in the send set.
func (c *conn) begin(op Opcode, n int) (frame, *BHS) {
	f := frame{data: BHSLength, length: n}
	if c.headerDigest {
		f.data += DigestLength
	}
	size := f.data + n + Padding(n)
	if c.dataDigest && n > 0 {
		size += DigestLength
	}
	f.b = c.sock.Header(size)
	h := (*BHS)(f.b[:BHSLength])
	h.Clear(op)
	h.SetDataSegmentLength(n)
	return f, h
}

// inline is the data segment to be written.
func (f *frame) inline() []byte { return f.b[f.data : f.data+f.length] }

// seal writes padding and digests; the header and the inline data are complete.
func (c *conn) seal(f *frame) {
	if c.headerDigest {
		PutHeaderDigest(f.b[:BHSLength+DigestLength])
	}
	if f.length == 0 {
		return
	}
	tail := f.b[f.data+f.length:]
	clear(tail[:Padding(f.length)])
	if c.dataDigest {
		Digest(0).Add(f.inline()).AddPadding(f.length).Put(tail[Padding(f.length):])
	}
}

// sealAttached finishes a PDU whose data has been attached: d is the data's digest, n its length.
func (c *conn) sealAttached(f *frame, d Digest, n int) {
	if c.headerDigest {
		PutHeaderDigest(f.b[:BHSLength+DigestLength])
	}
	size := Padding(n)
	if c.dataDigest {
		size += DigestLength
	}
	if size == 0 {
		return
	}
	tail := c.sock.Header(size)
	clear(tail[:Padding(n)])
	if c.dataDigest {
		d.AddPadding(n).Put(tail[Padding(n):])
	}
}

// stamp writes the sequence numbers that every PDU from the target carries. status says that the PDU takes a StatSN.
func (c *conn) stamp(h *BHS, status bool) {
	h.SetStatSN(c.statSN)
	if status {
		c.statSN++
	}
	h.SetExpCmdSN(c.session.expCmdSN)
	h.SetMaxCmdSN(c.session.openWindow())
}
