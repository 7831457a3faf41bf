package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"pollux/rpc"
)

// start makes a target in this process, unpinned, with a socket of its own.
func startTarget(t *testing.T, args ...string) (*target, string) {
	t.Helper()
	socket := filepath.Join(t.TempDir(), "rpc.sock")
	flags, done, err := parseServeFlags(append(args, "-r", socket), io.Discard)
	if err != nil || done {
		t.Fatalf("parseServeFlags(%q) = %v, %v", args, done, err)
	}
	flags.cores = []int{-1}
	logging := rpc.NewLogging(logFlags...)
	tgt, err := newTarget(flags, logging, newLogger(io.Discard, nil, logging))
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := start(context.Background(), tgt, flags, stdio{out: &out, err: io.Discard}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := tgt.stop(); err != nil {
			t.Errorf("stop: %v", err)
		}
	})
	return tgt, socket
}

// names lists the name member of each element of a method's result.
func names(t *testing.T, socket, method string) string {
	t.Helper()
	c, err := rpc.Dial(socket)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	var list []struct {
		Name string `json:"name"`
	}
	if err := c.Call(context.Background(), method, nil, &list); err != nil {
		t.Fatal(err)
	}
	var s []string
	for _, e := range list {
		s = append(s, e.Name)
	}
	return strings.Join(s, " ")
}

func TestTwoTargetsInOneProcess(t *testing.T) {
	_, a := startTarget(t, "--malloc", "1M", "--listen", "127.0.0.1:0")
	_, b := startTarget(t)
	if got := names(t, a, "bdev_get_bdevs"); got != "Malloc0" {
		t.Errorf("first target has the devices %q, want Malloc0", got)
	}
	if got := names(t, b, "bdev_get_bdevs"); got != "" {
		t.Errorf("second target has the devices %q of the first", got)
	}
	if got := names(t, a, "iscsi_get_target_nodes"); got != "iqn.2016-06.io.spdk:disk0" {
		t.Errorf("first target has the nodes %q", got)
	}
}

// TestSavedConfigurationMakesTheSameTarget loads what save_config prints into a second target and saves again.
func TestSavedConfigurationMakesTheSameTarget(t *testing.T) {
	first, _ := startTarget(t, "--malloc", "1M", "--listen", "127.0.0.1:0")
	for _, call := range []struct{ method, params string }{
		{"bdev_null_create", `{"name":"Null0","block_size":512,"num_blocks":4096}`},
		{"bdev_delay_create", `{"name":"Slow0","base_bdev_name":"Null0","avg_read_latency":1,"p99_read_latency":2,"avg_write_latency":3,"p99_write_latency":4}`},
		{"bdev_passthru_create", `{"name":"Pass0","base_bdev_name":"Slow0"}`},
		{"iscsi_create_auth_group", `{"tag":7,"secrets":[{"user":"alice","secret":"0123456789ab"}]}`},
		{"iscsi_create_initiator_group", `{"tag":9,"initiators":["iqn.2026-01.test:a"],"netmasks":["127.0.0.0/8","[::1]"]}`},
		{"iscsi_target_node_add_lun", `{"name":"iqn.2016-06.io.spdk:disk0","bdev_name":"Pass0","lun_id":5}`},
		{"iscsi_target_node_set_auth", `{"name":"iqn.2016-06.io.spdk:disk0","disable_chap":false,"require_chap":true,"mutual_chap":false,"chap_group":7}`},
	} {
		if _, err := first.rpc.Call(context.Background(), call.method, json.RawMessage(call.params)); err != nil {
			t.Fatalf("%s: %v", call.method, err)
		}
	}
	saved := save(t, first)
	file := filepath.Join(t.TempDir(), "config.json")
	writeFile(t, file, saved)
	second, _ := startTarget(t, "-c", file)
	if again := save(t, second); again != saved {
		t.Errorf("the second target saves\n%s\nwant\n%s", again, saved)
	}
}

