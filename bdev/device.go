package bdev

import (
	"errors"
	"fmt"
	"math/bits"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"pollux/reactor"
)

// Device is a named block device. Its methods may be called from anywhere unless they say otherwise.
type Device struct {
	spec     Spec
	registry *Registry
	created  time.Time
	home     *reactor.Reactor
	lanes    []*lane       // by reactor ID
	blocks   atomic.Uint64 // written by Resize, read by whoever asks for the size

	// Fixed at registration.
	shift    uint8 // log2 of the block size
	native   [OpCount]bool
	can      [OpCount]bool
	limits   [OpCount]opLimit
	segments int
	zeroes   []byte

	resizing sync.Mutex // one change of size or rates at a time
	rates    atomic.Pointer[RateLimits]
	locks    *RangeLock // in order of arrival; the home reactor's

	histogram atomic.Pointer[opHistogram] // nil: nothing is counted; written and read by the control plane

	// Under the registry's mutex.
	descs   []*Desc
	writers int
	claim   string
	removal *removal // nil: it is not on its way out

	opened gauge // descs; the removal waits for them
}

func newDevice(g *Registry, s Spec, home *reactor.Reactor) *Device {
	d := &Device{spec: s, registry: g, created: time.Now().UTC(), home: home, zeroes: g.zeroes}
	d.blocks.Store(s.Blocks)
	d.shift = uint8(bits.TrailingZeros32(s.BlockSize))
	d.limits = limitsOf(&s)
	d.segments = int(s.Limits.MaxSegments)
	for op := range OpCount {
		d.native[op] = s.Backend.Supports(op)
		d.can[op] = d.isPossible(op)
	}
	for _, r := range g.group.Reactors() {
		d.lanes = append(d.lanes, newLane(d, r))
	}
	return d
}

// isPossible reports whether op can be done by the module or by emulation.
func (d *Device) isPossible(op Op) bool {
	b := d.spec.Backend
	switch op {
	case OpFlush, OpReset, OpAbort:
		return true
	case OpCompare:
		return b.Supports(op) || b.Supports(OpRead)
	case OpWriteZeroes:
		return b.Supports(op) || b.Supports(OpWrite)
	case OpCompareAndWrite, OpCopy:
		return b.Supports(op) || b.Supports(OpRead) && b.Supports(OpWrite)
	default:
		return b.Supports(op)
	}
}

// Name, UUID, BlockSize and the rest never change; Blocks may (resize).
func (d *Device) Name() string           { return d.spec.Name }
func (d *Device) UUID() [16]byte         { return d.spec.UUID }
func (d *Device) BlockSize() uint32      { return d.spec.BlockSize }
func (d *Device) Spec() *Spec            { return &d.spec }
func (d *Device) Blocks() uint64         { return d.blocks.Load() }
func (d *Device) Supports(op Op) bool    { return d.can[op] } // by the module or by emulation
func (d *Device) Home() *reactor.Reactor { return d.home }    // serialises what the channels share
func (d *Device) Created() time.Time     { return d.created }

// ResizeTimeout is how long a device that becomes smaller waits for the module to answer what is in flight beyond the new end.
const ResizeTimeout = 10 * time.Second

// Resize tells everybody the new size; it returns when every channel and desc has learned of it, and nothing is in flight beyond a
// smaller one, so that the module may then let go of what it kept there. With ErrUnanswered something still is, and it must not: the size is
// the new one all the same. A module that grows must be ready for the new size before. Control plane.
func (d *Device) Resize(blocks uint64) error {
	if blocks == 0 || blocks > SizeMax>>d.shift {
		return fmt.Errorf("bdev %s: resize to %d blocks: %w", d.Name(), blocks, syscall.EINVAL)
	}
	d.resizing.Lock()
	defer d.resizing.Unlock()
	old := d.blocks.Load()
	if old == blocks {
		return nil
	}
	d.blocks.Store(blocks)
	if err := d.registry.group.Each(d.resizeLane); err != nil {
		return err
	}
	var err error
	if blocks < old && !Mutated(MutateShrinkNotDrained) {
		if err = d.drainRange(blocks, old-blocks); err != nil && !errors.Is(err, ErrUnanswered) {
			return err
		}
	}
	d.registry.announce(d, EventResize)
	d.registry.tellFollowers(ChangeResize, d)
	return err
}

// TellWritesLost tells everybody that writes which were not flushed may be gone: a module that does not take the target with it
// when it fails calls it before it serves again. Control plane.
func (d *Device) TellWritesLost() { d.registry.announce(d, EventWritesLost) }

// resizeLane tells r the size (on r).
func (d *Device) resizeLane(r *reactor.Reactor) {
	if l := d.lanes[r.ID()]; !l.removed {
		l.blocks = d.blocks.Load()
	}
}

// drainRange returns when nothing that was in flight before touches the range, or after ResizeTimeout. Control plane.
func (d *Device) drainRange(lba, blocks uint64) error {
	drained := false
	err := d.home.Do(func(done func()) {
		var k RangeLock
		var granted, released reactor.Message
		var timer reactor.Timer
		late := false
		timer.Bind(d.home, func() {
			late = true
			done()
		})
		granted.Bind(func() { k.unlock(&released) })
		released.Bind(func() {
			if late {
				return
			}
			timer.Stop()
			drained = true
			done()
		})
		timer.Start(ResizeTimeout)
		d.lanes[d.home.ID()].lock(&k, nil, lba, blocks, &granted)
	})
	if err != nil || drained {
		return err
	}
	return fmt.Errorf("bdev %s has the new size, and requests in flight beyond it: %w after %v; see to what it stands on", d.Name(), ErrUnanswered, ResizeTimeout)
}

// removeLane refuses new requests on r and ends those that the module does not have (on r).
func (d *Device) removeLane(r *reactor.Reactor) {
	l := d.lanes[r.ID()]
	l.removed, l.blocks = true, 0
	l.gates++
	l.endHeld(StatusRemoved)
	for q := l.flight.head; q != nil; q = q.links[flight].next {
		l.hasten(q, StatusRemoved)
	}
}

// laneOf is the device's lane on r.
func (d *Device) laneOf(r *reactor.Reactor) *lane { return d.lanes[r.ID()] }
