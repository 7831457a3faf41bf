package fault

import (
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pollux/scsi"
	"pollux/test/target"
)

// TestHungDevice: a device that does not answer keeps neither task management nor calls nor another LUN waiting without end, and nobody is
// told that something is complete which is not.
func TestHungDevice(t *testing.T) {
	t.Parallel()
	handler := target.BuildTcmur(t, "bad")
	server := target.Start(t, target.OneLUN(target.Pollux, target.LUN{Backing: target.Malloc, BlockSize: blockSize, Size: lunSize}))
	path := filepath.Join(t.TempDir(), "disk")
	if err := server.ServeTcmur("hung", target.Tcmur{Handler: handler, Cfg: "bad/sleep1@" + path, Size: lunSize, Timeout: time.Hour}); err != nil {
		t.Fatal(err)
	}
	d := logInTo(t, server, "hung", 0)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		// It ends without an answer, with its session.
		_, _ = d.c.Do(d.ctx, d.lun, cdb10(0x2a, tcmurTrigger/blockSize, 1), make([]byte, blockSize), 0)
	}()
	awaitFile(t, path+".done")
	response, err := d.c.Manage(d.ctx, uint8(scsi.FunctionLogicalUnitReset), d.lun, 0xffffffff, 0)
	if err != nil || scsi.Response(response) != scsi.ResponseRejected {
		t.Errorf("LOGICAL UNIT RESET: response %d, %v", response, err)
	}
	if _, err := d.c.Ping(d.ctx, []byte("still here")); err != nil {
		t.Errorf("the session: %v", err)
	}
	err = server.RPC("iscsi_target_node_remove_lun", map[string]any{"name": target.IQN("hung"), "lun_id": 0}, nil)
	if err == nil || !strings.Contains(err.Error(), "bdev hung keeps 1 requests") {
		t.Errorf("removal of the LUN: %v", err)
	}
	beside := logInTo(t, server, "disk", 0)
	if a := beside.do(cdb10(0x28, 0, 8), nil, 8*blockSize); a.Status != 0 {
		t.Errorf("the LUN beside: status %#x", a.Status)
	}
	// The handler's process can be ended, so the deletion of the block device need not be given up.
	if err := server.RPC("bdev_tcmur_delete", map[string]any{"name": "hung"}, nil); err != nil {
		t.Errorf("removal of the block device: %v", err)
	}
	if err := server.Stop(); err != nil {
		t.Error(err)
	}
	<-ended
}
