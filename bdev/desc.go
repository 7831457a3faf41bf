package bdev

import (
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
)

// OpenOptions says how a device is opened.
type OpenOptions struct {
	Write bool
	Claim string // not empty: exclusive for writing, and this is who says so ("lvol", "raid", ...)
	// Event is called by whoever resizes or unregisters the device, on a goroutine of the control plane, one event at a time.
	// After EventRemove the desc must be closed soon, here or later.
	Event func(Event)
}

// Event is what happened to an open device.
type Event uint8

// Events.
const (
	EventRemove Event = iota
	EventResize
	EventWritesLost // writes that ended before, and were not flushed, may be gone
)

// Desc is an open device. Control plane.
type Desc struct {
	dev      *Device
	options  OpenOptions
	writable bool
	channels atomic.Int32 // written by the reactors that open and close them, read by Close
	events   sync.Mutex   // one event at a time
	closed   atomic.Bool
}

// Open opens a device by name, alias or UUID. Errors: ENODEV, EPERM (claimed by another, or open for writing and to be
// claimed), EROFS.
func (g *Registry) Open(name string, o OpenOptions) (*Desc, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	d, err := g.present(name)
	if err != nil {
		return nil, err
	}
	s := &Desc{dev: d, options: o, writable: (o.Write || o.Claim != "") && !d.spec.ReadOnly}
	if err := d.admit(o); err != nil {
		return nil, err
	}
	d.descs = append(d.descs, s)
	d.opened.add()
	if s.isWriter() {
		d.writers++
	}
	if o.Claim != "" {
		d.claim = o.Claim
	}
	return s, nil
}

// admit decides whether one more may open the device (under the registry's mutex).
func (d *Device) admit(o OpenOptions) error {
	write := o.Write || o.Claim != ""
	switch {
	case write && d.claim != "":
		return fmt.Errorf("bdev %s: claimed by %s: %w", d.Name(), d.claim, syscall.EPERM)
	case o.Claim != "" && d.writers > 0:
		return fmt.Errorf("bdev %s: claim by %s: open for writing elsewhere: %w", d.Name(), o.Claim, syscall.EPERM)
	case o.Write && d.spec.ReadOnly:
		return fmt.Errorf("bdev %s: open for writing: %w", d.Name(), syscall.EROFS)
	}
	return nil
}

func (s *Desc) isWriter() bool { return s.options.Write || s.options.Claim != "" }

// Device is what the desc opened.
func (s *Desc) Device() *Device { return s.dev }

// Writable reports whether requests that write are allowed.
func (s *Desc) Writable() bool { return s.writable }

// Close gives the desc back. Its channels must have been closed. No event comes afterwards, but one may be running.
func (s *Desc) Close() {
	if n := s.channels.Load(); n != 0 {
		panic(fmt.Sprintf("bdev: %s: desc closed with %d channels open", s.dev.Name(), n))
	}
	if s.closed.Swap(true) {
		panic("bdev: " + s.dev.Name() + ": desc closed twice")
	}
	s.dev.registry.drop(s)
	s.dev.opened.drop()
}

// drop forgets a desc.
func (g *Registry) drop(s *Desc) {
	g.mu.Lock()
	defer g.mu.Unlock()
	d := s.dev
	d.descs = slices.DeleteFunc(d.descs, func(o *Desc) bool { return o == s })
	if s.isWriter() {
		d.writers--
	}
	if s.options.Claim != "" {
		d.claim = ""
	}
}

// announce tells every desc of d. One that is closed meanwhile does not learn of it.
func (g *Registry) announce(d *Device, e Event) {
	g.mu.Lock()
	descs := slices.Clone(d.descs)
	g.mu.Unlock()
	for _, s := range descs {
		s.tell(e)
	}
}

func (s *Desc) tell(e Event) {
	if s.options.Event == nil {
		return
	}
	s.events.Lock()
	defer s.events.Unlock()
	if !s.closed.Load() {
		s.options.Event(e)
	}
}
