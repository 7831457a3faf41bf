package iscsi_test

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"pollux/bdev/malloc"
	"pollux/rpc"
)

// rpcRig is a rig whose server is configured by calls.
type rpcRig struct {
	*rig
	rpc *rpc.Server
}

func newRPCRig(t *testing.T) *rpcRig {
	g := &rpcRig{rig: newRig(t, 2, nil), rpc: rpc.New(rpc.Options{})}
	g.server.RegisterRPC(g.rpc)
	g.rpc.Subsystem("bdev", nil, nil)
	g.must(g.rpc.StartInit(t.Context()))
	for _, name := range []string{"Malloc1", "A0"} {
		_, err := g.modules.Create(malloc.Options{Name: name, BlockSize: rigBlockSize, Blocks: rigBlocks})
		g.must(err)
	}
	return g
}

// call requires an answer, or an error in the form "-32602 Invalid parameters: ...".
func (g *rpcRig) call(method, params, want string) {
	g.t.Helper()
	raw, err := g.rpc.Call(g.t.Context(), method, json.RawMessage(params))
	got := string(raw)
	var e *rpc.Error
	if errors.As(err, &e) {
		got = strings.TrimSpace(jsonNumber(e.Code) + " " + e.Message)
	} else if err != nil {
		got = err.Error()
	}
	if got != want {
		g.t.Errorf("%s %s:\n got %s\nwant %s", method, params, got, want)
	}
}

func jsonNumber(n int) string {
	b, _ := json.Marshal(n) // an int can always be encoded
	return string(b)
}

