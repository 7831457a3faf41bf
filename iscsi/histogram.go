package iscsi

import (
	"context"
	"encoding/base64"
	"encoding/binary"
	"math/bits"

	"pollux/rpc"
)

// SPDK's histogram: ranges of values, each twice as wide as the one before, in buckets of equal width.
const (
	histogramGranularity = 7 // bits: 128 buckets in a range
	histogramBuckets     = 1 << histogramGranularity
	histogramRanges      = 64 - histogramGranularity + 1
	histogramTickRate    = 1e9 // ticks a second: a tick is a nanosecond
)

// histogram counts the latencies of a target's commands, from the header to the status being queued.
type histogram struct {
	locals []localHistogram // by reactor
}

// localHistogram belongs to its reactor.
type localHistogram [histogramRanges * histogramBuckets]uint64

// bucket is where a value is counted.
func bucket(ticks uint64) int {
	wide := max(0, bits.Len64(ticks)-histogramGranularity) // the range
	shift := max(0, wide-1)
	return wide*histogramBuckets + int(ticks>>shift)&(histogramBuckets-1)
}

// tally counts a command that ends now (on its reactor).
func (t *task) tally() {
	s := t.conn.session
	if s.target == nil {
		return
	}
	if h := s.target.node.histogram.Load(); h != nil {
		h.locals[t.local.r.ID()][bucket(uint64(t.local.r.Now()-t.started))]++
	}
}

type histogramEnableParams struct {
	Name   string `json:"name"`
	Enable bool   `json:"enable"`
}

type histogramResult struct {
	Histogram   string `json:"histogram"` // base64 of the counts, little-endian, range by range
	Granularity int    `json:"granularity"`
	MinRange    int    `json:"min_range"`
	MaxRange    int    `json:"max_range"`
	TickRate    int    `json:"tsc_rate"`
}

func (s *Server) registerHistogram(r *rpc.Server) {
	do(r, rpc.Runtime, "iscsi_enable_histogram", func(p histogramEnableParams) error { return s.EnableHistogram(p.Name, p.Enable) })
	rpc.Handle(r, rpc.Runtime, "iscsi_get_histogram", s.rpcHistogram)
}

// EnableHistogram begins to count a target's latencies, from nothing, or ends it.
func (s *Server) EnableHistogram(target string, enable bool) error {
	n, err := s.device(target)
	if err != nil {
		return err
	}
	var h *histogram
	if enable {
		h = &histogram{locals: make([]localHistogram, len(s.locals))}
	}
	n.histogram.Store(h)
	return nil
}

func (s *Server) rpcHistogram(_ context.Context, p targetNameParams) (histogramResult, error) {
	n, err := s.device(p.Name)
	if err != nil {
		return histogramResult{}, rpc.Errorf(rpc.CodeInvalidParams, "target not found")
	}
	h := n.histogram.Load()
	if h == nil {
		return histogramResult{}, rpc.Errorf(rpc.CodeInvalidParams, "target's histogram function is not enabled")
	}
	var sum localHistogram
	err = s.each(func(l *local) {
		for i, n := range h.locals[l.r.ID()] {
			sum[i] += n
		}
	})
	raw := make([]byte, 0, len(sum)*8)
	for _, n := range sum {
		raw = binary.LittleEndian.AppendUint64(raw, n)
	}
	return histogramResult{
		Histogram: base64.StdEncoding.EncodeToString(raw), Granularity: histogramGranularity,
		MaxRange: histogramRanges, TickRate: histogramTickRate,
	}, err
}
