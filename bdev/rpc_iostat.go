package bdev

import (
	"context"
	"fmt"

	"pollux/rpc"
)

type iostatParams struct {
	Names      []string `json:"names,omitempty"`
	Name       *string  `json:"name"` // What older clients send instead of names.
	PerChannel bool     `json:"per_channel,omitempty"`
	ResetMode  string   `json:"reset_mode,omitempty" enum:"all,maxmin,error,none"`
}

func (p *iostatParams) SetDefaults() { p.ResetMode = "none" }

type resetIostatParams struct {
	Name *string `json:"name"`
	Mode string  `json:"mode,omitempty" enum:"all,maxmin,error,none"`
}

func (p *resetIostatParams) SetDefaults() { p.Mode = "all" }

// iostat is an element of bdev_get_iostat: a device's counters, or those of one reactor.
type iostat struct {
	Name     string  `json:"name,omitempty"`
	ThreadID *uint64 `json:"thread_id,omitempty"`
	iostatCounters

	PollingPeriod *uint64 `json:"queue_depth_polling_period,omitempty"`
	QueueDepth    *int    `json:"queue_depth,omitempty"`
	IOTime        *uint64 `json:"io_time,omitempty"`
	WeightedTime  *uint64 `json:"weighted_io_time,omitempty"`
}

type iostatCounters struct {
	BytesRead    uint64            `json:"bytes_read"`
	ReadOps      uint64            `json:"num_read_ops"`
	BytesWritten uint64            `json:"bytes_written"`
	WriteOps     uint64            `json:"num_write_ops"`
	BytesUnmap   uint64            `json:"bytes_unmapped"`
	UnmapOps     uint64            `json:"num_unmap_ops"`
	BytesCopied  uint64            `json:"bytes_copied"`
	CopyOps      uint64            `json:"num_copy_ops"`
	ReadSum      uint64            `json:"read_latency_ticks"`
	ReadMax      uint64            `json:"max_read_latency_ticks"`
	ReadMin      uint64            `json:"min_read_latency_ticks"`
	WriteSum     uint64            `json:"write_latency_ticks"`
	WriteMax     uint64            `json:"max_write_latency_ticks"`
	WriteMin     uint64            `json:"min_write_latency_ticks"`
	UnmapSum     uint64            `json:"unmap_latency_ticks"`
	UnmapMax     uint64            `json:"max_unmap_latency_ticks"`
	UnmapMin     uint64            `json:"min_unmap_latency_ticks"`
	CopySum      uint64            `json:"copy_latency_ticks"`
	CopyMax      uint64            `json:"max_copy_latency_ticks"`
	CopyMin      uint64            `json:"min_copy_latency_ticks"`
	IOError      map[string]uint64 `json:"io_error"`
}

// iostatResult has Bdevs, or, of one device by its channels, Name and Channels.
type iostatResult struct {
	TickRate uint64    `json:"tick_rate"`
	Ticks    uint64    `json:"ticks"`
	Bdevs    *[]iostat `json:"bdevs,omitempty"`
	Name     string    `json:"name,omitempty"`
	Channels *[]iostat `json:"channels,omitempty"`
}

func (g *Registry) getIostat(_ context.Context, p iostatParams) (*iostatResult, error) {
	names := p.Names
	if p.Name != nil {
		names = append(names, *p.Name)
	}
	devices, err := g.named(names)
	if err != nil {
		return nil, err
	}
	if p.PerChannel && len(devices) != 1 {
		return nil, rpc.InvalidParams("per_channel needs the name of one device")
	}
	result := &iostatResult{TickRate: TickRate, Ticks: g.ticks()}
	if p.PerChannel {
		result.Name = devices[0].Name()
		result.Channels, err = perChannel(devices[0])
	} else {
		result.Bdevs, err = totals(devices)
	}
	if err != nil {
		return nil, err
	}
	return result, resetAll(devices, p.ResetMode)
}

// named is the devices of these names, or all if there are none.
func (g *Registry) named(names []string) ([]*Device, error) {
	if len(names) == 0 {
		return g.Devices(), nil
	}
	var devices []*Device
	for _, name := range names {
		d, err := g.Lookup(name)
		if err != nil {
			return nil, noDevice(err)
		}
		devices = append(devices, d)
	}
	return devices, nil
}

func totals(devices []*Device) (*[]iostat, error) {
	rows := []iostat{}
	for _, d := range devices {
		all, err := d.Stats()
		if err != nil {
			return nil, err
		}
		sum, zero := Sum(all), uint64(0)
		rows = append(rows, iostat{
			Name: d.Name(), iostatCounters: sum.counters(),
			PollingPeriod: &zero, QueueDepth: &sum.Outstanding, IOTime: &zero, WeightedTime: &zero,
		})
	}
	return &rows, nil
}

func perChannel(d *Device) (*[]iostat, error) {
	all, err := d.Stats()
	rows := []iostat{}
	for i := range all {
		if all[i].Open {
			id := uint64(i)
			rows = append(rows, iostat{ThreadID: &id, iostatCounters: all[i].counters()})
		}
	}
	return &rows, err
}

func (s *Stats) counters() iostatCounters {
	c := iostatCounters{
		BytesRead: s.Read.Bytes, ReadOps: s.Read.Ops, BytesWritten: s.Write.Bytes, WriteOps: s.Write.Ops,
		BytesUnmap: s.Unmap.Bytes, UnmapOps: s.Unmap.Ops, BytesCopied: s.Copy.Bytes, CopyOps: s.Copy.Ops,
		ReadSum: s.Read.Latency.Sum, ReadMax: s.Read.Latency.Max, ReadMin: s.Read.Latency.Min,
		WriteSum: s.Write.Latency.Sum, WriteMax: s.Write.Latency.Max, WriteMin: s.Write.Latency.Min,
		UnmapSum: s.Unmap.Latency.Sum, UnmapMax: s.Unmap.Latency.Max, UnmapMin: s.Unmap.Latency.Min,
		CopySum: s.Copy.Latency.Sum, CopyMax: s.Copy.Latency.Max, CopyMin: s.Copy.Latency.Min,
		IOError: map[string]uint64{},
	}
	for status, n := range s.Errors {
		if n != 0 {
			c.IOError[Status(status).String()] = n
		}
	}
	return c
}

func (g *Registry) resetIostat(_ context.Context, p resetIostatParams) (rpc.None, error) {
	var names []string
	if p.Name != nil {
		names = []string{*p.Name}
	}
	devices, err := g.named(names)
	if err != nil {
		return rpc.None{}, err
	}
	return rpc.None{}, resetAll(devices, p.Mode)
}

var resetModes = map[string]ResetMode{"all": ResetAll, "maxmin": ResetMaxMin, "error": ResetErrors}

func resetAll(devices []*Device, mode string) error {
	if mode == "none" {
		return nil
	}
	for _, d := range devices {
		if err := d.ResetStats(resetModes[mode]); err != nil {
			return fmt.Errorf("bdev %s: reset statistics: %w", d.Name(), err)
		}
	}
	return nil
}
