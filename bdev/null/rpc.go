package null

import (
	"context"

	"pollux/bdev"
	"pollux/rpc"
)

// createParams are those of bdev_null_create. The preferences are accepted and shown to nobody.
type createParams struct {
	Name              string     `json:"name,omitempty"`
	BlockSize         uint32     `json:"block_size"`
	NumBlocks         uint64     `json:"num_blocks"`
	UUID              *bdev.UUID `json:"uuid"`
	PhysicalBlockSize uint32     `json:"physical_block_size,omitempty"`
	WriteGranularity  uint32     `json:"preferred_write_granularity,omitempty"`
	WriteAlignment    uint32     `json:"preferred_write_alignment,omitempty"`
	WriteSize         uint32     `json:"optimal_write_size,omitempty"`
	UnmapGranularity  uint32     `json:"preferred_unmap_granularity,omitempty"`
	UnmapAlignment    uint32     `json:"preferred_unmap_alignment,omitempty"`
	bdev.NoMetadata
}

type resizeParams struct {
	Name    string `json:"name"`
	NewSize uint64 `json:"new_size" min:"1"` // MiB
}

// Register adds the module's methods to s.
func (m *Module) Register(s *rpc.Server) {
	rpc.Handle(s, rpc.Runtime, "bdev_null_create", m.create, "construct_null_bdev").
		Help("Make a block device that keeps nothing.")
	bdev.HandleDelete(s, "bdev_null_delete", m.Delete, "delete_null_bdev").
		Help("Remove a null device.")
	rpc.Handle(s, rpc.Runtime, "bdev_null_resize", m.resize).Waits().
		Help("Give a null device another size, in MiB.")
}

func (m *Module) create(_ context.Context, p createParams) (string, error) {
	return m.Create(Options{
		Name: p.Name, BlockSize: p.BlockSize, Blocks: p.NumBlocks, UUID: p.UUID.Bytes(), PhysicalBlockSize: p.PhysicalBlockSize,
	})
}

func (m *Module) resize(_ context.Context, p resizeParams) (rpc.None, error) {
	d, err := m.lookup(p.Name)
	if err != nil {
		return rpc.None{}, err
	}
	if p.NewSize > bdev.SizeMax>>20 {
		return rpc.None{}, rpc.InvalidParams("new_size %d MiB is beyond the largest device", p.NewSize)
	}
	return rpc.None{}, m.Resize(p.Name, p.NewSize<<20/uint64(d.BlockSize()))
}

// config is the call that makes the device again.
func (o Options) config(d *bdev.Device) []rpc.ConfigEntry {
	return []rpc.ConfigEntry{{Method: "bdev_null_create", Params: struct {
		Name              string    `json:"name"`
		NumBlocks         uint64    `json:"num_blocks"`
		BlockSize         uint32    `json:"block_size"`
		PhysicalBlockSize uint32    `json:"physical_block_size"`
		UUID              bdev.UUID `json:"uuid"`
	}{
		Name: o.Name, NumBlocks: d.Blocks(), BlockSize: o.BlockSize,
		PhysicalBlockSize: d.Spec().PhysicalBlockSize, UUID: d.UUID(),
	}}}
}
