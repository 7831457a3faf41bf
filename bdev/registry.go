package bdev

import (
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"pollux/reactor"
	"pollux/reactor/iobuf"
)

// zeroesSize is the memory that emulated write zeroes is written from, in bytes. It is only read, so it is one page of zeroes
// that the kernel shows many times.
const zeroesSize = 256 << 10

// Registry holds the devices of one target by name. Control plane; safe for concurrent use.
type Registry struct {
	group   *reactor.Group
	log     *slog.Logger
	zeroes  []byte
	machine string // what tells the UUIDs of this machine's devices from others'

	mu        sync.Mutex
	devices   []*Device
	modules   []Module
	homes     int // devices made, to spread their homes
	options   Options
	listeners map[int]func(Change, *Device)
	listened  int // listeners that there ever were
	examining sync.WaitGroup

	background     func(func()) // runs what waits for storage when nobody waits for it
	destroyTimeout time.Duration
}

// Change is what happened to the list of devices.
type Change uint8

// Changes, for those who follow the list (bdev_register, bdev_unregister, bdev_resize of notify_get_notifications).
const (
	ChangeRegister Change = iota
	ChangeUnregister
	ChangeResize
)

// NewRegistry makes an empty registry over the group's reactors.
func NewRegistry(g *reactor.Group, log *slog.Logger) *Registry {
	zeroes, err := iobuf.Map(zeroesSize)
	if err != nil {
		panic("bdev: " + err.Error()) // At start, where no memory means no target.
	}
	return &Registry{
		group: g, log: log, zeroes: zeroes, machine: machineID(), options: DefaultOptions, listeners: map[int]func(Change, *Device){},
		background: func(fn func()) { go fn() }, destroyTimeout: DestroyTimeout,
	}
}

// Group is the reactors that devices of this registry run on.
func (g *Registry) Group() *reactor.Group { return g.group }

// Log is where modules write what they have to say on the control plane.
func (g *Registry) Log() *slog.Logger { return g.log }

// AddModule lists a module: its Examine is called for every device that comes later. Called by main, at start.
func (g *Registry) AddModule(m Module) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.modules = append(g.modules, m)
}

// Follow has fn called, on the control plane, after every change of the list of devices, until stop is called.
func (g *Registry) Follow(fn func(Change, *Device)) (stop func()) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.listened++
	n := g.listened
	g.listeners[n] = fn
	return func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		delete(g.listeners, n)
	}
}

// arrivals is a channel that has something to receive after devices have been registered.
func (g *Registry) arrivals() (arrived <-chan struct{}, stop func()) {
	c := make(chan struct{}, 1)
	return c, g.Follow(func(what Change, _ *Device) {
		if what != ChangeRegister {
			return
		}
		select {
		case c <- struct{}{}:
		default: // The last one has not been received; one is enough.
		}
	})
}

// Register adds a device; then it can be opened. Errors: the name or UUID is taken (EEXIST), bad geometry (EINVAL).
func (g *Registry) Register(s Spec) (*Device, error) {
	if err := s.validate(); err != nil {
		return nil, err
	}
	if s.UUID == ([16]byte{}) {
		s.UUID = uuidOf(g.machine, s.Name)
	}
	s.Aliases = slices.Clone(s.Aliases)
	d, err := g.add(s)
	if err != nil {
		return nil, err
	}
	g.tellFollowers(ChangeRegister, d)
	g.examineNew(d)
	return d, nil
}

// add puts a new device into the list.
func (g *Registry) add(s Spec) (*Device, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, name := range append([]string{s.Name, UUID(s.UUID).String()}, s.Aliases...) {
		switch d := g.find(name); {
		case d == nil:
		case d.removal != nil:
			return nil, fmt.Errorf("bdev %s: name, alias or UUID %s is taken by a device whose removal has not ended: %w", s.Name, name, syscall.EEXIST)
		default:
			return nil, fmt.Errorf("bdev %s: name, alias or UUID %s is taken: %w", s.Name, name, syscall.EEXIST)
		}
	}
	reactors := g.group.Reactors()
	d := newDevice(g, s, reactors[g.homes%len(reactors)])
	g.homes++
	g.devices = append(g.devices, d)
	return d, nil
}

// Lookup finds by name, alias or UUID text.
func (g *Registry) Lookup(name string) (*Device, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.present(name)
}

// find is Lookup under the mutex that also finds what is being removed.
func (g *Registry) find(name string) *Device {
	for _, d := range g.devices {
		if d.spec.Name == name || slices.Contains(d.spec.Aliases, name) || strings.EqualFold(UUID(d.spec.UUID).String(), name) {
			return d
		}
	}
	return nil
}

// Devices lists all, in order of registration.
func (g *Registry) Devices() []*Device {
	g.mu.Lock()
	defer g.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(g.devices), func(d *Device) bool { return d.removal != nil })
}

// ClaimedBy is who has claimed the device, "" for nobody.
func (g *Registry) ClaimedBy(d *Device) string {
	g.mu.Lock()
	defer g.mu.Unlock()
	return d.claim
}

func (g *Registry) tellFollowers(c Change, d *Device) {
	g.mu.Lock()
	followers := slices.Sorted(maps.Keys(g.listeners))
	fns := make([]func(Change, *Device), len(followers))
	for i, n := range followers {
		fns[i] = g.listeners[n]
	}
	g.mu.Unlock()
	for _, fn := range fns {
		fn(c, d)
	}
}

// Ending tells the modules that the target begins to end. Devices go on serving until Close.
func (g *Registry) Ending() {
	g.mu.Lock()
	modules := slices.Clone(g.modules)
	g.mu.Unlock()
	for _, m := range modules {
		if m.Ending != nil {
			m.Ending()
		}
	}
}
