package bdev

import (
	"log/slog"

	"pollux/reactor"
)

// Spec is what a module says of a device when it registers it.
type Spec struct {
	Name              string
	Aliases           []string
	UUID              [16]byte // zero: one is derived from the name, the same at every start
	ProductName       string   // "Malloc disk", ... (clients compare it exactly)
	BlockSize         uint32   // bytes, power of two, 512 to 65536
	Blocks            uint64
	PhysicalBlockSize uint32 // bytes, 0: BlockSize
	ReadOnly          bool
	WriteCache        bool // completed writes are durable only after a flush
	Rotational        bool
	Limits            Limits
	Backend           Backend
	// DriverSpecific is what bdev_get_bdevs shows under driver_specific; nil for nothing. Control plane.
	DriverSpecific func() any
}

// Limits of one request to the module, in blocks; 0 is no limit. The generic layer splits what is larger.
type Limits struct {
	MaxTransferBlocks      uint32
	MaxUnmapBlocks         uint64
	MaxWriteZeroesBlocks   uint64
	OptimalBoundaryBlocks  uint32 // requests are split here if SplitAtBoundary
	SplitAtBoundary        bool
	UnmapGranularityBlocks uint32
	UnmapAlignmentBlocks   uint32
	MemoryAlignment        uint32 // bytes, of Data pieces; callers use iobuf, which is page-aligned
	MaxSegments            uint32
}

// Backend is a module's side of one device.
type Backend interface {
	// OpenQueue makes the path from r (on r).
	OpenQueue(r *reactor.Reactor) (Queue, error)
	// Supports reports whether Submit accepts op; a constant for the life of the device.
	Supports(op Op) bool
	// Destroy releases the device after its last queue has been closed. Control plane; may block.
	Destroy() error
}

// Queue is a module's path from one reactor to one device; all on that reactor.
type Queue interface {
	// Submit starts q; the module completes it by q.Complete, now or later.
	Submit(q *Request)
	// Close ends the path; nothing is in flight.
	Close()
}

// Module is a kind of device: a struct of functions, listed in target.go. Nil functions are left out.
type Module struct {
	Name string
	// Examine looks at a new device and may claim it and register others. Control plane.
	Examine func(d *Device)
	// Close ends the module after all its devices are gone.
	Close func() error
}

// Registry holds the devices of one target by name. Control plane; safe for concurrent use.
type Registry struct{ group *reactor.Group }

// NewRegistry makes an empty registry over the group's reactors.
func NewRegistry(g *reactor.Group, log *slog.Logger) *Registry { panic("api") }

// Register adds a device; then it can be opened. Errors: the name or UUID is taken (EEXIST), bad geometry (EINVAL).
func (g *Registry) Register(s Spec) (*Device, error) { panic("api") }

// Unregister removes the device and returns when the backend has been destroyed.
func (g *Registry) Unregister(name string) error { panic("api") }

// Lookup finds by name, alias or UUID text.
func (g *Registry) Lookup(name string) (*Device, error) { panic("api") }

// Devices lists all, in order of registration.
func (g *Registry) Devices() []*Device { panic("api") }

// Device is a named block device.
type Device struct{ spec Spec }

// Name, UUID, BlockSize and the rest never change; Blocks may (resize).
func (d *Device) Name() string           { return d.spec.Name }
func (d *Device) UUID() [16]byte         { return d.spec.UUID }
func (d *Device) BlockSize() uint32      { return d.spec.BlockSize }
func (d *Device) Spec() *Spec            { return &d.spec }
func (d *Device) Blocks() uint64         { panic("api") }
func (d *Device) Supports(op Op) bool    { panic("api") } // by the module or by emulation
func (d *Device) Home() *reactor.Reactor { panic("api") } // serialises what the channels share

// Resize tells everybody the new size; it returns when every channel and desc has learned of it. Control plane.
func (d *Device) Resize(blocks uint64) error { panic("api") }

// OpenOptions says how a device is opened.
type OpenOptions struct {
	Write bool
	Claim string // not empty: exclusive for writing, and this is who says so ("lvol", "raid", ...)
	// Event is called on a goroutine of the control plane, one event at a time. After EventRemove the desc must be closed soon.
	Event func(Event)
}

// Event is what happened to an open device.
type Event uint8

// Events.
const (
	EventRemove Event = iota
	EventResize
)

// Desc is an open device. Control plane.
type Desc struct{ dev *Device }

// Open opens a device by name, alias or UUID. Errors: ENODEV, EPERM (claimed by another), EROFS.
func (g *Registry) Open(name string, o OpenOptions) (*Desc, error) { panic("api") }

// Device is what the desc opened.
func (s *Desc) Device() *Device { return s.dev }

// Close gives the desc back. Its channels must have been closed.
func (s *Desc) Close() { panic("api") }
