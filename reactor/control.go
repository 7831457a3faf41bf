package reactor

import "golang.org/x/sys/unix"

// A call is a message from a goroutine that waits for the answer. The control plane may allocate.
type call struct {
	Message
	done chan struct{}
	over bool // stepped reactors, where one goroutine does everything
}

// Call runs fn on r and returns when it has returned. Control plane only. It returns ErrStopped when r has ended.
func (r *Reactor) Call(fn func()) error {
	return r.Do(func(done func()) {
		fn()
		done()
	})
}

// Do runs fn on r and returns when fn or anything it started has called done, on any reactor. Control plane only. It returns ErrStopped when
// r has ended before that: then fn has not run, or what it began is not known to have ended; done may still be called, once.
func (r *Reactor) Do(fn func(done func())) error {
	if r.group.onReactor() {
		panic("reactor: Call or Do from a reactor, which may not wait")
	}
	c := &call{done: make(chan struct{})}
	c.Bind(func() { fn(c.end) })
	if !r.send(&c.Message) {
		return ErrStopped
	}
	return c.wait(r)
}

// onReactor reports whether the caller runs on one of the group's reactors.
func (g *Group) onReactor() bool {
	tid := unix.Gettid()
	for _, r := range g.reactors {
		if r.drive != nil && r.inPass || r.drive == nil && r.tid == tid {
			return true
		}
	}
	return false
}

// end lets the caller go on; ending twice is a broken invariant, and panics.
func (c *call) end() {
	c.over = true
	close(c.done)
}

// wait returns when the call, or the reactor, has ended. A stepped reactor has nobody else to run it, so the waiting goroutine does.
func (c *call) wait(r *Reactor) error {
	if r.drive == nil {
		return c.waitFor(r.ended)
	}
	for !c.over {
		if !r.drive() && !c.over {
			panic("reactor: nothing is left to do, and a Call or Do has not ended")
		}
	}
	return nil
}

// waitFor prefers the end of the call when both have come.
func (c *call) waitFor(ended <-chan struct{}) error {
	select {
	case <-c.done:
		return nil
	case <-ended:
	}
	select {
	case <-c.done:
		return nil
	default:
		return ErrStopped
	}
}
