package scsi

import (
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"pollux/bdev"
	"pollux/reactor"
)

// Errors of the control plane that callers decide by.
var (
	ErrExists   = errors.New("already exists")
	ErrNotFound = errors.New("not found")
	ErrBusy     = errors.New("in use")
	ErrInvalid  = errors.New("invalid")
)

// Devices are the SCSI target devices of one target. Control plane; safe for concurrent use.
type Devices struct {
	group *reactor.Group
	bdevs *bdev.Registry
	log   *slog.Logger

	mu    sync.Mutex
	list  []*Device
	files []string // that LUNs have as their ptpl_file
}

// NewDevices makes an empty set over the group's reactors and the registry's block devices.
func NewDevices(g *reactor.Group, bdevs *bdev.Registry, log *slog.Logger) *Devices {
	return &Devices{group: g, bdevs: bdevs, log: log}
}

// DeviceOptions say what a transport adds to its device's INQUIRY data.
type DeviceOptions struct {
	VersionDescriptor uint16 // of the transport's standard (SPC-5 6.6.2); 0960h is iSCSI; 0 for none
}

// Create makes a device without LUNs.
func (s *Devices) Create(name string, o DeviceOptions) (*Device, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	d := &Device{set: s, group: s.group, name: name, options: o}
	for _, other := range s.list {
		if other.name == name {
			return nil, fmt.Errorf("scsi device %s: %w", name, ErrExists)
		}
		if other.id >= d.id {
			d.id = other.id + 1
		}
	}
	for range s.group.Reactors() {
		d.outposts = append(d.outposts, &outpost{})
	}
	s.list = append(s.list, d)
	return d, nil
}

// List is all devices, in order of creation.
func (s *Devices) List() []*Device {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.list)
}

// Device is a SCSI target device. Control plane; its nexuses and paths live in its outposts, one per reactor.
type Device struct {
	set     *Devices
	group   *reactor.Group
	id      int
	name    string
	options DeviceOptions

	outposts []*outpost               // by reactor
	ports    atomic.Pointer[[]uint16] // relative identifiers; written by the control plane, read at LUNs' home reactors

	changing sync.Mutex // held while the LUN table changes, which may take long
	closed   bool

	mu      sync.Mutex // held for an instant
	luns    []*LUN     // in order of number
	leaving []*removal // of LUNs that were removed and whose block devices have not answered everything
}

// outpost is what a device has on one reactor; it belongs to that reactor.
type outpost struct {
	nexuses []*Nexus
	paths   []*path
}

func (o *outpost) removeNexus(n *Nexus) {
	o.nexuses = slices.DeleteFunc(o.nexuses, func(x *Nexus) bool { return x == n })
}

// lunsChanged establishes REPORTED LUNS DATA HAS CHANGED for every nexus here, on each LUN.
func (o *outpost) lunsChanged() {
	for _, p := range o.paths {
		for _, u := range p.units {
			u.attentions.add(attentionLUNsChanged)
		}
	}
}

// ID is the device's number, as scsi_get_devices shows it.
func (d *Device) ID() int { return d.id }

// Name is the device's name.
func (d *Device) Name() string { return d.name }

// SetPorts tells which target ports the device has, by relative target port identifier: a registration with ALL_TG_PT is one at each.
func (d *Device) SetPorts(ports []uint16) { d.ports.Store(&ports) }

// allPorts is what SetPorts has said.
func (d *Device) allPorts() []uint16 {
	if p := d.ports.Load(); p != nil {
		return *p
	}
	return nil
}

// LUNInfo describes a LUN.
type LUNInfo struct {
	Number   int
	BdevName string
	LUNOptions
}

// LUNOptions are what a LUN has besides its block device.
type LUNOptions struct {
	// PTPLFile keeps registrations through a loss of power for initiators that ask for it (APTPL); empty: they are refused.
	PTPLFile string
}

// LUNs lists the LUNs, in order of number.
func (d *Device) LUNs() []LUNInfo {
	var all []LUNInfo
	for _, l := range d.table() {
		all = append(all, LUNInfo{l.number, l.desc.Device().Name(), l.options})
	}
	return all
}

// table is a copy of the LUN table.
func (d *Device) table() []*LUN {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.luns)
}

func (d *Device) setTable(luns []*LUN) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.luns = luns
}

// AddLUN opens a block device and shows it as LUN number, or as the lowest free number if that is negative. Nexuses that are
// open see it at once. It returns the number.
func (d *Device) AddLUN(number int, bdevName string, o LUNOptions) (int, error) {
	d.changing.Lock()
	defer d.changing.Unlock()
	luns := d.table()
	number, at, err := d.place(luns, number)
	if err != nil {
		return 0, fmt.Errorf("scsi device %s: %w", d.name, err)
	}
	l, err := d.openLUN(number, bdevName, o)
	if err != nil {
		return 0, fmt.Errorf("scsi device %s: lun %d: %w", d.name, number, err)
	}
	if err := l.openPaths(); err != nil {
		l.close()
		return 0, fmt.Errorf("scsi device %s: lun %d: %w", d.name, number, err)
	}
	d.setTable(slices.Insert(luns, at, l))
	return number, d.group.Each(func(r *reactor.Reactor) { d.outposts[r.ID()].show(l.paths[r.ID()]) })
}

// show lets the nexuses on this reactor see the LUN behind p.
func (o *outpost) show(p *path) {
	o.lunsChanged()
	o.paths = append(o.paths, p)
	for _, n := range o.nexuses {
		if !n.closing {
			n.addUnit(p)
		}
	}
}

