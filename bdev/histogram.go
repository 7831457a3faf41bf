package bdev

import (
	"encoding/base64"
	"encoding/binary"
	"math"
	"math/bits"

	"pollux/reactor"
)

// HistogramShape is how the buckets of a histogram are laid out, as SPDK's are: ranges of values, each twice as wide as the one before, in
// 2^Granularity buckets of equal width. What lies outside the ranges counts in the first or the last bucket.
type HistogramShape struct {
	Granularity        uint8
	MinRange, MaxRange int
}

// Bounds of a histogram: of the finest shape, its counts take 8 MiB a reactor at most.
const (
	GranularityDefault = 7
	GranularityMax     = 14
)

// WholeHistogram covers every value.
var WholeHistogram = NewHistogramShape(GranularityDefault, 0, math.MaxUint64)

// NewHistogramShape covers values from least to most.
func NewHistogramShape(granularity uint8, least, most uint64) HistogramShape {
	s := HistogramShape{Granularity: granularity}
	s.MinRange, s.MaxRange = s.rangeOf(least), s.rangeOf(most)
	return s
}

// Buckets is how many there are.
func (s HistogramShape) Buckets() int { return (s.MaxRange - s.MinRange + 1) << s.Granularity }

// rangeOf is the range of a value: 0 is of values below 2^Granularity.
func (s HistogramShape) rangeOf(v uint64) int { return max(0, bits.Len64(v)-int(s.Granularity)) }

// Bucket is where a value is counted.
func (s HistogramShape) Bucket(v uint64) int {
	r := s.rangeOf(v)
	switch {
	case r < s.MinRange:
		return 0
	case r > s.MaxRange:
		return s.Buckets() - 1
	}
	return (r-s.MinRange)<<s.Granularity + int(v>>max(0, r-1))&(1<<s.Granularity-1)
}

// Histogram counts latencies, in ticks of TickRate, on every reactor for itself.
type Histogram struct {
	HistogramShape
	counts [][]uint64 // by reactor, which alone writes them
}

// NewHistogram makes an empty one.
func NewHistogram(s HistogramShape, g *reactor.Group) *Histogram {
	h := &Histogram{HistogramShape: s}
	for range g.Reactors() {
		h.counts = append(h.counts, make([]uint64, s.Buckets()))
	}
	return h
}

// Tally counts a value (on r).
func (h *Histogram) Tally(r *reactor.Reactor, ticks uint64) { h.counts[r.ID()][h.Bucket(ticks)]++ }

// HistogramResult is how RPC methods show a histogram.
type HistogramResult struct {
	Histogram   string `json:"histogram"` // base64 of the counts, little-endian, range by range
	Granularity uint8  `json:"granularity"`
	MinRange    int    `json:"min_range"`
	MaxRange    int    `json:"max_range"`
	TickRate    int    `json:"tsc_rate"`
}

// Result sums up what all reactors have counted. Control plane.
func (h *Histogram) Result(g *reactor.Group) (HistogramResult, error) {
	sum := make([]uint64, h.Buckets())
	err := g.Each(func(r *reactor.Reactor) {
		for i, n := range h.counts[r.ID()] {
			sum[i] += n
		}
	})
	raw := make([]byte, 0, len(sum)*8)
	for _, n := range sum {
		raw = binary.LittleEndian.AppendUint64(raw, n)
	}
	return HistogramResult{
		Histogram: base64.StdEncoding.EncodeToString(raw), Granularity: h.Granularity,
		MinRange: h.MinRange, MaxRange: h.MaxRange, TickRate: TickRate,
	}, err
}
