package bdev

import (
	"errors"
	"fmt"
	"slices"
	"syscall"
	"time"

	"pollux/reactor"
)

const (
	// RemovalTimeout is how long the removal of a device waits for those who have it open to let go of it, which takes as long as the
	// module needs to answer what it was given. Devices above it are removed within the same time. Then the caller is told, and the
	// removal goes on by itself: nobody finds the device any more, and its module keeps it until it has answered.
	RemovalTimeout = 10 * time.Second
	// DestroyTimeout is how long it waits then for the module to let go of the device, which for a file is a sync and a close. A disk that
	// is slow and works may need many seconds.
	DestroyTimeout = 30 * time.Second
)

// ErrUnanswered says that a block device has not answered in time, so that what was asked for is not done yet.
var ErrUnanswered = errors.New("requests are unanswered")

// removal is a device on its way out.
//
//	begin    nobody finds the device, its lanes refuse, everybody who has it open is told      by the control plane
//	freed    the last desc is closed, and with it every queue                                  on the device's home reactor
//	destroy  the module lets go of it; the name is free again                                  by whoever waited for freed, or in the background
type removal struct {
	dev   *Device
	until int64         // by the reactors' clock: RemovalTimeout
	gone  chan struct{} // closed when the device is destroyed
	freed reactor.Message

	// On the device's home reactor.
	free    bool
	waiters []func()
}

// Unregister removes the device and returns when the backend has been destroyed. Errors: ENODEV; what Destroy says; ErrUnanswered after
// RemovalTimeout or DestroyTimeout: the device is hidden, and goes when it has answered.
func (g *Registry) Unregister(name string) error { return g.unregister(name, nil) }

// unregister is Unregister, by the time at which the removal of the device below has to be over if there is one.
func (g *Registry) unregister(name string, below *removal) error {
	v, err := g.beginRemoval(name, below)
	if err != nil {
		return err
	}
	free, err := v.await(v.until, func() { g.background(func() { g.tellLate(v, g.destroy(v)) }) })
	switch {
	case err != nil:
		return err
	case !free:
		return v.unanswered()
	}
	return g.destroyInTime(v)
}

// beginRemoval marks the device, so that it is opened and removed by nobody else, has it refuse everything, and tells those who have it open.
func (g *Registry) beginRemoval(name string, below *removal) (*removal, error) {
	v := &removal{gone: make(chan struct{})}
	if err := g.enterRemoval(v, name); err != nil {
		return nil, err
	}
	d := v.dev
	v.freed.Bind(v.onFreed)
	begin := func() { v.until = d.home.Now() + int64(RemovalTimeout) }
	if below != nil {
		begin = func() { v.until = below.until }
	}
	if err := errors.Join(d.home.Call(begin), g.group.Each(d.removeLane)); err != nil {
		return nil, err
	}
	if Mutated(MutateFreeBeforeDrained) {
		_ = d.spec.Backend.Destroy()
	}
	g.announce(d, EventRemove)
	d.opened.whenIdle(func() { d.home.Send(&v.freed) })
	return v, nil
}

func (g *Registry) enterRemoval(v *removal, name string) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	d, err := g.present(name)
	if err != nil {
		return err
	}
	v.dev, d.removal = d, v
	return nil
}

// onFreed lets go on who waits (on home).
func (v *removal) onFreed() {
	v.free = true
	for _, tell := range v.waiters {
		tell()
	}
	v.waiters = nil
}

// await reports whether the device was free by then. If it was not, late is called, on the home reactor, when it is. Control plane.
func (v *removal) await(until int64, late func()) (free bool, err error) {
	home := v.dev.home
	err = home.Do(func(done func()) {
		if v.free {
			free = true
			done()
			return
		}
		var timer reactor.Timer
		at := len(v.waiters)
		timer.Bind(home, func() {
			v.waiters[at] = late
			done()
		})
		timer.Start(max(0, time.Duration(until-home.Now())))
		v.waiters = append(v.waiters, func() {
			timer.Stop()
			free = true
			done()
		})
	})
	return free, err
}

// unanswered is the error of a removal that takes too long.
func (v *removal) unanswered() error {
	n, d := 0, v.dev
	err := d.registry.group.Each(func(r *reactor.Reactor) { n += d.lanes[r.ID()].inModule })
	keeps := fmt.Sprintf("keeps %d requests", n)
	if claim := d.registry.ClaimedBy(d); claim != "" && n == 0 {
		keeps = "is kept by the device above it (" + claim + ")"
	}
	return errors.Join(err, fmt.Errorf("bdev %s %s: %w after %v; it is hidden, keeps its name, and goes when they are answered: see to what it stands on",
		d.Name(), keeps, ErrUnanswered, RemovalTimeout))
}

