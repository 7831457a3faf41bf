package rpc

import (
	"context"
	"testing"
)

type sampleParams struct {
	Name      string  `json:"name"`
	NumBlocks uint64  `json:"num_blocks" min:"1"`
	BlockSize uint32  `json:"block_size,omitempty"`
	UUID      *string `json:"uuid"`
	Level     string  `json:"level,omitempty" enum:"raid0,raid1"`
	Port      uint8   `json:"port,omitempty"`
	Tags      []int   `json:"tags,omitempty"`
}

func (p *sampleParams) SetDefaults() { p.BlockSize = 512 }

// newSample returns a server in Runtime with one method which answers its
// parameters.
func newSample(t *testing.T) *Server {
	t.Helper()
	s := New(Options{})
	Handle(s, Runtime, "sample", func(_ context.Context, p sampleParams) (sampleParams, error) { return p, nil }, "old_sample")
	if err := s.StartInit(t.Context()); err != nil {
		t.Fatal(err)
	}
	return s
}

func TestCallDecodesWithDefaults(t *testing.T) {
	s := newSample(t)
	raw, err := s.Call(t.Context(), "sample", map[string]any{"name": "a", "num_blocks": 8})
	if want := `{"name":"a","num_blocks":8,"block_size":512,"uuid":null}`; err != nil || string(raw) != want {
		t.Fatalf("got %s, %v, want %s", raw, err, want)
	}
}
