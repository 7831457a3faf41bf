package malloc

import (
	"fmt"
	"sync"

	"pollux/bdev"
)

// ProductName is what clients compare to tell these disks from others.
const ProductName = "Malloc disk"

// Options describe a disk.
type Options struct {
	Name              string // empty: Malloc0, Malloc1, ..., the first that is free
	BlockSize         uint32
	Blocks            uint64
	UUID              [16]byte // zero: derived from the name
	PhysicalBlockSize uint32
	OptimalBoundary   uint32 // blocks
	// Populate takes all memory when the disk is made, not when it is written to.
	Populate bool
}

// Module makes malloc disks. Control plane.
type Module struct {
	registry *bdev.Registry
	naming   sync.Mutex // between choosing a free name and taking it
}

// New makes the module over a registry.
func New(g *bdev.Registry) *Module { return &Module{registry: g} }

// Create makes a disk and returns its name.
func (m *Module) Create(o Options) (string, error) {
	m.naming.Lock()
	defer m.naming.Unlock()
	if o.Name == "" {
		o.Name = m.freeName()
	}
	if err := bdev.CheckGeometry(o.Name, o.BlockSize, o.Blocks); err != nil {
		return "", err
	}
	d, err := newDisk(o.Blocks, o.BlockSize)
	if err != nil {
		return "", fmt.Errorf("bdev %s: %w", o.Name, err)
	}
	if o.Populate {
		if err := populate(d.mem); err != nil {
			_ = free(d.mem)
			return "", fmt.Errorf("bdev %s: populate %d bytes: %w", o.Name, len(d.mem), err)
		}
	}
	if _, err := m.registry.Register(m.spec(o, d)); err != nil {
		_ = free(d.mem)
		return "", err
	}
	return o.Name, nil
}

// freeName is the first of the series that no device has.
func (m *Module) freeName() string {
	for i := 0; ; i++ {
		name := fmt.Sprintf("Malloc%d", i)
		if _, err := m.registry.Lookup(name); err != nil {
			return name
		}
	}
}

func (m *Module) spec(o Options, d *disk) bdev.Spec {
	anyNode := -1
	return bdev.Spec{
		Name: o.Name, UUID: o.UUID, ProductName: ProductName,
		BlockSize: o.BlockSize, Blocks: o.Blocks, PhysicalBlockSize: o.PhysicalBlockSize,
		Limits: bdev.Limits{
			MaxTransferBlocks:     requestMax / o.BlockSize,
			MaxUnmapBlocks:        requestMax / uint64(o.BlockSize),
			MaxWriteZeroesBlocks:  requestMax / uint64(o.BlockSize),
			OptimalBoundaryBlocks: o.OptimalBoundary,
			SplitAtBoundary:       o.OptimalBoundary != 0,
		},
		Backend: d, NUMA: &anyNode, DriverSpecific: func() any { return struct{}{} }, Config: o.config,
	}
}

// Delete removes a disk; it returns when the memory has been given back. Errors: ENODEV.
func (m *Module) Delete(name string) error {
	if _, _, err := bdev.LookupOf[*disk](m.registry, name, "a malloc disk"); err != nil {
		return err
	}
	return m.registry.Unregister(name)
}
