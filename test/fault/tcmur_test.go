package fault

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"pollux/iscsi/initiator"
	"pollux/test/target"
)

// helperKills is how often the helper is killed under load.
const helperKills = 5

// TestTcmurHelperDies: two sessions on two reactors write and verify a LUN of one of Debian's handlers while its helper is killed:
// no command fails and nothing is lost, and a neighbour does not notice.
func TestTcmurHelperDies(t *testing.T) {
	t.Parallel()
	handler := target.NeedTcmur(t, "handler_qcow.so")
	target.NeedProgram(t, "qemu-img")
	image := filepath.Join(t.TempDir(), "disk.qcow2")
	target.Run(t, time.Minute, "qemu-img", "create", "-q", "-f", "qcow2", image, strconv.Itoa(lunSize))
	cfg := target.OneLUN(target.Pollux, target.LUN{Backing: target.Malloc, BlockSize: 512, Size: lunSize})
	cfg.Reactors = 2
	server := target.Start(t, cfg)
	if err := server.ServeTcmur("qcow", target.Tcmur{Handler: handler, Cfg: "qcow/" + image}); err != nil {
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
	mustDelete(t, server, "qcow")
	target.Run(t, time.Minute, "qemu-img", "check", "-q", image)
}

// TestTcmurHangsAtTheEnd: SIGTERM ends the target, cleanly and though a handler does not answer and another does not close: long before
// the handler's timeout the initiator has its answer, the helpers are gone, and the log says whose they were.
func TestTcmurHangsAtTheEnd(t *testing.T) {
	handler := target.BuildTcmur(t, "bad")
	server := target.Start(t, target.OneLUN(target.Pollux, target.LUN{Backing: target.Malloc, BlockSize: 512, Size: lunSize}))
	path := filepath.Join(t.TempDir(), "disk")
	var helpers []int
	for _, mode := range []string{"sleep1", "hangclose"} {
		if err := server.ServeTcmur(mode, target.Tcmur{
			Handler: handler, Cfg: "bad/" + mode + "@" + path, Size: lunSize, Timeout: time.Hour,
		}); err != nil {
			t.Fatal(err)
		}
		state, err := server.Tcmur(mode)
		if err != nil {
			t.Fatal(err)
		}
		helpers = append(helpers, state.PID)
	}
	d := logInTo(t, server, "sleep1", 0)
	answered := make(chan *initiator.Answer)
	go func() {
		defer close(answered)
		a, err := d.c.Do(d.ctx, d.lun, cdb10(0x2a, tcmurTrigger/blockSize, 1), make([]byte, blockSize), 0)
		if err != nil {
			t.Error("the write that hangs has no answer:", err)
			return
		}
		answered <- a
	}()
	awaitFile(t, path+".done")
	if err := server.Stop(); err != nil {
		t.Error(err)
	}
	if a := <-answered; a != nil && a.Status == 0 {
		t.Error("the write that hangs is acknowledged")
	}
	for _, pid := range helpers {
		if err := syscall.Kill(pid, 0); !errors.Is(err, syscall.ESRCH) {
			t.Errorf("helper %d: %v", pid, err)
		}
	}
	for said, bdev := range map[string]string{"the helper was killed": "bdev=sleep1", "the handler was not closed": "bdev=hangclose"} {
		lines := linesWith(server.Log(), said)
		if len(lines) != 1 || !strings.Contains(lines[0], bdev+" handler=handler_bad.so") {
			t.Errorf("lines with %q: %q, want one of %s", said, lines, bdev)
		}
	}
}

// TestTcmurTargetKilled: a target that is killed leaves no helper behind, whatever its handler is doing.
func TestTcmurTargetKilled(t *testing.T) {
	t.Parallel()
	handler := target.BuildTcmur(t, "bad")
	server := target.Start(t, target.OneLUN(target.Pollux, target.LUN{Backing: target.Malloc, BlockSize: 512, Size: lunSize}))
	dir := t.TempDir()
	modes := []string{"none", "loop1", "sleep1", "hangclose"}
	for _, mode := range modes {
		if err := server.ServeTcmur(mode, target.Tcmur{
			Handler: handler, Cfg: "bad/" + mode + "@" + filepath.Join(dir, mode), Size: lunSize, Timeout: time.Hour,
		}); err != nil {
			t.Fatal(err)
		}
		d := logInTo(t, server, mode, 0)
		go func() {
			_, _ = d.c.Do(d.ctx, d.lun, cdb10(0x2a, tcmurTrigger/blockSize, 1), make([]byte, blockSize), 0)
		}()
		if strings.HasSuffix(mode, "1") {
			awaitFile(t, filepath.Join(dir, mode+".done"))
		}
	}
	if n := len(helpersBelow(dir)); n != len(modes) {
		t.Errorf("%d helpers, want %d", n, len(modes))
	}
	if err := server.Kill(); err != nil {
		t.Error(err)
	}
	for until := time.Now().Add(benchLimit); len(helpersBelow(dir)) > 0; time.Sleep(time.Millisecond) {
		if time.Now().After(until) {
			t.Fatalf("helpers are left: %q", helpersBelow(dir))
		}
	}
}

// scribbled is how long handlers scribble, and scribblers how many.
const (
	scribbled  = time.Minute
	scribblers = 3
)

// TestTcmurScribbles: for a minute handlers write random bytes all over the memory that they share with the target. Every command to
// their LUNs is answered, a neighbour is served without a fault, and in the end nothing of them is left.
func TestTcmurScribbles(t *testing.T) {
	t.Parallel()
	handler := target.BuildTcmur(t, "bad")
	cfg := target.OneLUN(target.Pollux, target.LUN{Backing: target.Malloc, BlockSize: 512, Size: lunSize})
	cfg.Reactors, cfg.Mode = 2, "adaptive"
	server := target.Start(t, cfg)
	dir := t.TempDir()
	done, words := make(chan struct{}), ""
	go func() {
		defer close(done)
		report, said, status := bench(t, "--verify", "--read-share", "40", "--depth", "4", "--duration", scribbled.String(), server.URL("disk", 0))
		if status != 0 || report["mismatches"] != 0.0 || report["reconnects"] != 0.0 {
			words = fmt.Sprintf("status %d, %v\n%s", status, report, said)
		}
	}()
	var nodes []string
	for i := range scribblers {
		nodes = append(nodes, fmt.Sprint("scribble", i))
		if err := server.ServeTcmur(nodes[i], target.Tcmur{
			Handler: handler, Cfg: "bad/scribble@" + filepath.Join(dir, nodes[i]), Size: lunSize,
		}); err != nil {
			t.Fatal(err)
		}
	}
	var sessions []*disk
	for _, node := range nodes {
		sessions = append(sessions, logInTo(t, server, node, 0))
	}
	commands := 0
	for under := true; under; commands++ {
		for _, d := range sessions {
			d.do(cdb10(0x2a, tcmurTrigger/blockSize, 1), make([]byte, blockSize), 0)
			for lba := range 16 {
				d.do(cdb10(0x28, 100*lba, 1), nil, blockSize)
			}
		}
		select {
		case <-done:
			under = false
		default:
		}
	}
	if words != "" {
		t.Errorf("the neighbour: %s", words)
	}
	for _, node := range nodes {
		state, err := server.Tcmur(node)
		if err != nil || state.Restarts == 0 {
			t.Errorf("%s: %+v, %v: the scribbling was not noticed", node, state, err)
		}
		t.Logf("%s: %d rounds, %d restarts", node, commands, state.Restarts)
	}
	for i, node := range nodes {
		sessions[i].c.Close()
		mustDelete(t, server, node)
	}
	checkNothingLeft(t, server, dir)
}

// mustDelete removes a node and the device of the same name.
func mustDelete(t *testing.T, server *target.Server, node string) {
	t.Helper()
	for _, call := range []struct{ method, name string }{
		{"iscsi_delete_target_node", target.IQN(node)}, {"bdev_tcmur_delete", node},
	} {
		if err := server.RPC(call.method, map[string]string{"name": call.name}, nil); err != nil {
			t.Error(err)
		}
	}
}

// checkNothingLeft asserts that there is no helper of a device below dir, and that the server has no memory of one.
func checkNothingLeft(t *testing.T, server *target.Server, dir string) {
	t.Helper()
	if left := helpersBelow(dir); len(left) > 0 {
		t.Errorf("helpers are left: %q", left)
	}
	maps, err := os.ReadFile(fmt.Sprintf("/proc/%d/maps", server.PID()))
	if err != nil || strings.Contains(string(maps), "memfd:pollux-tcmur") {
		t.Errorf("memory of a helper is left: %v", err)
	}
}

// helpersBelow are the command lines of helpers whose devices have their data below dir.
func helpersBelow(dir string) (lines []string) {
	files, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, file := range files {
		if text, err := os.ReadFile(file); err == nil && strings.Contains(string(text), "@"+dir) {
			lines = append(lines, string(text))
		}
	}
	return lines
}

// tcmurTrigger is the byte at which the handler bad does what it was told to do.
const tcmurTrigger = 1 << 20

// awaitFile waits until a file has been made.
func awaitFile(t *testing.T, path string) {
	t.Helper()
	for until := time.Now().Add(benchLimit); ; time.Sleep(time.Millisecond) {
		if _, err := os.Stat(path); err == nil {
			return
		}
		if time.Now().After(until) {
			t.Fatalf("no file %s", path)
		}
	}
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
