// Package null is a block device that keeps nothing: reads return zeroes, everything else does nothing. It measures what
// the layers above cost, and has any size up to 2^63 bytes.
package null

import (
	"fmt"
	"sync"

	"pollux/bdev"
	"pollux/reactor"
)

// ProductName is what clients compare to tell these devices from others.
const ProductName = "Null disk"

// Options describe a device.
type Options struct {
	Name              string // empty: Null0, Null1, ..., the first that is free
	BlockSize         uint32
	Blocks            uint64
	UUID              [16]byte // zero: derived from the name
	PhysicalBlockSize uint32
}

// Module makes null devices. Control plane.
type Module struct {
	registry *bdev.Registry
	naming   sync.Mutex // between choosing a free name and taking it
}

// New makes the module over a registry.
func New(g *bdev.Registry) *Module { return &Module{registry: g} }

// Create makes a device and returns its name.
func (m *Module) Create(o Options) (string, error) {
	m.naming.Lock()
	defer m.naming.Unlock()
	if o.Name == "" {
		o.Name = m.freeName()
	}
	_, err := m.registry.Register(bdev.Spec{
		Name: o.Name, UUID: o.UUID, ProductName: ProductName,
		BlockSize: o.BlockSize, Blocks: o.Blocks, PhysicalBlockSize: o.PhysicalBlockSize,
		Backend: backend{}, DriverSpecific: func() any { return struct{}{} }, Config: o.config,
	})
	return o.Name, err
}

// freeName is the first of the series that no device has.
func (m *Module) freeName() string {
	for i := 0; ; i++ {
		name := fmt.Sprintf("Null%d", i)
		if _, err := m.registry.Lookup(name); err != nil {
			return name
		}
	}
}

// Delete removes a device. Errors: ENODEV.
func (m *Module) Delete(name string) error {
	if _, err := m.lookup(name); err != nil {
		return err
	}
	return m.registry.Unregister(name)
}

// Resize gives a device another size. Errors: ENODEV, EINVAL.
func (m *Module) Resize(name string, blocks uint64) error {
	d, err := m.lookup(name)
	if err != nil {
		return err
	}
	return d.Resize(blocks)
}

func (m *Module) lookup(name string) (*bdev.Device, error) {
	d, _, err := bdev.LookupOf[backend](m.registry, name, "a null device")
	return d, err
}

// backend has no state.
type backend struct{}

// OpenQueue makes the path from r.
func (backend) OpenQueue(*reactor.Reactor) (bdev.Queue, error) { return queue{}, nil }

// Supports: what keeps no data can compare nothing but zeroes, which the generic layer does.
func (backend) Supports(op bdev.Op) bool {
	switch op {
	case bdev.OpRead, bdev.OpWrite, bdev.OpUnmap, bdev.OpWriteZeroes:
		return true
	default:
		return false
	}
}

// Destroy has nothing to release.
func (backend) Destroy() error { return nil }

type queue struct{}

func (queue) Close() {}

// Submit does nothing, at once.
func (queue) Submit(r *bdev.Request) {
	if r.Op == bdev.OpRead {
		for _, piece := range r.Data {
			clear(piece)
		}
	}
	r.Complete(bdev.StatusOK)
}
