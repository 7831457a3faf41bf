package aio

import (
	"context"
	"errors"
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

// SyncTimeout is how long a rescan waits for the file's size and for that to be durable, and the making of a new file for that. A disk that is
// slow and works may need many seconds.
const SyncTimeout = 30 * time.Second

// Module makes devices of files. Control plane.
type Module struct {
	registry *bdev.Registry
	life     context.Context // ends when the target begins to end
	openings openings

	openFile    func(path string, blockSize uint32, readOnly bool) (*file, error)
	openTimeout time.Duration
}

// New makes the module over a registry.
func New(g *bdev.Registry) *Module {
	m := &Module{registry: g, openFile: openFile, openTimeout: OpenTimeout}
	var ending context.CancelCauseFunc
	m.life, ending = context.WithCancelCause(context.Background())
	g.AddModule(bdev.Module{Name: "aio", Ending: func() { ending(errEnding) }})
	return m
}

// Create opens the file and makes it a device. Errors: what opening says; EINVAL for a block size that does not fit; EEXIST;
// bdev.ErrUnanswered after OpenTimeout, ECANCELED when the target ends: then there is no device and will be none.
func (m *Module) Create(o Options) error {
	p, err := m.openings.begin(o.Name, o.Filename)
	if err != nil {
		return err
	}
	if _, err := m.registry.Lookup(o.Name); err == nil {
		m.openings.end(p)
		return fmt.Errorf("bdev %s: %w", o.Name, syscall.EEXIST)
	}
	go m.open(p, o)
	return m.awaitOpen(p)
}

// register makes f a device, which then owns it; with an error the caller does.
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
	return err
}

// Delete removes a device; it returns when the file has been synced and closed. Errors: ENODEV; what syncing says.
func (m *Module) Delete(name string) error {
	if _, err := m.lookup(name); err != nil {
		return err
	}
	return m.registry.Unregister(name)
}

// Rescan looks at the file's size again and resizes the device. The new size is durable before anybody is told of it. Errors: ENODEV;
// bdev.ErrUnanswered after SyncTimeout; ECANCELED when the target ends; what looking and syncing say.
func (m *Module) Rescan(name string) error {
	d, err := m.lookup(name)
	if err != nil {
		return err
	}
	b := d.Spec().Backend.(*backend)
	size, err := m.sizeInTime(b)
	if err != nil {
		return fmt.Errorf("bdev %s: %w", name, err)
	}
	blocks := size / uint64(b.file.blockSize)
	b.blocks.Store(blocks)
	return d.Resize(blocks)
}

// sizeInTime is durableSize, but waits no longer than SyncTimeout. While the kernel has not answered one, nobody asks it again, since each
// would have a thread.
func (m *Module) sizeInTime(b *backend) (size uint64, err error) {
	ctx, cancel := within(m.life, SyncTimeout)
	defer cancel()
	select {
	case b.looking <- struct{}{}:
		size, err = inTime(ctx, b.durableSize)
	case <-ctx.Done():
		err = context.Cause(ctx)
	}
	if errors.Is(err, bdev.ErrUnanswered) {
		return 0, fmt.Errorf("size and sync: %w; nobody has been told of a size: see to the disk", err)
	}
	return size, err
}

// durableSize is the file's size, which is durable then. It lets the next one look.
func (b *backend) durableSize() (uint64, error) {
	defer func() { <-b.looking }()
	size, err := b.file.sizeNow()
	if err != nil {
		return 0, fmt.Errorf("size: %w", err)
	}
	if err := b.syncSize(); err != nil {
		return 0, fmt.Errorf("sync: %w", err)
	}
	return size, nil
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
