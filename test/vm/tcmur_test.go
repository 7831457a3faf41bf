package vm

import (
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"pollux/test/target"
)

// TestTcmur runs guest/tcmur.sh: a file system on a qcow2 image behind Debian's handler, whose helper is killed.
func TestTcmur(t *testing.T) {
	t.Parallel()
	handler := target.NeedTcmur(t, "handler_qcow.so")
	target.NeedProgram(t, "qemu-img")
	image := filepath.Join(t.TempDir(), "disk.qcow2")
	target.Run(t, time.Minute, "qemu-img", "create", "-q", "-f", "qcow2", image, strconv.Itoa(lunSize))
	srv := target.Start(t, target.OneLUN(target.Pollux, disks[2].lun))
	if err := srv.ServeTcmur("qcow", target.Tcmur{Handler: handler, Cfg: "qcow/" + image}); err != nil {
		t.Fatal(err)
	}
	guest{
		script: "tcmur.sh",
		env:    map[string]string{"PORT": strconv.Itoa(srv.Port()), "NODE": target.IQN("qcow")},
		host: func(words []string) (string, error) {
			state, err := srv.Tcmur("qcow")
			if err == nil && strings.Join(words, " ") == "crash" && state.PID > 0 {
				err = syscall.Kill(state.PID, syscall.SIGKILL)
			}
			return "", err
		},
	}.run(t)
	if state, err := srv.Tcmur("qcow"); err != nil || state.Restarts == 0 || state.State != "up" {
		t.Errorf("%+v, %v: want restarts", state, err)
	}
	if err := srv.RPC("iscsi_delete_target_node", map[string]string{"name": target.IQN("qcow")}, nil); err != nil {
		t.Error(err)
	}
	if err := srv.RPC("bdev_tcmur_delete", map[string]string{"name": "qcow"}, nil); err != nil {
		t.Error(err)
	}
	target.Run(t, time.Minute, "qemu-img", "check", "-q", image)
}
