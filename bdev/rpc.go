package bdev

import (
	"context"
	"errors"
	"syscall"
	"time"

	"pollux/rpc"
)

// RegisterRPC adds the methods of the block layer to s, and the writer of the subsystem "bdev": the options, then the calls that
// make the devices, in the order in which they were made, so that a device comes after what it stands on.
func (g *Registry) RegisterRPC(s *rpc.Server) {
	rpc.Handle(s, rpc.Runtime, "bdev_get_bdevs", g.getBdevs, "get_bdevs").Waits().
		Help("List block devices; with a timeout in ms, wait for the named one to appear.")
	rpc.Handle(s, rpc.Runtime, "bdev_get_iostat", g.getIostat, "get_bdevs_iostat").
		Help("List the I/O statistics of block devices.")
	rpc.Handle(s, rpc.Runtime, "bdev_reset_iostat", g.resetIostat).
		Help("Set I/O statistics of block devices to zero.")
	rpc.Handle(s, rpc.Startup, "bdev_set_options", g.setOptions, "set_bdev_options").
		DecodeError(rpc.CodeInvalidParams, "Invalid parameters").
		Help("Set options of the block layer.")
	rpc.Handle(s, rpc.Runtime, "bdev_wait_for_examine", func(ctx context.Context, _ rpc.None) (rpc.None, error) {
		return rpc.None{}, g.WaitForExamine(ctx)
	}).Waits().
		Help("Answer when all modules have looked at all devices.")
	rpc.Handle(s, rpc.Runtime, "bdev_examine", func(_ context.Context, p NameParams) (rpc.None, error) {
		return rpc.None{}, g.Examine(p.Name)
	}).DecodeError(rpc.CodeInvalidParams, "Invalid parameters").Waits().
		Help("Have all modules look at a device.")
	rpc.Handle(s, rpc.Runtime, "bdev_set_qos_limit", g.setQoSLimit, "set_bdev_qos_limit").
		Help("Limit the rate of a device's I/O; 0 is no limit.")
	rpc.Handle(s, rpc.Runtime, "bdev_enable_histogram", g.enableHistogram, "enable_bdev_histogram").
		Help("Begin or end to count the latencies of a device's I/O.")
	rpc.Handle(s, rpc.Runtime, "bdev_get_histogram", g.getHistogram, "get_bdev_histogram").
		Help("Get the latencies that have been counted.")
	g.registerNotify(s)
	s.Subsystem("bdev", []string{}, g.writeConfig)
}

type getBdevsParams struct {
	Name    *string `json:"name"`
	Timeout uint64  `json:"timeout,omitempty"` // ms
}

// bdevInfo is an element of bdev_get_bdevs.
type bdevInfo struct {
	Name               string          `json:"name"`
	Aliases            []string        `json:"aliases"`
	ProductName        string          `json:"product_name"`
	BlockSize          uint32          `json:"block_size"`
	NumBlocks          uint64          `json:"num_blocks"`
	WriteAlignment     uint32          `json:"preferred_write_alignment"`
	WriteGranularity   uint32          `json:"preferred_write_granularity"`
	WriteSize          uint32          `json:"optimal_write_size"`
	UnmapAlignment     uint32          `json:"preferred_unmap_alignment"`
	UnmapGranularity   uint32          `json:"preferred_unmap_granularity"`
	UUID               UUID            `json:"uuid"`
	NUMA               *int            `json:"numa_id,omitempty"`
	CreationTime       string          `json:"creation_time"`
	AssignedRateLimits rateLimits      `json:"assigned_rate_limits"`
	Claimed            bool            `json:"claimed"`
	ClaimType          string          `json:"claim_type,omitempty"`
	Zoned              bool            `json:"zoned"`
	SupportedIOTypes   map[string]bool `json:"supported_io_types"`
	DriverSpecific     any             `json:"driver_specific"`
}

// foreignIOTypes are types of I/O that clients look for and no device has.
var foreignIOTypes = []string{
	"nvme_admin", "nvme_io", "nvme_io_md", "zcopy", "get_zone_info", "zone_management", "zone_append", "nvme_iov_md", "nvme_nssr",
	"write_uncorrectable",
}

func (g *Registry) getBdevs(ctx context.Context, p getBdevsParams) ([]bdevInfo, error) {
	infos := []bdevInfo{}
	if p.Name == nil {
		for _, d := range g.Devices() {
			infos = append(infos, g.info(d))
		}
		return infos, nil
	}
	d, err := g.await(ctx, *p.Name, time.Duration(p.Timeout)*time.Millisecond)
	if err != nil {
		return nil, err
	}
	return append(infos, g.info(d)), nil
}

