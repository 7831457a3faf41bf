package target

import (
	"path/filepath"
	"testing"
	"time"
)

// NeedTcmur puts the helper of bdev/tcmur beside the program under test and returns the path of one of Debian's handlers of
// tcmu-runner, such as handler_qcow.so. The test skips without gcc or without the handler.
func NeedTcmur(t testing.TB, handler string) string {
	t.Helper()
	NeedProgram(t, "gcc", "make")
	binary, err := PolluxBinary()
	if err != nil {
		t.Fatal(err)
	}
	helper := filepath.Join(filepath.Dir(binary), "pollux-tcmur-helper")
	Run(t, time.Minute, "make", "-s", "-C", Root(), "helper", "HELPER="+helper)
	for _, pattern := range []string{Cache() + "/tcmu-runner/usr/lib/*/tcmu-runner/", "/usr/lib/*/tcmu-runner/"} {
		if found, _ := filepath.Glob(pattern + handler); len(found) > 0 {
			return found[0]
		}
	}
	t.Skipf("%s of the package tcmu-runner is not here: make deps unpacks it", handler)
	return ""
}

// ServeTcmur makes a device of a handler and serves it as the only LUN of one more node, which has the groups of the first.
func (s *Server) ServeTcmur(node, handler, cfg string) error {
	create := object{"name": node, "cfgstr": cfg, "handler": handler, "restarts_max": 1000}
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
