package bdev

import (
	"fmt"

	"pollux/reactor"
)

// Base is the device below a stacked one, claimed by it. Control plane.
type Base struct {
	desc   *Desc
	queues gauge // that are open; the reactors close them
}

// OpenBase claims a device for a stacked one of module name, which is unregistered when the base is removed and resized with it.
func (g *Registry) OpenBase(base, module, name string) (*Base, error) {
	b := &Base{}
	event := func(e Event) {
		switch e {
		case EventRemove:
			if err := g.unregister(name, b.desc.dev.removal); err != nil {
				g.log.Warn("device above a removed one", "bdev", name, "base", base, "error", err)
			}
		case EventResize:
			if d, err := g.Lookup(name); err == nil {
				_ = d.Resize(b.desc.dev.Blocks()) // Who asked for it hears of what is in flight below.
			}
		case EventWritesLost:
			if d, err := g.Lookup(name); err == nil {
				d.TellWritesLost()
			}
		}
	}
	desc, err := g.Open(base, OpenOptions{Claim: module, Event: event})
	if err != nil {
		return nil, fmt.Errorf("bdev %s: %w", name, err)
	}
	b.desc = desc
	return b, nil
}

// Device is the device below.
func (b *Base) Device() *Device { return b.desc.dev }

// Spec is what a stacked device takes over from its base; the caller sets its name, product, backend and the rest.
func (b *Base) Spec() Spec {
	s := b.desc.dev.spec
	return Spec{
		BlockSize: s.BlockSize, Blocks: b.desc.dev.Blocks(), PhysicalBlockSize: s.PhysicalBlockSize,
		ReadOnly: s.ReadOnly, WriteCache: s.WriteCache, FUA: true, Rotational: s.Rotational,
		Limits: Limits{
			UnmapGranularityBlocks: s.Limits.UnmapGranularityBlocks, UnmapAlignmentBlocks: s.Limits.UnmapAlignmentBlocks,
			OptimalBoundaryBlocks: s.Limits.OptimalBoundaryBlocks, MemoryAlignment: s.Limits.MemoryAlignment,
		},
	}
}

// Close gives the base back, when all queues to it are closed.
func (b *Base) Close() error {
	if err := b.queues.await(b.desc.dev.home); err != nil {
		return err
	}
	b.desc.Close()
	return nil
}

// BaseQueue is a stacked device's path to its base on one reactor. Data plane.
type BaseQueue struct {
	base    *Base
	channel *Channel
	free    *lower
}

// lower is the request below for one from above. There are as many as have ever been in flight at once.
type lower struct {
	Request
	q     *BaseQueue
	upper *Request
	then  func(*Request, Status)
	next  *lower
}

// OpenQueue makes the path from r (on r).
func (b *Base) OpenQueue(r *reactor.Reactor) (*BaseQueue, error) {
	c, err := b.desc.OpenChannel(r)
	if err != nil {
		return nil, err
	}
	b.queues.add()
	return &BaseQueue{base: b, channel: c}, nil
}

// Close ends the path; nothing is in flight.
func (q *BaseQueue) Close() { q.channel.Close(q.base.queues.drop) }

// Forward carries r out below and completes it as the base does. An abort must be of a request that was forwarded.
func (q *BaseQueue) Forward(r *Request) { q.ForwardThen(r, (*Request).Complete) }

// ForwardThen is Forward with something to do, instead of completing r, when the base has.
func (q *BaseQueue) ForwardThen(r *Request, then func(*Request, Status)) {
	w := q.free
	if w == nil {
		w = &lower{q: q}
		w.Done = w.done
	} else {
		q.free = w.next
	}
	w.upper, w.then, r.Driver = r, then, w
	w.Op, w.Flags, w.LBA, w.Blocks, w.SrcLBA = r.Op, r.Flags, r.LBA, r.Blocks, r.SrcLBA
	w.Data, w.Compare, w.Target = r.Data, r.Compare, nil
	if r.Op == OpAbort {
		w.Target = &r.Target.Driver.(*lower).Request
	}
	q.channel.Submit(&w.Request)
}

// done passes the end on.
func (w *lower) done(*Request) {
	r, status := w.upper, w.Status
	r.Result, r.Driver = w.Result, nil
	w.upper, w.Data, w.Compare, w.Target = nil, nil, nil, nil
	w.next, w.q.free = w.q.free, w
	w.then(r, status)
}
