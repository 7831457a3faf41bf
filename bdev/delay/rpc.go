package delay

import (
	"context"
	"time"

	"pollux/bdev"
	"pollux/rpc"
)

// createParams are those of bdev_delay_create; latencies in microseconds.
type createParams struct {
	Name     string     `json:"name"`
	BaseName string     `json:"base_bdev_name"`
	UUID     *bdev.UUID `json:"uuid"`
	latencyParams
}

type latencyParams struct {
	AvgRead  uint64 `json:"avg_read_latency" max:"86400000000"`
	P99Read  uint64 `json:"p99_read_latency" max:"86400000000"`
	AvgWrite uint64 `json:"avg_write_latency" max:"86400000000"`
	P99Write uint64 `json:"p99_write_latency" max:"86400000000"`
}

func (p latencyParams) latencies() Latencies {
	return Latencies{
		AvgRead: microseconds(p.AvgRead), P99Read: microseconds(p.P99Read),
		AvgWrite: microseconds(p.AvgWrite), P99Write: microseconds(p.P99Write),
	}
}

func microseconds(n uint64) time.Duration { return time.Duration(n) * time.Microsecond }

type updateParams struct {
	Name    string `json:"delay_bdev_name"`
	Type    string `json:"latency_type" enum:"avg_read,p99_read,avg_write,p99_write"`
	Latency uint64 `json:"latency_us" max:"86400000000"`
}

var kindNames = map[string]Kind{"avg_read": AvgRead, "p99_read": P99Read, "avg_write": AvgWrite, "p99_write": P99Write}

// Register adds the module's methods to s.
func (m *Module) Register(s *rpc.Server) {
	rpc.Handle(s, rpc.Runtime, "bdev_delay_create", func(_ context.Context, p createParams) (string, error) {
		return p.Name, m.Create(p.Name, p.BaseName, p.latencies(), p.UUID.Bytes())
	}).Help("Make a block device that hands requests to another after a while.")
	bdev.HandleDelete(s, "bdev_delay_delete", m.Delete).
		Help("Remove a delay device.")
	rpc.Handle(s, rpc.Runtime, "bdev_delay_update_latency", m.update).
		Help("Change one of a delay device's latencies, in microseconds.")
}

func (m *Module) update(_ context.Context, p updateParams) (string, error) {
	if _, err := m.registry.Lookup(p.Name); err != nil {
		return "", rpc.Errorf(rpc.CodeInvalidParams, "The requested bdev does not exist.")
	}
	if _, err := m.lookup(p.Name); err != nil {
		return "", rpc.Errorf(rpc.CodeInvalidRequest, "The requested bdev is not a delay bdev.")
	}
	return p.Name, m.Update(p.Name, kindNames[p.Type], microseconds(p.Latency))
}

// params are the present latencies as RPC has them.
func (d *device) params() latencyParams {
	us := func(k Kind) uint64 { return uint64(d.latencies[k].Load()) / uint64(time.Microsecond) }
	return latencyParams{us(AvgRead), us(P99Read), us(AvgWrite), us(P99Write)}
}

func (d *device) driverSpecific() any {
	return map[string]any{"delay": struct {
		Name     string `json:"name"`
		BaseName string `json:"base_bdev_name"`
		latencyParams
	}{d.name, d.base.Device().Name(), d.params()}}
}

func (d *device) config(self *bdev.Device) []rpc.ConfigEntry {
	uuid := bdev.UUID(self.UUID())
	return []rpc.ConfigEntry{{
		Method: "bdev_delay_create",
		Params: createParams{Name: d.name, BaseName: d.base.Device().Name(), UUID: &uuid, latencyParams: d.params()},
	}}
}
