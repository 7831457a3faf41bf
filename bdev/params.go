package bdev

import (
	"context"
	"errors"
	"fmt"
	"syscall"

	"pollux/rpc"
)

// NameParams is the parameters of methods that take a device's name and nothing else.
type NameParams struct {
	Name string `json:"name"`
}

// HandleDelete registers a module's method that removes a device by its name.
func HandleDelete(s *rpc.Server, method string, remove func(name string) error, aliases ...string) *rpc.Method {
	return rpc.Handle(s, rpc.Runtime, method, func(_ context.Context, p NameParams) (rpc.None, error) {
		return rpc.None{}, Busy(remove(p.Name))
	}, aliases...).Waits()
}

// Busy is an error as a method answers it: that of a device that does not answer is -16.
func Busy(err error) error {
	if errors.Is(err, ErrUnanswered) {
		return rpc.Busy("%s", err)
	}
	return err
}

// LookupOf finds a device of a module: one whose backend is a B. kind is what such devices are called. Errors: ENODEV.
func LookupOf[B Backend](g *Registry, name, kind string) (d *Device, b B, err error) {
	if d, err = g.Lookup(name); err != nil {
		return nil, b, err
	}
	b, ours := d.spec.Backend.(B)
	if !ours {
		return nil, b, fmt.Errorf("bdev %s is not %s: %w", name, kind, syscall.ENODEV)
	}
	return d, b, nil
}

// NoMetadata is the parameters for metadata and protection information that SPDK's clients send. They are not supported, so that
// their defaults alone are accepted.
type NoMetadata struct {
	MDSize       uint32 `json:"md_size,omitempty"`
	MDInterleave bool   `json:"md_interleave,omitempty"`
	DIFType      int32  `json:"dif_type,omitempty"`
	DIFIsHead    bool   `json:"dif_is_head_of_md,omitempty"`
	DIFPIFormat  uint32 `json:"dif_pi_format,omitempty"`
}

// Validate refuses what is not supported. (md_interleave says nothing as long as there is no metadata.)
func (p *NoMetadata) Validate() error {
	if p.MDSize != 0 || p.DIFType != 0 || p.DIFIsHead || p.DIFPIFormat != 0 {
		return rpc.InvalidParams("metadata and protection information (md_size, dif_type, ...) are not supported")
	}
	return nil
}
