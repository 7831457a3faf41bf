package aio

import (
	"context"

	"pollux/bdev"
	"pollux/rpc"
)

// createParams are those of bdev_aio_create. Unlike SPDK's, unmap is on unless fallocate says otherwise; nowait says nothing
// here, since requests never wait on a reactor.
type createParams struct {
	Name      string     `json:"name"`
	Filename  string     `json:"filename"`
	BlockSize uint32     `json:"block_size,omitempty"`
	ReadOnly  bool       `json:"readonly,omitempty"`
	Fallocate bool       `json:"fallocate,omitempty"`
	UUID      *bdev.UUID `json:"uuid"`
	NoWait    bool       `json:"nowait,omitempty"`
}

func (p *createParams) SetDefaults() { p.Fallocate = true }

// Register adds the module's methods to s.
func (m *Module) Register(s *rpc.Server) {
	rpc.Handle(s, rpc.Runtime, "bdev_aio_create", func(_ context.Context, p createParams) (string, error) {
		return p.Name, bdev.Busy(m.Create(Options{
			Name: p.Name, Filename: p.Filename, BlockSize: p.BlockSize, ReadOnly: p.ReadOnly, Fallocate: p.Fallocate,
			UUID: p.UUID.Bytes(),
		}))
	}, "construct_aio_bdev").Waits().
		Help("Make a block device of a file or of a block device of the kernel.")
	bdev.HandleDelete(s, "bdev_aio_delete", m.Delete, "delete_aio_bdev").
		Help("Remove an aio device; its file is synced and closed.")
	rpc.Handle(s, rpc.Runtime, "bdev_aio_rescan", func(_ context.Context, p bdev.NameParams) (rpc.None, error) {
		return rpc.None{}, bdev.Busy(m.Rescan(p.Name))
	}).Waits().
		Help("Look at the size of an aio device's file again.")
}

// driverSpecific is what bdev_get_bdevs shows.
func (o Options) driverSpecific() any {
	return map[string]any{"aio": struct {
		Filename  string `json:"filename"`
		Override  bool   `json:"block_size_override"`
		ReadOnly  bool   `json:"readonly"`
		Fallocate bool   `json:"fallocate"`
	}{o.Filename, o.BlockSize != 0, o.ReadOnly, o.Fallocate}}
}

// config is the call that makes the device again.
func (o Options) config(d *bdev.Device) []rpc.ConfigEntry {
	return []rpc.ConfigEntry{{Method: "bdev_aio_create", Params: struct {
		Name      string    `json:"name"`
		BlockSize uint32    `json:"block_size,omitempty"`
		Filename  string    `json:"filename"`
		ReadOnly  bool      `json:"readonly"`
		Fallocate bool      `json:"fallocate"`
		UUID      bdev.UUID `json:"uuid"`
	}{o.Name, o.BlockSize, o.Filename, o.ReadOnly, o.Fallocate, d.UUID()}}}
}