func save(t *testing.T, tgt *target) string {
	t.Helper()
	config, err := tgt.rpc.SaveConfig(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.MarshalIndent(config, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestServeFlags(t *testing.T) {
	for _, c := range []struct {
		args string
		want string // of the error; empty: none
	}{
		{"", ""},
		{"-m 0x3 -r /tmp/x.sock -c f.json --wait-for-rpc --mode poll", ""},
		{"-m [0,1] -s 1024 --no-huge -u -i 3 --no-pci -L iscsi", ""},
		{"--mode fast", "must be poll, adaptive or interrupt"},
		{"--without bundles", "unknown kernel feature"},
		{"--malloc 1G --file x", "exclude one another"},
		{"--malloc 1Q", "is not a size"},
		{"--malloc 0", "is not a size"},
		{"--file x --size 18446744073709551616", "is not a size"},
		{"--size 9P --file x", ""},
		{"--malloc 1M --size 1M", "belongs to --file"},
		{"--max-data-memory x", "--max-data-memory"},
		{"-m zz", "core mask"},
		{"disk.img", "unexpected argument"},
		{"--nosuch", "unknown flag"},
	} {
		_, _, err := parseServeFlags(strings.Fields(c.args), io.Discard)
		switch {
		case c.want == "" && err != nil:
			t.Errorf("serve %s: %v", c.args, err)
		case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
			t.Errorf("serve %s: error %v, want one with %q", c.args, err, c.want)
		}
	}
}

func TestParseSize(t *testing.T) {
	for text, want := range map[string]uint64{
		"512": 512, "64K": 64 << 10, "64k": 64 << 10, "1MiB": 1 << 20, "2GB": 2 << 30, "3T": 3 << 40, "8192P": 8192 << 50,
	} {
		if got, err := parseSize(text); err != nil || got != want {
			t.Errorf("parseSize(%q) = %d, %v, want %d", text, got, err, want)
		}
	}
	for _, text := range []string{"", "K", "-1", "8193P", "1.5G", "0"} {
		if got, err := parseSize(text); err == nil {
			t.Errorf("parseSize(%q) = %d, want an error", text, got)
		}
	}
}

// screenLines is the height of a terminal that help must fit.
const screenLines = 40

func TestHelp(t *testing.T) {
	for _, args := range [][]string{{"--help"}, {"serve", "--help"}, {"rpc", "--help"}, {"bench", "--help"}} {
		var out, words bytes.Buffer
		status := run(append([]string{"pollux"}, args...), stdio{strings.NewReader(""), &out, &words})
		if status != exitDone || words.Len() > 0 {
			t.Errorf("pollux %v: status %d, error output %q", args, status, words.String())
		}
		if n := strings.Count(out.String(), "\n"); n == 0 || n > screenLines {
			t.Errorf("pollux %v prints %d lines, want 1 to %d", args, n, screenLines)
		}
	}
}

func TestMisuse(t *testing.T) {
	for _, args := range [][]string{{}, {"nosuch"}, {"serve", "--nosuch"}, {"rpc"}, {"bench", "--nosuch"}} {
		var out, words bytes.Buffer
		status := run(append([]string{"pollux"}, args...), stdio{strings.NewReader(""), &out, &words})
		if status != exitMisuse || words.Len() == 0 || out.Len() > 0 {
			t.Errorf("pollux %v: status %d, output %q, error output %q; want 2, nothing, words", args, status, out.String(), words.String())
		}
	}
}

func TestServesUnderTheNamesOfSPDK(t *testing.T) {
	for _, name := range []string{"/usr/bin/spdk_tgt", "iscsi_tgt"} {
		var out bytes.Buffer
		if status := run([]string{name, "--help"}, stdio{out: &out, err: io.Discard}); status != exitDone || !strings.Contains(out.String(), "pollux serve") {
			t.Errorf("%s --help: status %d, output %q", name, status, out.String())
		}
	}
}

func TestConfigurationErrorNamesTheEntry(t *testing.T) {
	file := filepath.Join(t.TempDir(), "config.json")
	writeFile(t, file, `{"subsystems":[{"subsystem":"bdev","config":[{"method":"bdev_malloc_create","params":{"nam":"x"}}]}]}`)
	var words bytes.Buffer
	status := run([]string{"pollux", "serve", "-r", filepath.Join(t.TempDir(), "s"), "-c", file}, stdio{out: io.Discard, err: &words})
	if status != exitFailed {
		t.Errorf("status %d, want %d", status, exitFailed)
	}
	for _, want := range []string{file, "bdev_malloc_create", "nam"} {
		if !strings.Contains(words.String(), want) {
			t.Errorf("the error does not name %q:\n%s", want, words.String())
		}
	}
}

func writeFile(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}