func TestMethodsAnswerAsSPDKDoes(t *testing.T) {
	g := newRPCRig(t)
	const yes = "true"
	g.call("iscsi_get_options", "null", `{"node_base":"iqn.2016-06.io.spdk","max_sessions":128,"max_connections_per_session":2,"max_queue_depth":64,"default_time2wait":2,"default_time2retain":20,"first_burst_length":8192,"immediate_data":true,"allow_duplicated_isid":false,"error_recovery_level":0,"nop_timeout":60,"nop_in_interval":30,"disable_chap":false,"require_chap":false,"mutual_chap":false,"chap_group":0,"max_large_datain_per_connection":64,"max_r2t_per_connection":4,"pdu_pool_size":36864,"immediate_data_pool_size":16384,"data_out_pool_size":2048}`)
	g.call("iscsi_set_options", "{}", "-1 Method may only be called before framework is initialized. Use --wait-for-rpc command line parameter and then issue this RPC before the framework_start_init RPC.")
	g.call("iscsi_create_portal_group", `{"tag":3,"portals":[{"host":"127.0.0.1","port":"3263"}],"wait":true,"private":true}`, yes)
	g.call("iscsi_create_portal_group", `{"tag":3,"portals":[{"host":"127.0.0.1","port":"3264"}],"wait":true}`, "-32602 Invalid parameters: portal group 3 already exists")
	g.call("iscsi_create_portal_group", `{"tag":4,"portals":[{"host":"127.0.0.1","port":"3263"}],"wait":true}`, "-32602 Invalid parameters: portal 127.0.0.1:3263 belongs to portal group 3")
	g.call("iscsi_create_portal_group", `{"tag":4,"portals":[{"host":"nowhere","port":"3260"}]}`, `-32602 Invalid parameters: portal group 4: host "nowhere" is not an IPv4 or IPv6 address: names are not resolved, give the address, or 0.0.0.0 or [::] for all of the machine`)
	g.call("iscsi_create_initiator_group", `{"tag":2,"initiators":["ANY"],"netmasks":["127.0.0.1/32"]}`, yes)
	g.call("iscsi_create_initiator_group", `{"tag":2,"initiators":["ANY"],"netmasks":["127.0.0.1/32"]}`, "-32602 Invalid parameters: initiator group 2 already exists")
	g.call("iscsi_create_auth_group", `{"tag":1,"secrets":[{"user":"u","secret":"s12345678901","muser":"m","msecret":"ms1234567890"}]}`, yes)
	g.call("iscsi_create_target_node", `{"name":"disk9","alias_name":"Data Disk9","luns":[{"bdev_name":"Malloc1","lun_id":0}],"pg_ig_maps":[{"pg_tag":3,"ig_tag":2}],"queue_depth":64,"disable_chap":true}`, yes)
	g.call("iscsi_create_target_node", `{"name":"disk9","alias_name":"x","luns":[{"bdev_name":"Malloc1","lun_id":0}],"pg_ig_maps":[{"pg_tag":3,"ig_tag":2}],"queue_depth":64}`, "-32602 Invalid parameters: target node iqn.2016-06.io.spdk:disk9 already exists")
	g.call("iscsi_create_target_node", `{"name":"disk8","alias_name":"x","luns":[{"bdev_name":"Malloc1","lun_id":0}],"pg_ig_maps":[{"pg_tag":7,"ig_tag":2}],"queue_depth":64}`, "-32602 Invalid parameters: portal group 7 does not exist")
	g.call("iscsi_target_node_add_lun", `{"name":"iqn.2016-06.io.spdk:disk9","bdev_name":"A0"}`, yes)
	g.call("iscsi_target_node_add_lun", `{"name":"iqn.x","bdev_name":"A0"}`, "-32602 Invalid parameters: iqn.x: target node does not exist")
	g.call("iscsi_target_node_set_auth", `{"name":"iqn.2016-06.io.spdk:disk9","chap_group":1,"require_chap":true}`, yes)
	g.call("iscsi_target_node_set_auth", `{"name":"disk9","mutual_chap":true}`, "-32602 Invalid parameters: mutual_chap needs require_chap")
	g.call("iscsi_target_node_set_redirect", `{"name":"iqn.2016-06.io.spdk:disk9","pg_tag":3,"redirect_host":"127.0.0.1","redirect_port":"3260"}`, "-32602 Failed to redirect target iqn.2016-06.io.spdk:disk9, (-22): Invalid argument: portal group 3 is private: redirect from a public one")
	g.call("iscsi_set_discovery_auth", `{"chap_group":1,"require_chap":true}`, yes)
	g.call("iscsi_get_portal_groups", "null", `[{"tag":1,"portals":[{"host":"192.0.2.1","port":"3260"}],"private":false},{"tag":3,"portals":[{"host":"127.0.0.1","port":"3263"}],"private":true}]`)
	g.call("iscsi_get_initiator_groups", "null", `[{"tag":1,"initiators":["ANY"],"netmasks":["ANY"]},{"tag":2,"initiators":["ANY"],"netmasks":["127.0.0.1/32"]}]`)
	g.call("iscsi_get_auth_groups", "null", `[{"tag":1,"secrets":[{"user":"u","secret":"s12345678901","muser":"m","msecret":"ms1234567890"}]}]`)
	g.call("iscsi_get_connections", "null", `[]`)
	g.call("iscsi_get_stats", "null", `{"invalid":0,"running":0,"exiting":0,"exited":0}`)
	g.call("iscsi_target_node_request_logout", `{"name":"iqn.2016-06.io.spdk:disk9"}`, yes)
	g.call("iscsi_target_node_remove_lun", `{"name":"disk9","lun_id":1}`, yes)
	g.call("iscsi_target_node_add_pg_ig_maps", `{"name":"disk9","pg_ig_maps":[{"pg_tag":1,"ig_tag":1}]}`, yes)
	g.call("iscsi_target_node_remove_pg_ig_maps", `{"name":"disk9","pg_ig_maps":[{"pg_tag":3,"ig_tag":2}]}`, yes)
	g.call("iscsi_initiator_group_add_initiators", `{"tag":2,"initiators":["iqn.a"],"netmasks":["[fe80::]/10"]}`, yes)
	g.call("iscsi_initiator_group_remove_initiators", `{"tag":2,"initiators":["ANY"]}`, yes)
	g.call("iscsi_get_target_nodes", "null", `[{"name":"iqn.2016-06.io.spdk:disk1","pg_ig_maps":[{"pg_tag":1,"ig_tag":1}],"luns":[{"bdev_name":"Malloc0","lun_id":0}],"queue_depth":64,"disable_chap":false,"require_chap":false,"mutual_chap":false,"chap_group":0,"header_digest":false,"data_digest":false},`+
		`{"name":"iqn.2016-06.io.spdk:disk9","alias_name":"Data Disk9","pg_ig_maps":[{"pg_tag":1,"ig_tag":1}],"luns":[{"bdev_name":"Malloc1","lun_id":0}],"queue_depth":64,"disable_chap":false,"require_chap":true,"mutual_chap":false,"chap_group":1,"header_digest":false,"data_digest":false}]`)
	g.call("framework_get_config", `{"name":"scsi"}`, "null")
	g.must(g.registry.Unregister("Malloc1")) // takes the LUN with it
	g.call("iscsi_delete_target_node", `{"name":"iqn.2016-06.io.spdk:disk9"}`, yes)
	g.call("iscsi_delete_target_node", `{"name":"iqn.2016-06.io.spdk:disk9"}`, "-2 No such file or directory")
	g.call("iscsi_delete_portal_group", `{"tag":3}`, yes)
	g.call("iscsi_delete_initiator_group", `{"tag":2}`, yes)
	g.call("iscsi_delete_auth_group", `{"tag":1}`, yes)
	g.call("iscsi_delete_auth_group", `{"tag":1}`, "-32602 Invalid parameters: Could not find auth group (1)")
	g.close()
}

