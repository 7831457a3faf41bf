package target

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"
)

// putHelper puts the helper of bdev/tcmur beside the program under test, once for all tests.
var putHelper = sync.OnceValue(func() error {
	binary, err := PolluxBinary()
	if err != nil {
		return err
	}
	unlock, err := lockBuilds()
	if err != nil {
		return err
	}
	defer unlock()
	helper := filepath.Join(filepath.Dir(binary), "pollux-tcmur-helper")
	if out, err := exec.Command("make", "-s", "-C", Root(), "helper", "HELPER="+helper).CombinedOutput(); err != nil {
		return fmt.Errorf("make helper: %w\n%s", err, out)
	}
	return nil
})

// needHelper makes the helper. The test skips without gcc.
func needHelper(t testing.TB) {
	t.Helper()
	NeedProgram(t, "gcc", "make")
	if err := putHelper(); err != nil {
		t.Fatal(err)
	}
}

// BuildTcmur returns the path of one of the test handlers of bdev/tcmur, such as bad.
func BuildTcmur(t testing.TB, handler string) string {
	t.Helper()
	needHelper(t)
	folder, so := filepath.Join(Root(), "bdev", "tcmur"), filepath.Join(t.TempDir(), "handler_"+handler+".so")
	Run(t, time.Minute, "gcc", "-std=gnu11", "-O2", "-g", "-pthread", "-shared", "-fPIC", "-I"+filepath.Join(folder, "helper"), "-o", so,
		filepath.Join(folder, "testdata", "handlers", handler+".c"))
	return so
}

// NeedTcmur returns the path of one of Debian's handlers of tcmu-runner, such as handler_qcow.so. The test skips without it.
func NeedTcmur(t testing.TB, handler string) string {
	t.Helper()
	needHelper(t)
	for _, pattern := range []string{Cache() + "/tcmu-runner/usr/lib/*/tcmu-runner/", "/usr/lib/*/tcmu-runner/"} {
		if found, _ := filepath.Glob(pattern + handler); len(found) > 0 {
			return found[0]
		}
	}
	t.Skipf("%s of the package tcmu-runner is not here: make deps unpacks it", handler)
	return ""
}

// Tcmur is a device of a handler.
type Tcmur struct {
	Handler, Cfg string
	Size         int64         // 0: the handler's
	Timeout      time.Duration // of a request; 0: the default
}

// ServeTcmur makes a device of a handler and serves it as the only LUN of one more node, which has the groups of the first.
func (s *Server) ServeTcmur(node string, o Tcmur) error {
	create := object{"name": node, "cfgstr": o.Cfg, "handler": o.Handler, "restarts_max": 1000}
	if o.Size != 0 {
		create["size"] = o.Size
	}
	if o.Timeout != 0 {
		create["timeout_sec"] = o.Timeout / time.Second
	}
	if err := s.RPC("bdev_tcmur_create", create, nil); err != nil {
		return err
	}
	return s.RPC("iscsi_create_target_node", object{
		"name": IQN(node), "alias_name": node, "luns": []object{{"bdev_name": node, "lun_id": 0}}, "queue_depth": defaultQueueDepth,
		"pg_ig_maps": []object{{"pg_tag": portalTag, "ig_tag": 1}}, "disable_chap": true,
	}, nil)
}

// TcmurState is what the server says of a tcmur device.
type TcmurState struct {
	State    string `json:"state"`
	PID      int    `json:"pid"`
	Restarts int    `json:"restarts"`
}

// Tcmur asks for the state of a tcmur device.
func (s *Server) Tcmur(name string) (TcmurState, error) {
	var devices []struct {
		Driver struct {
			Tcmur TcmurState `json:"tcmur"`
		} `json:"driver_specific"`
	}
	if err := s.RPC("bdev_get_bdevs", object{"name": name}, &devices); err != nil {
		return TcmurState{}, err
	}
	return devices[0].Driver.Tcmur, nil
}
