package reactor

import "sync/atomic"

// Message is a piece of work for a reactor, embedded in the object it is about and bound once. It is in at most one
// list at a time: sending or deferring it again before it has run is a broken invariant and panics.
type Message struct {
	fn     func()
	next   *Message
	queued bool // written by whoever owns the message: the sender before it is linked, the reactor when it runs
}

// Bind sets what the message does. It is called once, when the object is made.
func (m *Message) Bind(fn func()) { m.fn = fn }

// Queued reports whether m was sent or deferred and has not begun to run. Only its owner may ask.
func (m *Message) Queued() bool { return m.queued }

// enqueue marks m as linked, and panics when it cannot be.
func (m *Message) enqueue() {
	if m.fn == nil {
		panic("reactor: message without a function; Bind comes first")
	}
	if m.queued {
		panic("reactor: message queued a second time before it has run")
	}
	m.queued = true
}

// run unmarks m, so that its function may queue it again, and calls it.
func (m *Message) run() {
	m.next = nil
	m.queued = false
	m.fn()
}

// list is a queue of messages of one reactor, linked through the messages themselves.
type list struct {
	head, tail *Message
}

func (l *list) empty() bool { return l.head == nil }

func (l *list) push(m *Message) {
	m.next = nil
	if l.tail == nil {
		l.head = m
	} else {
		l.tail.next = m
	}
	l.tail = m
}

func (l *list) pop() *Message {
	m := l.head
	l.head = m.next
	if l.head == nil {
		l.tail = nil
	}
	return m
}

// runAtMost runs messages in order, those that the running ones add among them, until none is left or limit have run.
func (l *list) runAtMost(limit int) int {
	n := 0
	for n < limit && l.head != nil {
		l.pop().run()
		n++
	}
	return n
}

// mailbox is where other goroutines leave messages: a stack that any number of senders push on by compare-and-swap and
// the reactor takes whole. Pushing allocates nothing and cannot fail for want of room.
type mailbox struct {
	top atomic.Pointer[Message] // written by senders and by the reactor
}

// closedMailbox lies at the bottom of the mailbox of a reactor that has ended.
var closedMailbox = &Message{}

// push links m and reports false when the reactor has ended; m is then unlinked and will not run.
func (b *mailbox) push(m *Message) bool {
	for {
		old := b.top.Load()
		if old == closedMailbox {
			return false
		}
		m.next = old
		if b.top.CompareAndSwap(old, m) {
			return true
		}
	}
}

func (b *mailbox) empty() bool { return b.top.Load() == nil }

// drainTo appends what has arrived to l, oldest first.
func (b *mailbox) drainTo(l *list) {
	if b.top.Load() == nil {
		return
	}
	b.unstack(b.top.Swap(nil), l)
}

// closeTo is drainTo for the last time: whoever pushes from now on is told.
func (b *mailbox) closeTo(l *list) { b.unstack(b.top.Swap(closedMailbox), l) }

// unstack turns a stack, newest first, into the tail of l, oldest first.
func (b *mailbox) unstack(top *Message, l *list) {
	var oldest *Message
	for m := top; m != nil; {
		next := m.next
		m.next = oldest
		oldest, m = m, next
	}
	for m := oldest; m != nil; {
		next := m.next
		l.push(m)
		m = next
	}
}
