// Package error is a block device that hands requests to another, but for those that a test wants to fail, to hang, to be
// corrupted or to be told that there are no resources.
package error

import (
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"syscall"

	"pollux/bdev"
	"pollux/reactor"
)

// ProductName is what clients compare to tell these devices from others.
const ProductName = "Error Injection Disk"

// Prefix makes a device's name of its base's.
const Prefix = "EE_"

// Kind is what is done to a request.
type Kind int

// Kinds of errors.
const (
	Failure  Kind = iota // it fails with StatusMediumError
	Pending              // it hangs until it is resumed, aborted or reset
	Corrupt              // a byte of what is read or written is another one
	NoMemory             // the channel is told to come again
)

// Injection is an error for the next requests of one operation.
type Injection struct {
	Kind       Kind
	Num        uint32 // requests
	QueueDepth uint64 // only when so many requests are in flight on the reactor
	Offset     uint64 // Corrupt: bytes from the start of the data
	Value      byte   // Corrupt: what the byte is exclusive-ored with
}

// injection counts down. It is published whole; the count is shared by the reactors.
type injection struct {
	Injection
	left atomic.Int64
}

// targets are the operations that errors can be injected into.
var targets = []bdev.Op{bdev.OpRead, bdev.OpWrite, bdev.OpUnmap, bdev.OpFlush}

// Module makes error devices. Control plane.
type Module struct{ registry *bdev.Registry }

// New makes the module over a registry.
func New(g *bdev.Registry) *Module { return &Module{registry: g} }

// Create makes a device over base, which it claims, and returns its name. Errors: ENODEV, EPERM, EEXIST.
func (m *Module) Create(base string, uuid [16]byte) (string, error) {
	name := Prefix + base
	b, err := m.registry.OpenBase(base, "error", name)
	if err != nil {
		return "", err
	}
	d := &device{base: b}
	s := b.Spec()
	s.Name, s.UUID, s.ProductName, s.Backend = name, uuid, ProductName, d
	s.DriverSpecific, s.Config = d.driverSpecific, d.config
	if _, err := m.registry.Register(s); err != nil {
		return "", errors.Join(err, b.Close())
	}
	return name, nil
}

// Delete resumes what hangs, removes a device and gives its base back. Errors: ENODEV.
func (m *Module) Delete(name string) error {
	d, err := m.lookup(name)
	if err != nil {
		return err
	}
	d.Clear()
	if err := m.Resume(name); err != nil {
		return err
	}
	return m.registry.Unregister(name)
}

// Inject has the next requests of op end as i says.
func (m *Module) Inject(name string, op bdev.Op, i Injection) error {
	d, err := m.lookup(name)
	if err != nil {
		return err
	}
	if !slices.Contains(targets, op) || i.Kind == Corrupt && (i.Value == 0 || op != bdev.OpRead && op != bdev.OpWrite) {
		return fmt.Errorf("bdev %s: inject into %v: %w", name, op, syscall.EINVAL)
	}
	p := &injection{Injection: i}
	p.left.Store(int64(i.Num))
	d.injections[op].Store(p)
	return nil
}

// Clear forgets all injections. What hangs goes on hanging.
func (m *Module) Clear(name string) error {
	d, err := m.lookup(name)
	if err != nil {
		return err
	}
	d.Clear()
	return nil
}

// Resume carries out what hangs.
func (m *Module) Resume(name string) error {
	d, err := m.lookup(name)
	if err != nil {
		return err
	}
	return m.registry.Group().Each(d.resume)
}

func (m *Module) lookup(name string) (*device, error) {
	_, d, err := bdev.LookupOf[*device](m.registry, name, "an error device")
	return d, err
}

type device struct {
	base       *bdev.Base
	injections [bdev.OpCount]atomic.Pointer[injection] // written by the control plane, read by the reactors
}

// Clear forgets all injections.
func (d *device) Clear() {
	for i := range d.injections {
		d.injections[i].Store(nil)
	}
}

// Supports: what the base can do; aborts and resets end what hangs here too.
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
	q := &queue{below: below, d: d, r: r}
	q.ended, q.endedCorrupt = q.end, q.endCorrupt
	queues(r)[q] = struct{}{}
	return q, nil
}

// queuesKey finds the open queues of a reactor, of all devices.
type queuesKey struct{}

func queues(r *reactor.Reactor) map[*queue]struct{} {
	return r.Local(queuesKey{}, func() any { return map[*queue]struct{}{} }).(map[*queue]struct{})
}

// resume carries out what hangs on r (on r).
func (d *device) resume(r *reactor.Reactor) {
	for q := range queues(r) {
		if q.d == d {
			q.resume()
		}
	}
}
