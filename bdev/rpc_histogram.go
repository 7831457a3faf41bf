package bdev

import (
	"context"
	"syscall"

	"pollux/reactor"
	"pollux/rpc"
)

// histogramParams are those of bdev_enable_histogram.
type histogramParams struct {
	Name        string `json:"name"`
	Enable      bool   `json:"enable"`
	Op          string `json:"opc,omitempty"` // the one operation to count; empty: all
	Granularity uint8  `json:"granularity,omitempty"`
	MinNanos    uint64 `json:"min_nsec,omitempty"`
	MaxNanos    uint64 `json:"max_nsec,omitempty"`
}

func (p *histogramParams) SetDefaults() {
	p.Granularity, p.MinNanos, p.MaxNanos = GranularityDefault, 1000, 120_000_000_000
}

// opHistogram is what a device's lanes count, and how it was asked for.
type opHistogram struct {
	*Histogram
	op     Op // OpCount: all but resets and aborts
	params histogramParams
}

// counts reports whether op is counted.
func (h *opHistogram) counts(op Op) bool {
	return op == h.op || h.op == OpCount && op != OpReset && op != OpAbort
}

func (g *Registry) enableHistogram(_ context.Context, p histogramParams) (rpc.None, error) {
	d, err := g.Lookup(p.Name)
	if err != nil {
		return rpc.None{}, noDevice(err)
	}
	if !p.Enable {
		return rpc.None{}, d.setHistogram(nil)
	}
	op, known := opOf(p.Op)
	switch {
	case !known && p.Op != "":
		return rpc.None{}, rpc.Errorf(rpc.CodeInternal, "Invalid Io type: %s", p.Op)
	case p.Granularity < 1 || p.Granularity > GranularityMax:
		return rpc.None{}, rpc.Errorf(-int(syscall.EINVAL), "granularity %d is not 1 to %d", p.Granularity, GranularityMax)
	case p.MinNanos >= p.MaxNanos:
		return rpc.None{}, rpc.Errorf(-int(syscall.EINVAL), "min_nsec %d is not below max_nsec %d", p.MinNanos, p.MaxNanos)
	}
	shape := NewHistogramShape(p.Granularity, p.MinNanos, p.MaxNanos)
	return rpc.None{}, d.setHistogram(&opHistogram{NewHistogram(shape, g.group), op, p})
}

// opOf finds an operation by its name; OpCount stands for none.
func opOf(name string) (Op, bool) {
	for op := range OpCount {
		if op.String() == name {
			return op, true
		}
	}
	return OpCount, false
}

// setHistogram begins to count latencies, from nothing, or ends it. Control plane.
func (d *Device) setHistogram(h *opHistogram) error {
	d.resizing.Lock()
	defer d.resizing.Unlock()
	d.histogram.Store(h)
	return d.registry.group.Each(func(r *reactor.Reactor) { d.laneOf(r).histogram = h })
}

func (g *Registry) getHistogram(_ context.Context, p NameParams) (HistogramResult, error) {
	d, err := g.Lookup(p.Name)
	if err != nil {
		return HistogramResult{}, noDevice(err)
	}
	h := d.histogram.Load()
	if h == nil {
		return HistogramResult{}, rpc.Errno(syscall.ENOMEM, "") // As SPDK says that it is not enabled.
	}
	return h.Result(g.group)
}

// histogramConfig is the call that has d count again, if it does.
func histogramConfig(d *Device) []rpc.ConfigEntry {
	h := d.histogram.Load()
	if h == nil {
		return nil
	}
	return []rpc.ConfigEntry{{Method: "bdev_enable_histogram", Params: h.params}}
}
