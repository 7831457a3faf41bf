package fault

import (
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"pollux/test/target"
)

// helperKills is how often the helper is killed under load.
const helperKills = 5

// TestTcmurHelperDies: two sessions on two reactors write and verify a LUN of one of Debian's handlers while its helper is killed:
// no command fails and nothing is lost, and a neighbour does not notice.
func TestTcmurHelperDies(t *testing.T) {
	handler := target.NeedTcmur(t, "handler_qcow.so")
	target.NeedProgram(t, "qemu-img")
	image := filepath.Join(t.TempDir(), "disk.qcow2")
	target.Run(t, time.Minute, "qemu-img", "create", "-q", "-f", "qcow2", image, strconv.Itoa(lunSize))
	cfg := target.OneLUN(target.Pollux, target.LUN{Backing: target.Malloc, BlockSize: 512, Size: lunSize})
	cfg.Reactors = 2
	server := target.Start(t, cfg)
	if err := server.ServeTcmur("qcow", handler, "qcow/"+image); err != nil {
		t.Fatal(err)
	}
	type result struct {
		report map[string]any
		words  string
		status int
	}
	done := make(chan result, 2)
	for _, node := range []string{"qcow", "disk"} {
		go func() {
			report, words, status := bench(t, "--verify", "--read-share", "40", "--connections", "2", "--depth", "16", "--duration", "5s", server.URL(node, 0))
			done <- result{report, words, status}
		}()
	}
	for n := range helperKills {
		killHelper(t, server, n)
	}
	for range 2 {
		if r := <-done; r.status != 0 || r.report["mismatches"] != 0.0 {
			t.Errorf("status %d, %v\n%s", r.status, r.report, r.words)
		}
	}
	for _, call := range []struct{ method, name string }{
		{"iscsi_delete_target_node", target.IQN("qcow")}, {"bdev_tcmur_delete", "qcow"},
	} {
		if err := server.RPC(call.method, map[string]string{"name": call.name}, nil); err != nil {
			t.Error(err)
		}
	}
	target.Run(t, time.Minute, "qemu-img", "check", "-q", image)
}

// killHelper kills the helper once there is one and some writes have gone by.
func killHelper(t *testing.T, server *target.Server, n int) {
	t.Helper()
	before := writes(t, server)
	for until := time.Now().Add(benchLimit); ; {
		state, err := server.Tcmur("qcow")
		if err != nil {
			t.Fatal(err)
		}
		if state.Restarts >= n && state.PID > 0 && writes(t, server) > before+100 {
			if err := syscall.Kill(state.PID, syscall.SIGKILL); err != nil {
				t.Error(err)
			}
			return
		}
		if time.Now().After(until) {
			t.Fatalf("no helper after kill %d: %+v", n, state)
		}
	}
}