// TestConfigurationIsMadeAgain: what is saved makes the same when it is loaded.
func TestConfigurationIsMadeAgain(t *testing.T) {
	g := newRPCRig(t)
	g.call("iscsi_create_portal_group", `{"tag":3,"portals":[{"host":"::1","port":"3263"}],"wait":true,"private":true}`, "true")
	g.call("iscsi_portal_group_set_auth", `{"tag":3,"disable_chap":true}`, "true")
	g.call("iscsi_create_auth_group", `{"tag":1,"secrets":[{"user":"u","secret":"s12345678901"}]}`, "true")
	lun := fmt.Sprintf(`{"bdev_name":"Malloc0","lun_id":1,"ptpl_file":%q}`, filepath.Join(t.TempDir(), "pr.json"))
	g.call("iscsi_target_node_add_lun", `{"name":"disk1",`+lun[1:], "true")
	saved, err := g.rpc.SaveConfig(t.Context())
	g.must(err)
	text, err := json.Marshal(saved)
	if g.must(err); !strings.Contains(string(text), lun) {
		t.Errorf("saved without %s: %s", lun, text)
	}
	methods := []string{}
	for _, s := range saved.Subsystems {
		for _, e := range s.Config {
			methods = append(methods, e.Method)
		}
	}
	want := "iscsi_set_options iscsi_create_portal_group iscsi_create_portal_group iscsi_create_initiator_group iscsi_create_target_node iscsi_create_auth_group iscsi_portal_group_set_auth"
	if got := strings.Join(methods, " "); got != want {
		t.Errorf("saved %s", got)
	}
	g.close()
}

func TestHistogramCountsCommands(t *testing.T) {
	g := newRPCRig(t)
	g.call("iscsi_get_histogram", `{"name":"nothing"}`, "-32602 target not found")
	g.call("iscsi_get_histogram", `{"name":"disk1"}`, "-32602 target's histogram function is not enabled")
	g.call("iscsi_enable_histogram", `{"name":"disk1","enable":true}`, "true")
	h := g.newHost(0, nil).open(1).ready()
	for range 10 {
		h.good(readOf(0, 1))
	}
	raw, err := g.rpc.Call(t.Context(), "iscsi_get_histogram", json.RawMessage(`{"name":"disk1"}`))
	g.must(err)
	var got struct {
		Histogram   []byte
		Granularity int
		TickRate    int `json:"tsc_rate"`
	}
	g.must(json.Unmarshal(raw, &got))
	total := uint64(0)
	for b := got.Histogram; len(b) >= 8; b = b[8:] {
		total += binary.LittleEndian.Uint64(b)
	}
	if total < 10 || len(got.Histogram) != 58*128*8 || got.Granularity != 7 || got.TickRate != 1e9 {
		t.Errorf("%d commands are counted in %d bytes", total, len(got.Histogram))
	}
	g.call("iscsi_enable_histogram", `{"name":"disk1","enable":false}`, "true")
	g.close()
}
