package bdev

import (
	"fmt"
	"math/bits"
	"syscall"

	"pollux/reactor"
	"pollux/rpc"
)

// Spec is what a module says of a device when it registers it.
type Spec struct {
	Name              string
	Aliases           []string
	UUID              [16]byte // zero: one is derived from the machine and the name, the same at every start
	ProductName       string   // "Malloc disk", ... (clients compare it exactly)
	BlockSize         uint32   // bytes, power of two, 512 to 65536
	Blocks            uint64
	PhysicalBlockSize uint32 // bytes, 0: BlockSize
	ReadOnly          bool
	WriteCache        bool // completed writes are durable only after a flush
	FUA               bool // the module makes writes with FlagFUA durable itself; otherwise a flush follows them
	Rotational        bool
	Limits            Limits
	Backend           Backend
	// NUMA is the memory node of the device's data, as bdev_get_bdevs shows it; nil for nothing.
	NUMA *int
	// DriverSpecific is what bdev_get_bdevs shows under driver_specific; nil for nothing. Control plane.
	DriverSpecific func() any
	// Config is the RPC calls that make the device again, for a saved configuration; nil for none. Control plane.
	Config func(*Device) []rpc.ConfigEntry
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
	// Ending is called when the target begins to end, while devices still serve: from now on nothing may wait for long.
	Ending func()
	// Close ends the module after all its devices are gone.
	Close func() error
}

// The bounds of a device's geometry.
const (
	BlockSizeMin = 512
	BlockSizeMax = 64 << 10
	// SizeMax is the largest device, in bytes.
	SizeMax = 1 << 63
	// NameMax is the longest name or alias, in bytes.
	NameMax = 256
)

// CheckGeometry refuses a name, a block size or a size that no device can have, with EINVAL. Modules that make something for a
// device before they register it call it first.
func CheckGeometry(name string, blockSize uint32, blocks uint64) error {
	switch {
	case name == "" || len(name) > NameMax:
		return fmt.Errorf("bdev %q: the name must have 1 to %d bytes: %w", name, NameMax, syscall.EINVAL)
	case bits.OnesCount32(blockSize) != 1 || blockSize < BlockSizeMin || blockSize > BlockSizeMax:
		return fmt.Errorf("bdev %s: block size %d is not a power of two from %d to %d: %w",
			name, blockSize, BlockSizeMin, BlockSizeMax, syscall.EINVAL)
	case blocks == 0 || blocks > SizeMax/uint64(blockSize):
		return fmt.Errorf("bdev %s: %d blocks of %d bytes: %w", name, blocks, blockSize, syscall.EINVAL)
	}
	return nil
}

// validate completes what the module has left out, and refuses what cannot be.
func (s *Spec) validate() error {
	if err := CheckGeometry(s.Name, s.BlockSize, s.Blocks); err != nil {
		return err
	}
	if s.PhysicalBlockSize == 0 {
		s.PhysicalBlockSize = s.BlockSize
	}
	if s.Limits.MaxSegments == 0 {
		s.Limits.MaxSegments = SegmentsMax
	}
	switch {
	case s.PhysicalBlockSize%s.BlockSize != 0:
		return fmt.Errorf("bdev %s: physical block size %d is not a multiple of block size %d: %w",
			s.Name, s.PhysicalBlockSize, s.BlockSize, syscall.EINVAL)
	case s.WriteCache && !s.Backend.Supports(OpFlush):
		return fmt.Errorf("bdev %s: a write cache without flush: %w", s.Name, syscall.EINVAL)
	case s.Limits.SplitAtBoundary && s.Limits.OptimalBoundaryBlocks == 0:
		return fmt.Errorf("bdev %s: requests split at no boundary: %w", s.Name, syscall.EINVAL)
	}
	return nil
}