// await returns the device, if need be when it has been registered. Errors: ENODEV, or ETIMEDOUT when it was worth waiting.
func (g *Registry) await(ctx context.Context, name string, timeout time.Duration) (*Device, error) {
	appeared, forget := g.arrivals()
	defer forget()
	d, err := g.Lookup(name)
	if err == nil || timeout == 0 {
		return d, noDevice(err)
	}
	timer := time.NewTimer(timeout)
	defer timer.Stop()
	for {
		select {
		case <-appeared:
			if d, err := g.Lookup(name); err == nil {
				return d, nil
			}
		case <-timer.C:
			return nil, rpc.Errno(syscall.ETIMEDOUT, "")
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// noDevice turns the error of Lookup into the bare text that clients compare.
func noDevice(err error) error {
	if errors.Is(err, syscall.ENODEV) {
		return rpc.Errno(syscall.ENODEV, "")
	}
	return err
}

// info describes d as SPDK's clients expect.
func (g *Registry) info(d *Device) bdevInfo {
	s := d.Spec()
	info := bdevInfo{
		Name: s.Name, Aliases: append([]string{}, s.Aliases...), ProductName: s.ProductName,
		BlockSize: s.BlockSize, NumBlocks: d.Blocks(), UUID: s.UUID, NUMA: s.NUMA,
		UnmapAlignment: s.Limits.UnmapAlignmentBlocks, UnmapGranularity: s.Limits.UnmapGranularityBlocks,
		AssignedRateLimits: d.RateLimits().shown(),
		CreationTime:       d.Created().Format(time.RFC3339),
		SupportedIOTypes:   map[string]bool{},
		DriverSpecific:     struct{}{},
	}
	if uuid := UUID(s.UUID).String(); uuid != s.Name {
		info.Aliases = append(info.Aliases, uuid)
	}
	if g.ClaimedBy(d) != "" {
		info.Claimed, info.ClaimType = true, "exclusive_write"
	}
	for op := range OpCount {
		info.SupportedIOTypes[op.String()] = d.Supports(op)
	}
	for _, name := range foreignIOTypes {
		info.SupportedIOTypes[name] = false
	}
	if s.DriverSpecific != nil {
		info.DriverSpecific = s.DriverSpecific()
	}
	return info
}

// setOptionsParams are those of bdev_set_options; the pools are SPDK's, and here without effect.
type setOptionsParams struct {
	PoolSize       *uint32 `json:"bdev_io_pool_size"`
	CacheSize      *uint32 `json:"bdev_io_cache_size"`
	AutoExamine    *bool   `json:"bdev_auto_examine"`
	SmallCacheSize *uint32 `json:"iobuf_small_cache_size"`
	LargeCacheSize *uint32 `json:"iobuf_large_cache_size"`
}

func (g *Registry) setOptions(_ context.Context, p setOptionsParams) (rpc.None, error) {
	o := g.Options()
	set(&o.PoolSize, p.PoolSize)
	set(&o.CacheSize, p.CacheSize)
	set(&o.AutoExamine, p.AutoExamine)
	set(&o.SmallCacheSize, p.SmallCacheSize)
	set(&o.LargeCacheSize, p.LargeCacheSize)
	if o.PoolSize < o.CacheSize {
		return rpc.None{}, rpc.InvalidParams("Pool size %d too small for cache size %d", o.PoolSize, o.CacheSize)
	}
	g.SetOptions(o)
	return rpc.None{}, nil
}

// set assigns an optional parameter that is there.
func set[T any](to, from *T) {
	if from != nil {
		*to = *from
	}
}

// writeConfig is what framework_get_config of "bdev" answers.
func (g *Registry) writeConfig(context.Context) ([]rpc.ConfigEntry, error) {
	o := g.Options()
	entries := []rpc.ConfigEntry{{Method: "bdev_set_options", Params: setOptionsParams{
		&o.PoolSize, &o.CacheSize, &o.AutoExamine, &o.SmallCacheSize, &o.LargeCacheSize,
	}}}
	for _, d := range g.Devices() {
		if config := d.spec.Config; config != nil {
			entries = append(entries, config(d)...)
		}
		entries = append(entries, qosConfig(d)...)
		entries = append(entries, histogramConfig(d)...)
	}
	return append(entries, rpc.ConfigEntry{Method: "bdev_wait_for_examine"}), nil
}
