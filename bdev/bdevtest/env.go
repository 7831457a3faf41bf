package bdevtest

import (
	"log/slog"
	"testing"

	"pollux/bdev"
	"pollux/reactor"
	"pollux/reactor/iobuf"
	"pollux/reactor/reactortest"
)

// Env is a world with a registry.
type Env struct {
	T        testing.TB
	World    *reactortest.World
	Registry *bdev.Registry
}

// NewEnv makes a world of n reactors. At the end of the test every device is removed.
func NewEnv(t testing.TB, n int) *Env {
	w := reactortest.New(t, n)
	return &Env{T: t, World: w, Registry: bdev.NewRegistry(w.Group, slog.New(slog.DiscardHandler))}
}

// Client is one user of a device on one reactor.
type Client struct {
	env    *Env
	R      *reactor.Reactor
	Desc   *bdev.Desc
	C      *bdev.Channel
	Closed bool
}

// Open opens a device on reactor i. When the device is removed the client closes itself.
func (e *Env) Open(i int, name string, o bdev.OpenOptions) *Client {
	e.T.Helper()
	c := &Client{env: e, R: e.World.Reactors[i]}
	event := o.Event
	o.Event = func(ev bdev.Event) {
		if event != nil {
			event(ev)
		}
		if ev == bdev.EventRemove && !c.Closed {
			c.beginClose()
		}
	}
	var err error
	if c.Desc, err = e.Registry.Open(name, o); err != nil {
		e.T.Fatalf("open %s: %v", name, err)
	}
	if c.C, err = c.Desc.OpenChannel(c.R); err != nil {
		e.T.Fatalf("open channel: %v", err)
	}
	return c
}

// beginClose closes the channel and, when that is done, the desc.
func (c *Client) beginClose() {
	c.Closed = true
	c.C.Close(c.Desc.Close)
}

// Close closes the client and waits for that.
func (c *Client) Close() {
	if !c.Closed {
		c.beginClose()
	}
	c.env.World.Run()
}

// Op is a request with its end.
type Op struct {
	bdev.Request
	Ended int // times that Done was called
	After func()
}

// NewOp makes a request that notes its end.
func NewOp(q bdev.Request) *Op {
	o := &Op{Request: q}
	o.Done = func(*bdev.Request) {
		o.Ended++
		if o.After != nil {
			o.After()
		}
	}
	return o
}

// Start submits q and returns at once. That it ends inside Submit, or twice, fails the test.
func (c *Client) Start(q bdev.Request) *Op {
	c.env.T.Helper()
	o := NewOp(q)
	c.Submit(o)
	return o
}

// Submit submits an operation again or for the first time.
func (c *Client) Submit(o *Op) {
	c.env.T.Helper()
	before := o.Ended
	c.C.Submit(&o.Request)
	if o.Ended != before {
		c.env.T.Fatalf("%v has ended inside Submit", o.Op)
	}
}

// Do submits q and runs the world until it has ended.
func (c *Client) Do(q bdev.Request) *Op {
	c.env.T.Helper()
	o := c.Start(q)
	c.env.Wait(o)
	return o
}

// Wait runs the world, moving the clock when nothing else is to be done, until o has ended.
func (e *Env) Wait(ops ...*Op) {
	e.T.Helper()
	for _, o := range ops {
		e.Until(func() bool { return o.Ended > 0 })
		if o.Ended != 1 {
			e.T.Fatalf("%v has ended %d times", o.Op, o.Ended)
		}
	}
}

// Until runs the world until cond holds.
func (e *Env) Until(cond func() bool) {
	e.T.Helper()
	if cond() {
		return
	}
	var poll reactor.Message
	r := e.World.Reactors[0]
	// Do drives the world, and panics when there is nothing left that could make cond true.
	err := r.Do(func(done func()) {
		var watch reactor.Poller
		watch.Poll = func() int {
			if cond() {
				r.RemovePoller(&watch)
				poll.Bind(done)
				r.Send(&poll)
				return 1
			}
			return 0
		}
		watch.Name = "bdevtest.Until"
		r.AddPoller(&watch)
	})
	if err != nil {
		e.T.Fatal(err)
	}
}

// Want fails the test unless o has ended with status.
func (e *Env) Want(o *Op, status bdev.Status) {
	e.T.Helper()
	if o.Ended != 1 || o.Status != status {
		e.T.Fatalf("%v at %d, %d blocks: ended %d times with %v, want once with %v",
			o.Op, o.LBA, o.Blocks, o.Ended, o.Status, status)
	}
}

// Memory returns n bytes that begin at a page, which live as long as the test.
func (e *Env) Memory(n int) []byte {
	mem, err := iobuf.Map(n)
	if err != nil {
		e.T.Fatal(err)
	}
	e.T.Cleanup(func() { iobuf.Unmap(mem) })
	return mem
}

// idle lets the clock go on when reactors have nothing to do.
func (e *Env) idle() { e.World.Advance(100_000) }