// destroyInTime is destroy, but waits no longer than DestroyTimeout.
func (g *Registry) destroyInTime(v *removal) error {
	ended := make(chan error, 1)
	go func() { ended <- g.destroy(v) }()
	timer := time.NewTimer(g.destroyTimeout)
	defer timer.Stop()
	select {
	case err := <-ended:
		return err
	case <-timer.C:
		g.background(func() { g.tellLate(v, <-ended) })
		return v.notDestroyed(g.destroyTimeout)
	}
}

func (v *removal) notDestroyed(after time.Duration) error {
	return fmt.Errorf("bdev %s: its sync and close: %w after %v; it is hidden, keeps its name, and goes when they are answered: see to what it stands on",
		v.dev.Name(), ErrUnanswered, after)
}

// destroy has the module let go of a device that is free, and strikes it off the list.
func (g *Registry) destroy(v *removal) error {
	d := v.dev
	err := d.spec.Backend.Destroy()
	g.mu.Lock()
	g.devices = slices.DeleteFunc(g.devices, func(o *Device) bool { return o == d })
	g.mu.Unlock()
	g.tellFollowers(ChangeUnregister, d)
	close(v.gone)
	if err != nil {
		return fmt.Errorf("bdev %s: destroy: %w", d.Name(), err)
	}
	return nil
}

// tellLate logs how a removal has ended that nobody waits for any more.
func (g *Registry) tellLate(v *removal, err error) {
	if err != nil {
		g.log.Warn("device has answered and is gone, badly", "bdev", v.dev.Name(), "error", err)
		return
	}
	g.log.Info("device has answered and is gone", "bdev", v.dev.Name())
}

// removals are those that have not ended.
func (g *Registry) removals() (all []*removal) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, d := range g.devices {
		if d.removal != nil {
			all = append(all, d.removal)
		}
	}
	return all
}

// awaitOld waits for the end of a removal that somebody else has begun, as long as that would have waited.
func (g *Registry) awaitOld(v *removal) error {
	var until int64
	if err := v.dev.home.Call(func() { until = v.dev.home.Now() + int64(RemovalTimeout) }); err != nil {
		return err
	}
	free, err := v.await(until, func() {})
	switch {
	case err != nil:
		return err
	case !free:
		return v.unanswered()
	}
	timer := time.NewTimer(g.destroyTimeout)
	defer timer.Stop()
	select {
	case <-v.gone:
		return nil
	case <-timer.C:
		return v.notDestroyed(g.destroyTimeout)
	}
}

// Removing are the names of the devices whose removal has not ended.
func (g *Registry) Removing() (names []string) {
	for _, v := range g.removals() {
		names = append(names, v.dev.Name())
	}
	return names
}

// Close removes all devices, the last registered first, and ends the modules. Everything that had them open is told. With ErrUnanswered a
// device has not answered: it stays, and with it the modules.
func (g *Registry) Close() error {
	old := g.removals()
	var err error
	for devices := g.Devices(); len(devices) > 0; devices = g.Devices() {
		err = errors.Join(err, g.Unregister(devices[len(devices)-1].Name()))
	}
	for _, v := range old {
		err = errors.Join(err, g.awaitOld(v))
	}
	if errors.Is(err, ErrUnanswered) {
		return err
	}
	g.mu.Lock()
	modules := slices.Clone(g.modules)
	g.mu.Unlock()
	for _, m := range slices.Backward(modules) {
		if m.Close == nil {
			continue
		}
		if e := m.Close(); e != nil {
			err = errors.Join(err, fmt.Errorf("bdev module %s: close: %w", m.Name, e))
		}
	}
	return err
}

// present finds a device that is not being removed (under the mutex). Errors: ENODEV.
func (g *Registry) present(name string) (*Device, error) {
	switch d := g.find(name); {
	case d == nil:
		return nil, fmt.Errorf("bdev %s: %w", name, syscall.ENODEV)
	case d.removal != nil:
		return nil, fmt.Errorf("bdev %s: its removal has begun and waits for an answer: %w", name, syscall.ENODEV)
	default:
		return d, nil
	}
}
