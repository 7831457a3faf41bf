package malloc

import (
	"context"

	"pollux/bdev"
	"pollux/rpc"
)

// createParams are those of bdev_malloc_create. Metadata and protection information are not supported: their defaults alone
// are accepted. SPDK has no populate: its memory is always there.
type createParams struct {
	Name              string     `json:"name,omitempty"`
	BlockSize         uint32     `json:"block_size"`
	NumBlocks         uint64     `json:"num_blocks"`
	UUID              *bdev.UUID `json:"uuid"`
	OptimalIOBoundary uint32     `json:"optimal_io_boundary,omitempty"`
	PhysicalBlockSize uint32     `json:"physical_block_size,omitempty"`
	NUMA              int32      `json:"numa_id,omitempty"`
	Populate          bool       `json:"populate,omitempty"`
	bdev.NoMetadata
}

func (p *createParams) SetDefaults() { p.NUMA = -1 }

// Register adds the module's methods to s.
func (m *Module) Register(s *rpc.Server) {
	rpc.Handle(s, rpc.Runtime, "bdev_malloc_create", m.create, "construct_malloc_bdev").
		Help("Make a block device in memory; with populate all of it is taken now, so that first writes are as fast as others.")
	bdev.HandleDelete(s, "bdev_malloc_delete", m.Delete, "delete_malloc_bdev").
		Help("Remove a malloc device and give its memory back.")
}

func (m *Module) create(_ context.Context, p createParams) (string, error) {
	return m.Create(Options{
		Name: p.Name, BlockSize: p.BlockSize, Blocks: p.NumBlocks, UUID: p.UUID.Bytes(),
		PhysicalBlockSize: p.PhysicalBlockSize, OptimalBoundary: p.OptimalIOBoundary, Populate: p.Populate,
	})
}

// config is the call that makes the disk again.
func (o Options) config(d *bdev.Device) []rpc.ConfigEntry {
	return []rpc.ConfigEntry{{Method: "bdev_malloc_create", Params: struct {
		Name              string    `json:"name"`
		NumBlocks         uint64    `json:"num_blocks"`
		BlockSize         uint32    `json:"block_size"`
		PhysicalBlockSize uint32    `json:"physical_block_size"`
		UUID              bdev.UUID `json:"uuid"`
		OptimalIOBoundary uint32    `json:"optimal_io_boundary"`
		bdev.NoMetadata
		NUMA     int32 `json:"numa_id"`
		Populate bool  `json:"populate,omitempty"`
	}{
		Name: o.Name, NumBlocks: d.Blocks(), BlockSize: o.BlockSize, PhysicalBlockSize: d.Spec().PhysicalBlockSize,
		UUID: d.UUID(), OptimalIOBoundary: o.OptimalBoundary, NUMA: -1, Populate: o.Populate,
	}}}
}
