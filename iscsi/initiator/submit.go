package initiator

import (
	"pollux/iscsi"
)

// SenseMax is how much sense data a Command keeps, in bytes.
const SenseMax = 252

// Result is how a command ended.
type Result uint8

// Results.
const (
	ResultAnswered Result = iota // by a SCSI Response or by status in a Data-In: Response and Status hold
	ResultRejected               // by a Reject; Reason holds
	ResultLost                   // the connection ended; whether the command took effect is unknown
)

// Command is one SCSI command. Its owner makes it once, sets Done, and reuses it; between Submit and Done it belongs to the
// session.
type Command struct {
	LUN       uint64 // the eight bytes of the LUN field, big-endian
	CDB       [16]byte
	LongCDB   []byte // what a CDB has beyond sixteen bytes
	Attr      uint8
	Immediate bool
	// Out is the data to write: memory of package iobuf. In is where data read goes; Discard receives and forgets as much instead.
	Out     []byte
	In      []byte
	Discard uint32
	// Expected overrides the expected data transfer length, which is otherwise that of Out, In or Discard, if HasExpected is set.
	Expected    uint32
	HasExpected bool
	Done        func(*Command)

	// The answer, valid at Done.
	Result    Result
	Response  uint8
	Status    uint8
	Reason    iscsi.RejectReason
	Received  uint32 // bytes of data-in that have arrived
	Residual  uint32
	Overflow  bool
	Underflow bool
	Sense     [SenseMax]byte
	SenseLen  int
	ITT       uint32 // the task tag, from the moment the command is sent
	CmdSN     uint32

	entry  entry
	fill   uint64 // the last send that carries its data
	dataSN uint32 // of the next Data-In
	r2tSN  uint32 // of the next R2T
}

// Exchange is any other request with one answer: NOP-Out, Task Management, Text, Logout. The owner sets Request (opcode, flags, and
// what else it has; Immediate as wanted) and Done; the session sets tag, CmdSN and ExpStatSN.
type Exchange struct {
	Request iscsi.PDU
	Done    func(*Exchange)

	// The answer, valid at Done; Answer.Data belongs to the Exchange.
	Result Result
	Answer iscsi.PDU

	entry entry
	again bool // in the queue to ask for the rest of a text; it has its slot already
}

// entry is a command or an exchange in a queue or a slot.
type entry struct {
	next     *entry
	command  *Command
	exchange *Exchange
}

func (e *entry) lose() {
	if c := e.command; c != nil {
		c.Result = ResultLost
		c.Done(c)
		return
	}
	e.exchange.Result = ResultLost
	e.exchange.Done(e.exchange)
}

func (e *entry) complete() {
	if c := e.command; c != nil {
		c.Done(c)
		return
	}
	e.exchange.Done(e.exchange)
}

// slot is a place for a task: its tag is index and generation.
type slot struct {
	entry      *entry
	generation uint16
}

// fifo is a queue of entries.
type fifo struct{ head, tail *entry }

func (q *fifo) push(e *entry) {
	e.next = nil
	if q.head == nil {
		q.head = e
	} else {
		q.tail.next = e
	}
	q.tail = e
}

func (q *fifo) pop() *entry {
	e := q.head
	if e != nil {
		q.head = e.next
	}
	return e
}

// ring is a queue of values with a bound.
type ring[T any] struct {
	items      []T
	head, size int
}

func (q *ring[T]) init(bound int) { q.items = make([]T, bound) }
func (q *ring[T]) clear()         { q.head, q.size = 0, 0 }

func (q *ring[T]) push(v T) bool {
	if q.size == len(q.items) {
		return false
	}
	q.items[(q.head+q.size)%len(q.items)] = v
	q.size++
	return true
}

func (q *ring[T]) first() *T { return &q.items[q.head] }

func (q *ring[T]) drop() {
	q.head = (q.head + 1) % len(q.items)
	q.size--
}

// Submit queues c (on the session's reactor). It leaves when the target's window and a slot allow, in the order of calls. After the session's
// end, c completes with ResultLost, later in the same pass.
func (s *Session) Submit(c *Command) {
	c.entry.command = c
	c.Result, c.Response, c.Status, c.Received, c.Residual, c.SenseLen = 0, 0, 0, 0, 0, 0
	c.Overflow, c.Underflow, c.fill, c.dataSN, c.r2tSN, c.ITT = false, false, 0, iscsi.FirstSN(), iscsi.FirstSN(), iscsi.ReservedTag
	s.enqueue(&c.entry)
}

// Start queues e as Submit does.
func (s *Session) Start(e *Exchange) {
	e.entry.exchange = e
	e.Result, e.again, e.Answer = 0, false, iscsi.PDU{}
	s.enqueue(&e.entry)
}

func (s *Session) enqueue(e *entry) {
	if s.state == stateClosed {
		panic("initiator: Submit to a session that is not open")
	}
	s.queue.push(e)
	s.conn.Dirty()
}

// take gives e a slot and returns its tag; ok is false if there is none left.
func (s *Session) take(e *entry) (tag uint32, ok bool) {
	if len(s.free) == 0 {
		return 0, false
	}
	i := s.free[len(s.free)-1]
	s.free = s.free[:len(s.free)-1]
	s.slots[i].entry = e
	return uint32(s.slots[i].generation)<<16 | uint32(i), true
}

// find is the entry with a tag, nil if nothing has it.
func (s *Session) find(tag uint32) *entry {
	i := tag & 0xffff
	if i >= uint32(len(s.slots)) || uint32(s.slots[i].generation) != tag>>16 {
		return nil
	}
	return s.slots[i].entry
}

// command is the command with a tag, nil if no command has it.
func (s *Session) command(tag uint32) *Command {
	if e := s.find(tag); e != nil {
		return e.command
	}
	return nil
}

// finish gives the slot of tag back and completes its entry, once nothing of its data is in a send any more.
func (s *Session) finish(tag uint32) {
	i := tag & 0xffff
	e := s.slots[i].entry
	s.slots[i].entry = nil
	s.slots[i].generation++
	s.free = append(s.free, uint16(i))
	if s.queue.head != nil {
		s.conn.Dirty()
	}
	if c := e.command; c != nil && c.fill > s.conn.Sent() {
		if s.held.head == nil {
			s.conn.OnSent(&s.sent)
		}
		s.held.push(e)
		return
	}
	e.complete()
}

// onSent is the end of the send that data of the first task in held was in. A later send may be in flight by now, and data of tasks
// behind it in there.
func (s *Session) onSent() {
	for s.held.head != nil && s.held.head.command.fill <= s.conn.Sent() {
		s.held.pop().complete()
	}
	if s.held.head != nil {
		s.conn.OnSent(&s.sent)
	}
}
