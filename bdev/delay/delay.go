// Package delay is a block device that hands requests to another after a while, so that what takes long elsewhere takes long in a
// test: a request waits here, not on the medium, and can be aborted till its time has come.
package delay

import (
	"errors"
	"fmt"
	"sync/atomic"
	"syscall"
	"time"

	"pollux/bdev"
	"pollux/reactor"
)

// ProductName is what clients compare to tell these devices from others.
const ProductName = "delay"

// slowEvery is how many requests have one that takes the latency of the 99th percentile.
const slowEvery = 100

// Kind is one of the four latencies of a device.
type Kind int

// Latencies, of reads and of everything else, usual and once in slowEvery requests.
const (
	AvgRead Kind = iota
	P99Read
	AvgWrite
	P99Write
	kinds
)

// Latencies are the four, by Kind.
type Latencies [kinds]time.Duration

// validate refuses a percentile below the average.
func (l Latencies) validate() error {
	for _, d := range l {
		if d < 0 {
			return fmt.Errorf("latency %v: %w", d, syscall.EINVAL)
		}
	}
	if l[P99Read] < l[AvgRead] || l[P99Write] < l[AvgWrite] {
		return fmt.Errorf("the p99 latency is smaller than the average: %w", syscall.EINVAL)
	}
	return nil
}

// Module makes delay devices. Control plane.
type Module struct{ registry *bdev.Registry }

// New makes the module over a registry.
func New(g *bdev.Registry) *Module { return &Module{registry: g} }

// Create makes a device over base, which it claims. Errors: ENODEV, EPERM, EEXIST, EINVAL.
func (m *Module) Create(name, base string, l Latencies, uuid [16]byte) error {
	if err := l.validate(); err != nil {
		return fmt.Errorf("bdev %s: %w", name, err)
	}
	b, err := m.registry.OpenBase(base, "delay", name)
	if err != nil {
		return err
	}
	d := &device{name: name, base: b}
	for k, v := range l {
		d.latencies[k].Store(int64(v))
	}
	s := b.Spec()
	s.Name, s.UUID, s.ProductName, s.Backend = name, uuid, ProductName, d
	s.DriverSpecific, s.Config = d.driverSpecific, d.config
	if _, err := m.registry.Register(s); err != nil {
		return errors.Join(err, b.Close())
	}
	return nil
}

// Delete removes a device and gives its base back. Errors: ENODEV.
func (m *Module) Delete(name string) error {
	if _, err := m.lookup(name); err != nil {
		return err
	}
	return m.registry.Unregister(name)
}

// Update changes a latency, for requests that come later.
func (m *Module) Update(name string, k Kind, latency time.Duration) error {
	d, err := m.lookup(name)
	if err != nil {
		return err
	}
	d.latencies[k].Store(int64(latency))
	return nil
}

func (m *Module) lookup(name string) (*device, error) {
	_, d, err := bdev.LookupOf[*device](m.registry, name, "a delay device")
	return d, err
}

type device struct {
	name      string
	base      *bdev.Base
	latencies [kinds]atomic.Int64 // nanoseconds; written by the control plane, read by the reactors
}

// Supports: what the base can do; aborts and resets end what waits here too.
func (d *device) Supports(op bdev.Op) bool {
	return op == bdev.OpAbort || op == bdev.OpReset || d.base.Device().Supports(op)
}

// Destroy gives the base back.
func (d *device) Destroy() error { return d.base.Close() }

// OpenQueue makes the path from r.
func (d *device) OpenQueue(r *reactor.Reactor) (bdev.Queue, error) {
	below, err := d.base.OpenQueue(r)
	if err != nil {
		return nil, err
	}
	return &queue{BaseQueue: below, d: d, r: r}, nil
}

// queue is a reactor's path to the device.
type queue struct {
	*bdev.BaseQueue
	d       *device
	r       *reactor.Reactor
	free    *pause
	waiting *pause // in no order, linked both ways
	count   [kinds]uint64
}

// pause is a request that waits. There are as many as have ever waited at once.
type pause struct {
	q          *queue
	timer      reactor.Timer
	request    *bdev.Request
	next, prev *pause
}

// Submit has r wait, unless it is about others.
func (q *queue) Submit(r *bdev.Request) {
	switch r.Op {
	case bdev.OpAbort:
		q.abort(r)
	case bdev.OpReset:
		for q.waiting != nil {
			q.end(q.waiting, bdev.StatusAborted)
		}
		q.Forward(r)
	default:
		q.wait(r, q.latency(r.Op))
	}
}

// latency is the next request's.
func (q *queue) latency(op bdev.Op) time.Duration {
	k := AvgWrite
	if op == bdev.OpRead || op == bdev.OpCompare {
		k = AvgRead
	}
	if q.count[k]++; q.count[k]%slowEvery == 0 {
		k++ // The percentile of the same kind.
	}
	return time.Duration(q.d.latencies[k].Load())
}

func (q *queue) wait(r *bdev.Request, latency time.Duration) {
	if latency == 0 {
		q.Forward(r)
		return
	}
	p := q.free
	if p == nil {
		p = &pause{q: q}
		p.timer.Bind(q.r, p.over)
	} else {
		q.free = p.next
	}
	p.request, r.Driver = r, p
	p.prev, p.next = nil, q.waiting
	if p.next != nil {
		p.next.prev = p
	}
	q.waiting = p
	p.timer.Start(latency)
}

// over hands the request on when its time has come.
func (p *pause) over() {
	r := p.request
	p.release()
	p.q.Forward(r)
}

// end completes a request that waits.
func (q *queue) end(p *pause, status bdev.Status) {
	r := p.request
	p.timer.Stop()
	p.release()
	r.Complete(status)
}

// release takes p from those that wait.
func (p *pause) release() {
	if p.prev == nil {
		p.q.waiting = p.next
	} else {
		p.prev.next = p.next
	}
	if p.next != nil {
		p.next.prev = p.prev
	}
	p.request.Driver, p.request = nil, nil
	p.next, p.q.free = p.q.free, p
}

// abort ends the target if it waits here, and asks the base otherwise.
func (q *queue) abort(r *bdev.Request) {
	if p, here := r.Target.Driver.(*pause); here {
		q.end(p, bdev.StatusAborted)
		r.Complete(bdev.StatusOK)
		return
	}
	q.Forward(r)
}
