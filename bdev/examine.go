package bdev

import (
	"context"
	"slices"
)

// Options are what bdev_set_options sets. The pool sizes of SPDK's are kept for its clients, and have no effect.
type Options struct {
	PoolSize, CacheSize            uint32
	AutoExamine                    bool
	SmallCacheSize, LargeCacheSize uint32
}

// DefaultOptions are SPDK's.
var DefaultOptions = Options{PoolSize: 65535, CacheSize: 256, AutoExamine: true, SmallCacheSize: 128, LargeCacheSize: 16}

// Options are the present ones.
func (g *Registry) Options() Options {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.options
}

// SetOptions replaces them.
func (g *Registry) SetOptions(o Options) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.options = o
}

// examineNew has the modules look at a new device, on a goroutine, if that is wanted and any module does.
func (g *Registry) examineNew(d *Device) {
	g.mu.Lock()
	examiners := g.examiners()
	auto := g.options.AutoExamine
	if auto && len(examiners) > 0 {
		g.examining.Add(1)
	}
	g.mu.Unlock()
	if auto && len(examiners) > 0 {
		go func() {
			defer g.examining.Done()
			examine(examiners, d)
		}()
	}
}

// examiners are the modules that look at new devices (under the mutex).
func (g *Registry) examiners() []Module {
	return slices.DeleteFunc(slices.Clone(g.modules), func(m Module) bool { return m.Examine == nil })
}

func examine(modules []Module, d *Device) {
	for _, m := range modules {
		m.Examine(d)
	}
}

// Examine has the modules look at a device now.
func (g *Registry) Examine(name string) error {
	d, err := g.Lookup(name)
	if err != nil {
		return err
	}
	g.mu.Lock()
	examiners := g.examiners()
	g.mu.Unlock()
	examine(examiners, d)
	return nil
}

// WaitForExamine returns when every module has looked at every device there is, or ctx ends.
func (g *Registry) WaitForExamine(ctx context.Context) error {
	done := make(chan struct{})
	go func() {
		g.examining.Wait()
		close(done)
	}()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