// place checks number, or picks the lowest free one, and says where in luns it belongs.
func (d *Device) place(luns []*LUN, number int) (int, int, error) {
	if d.closed {
		return 0, 0, ErrNotFound
	}
	if number < 0 {
		number = 0
		for number < len(luns) && luns[number].number == number {
			number++
		}
	}
	if number >= LUNsMax {
		return 0, 0, fmt.Errorf("lun %d: %w: the highest is %d", number, ErrInvalid, LUNsMax-1)
	}
	at, found := slices.BinarySearchFunc(luns, number, func(l *LUN, n int) int { return l.number - n })
	if found {
		return 0, 0, fmt.Errorf("lun %d: %w", number, ErrExists)
	}
	return number, at, nil
}

// openLUN opens the block device, for writing unless it is read-only.
func (d *Device) openLUN(number int, bdevName string, o LUNOptions) (*LUN, error) {
	dev, err := d.set.bdevs.Lookup(bdevName)
	if err != nil {
		return nil, err
	}
	l := &LUN{device: d, number: number, options: o}
	readOnly := dev.Spec().ReadOnly
	l.desc, err = d.set.bdevs.Open(bdevName, bdev.OpenOptions{Write: !readOnly, Event: l.event})
	if err != nil {
		return nil, err
	}
	dev = l.desc.Device()
	l.home, l.ops, l.ident = dev.Home(), supportedOps(dev), identityOf(dev)
	l.size, l.most = dev.BlockSize(), uint64(MaxTransferBytes/dev.BlockSize())
	held, err := l.openPTPL()
	if err != nil {
		l.close()
		return nil, err
	}
	l.paths = make([]*path, len(d.group.Reactors()))
	l.state.Store(&state{blocks: dev.Blocks(), readOnly: readOnly, mode: defaultModes(dev.Spec()), reservations: held})
	return l, nil
}

// openPaths makes the path from each reactor; nobody sees them yet.
func (l *LUN) openPaths() error {
	var failed error
	err := l.device.group.Each(func(r *reactor.Reactor) {
		c, err := l.desc.OpenChannel(r)
		if err != nil {
			failed = err
			return
		}
		l.paths[r.ID()] = &path{lun: l, channel: c}
	})
	return errors.Join(err, failed)
}

// event is told by the block layer what happens to the device.
func (l *LUN) event(e bdev.Event) {
	switch e {
	case bdev.EventRemove:
		// Somebody may have removed the LUN already; then there is nothing left to do. The block layer waits for the end, here and elsewhere.
		_, _ = l.device.beginRemoval(func(o *LUN) bool { return o == l })
	case bdev.EventResize:
		l.resized()
	case bdev.EventWritesLost:
		l.writesLost()
	}
}

// EventTimeout is how long the news of a device wait to be known to every nexus, which a change under way may hold up that waits for the device. Then
// they become known later.
const EventTimeout = 10 * time.Second

// writesLost tells every nexus what it would hear after a power failure (SBC-4 4.15), and returns when it will.
func (l *LUN) writesLost() {
	l.announce(func(*state) effect { return effect{attend: everybody(attentionPowerOn, nil)} })
}

// resized makes the new capacity known to every nexus, and returns when it is.
func (l *LUN) resized() {
	l.announce(func(old *state) effect {
		next := *old
		next.blocks = l.desc.Device().Blocks()
		return effect{next: &next, attend: everybody(attentionCapacityChanged, nil)}
	})
}

// announce makes a change of the control plane, and returns when it is made or after EventTimeout.
func (l *LUN) announce(apply func(*state) effect) {
	_ = l.home.Do(func(done func()) { // A group that has ended has no nexuses.
		var timer reactor.Timer
		over := func() {
			if done != nil {
				timer.Stop()
				done()
				done = nil
			}
		}
		timer.Bind(l.home, over)
		timer.Start(EventTimeout)
		l.ask(&change{from: l.home, apply: apply, done: func(effect) { over() }})
	})
}

// everybody establishes s for all nexuses but except.
func everybody(s Sense, except *Nexus) func(nexusKey) (Sense, bool) {
	return func(k nexusKey) (Sense, bool) { return s, except == nil || k != except.key }
}

// close gives back what openLUN and openPaths have taken; nobody uses it.
func (l *LUN) close() {
	l.closePaths()
	l.closePTPL()
	l.desc.Close()
}

// closePaths closes the channels that were opened.
func (l *LUN) closePaths() {
	for id, p := range l.paths {
		if p != nil {
			_ = l.device.group.Reactors()[id].Do(func(done func()) { p.channel.Close(done) })
		}
	}
}

// Close removes all LUNs and the device. Its nexuses must have been closed: ErrBusy otherwise. With ErrUnanswered the device stays, and
// Close may be called again.
func (d *Device) Close() error {
	if err := d.checkUnused(); err != nil {
		return err
	}
	for _, l := range d.LUNs() {
		if err := d.RemoveLUN(l.Number); err != nil && !errors.Is(err, ErrNotFound) {
			return err
		}
	}
	for _, v := range d.onTheirWay() {
		if err := v.await(); err != nil {
			return fmt.Errorf("scsi device %s: lun %d: %w", d.name, v.lun.number, err)
		}
	}
	d.set.mu.Lock()
	defer d.set.mu.Unlock()
	d.set.list = slices.DeleteFunc(d.set.list, func(x *Device) bool { return x == d })
	return nil
}

// checkUnused marks the device as closed if it has no nexus.
func (d *Device) checkUnused() error {
	d.changing.Lock()
	defer d.changing.Unlock()
	nexuses := 0
	if err := d.group.Each(func(r *reactor.Reactor) { nexuses += len(d.outposts[r.ID()].nexuses) }); err != nil {
		return err
	}
	if nexuses > 0 {
		return fmt.Errorf("scsi device %s: %w: %d nexuses", d.name, ErrBusy, nexuses)
	}
	d.closed = true
	return nil
}
