package error

import (
	"context"
	"syscall"

	"pollux/bdev"
	"pollux/rpc"
)

type createParams struct {
	BaseName string     `json:"base_name"`
	UUID     *bdev.UUID `json:"uuid"`
}

type injectParams struct {
	Name          string `json:"name"`
	IOType        string `json:"io_type" enum:"clear,read,write,unmap,flush,all"`
	ErrorType     string `json:"error_type" enum:"failure,pending,corrupt_data,nomem,nvme_failure"`
	NVMeSCT       uint32 `json:"nvme_sct,omitempty"`
	NVMeSC        uint32 `json:"nvme_sc,omitempty"`
	Num           uint32 `json:"num,omitempty"`
	QueueDepth    uint64 `json:"queue_depth,omitempty"`
	CorruptOffset uint64 `json:"corrupt_offset,omitempty"`
	CorruptValue  uint8  `json:"corrupt_value,omitempty"`
}

func (p *injectParams) SetDefaults() { p.Num = 1 }

// Register adds the module's methods to s.
func (m *Module) Register(s *rpc.Server) {
	rpc.Handle(s, rpc.Runtime, "bdev_error_create", func(_ context.Context, p createParams) (rpc.None, error) {
		_, err := m.Create(p.BaseName, p.UUID.Bytes())
		return rpc.None{}, err
	}, "construct_error_bdev").DecodeError(rpc.CodeInvalidParams, "Invalid parameters").
		Help("Make a block device EE_BASE that errors can be injected into.")
	bdev.HandleDelete(s, "bdev_error_delete", m.Delete, "delete_error_bdev").DecodeError(rpc.CodeInvalidParams, "Invalid parameters").
		Help("Remove an error device.")
	rpc.Handle(s, rpc.Runtime, "bdev_error_inject_error", m.inject, "bdev_inject_error").
		DecodeError(rpc.CodeInvalidParams, "Invalid parameters").
		Help("Have the next requests of a type fail, hang, be corrupted, or find no resources.")
	rpc.Handle(s, rpc.Runtime, "bdev_error_resume_pending", func(_ context.Context, p bdev.NameParams) (rpc.None, error) {
		return rpc.None{}, m.Resume(p.Name)
	}).DecodeError(rpc.CodeInvalidParams, "Invalid parameters").
		Help("Carry out the requests that hang.")
}

var kindNames = map[string]Kind{
	"failure": Failure, "pending": Pending, "corrupt_data": Corrupt, "nomem": NoMemory, "nvme_failure": Failure,
}

func (m *Module) inject(_ context.Context, p injectParams) (rpc.None, error) {
	if p.IOType == "clear" {
		return rpc.None{}, m.Clear(p.Name)
	}
	if p.ErrorType == "nvme_failure" && p.NVMeSCT == 0 && p.NVMeSC == 0 {
		return rpc.None{}, rpc.Errorf(-int(syscall.EINVAL), "nvme_sct or nvme_sc should be specified for NVMe error injection")
	}
	i := Injection{
		Kind: kindNames[p.ErrorType], Num: p.Num, QueueDepth: p.QueueDepth, Offset: p.CorruptOffset, Value: p.CorruptValue,
	}
	for _, op := range targets {
		if p.IOType == op.String() || p.IOType == "all" && (i.Kind != Corrupt || op == bdev.OpRead || op == bdev.OpWrite) {
			if err := m.Inject(p.Name, op, i); err != nil {
				return rpc.None{}, err
			}
		}
	}
	return rpc.None{}, nil
}

func (d *device) driverSpecific() any {
	return map[string]any{"error": map[string]string{"base_bdev": d.base.Device().Name()}}
}

func (d *device) config(self *bdev.Device) []rpc.ConfigEntry {
	uuid := bdev.UUID(self.UUID())
	return []rpc.ConfigEntry{{
		Method: "bdev_error_create", Params: createParams{BaseName: d.base.Device().Name(), UUID: &uuid},
	}}
}
