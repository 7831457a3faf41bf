package bdev

import "pollux/reactor"

// Latency is a sum over requests, in ticks of TickRate.
type Latency struct {
	Sum, Max, Min uint64

	known bool // Max and Min are of something
}

// TickRate is the ticks per second of all latencies.
const TickRate = 1_000_000_000

// OpStats counts one kind of operation.
type OpStats struct {
	Ops, Bytes uint64
	Latency    Latency
}

// Stats are the counters of a device on one reactor, or their sum. Each lane has its own and nobody else writes it.
type Stats struct {
	Read, Write, Unmap, Copy OpStats
	Errors                   [StatusCount]uint64
	Outstanding              int
	Open                     bool // the reactor has a channel
}

// of is the row that op is counted in, nil for none.
func (s *Stats) of(op Op) *OpStats {
	switch op {
	case OpRead:
		return &s.Read
	case OpWrite:
		return &s.Write
	case OpUnmap:
		return &s.Unmap
	case OpCopy:
		return &s.Copy
	default:
		return nil
	}
}

// count notes the end of q.
func (s *Stats) count(q *Request, l *lane) {
	if h := l.histogram; h != nil && h.counts(q.Op) {
		h.Tally(l.r, uint64(l.r.Now()-q.started))
	}
	if q.Status != StatusOK {
		s.Errors[q.Status]++
		return
	}
	o := s.of(q.Op)
	if o == nil {
		return
	}
	t := uint64(l.r.Now() - q.started)
	if !o.Latency.known || t < o.Latency.Min {
		o.Latency.Min, o.Latency.known = t, true
	}
	o.Ops++
	o.Bytes += q.Blocks << l.dev.shift
	o.Latency.Sum += t
	o.Latency.Max = max(o.Latency.Max, t)
}

// add sums up.
func (s *Stats) add(t *Stats) {
	s.Read.add(&t.Read)
	s.Write.add(&t.Write)
	s.Unmap.add(&t.Unmap)
	s.Copy.add(&t.Copy)
	for i := range s.Errors {
		s.Errors[i] += t.Errors[i]
	}
	s.Outstanding += t.Outstanding
}

func (o *OpStats) add(p *OpStats) {
	if p.Latency.known && (!o.Latency.known || p.Latency.Min < o.Latency.Min) {
		o.Latency.Min, o.Latency.known = p.Latency.Min, true
	}
	o.Ops += p.Ops
	o.Bytes += p.Bytes
	o.Latency.Sum += p.Latency.Sum
	o.Latency.Max = max(o.Latency.Max, p.Latency.Max)
}

// ResetMode says what ResetStats forgets.
type ResetMode uint8

// Reset modes.
const (
	ResetAll ResetMode = iota
	ResetMaxMin
	ResetErrors
)

func (s *Stats) reset(mode ResetMode) {
	switch mode {
	case ResetAll:
		*s = Stats{}
	case ResetErrors:
		s.Errors = [StatusCount]uint64{}
	case ResetMaxMin:
		for _, o := range []*OpStats{&s.Read, &s.Write, &s.Unmap, &s.Copy} {
			o.Latency.Max, o.Latency.Min, o.Latency.known = 0, 0, false
		}
	}
}

// Stats is the device's counters on each reactor, by ID. Control plane.
func (d *Device) Stats() ([]Stats, error) {
	all := make([]Stats, len(d.lanes))
	err := d.registry.group.Each(func(r *reactor.Reactor) {
		l := d.laneOf(r)
		all[r.ID()] = l.stats
		all[r.ID()].Outstanding, all[r.ID()].Open = l.flight.n, l.queue != nil
	})
	return all, err
}

// ResetStats forgets counters. Control plane.
func (d *Device) ResetStats(mode ResetMode) error {
	return d.registry.group.Each(func(r *reactor.Reactor) { d.laneOf(r).stats.reset(mode) })
}

// Sum adds up counters of several reactors.
func Sum(all []Stats) (s Stats) {
	for i := range all {
		s.add(&all[i])
	}
	return s
}

// ticks is the time in ticks of TickRate, on the clock that latencies are measured with.
func (g *Registry) ticks() uint64 {
	r := g.group.Reactors()[0]
	var now int64
	if err := r.Call(func() { now = r.Now() }); err != nil {
		return 0
	}
	return uint64(now)
}
