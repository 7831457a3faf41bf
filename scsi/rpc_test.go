package scsi

import (
	"context"
	"encoding/json"
	"testing"

	"pollux/rpc"
)

func TestRPCGetDevices(t *testing.T) {
	b := newBench(t, 1)
	_, err := b.set.Create("iqn.2016-06.io.spdk:disk2", DeviceOptions{})
	b.must(err)
	if _, err := b.set.Create("iqn.2016-06.io.spdk:disk2", DeviceOptions{}); err == nil {
		t.Error("the same name twice")
	}
	s := rpc.New(rpc.Options{})
	b.set.RegisterRPC(s)
	b.must(s.StartInit(context.Background()))
	got, err := s.Call(context.Background(), "scsi_get_devices", json.RawMessage("null"))
	b.must(err)
	want := `[{"id":0,"device_name":"iqn.2016-06.io.spdk:disk1"},{"id":1,"device_name":"iqn.2016-06.io.spdk:disk2"}]`
	if string(got) != want {
		t.Errorf("got %s\nwant %s", got, want)
	}
}
