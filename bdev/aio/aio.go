package aio

import (
	"fmt"
	"syscall"
	"time"

	"pollux/bdev"
)

// ProductName is what clients compare to tell these disks from others.
const ProductName = "AIO disk"

// Options describe a device.
type Options struct {
	Name      string
	Filename  string
	BlockSize uint32 // 0: a block device's own
	ReadOnly  bool
	// Fallocate lets unmap punch holes.
	Fallocate bool
	UUID      [16]byte // zero: derived from the name
}

// SyncTimeout is how long a rescan waits for the file's size to be durable. A disk that is slow and works may need many seconds.
const SyncTimeout = 30 * time.Second

// Module makes devices of files. Control plane.
type Module struct{ registry *bdev.Registry }

// New makes the module over a registry.
func New(g *bdev.Registry) *Module { return &Module{registry: g} }

// Create opens the file and makes it a device. Errors: what opening says; EINVAL for a block size that does not fit; EEXIST.
func (m *Module) Create(o Options) error {
	if _, err := m.registry.Lookup(o.Name); err == nil {
		return fmt.Errorf("bdev %s: %w", o.Name, syscall.EEXIST)
	}
	f, err := openFile(o.Filename, o.BlockSize, o.ReadOnly)
	if err != nil {
		return fmt.Errorf("bdev %s: %w", o.Name, err)
	}
	if !f.direct {
		m.registry.Log().Info("file is used through the page cache, by threads", "bdev", o.Name, "file", o.Filename,
			"cause", "no O_DIRECT for these blocks here")
	}
	return m.register(o, f)
}

// register makes f a device, which then owns it.
func (m *Module) register(o Options, f *file) error {
	if !o.Fallocate {
		f.punches, f.zeroes = false, false
	}
	b := newBackend(f)
	_, err := m.registry.Register(bdev.Spec{
		Name: o.Name, UUID: o.UUID, ProductName: ProductName, BlockSize: f.blockSize, Blocks: f.size / uint64(f.blockSize),
		PhysicalBlockSize: max(f.blockSize, f.sector), ReadOnly: o.ReadOnly, WriteCache: true, FUA: true,
		Limits: bdev.Limits{
			MaxTransferBlocks:    transferMax / f.blockSize,
			MaxUnmapBlocks:       punchMax / uint64(f.blockSize),
			MaxWriteZeroesBlocks: punchMax / uint64(f.blockSize),
			MaxSegments:          iovecsMax,
			MemoryAlignment:      512,
		},
		Backend: b, DriverSpecific: o.driverSpecific, Config: o.config,
	})
	if err != nil {
		_ = f.close()
	}
	return err
}

// Delete removes a device; it returns when the file has been synced and closed. Errors: ENODEV; what syncing says.
func (m *Module) Delete(name string) error {
	if _, err := m.lookup(name); err != nil {
		return err
	}
	return m.registry.Unregister(name)
}

// Rescan looks at the file's size again and resizes the device. The new size is durable before anybody is told of it. Errors: ENODEV; bdev.ErrUnanswered; what
// looking and syncing say.
func (m *Module) Rescan(name string) error {
	d, err := m.lookup(name)
	if err != nil {
		return err
	}
	b := d.Spec().Backend.(*backend)
	size, err := b.file.sizeNow()
	if err != nil {
		return fmt.Errorf("bdev %s: size: %w", name, err)
	}
	if err := b.syncInTime(); err != nil {
		return fmt.Errorf("bdev %s: sync: %w", name, err)
	}
	blocks := size / uint64(b.file.blockSize)
	b.blocks.Store(blocks)
	return d.Resize(blocks)
}

// syncInTime is syncSize, but waits no longer than SyncTimeout.
func (b *backend) syncInTime() error {
	ended := make(chan error, 1)
	go func() { ended <- b.syncSize() }()
	timer := time.NewTimer(b.syncTimeout)
	defer timer.Stop()
	select {
	case err := <-ended:
		return err
	case <-timer.C:
		return fmt.Errorf("%w after %v; nobody has been told of a size: see to the disk", bdev.ErrUnanswered, b.syncTimeout)
	}
}

// syncSize makes the file's size durable. The kernel tells of a failure only once, so this one is every later flush's too.
func (b *backend) syncSize() error {
	if b.file.readOnly || bdev.Mutated(bdev.MutateSizeNotSynced) {
		return nil
	}
	err := b.file.sync()
	if err != nil {
		b.failed.Store(true)
	}
	return err
}

func (m *Module) lookup(name string) (*bdev.Device, error) {
	d, _, err := bdev.LookupOf[*backend](m.registry, name, "an aio device")
	return d, err
}
