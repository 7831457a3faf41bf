package bdev

import (
	"context"
	"math"
	"syscall"

	"pollux/rpc"
)

// megabyte is what rates in MB are in bytes, as SPDK has it.
const megabyte = 1 << 20

type qosParams struct {
	Name        string  `json:"name"`
	IOs         *uint64 `json:"rw_ios_per_sec" max:"9223372036854"`
	MBytes      *uint64 `json:"rw_mbytes_per_sec" max:"8796093022"`
	ReadMBytes  *uint64 `json:"r_mbytes_per_sec" max:"8796093022"`
	WriteMBytes *uint64 `json:"w_mbytes_per_sec" max:"8796093022"`
}

// rateLimits is how bdev_get_bdevs shows them.
type rateLimits struct {
	IOs         uint64 `json:"rw_ios_per_sec"`
	MBytes      uint64 `json:"rw_mbytes_per_sec"`
	ReadMBytes  uint64 `json:"r_mbytes_per_sec"`
	WriteMBytes uint64 `json:"w_mbytes_per_sec"`
}

func (l RateLimits) shown() rateLimits {
	return rateLimits{l.IOs, l.Bytes / megabyte, l.ReadBytes / megabyte, l.WriteBytes / megabyte}
}

// setQoSLimit changes the limits that are named.
func (g *Registry) setQoSLimit(_ context.Context, p qosParams) (rpc.None, error) {
	d, err := g.Lookup(p.Name)
	if err != nil {
		return rpc.None{}, noDevice(err)
	}
	if p.IOs == nil && p.MBytes == nil && p.ReadMBytes == nil && p.WriteMBytes == nil {
		return rpc.None{}, rpc.Errorf(-int(syscall.EINVAL), "No rate limits specified")
	}
	limits := d.RateLimits()
	set(&limits.IOs, p.IOs)
	setMegabytes(&limits.Bytes, p.MBytes)
	setMegabytes(&limits.ReadBytes, p.ReadMBytes)
	setMegabytes(&limits.WriteBytes, p.WriteMBytes)
	return rpc.None{}, d.SetRateLimits(limits)
}

func setMegabytes(to, from *uint64) {
	if from != nil {
		*to = min(*from, math.MaxInt64/megabyte/uint64(tokensPerUnit)) * megabyte
	}
}

// qosConfig is the call that limits d again, if it is limited.
func qosConfig(d *Device) []rpc.ConfigEntry {
	limits := d.RateLimits()
	if limits == (RateLimits{}) {
		return nil
	}
	return []rpc.ConfigEntry{{Method: "bdev_set_qos_limit", Params: struct {
		Name string `json:"name"`
		rateLimits
	}{d.Name(), limits.shown()}}}
}
