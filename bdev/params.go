package bdev

import (
	"pollux/rpc"
)

// NameParams is the parameters of methods that take a device's name and nothing else.
type NameParams struct {
	Name string `json:"name"`
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
