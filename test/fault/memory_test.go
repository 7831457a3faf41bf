package fault

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"pollux/iscsi"
	"pollux/iscsi/iscsitest"
	"pollux/test/target"
)

const (
	hoarders       = 1000
	hoardMemory    = 64 << 20 // --max-data-memory
	hoardBlocks    = 256      // of each write
	hoardImmediate = 32 << 10 // FirstBurstLength: of its bytes that come with the command
	sessionMemory  = 32 << 10 // of a session beside its data: connection, nexus, tasks, and what the collector has not seen yet
)

// TestHoarders: 1,000 sessions fill their command windows with immediate data and answer no R2T. The target's buffers stay within
// --max-data-memory, and an honest session goes on.
func TestHoarders(t *testing.T) {
	for _, cfg := range target.UnderTest(t) {
		t.Run(cfg.String(), func(t *testing.T) {
			cfg.Nodes = []target.Node{{Name: "disk", LUNs: []target.LUN{{Backing: target.Malloc, BlockSize: blockSize, Size: lunSize}}}}
			cfg.Dir = folderOf(t, 0)
			cfg.Args = []string{"--max-data-memory", strconv.Itoa(hoardMemory), "-c", manySessions(t, cfg.Dir)}
			server := target.Start(t, cfg)
			s := &iscsitest.Stage{
				Options: iscsitest.Options{Portal: server.Portal(), Target: target.IQN("disk"), ISID: iscsi.ISID{0x80, 1}},
				LUN:     uint64(server.LUN(0)) << 48, Block: blockSize,
			}
			honest := newHonest(t, s)
			before, _, err := server.ResidentMemory()
			if err != nil {
				t.Fatal(err)
			}
			for i := range hoarders {
				hoard(t, s, i)
				if i%10 == 0 {
					checkServed(t, server, honest, i)
				}
			}
			for range 50 {
				checkServed(t, server, honest, hoarders)
			}
			events := counted(t, server)
			if events["waits_for_memory"]+events["task_set_full"] == 0 {
				t.Errorf("nobody was kept waiting for memory, so nothing was shown: %v", events)
			}
			_, most, err := server.ResidentMemory()
			if err != nil {
				t.Fatal(err)
			}
			if bound := int64(hoardMemory + hoarders*sessionMemory); most-before > bound {
				t.Errorf("the process has grown from %d to %d bytes, the bound is %d", before, most, bound)
			}
			t.Logf("resident: %d MiB before, %d MiB at the most", before>>20, most>>20)
		})
	}
}

// manySessions is a configuration file by which the target takes all of them.
func manySessions(t *testing.T, dir string) string {
	t.Helper()
	type object = map[string]any
	text, err := json.Marshal(object{"subsystems": []object{{
		"subsystem": "iscsi", "config": []object{{"method": "iscsi_set_options", "params": object{
			"max_sessions": hoarders + 10, "first_burst_length": hoardImmediate,
		}}},
	}}})
	path := filepath.Join(dir, "config.json")
	if err := errors.Join(err, os.WriteFile(path, text, 0o600)); err != nil {
		t.Fatal(err)
	}
	return path
}

// hoard logs in and sends as many writes as the window allows, each with a part of its data.
func hoard(t *testing.T, s *iscsitest.Stage, i int) {
	t.Helper()
	o := s.Options
	o.ISID[2], o.ISID[3], o.ISID[4] = 1, byte(i>>8), byte(i)
	p, err := iscsitest.LogInReady(o, s.LUN)
	if err != nil {
		t.Fatalf("hoarder %d: %v", i, err)
	}
	t.Cleanup(p.Close)
	for int32(p.MaxCmdSN-p.CmdSN) >= 0 {
		w := p.Command(s.LUN, cdb10(0x2a, 0, hoardBlocks), hoardBlocks*blockSize, true)
		w.Data = make([]byte, p.Params.FirstBurstLength)
		if err := p.Send(w); err != nil {
			t.Fatalf("hoarder %d: %v", i, err)
		}
	}
}

// checkServed asserts that the honest session is served, and that the memory is within its bound.
func checkServed(t *testing.T, server *target.Server, honest *iscsitest.Honest, hoarders int) {
	t.Helper()
	if err := honest.Check(); err != nil {
		t.Fatalf("an honest session beside %d hoarders: %v", hoarders, err)
	}
	var memory struct {
		Data int64 `json:"data_bytes"`
	}
	if err := server.RPC("process_get_memory", nil, &memory); err != nil {
		t.Fatal(err)
	}
	if memory.Data > hoardMemory {
		t.Fatalf("%d bytes of buffers beside %d hoarders, the bound is %d", memory.Data, hoarders, hoardMemory)
	}
}

// counted are the events of iscsi_get_counters.
func counted(t *testing.T, server *target.Server) map[string]int {
	t.Helper()
	var counters struct {
		Events map[string]int `json:"events"`
	}
	if err := server.RPC("iscsi_get_counters", nil, &counters); err != nil {
		t.Fatal(err)
	}
	return counters.Events
}
