package scsi

import (
	"context"

	"pollux/rpc"
)

// deviceResult is a device as scsi_get_devices shows it.
type deviceResult struct {
	ID         int    `json:"id"`
	DeviceName string `json:"device_name"`
}

// RegisterRPC adds scsi_get_devices. SCSI devices are made and removed by the transports' methods.
func (s *Devices) RegisterRPC(r *rpc.Server) {
	rpc.Handle(r, rpc.Runtime, "scsi_get_devices", s.getDevices, "get_scsi_devices").
		DecodeError(rpc.CodeInvalidParams, "scsi_get_devices requires no parameters")
}

func (s *Devices) getDevices(context.Context, rpc.None) ([]deviceResult, error) {
	all := []deviceResult{}
	for _, d := range s.List() {
		all = append(all, deviceResult{d.id, d.name})
	}
	return all, nil
}
