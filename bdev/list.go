package bdev

// linkKind tells a request's two lists apart: those in flight of a lane, and the one list it waits in.
type linkKind uint8

const (
	flight linkKind = iota
	wait
	linkKinds
)

type link struct {
	next, prev *Request
	in         *list
}

// list is a queue of requests linked through the requests themselves.
type list struct {
	head, tail *Request
	kind       linkKind
	n          int
}

func (l *list) push(q *Request) {
	k := &q.links[l.kind]
	if k.in != nil {
		panic("bdev: request is in a list already")
	}
	k.prev, k.next, k.in = l.tail, nil, l
	if l.tail == nil {
		l.head = q
	} else {
		l.tail.links[l.kind].next = q
	}
	l.tail = q
	l.n++
}

func (l *list) pushFront(q *Request) {
	k := &q.links[l.kind]
	if k.in != nil {
		panic("bdev: request is in a list already")
	}
	k.prev, k.next, k.in = nil, l.head, l
	if l.head == nil {
		l.tail = q
	} else {
		l.head.links[l.kind].prev = q
	}
	l.head = q
	l.n++
}

func (l *list) remove(q *Request) {
	k := &q.links[l.kind]
	if k.in != l {
		panic("bdev: request is not in this list")
	}
	if k.prev == nil {
		l.head = k.next
	} else {
		k.prev.links[l.kind].next = k.next
	}
	if k.next == nil {
		l.tail = k.prev
	} else {
		k.next.links[l.kind].prev = k.prev
	}
	*k = link{}
	l.n--
}

// pop takes the first; nil when there is none.
func (l *list) pop() *Request {
	q := l.head
	if q != nil {
		l.remove(q)
	}
	return q
}
