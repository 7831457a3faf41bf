// Package passthru is a block device that hands every request to another: an example of a stacked module, and a test of what such
// modules need.
package passthru

import (
	"context"
	"errors"

	"pollux/bdev"
	"pollux/reactor"
	"pollux/rpc"
)

// ProductName is what clients compare to tell these devices from others.
const ProductName = "passthru"

// Module makes passthru devices. Control plane.
type Module struct{ registry *bdev.Registry }

// New makes the module over a registry.
func New(g *bdev.Registry) *Module { return &Module{registry: g} }

// Create makes a device over base, which it claims. Errors: ENODEV, EPERM, EEXIST.
func (m *Module) Create(name, base string, uuid [16]byte) error {
	b, err := m.registry.OpenBase(base, "passthru", name)
	if err != nil {
		return err
	}
	d := &device{name: name, base: b}
	s := b.Spec()
	s.Name, s.UUID, s.ProductName, s.Backend = name, uuid, ProductName, d
	s.DriverSpecific, s.Config = d.driverSpecific, d.config
	if _, err := m.registry.Register(s); err != nil {
		return errors.Join(err, b.Close())
	}
	return nil
}

// Delete removes a device and gives its base back. Errors: ENODEV.
func (m *Module) Delete(name string) error {
	if _, _, err := bdev.LookupOf[*device](m.registry, name, "a passthru device"); err != nil {
		return err
	}
	return m.registry.Unregister(name)
}

type device struct {
	name string
	base *bdev.Base
}

// OpenQueue makes the path from r.
func (d *device) OpenQueue(r *reactor.Reactor) (bdev.Queue, error) {
	below, err := d.base.OpenQueue(r)
	if err != nil {
		return nil, err
	}
	return queue{below}, nil
}

// Supports: what the base can do.
func (d *device) Supports(op bdev.Op) bool { return d.base.Device().Supports(op) }

// Destroy gives the base back.
func (d *device) Destroy() error { return d.base.Close() }

type queue struct{ *bdev.BaseQueue }

// Submit hands r on.
func (q queue) Submit(r *bdev.Request) { q.Forward(r) }

type createParams struct {
	Name     string     `json:"name"`
	BaseName string     `json:"base_bdev_name"`
	UUID     *bdev.UUID `json:"uuid"`
}

// Register adds the module's methods to s.
func (m *Module) Register(s *rpc.Server) {
	rpc.Handle(s, rpc.Runtime, "bdev_passthru_create", func(_ context.Context, p createParams) (string, error) {
		return p.Name, m.Create(p.Name, p.BaseName, p.UUID.Bytes())
	}, "construct_passthru_bdev").
		Help("Make a block device that hands everything to another.")
	bdev.HandleDelete(s, "bdev_passthru_delete", m.Delete, "delete_passthru_bdev").
		Help("Remove a passthru device.")
}

func (d *device) driverSpecific() any {
	return map[string]any{"passthru": map[string]string{"name": d.name, "base_bdev_name": d.base.Device().Name()}}
}

func (d *device) config(self *bdev.Device) []rpc.ConfigEntry {
	uuid := bdev.UUID(self.UUID())
	return []rpc.ConfigEntry{{
		Method: "bdev_passthru_create",
		Params: createParams{Name: d.name, BaseName: d.base.Device().Name(), UUID: &uuid},
	}}
}
