package iscsi

import "pollux/reactor/iobuf"

// Memory is shared out so that no peer can take it from the others by not answering or not reading. Half of what there is is
// divided evenly between as many sessions as there may be (max_sessions): a connection gets its share without waiting,
// whatever the others do. What it needs beyond comes from the other half, first come first served; there tasks wait
// in line, connection by connection in turn. The command window is such that the unsolicited data that it allows fits the share.

// memory is what a reactor's connections hold together.
type memory struct {
	share  int64 // of a connection, for itself
	common int64 // for all connections of the reactor beyond their shares
	extra  int64 // held of common
	hungry []*conn
}

// shareOut divides the pool's limit. An eighth stays for what package scsi needs and for what buffers of several sizes waste.
func (l *local) shareOut() {
	usable := l.pool.Limit() / 8 * 7
	l.mem.share = usable / 2 / int64(l.server.view.Load().options.MaxSessions)
	l.mem.common = usable / 2 / int64(len(l.server.locals))
}

// sizeOf is the memory that buffers for n bytes take.
func sizeOf(n uint32) (size int64) {
	size = int64(n) &^ (iobuf.MaxSize - 1)
	rest := n & (iobuf.MaxSize - 1)
	if rest == 0 {
		return size
	}
	class := uint32(iobuf.MinSize)
	for class < rest {
		class <<= 1
	}
	return size + int64(class)
}

// windowFor is the command window whose unsolicited data fits a connection's share; one command is always allowed.
func (l *local) windowFor(p *Params) uint32 {
	if p.Discovery() { // No request there brings data for a task.
		return DiscoveryQueueDepth
	}
	claim := sizeOf(1)
	if p.ImmediateData || !p.InitialR2T {
		claim = sizeOf(p.FirstBurstLength)
	}
	return uint32(max(1, l.mem.share/claim))
}

// reserve accounts for size bytes, within the connection's share or beyond it. A task that is larger than what there is beyond the
// shares gets its turn alone.
func (t *task) reserve(size int64) bool {
	m := &t.local.mem
	switch {
	case t.conn.held+size <= m.share:
		t.conn.held += size
		t.extra = false
	case m.extra+size <= m.common || m.extra == 0:
		m.extra += size
		t.extra = true
	default:
		return false
	}
	t.held = size
	return true
}

// release is the opposite of reserve.
func (t *task) release() {
	if t.extra {
		t.local.mem.extra -= t.held
	} else {
		t.conn.held -= t.held
	}
	t.held = 0
}

// getMemory takes buffers for n bytes, all or none, and makes t.pieces them, cut to n bytes.
func (t *task) getMemory(n uint32) bool {
	if n == 0 {
		return true
	}
	if !t.reserve(sizeOf(n)) {
		return false
	}
	for n > 0 {
		size := min(n, iobuf.MaxSize)
		b, ok := t.local.pool.Get(int(size))
		if !ok {
			t.putBuffers()
			return false
		}
		t.bufs[t.nbufs] = b
		t.pieces[t.nbufs] = b.Bytes()[:size]
		t.nbufs++
		n -= size
	}
	return true
}

// putMemory gives everything back, and lets those that wait try again later in this pass.
func (t *task) putMemory() {
	if t.held == 0 {
		return
	}
	t.putBuffers()
	t.DataOut, t.DataIn = nil, nil
	if l := t.local; len(l.mem.hungry) > 0 && !l.feed.Queued() {
		l.r.Defer(&l.feed)
	}
}

func (t *task) putBuffers() {
	for i := range t.nbufs {
		t.local.pool.Put(t.bufs[i])
		t.bufs[i], t.pieces[i] = iobuf.Buf{}, nil
	}
	t.nbufs = 0
	t.release()
}

// starve puts the task at the end of its connection's line for memory. resume is called when there may be some.
func (t *task) starve() {
	l, c := t.local, t.conn
	l.count(countStarved)
	t.waiting, t.waitNext = true, nil
	if c.waitLast == nil {
		c.waitFirst = t
		l.mem.hungry = append(l.mem.hungry, c)
	} else {
		c.waitLast.waitNext = t
	}
	c.waitLast = t
	if !l.retry.Active() {
		l.retry.Start(memoryRetry)
	}
}

// unstarve takes a task that ends out of its line.
func (t *task) unstarve() {
	if !t.waiting {
		return
	}
	c := t.conn
	t.waiting = false
	var before *task
	for w := c.waitFirst; w != t; w = w.waitNext {
		before = w
	}
	if before == nil {
		c.waitFirst = t.waitNext
	} else {
		before.waitNext = t.waitNext
	}
	if c.waitLast == t {
		c.waitLast = before
	}
	t.waitNext = nil
	if c.waitFirst == nil {
		t.local.mem.hungry = without(t.local.mem.hungry, c)
	}
}

// feedStarved lets the first task of each waiting connection try, in turn.
func (l *local) feedStarved() {
	fed := false
	for range min(len(l.mem.hungry), hungryBatch) {
		c := l.mem.hungry[0]
		l.mem.hungry = append(l.mem.hungry[:0], l.mem.hungry[1:]...)
		l.mem.hungry = append(l.mem.hungry, c)
		if c.waitFirst.resume() {
			fed = true
		}
	}
	switch {
	case len(l.mem.hungry) == 0:
	case fed && !l.feed.Queued():
		l.r.Defer(&l.feed)
	case !l.retry.Active():
		l.retry.Start(memoryRetry)
	}
}
