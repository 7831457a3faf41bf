package iscsi

import (
	"context"

	"pollux/bdev"
	"pollux/rpc"
)

// tally counts a command that ends now, from its header to the status being queued (on its reactor).
func (t *task) tally() {
	s := t.conn.session
	if s.target == nil {
		return
	}
	if h := s.target.node.histogram.Load(); h != nil {
		h.Tally(t.local.r, uint64(t.local.r.Now()-t.started))
	}
}

type histogramEnableParams struct {
	Name   string `json:"name"`
	Enable bool   `json:"enable"`
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
	var h *bdev.Histogram
	if enable {
		h = bdev.NewHistogram(bdev.WholeHistogram, s.group)
	}
	n.histogram.Store(h)
	return nil
}

func (s *Server) rpcHistogram(_ context.Context, p targetNameParams) (bdev.HistogramResult, error) {
	n, err := s.device(p.Name)
	if err != nil {
		return bdev.HistogramResult{}, rpc.Errorf(rpc.CodeInvalidParams, "target not found")
	}
	h := n.histogram.Load()
	if h == nil {
		return bdev.HistogramResult{}, rpc.Errorf(rpc.CodeInvalidParams, "target's histogram function is not enabled")
	}
	return h.Result(s.group)
}
