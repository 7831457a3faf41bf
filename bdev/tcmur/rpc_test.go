package tcmur

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"pollux/bdev"
	"pollux/bdev/passthru"
	"pollux/rpc"
)

// calls is a server with the methods of a registry, the module and passthru.
type calls struct {
	t *testing.T
	*live
	server *rpc.Server
}

func newCalls(t *testing.T) *calls {
	l := newLive(t, 0)
	s := rpc.New(rpc.Options{Log: l.registry.Log()})
	l.registry.RegisterRPC(s)
	l.module.Register(s)
	passthru.New(l.registry).Register(s)
	if err := s.StartInit(t.Context()); err != nil {
		t.Fatal(err)
	}
	return &calls{t, l, s}
}

func (c *calls) call(method, params string) (string, error) {
	var p any
	if err := json.Unmarshal([]byte(params), &p); err != nil {
		c.t.Fatal(err)
	}
	out, err := c.server.Call(context.Background(), method, p)
	return string(out), err
}

func (c *calls) want(method, params, want string) {
	c.t.Helper()
	out, err := c.call(method, params)
	if err != nil {
		out = err.Error()
	}
	if !strings.Contains(out, want) {
		c.t.Fatalf("%s %s: %s, want %s", method, params, out, want)
	}
}

// TestRPC: the life of a device through its methods, with the 2019 fork's second names.
func TestRPC(t *testing.T) {
	c := newCalls(t)
	disk := filepath.Join(t.TempDir(), "disk")
	if err := os.WriteFile(disk, make([]byte, 1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	c.want("bdev_tcmur_create", `{"minor":1,"name":"file_a","cfgstr":"/file/`+disk+`","block_size":4096}`, `"file_a"`)
	c.want("bdev_tcmur_create", `{"name":"file_a","cfgstr":"file/`+disk+`"}`, "File exists")
	c.want("bdev_get_bdevs", `{"name":"file_a"}`, `"num_blocks":256`)
	c.want("bdev_get_bdevs", `{"name":"file_a"}`, `"product_name":"TCMU runner handler"`)
	c.want("bdev_get_bdevs", `{"name":"file_a"}`, `"state":"up"`)
	c.want("bdev_tcmur_resize", `{"name":"file_a","size":2097152}`, "true")
	c.want("bdev_get_bdevs", `{"name":"file_a"}`, `"num_blocks":512`)
	c.want("bdev_tcmur_restart", `{"name":"file_a"}`, "true")

	c.want("bio_spdk_create", `{"name":"file_a"}`, `"/UMCfuse/dev/file_a"`)
	c.want("bdev_bio_create", `{"name":"bio0","filename":"/UMCfuse/dev/file_a"}`, `"bio0"`)
	c.want("bdev_get_bdevs", `{"name":"bio0"}`, `"num_blocks":512`)
	c.want("bdev_bio_delete", `{"name":"bio0"}`, "true")
	c.want("bio_spdk_delete", `{"name":"file_a"}`, "true")
	c.want("bdev_bio_create", `{"name":"bio1","filename":"/UMCfuse/dev/file_a"}`, `"bio1"`)
	c.want("bdev_bio_delete", `{"name":"bio1"}`, "true")

	c.want("bdev_tcmur_get_handlers", `{}`, `"subtype":"async"`)
	c.want("bdev_tcmur_delete", `{"name":"file_a"}`, "true")
	c.want("bdev_tcmur_delete", `{"name":"file_a"}`, "No such device")
}

// TestRefusals: what cannot be made, with the reason.
func TestRefusals(t *testing.T) {
	c := newCalls(t)
	for params, want := range map[string]string{
		`{"name":"x"}`:             "cfgstr",
		`{"name":"x","cfgstr":""}`: "names no handler",
		`{"name":"x","cfgstr":"nosuch/y","size":1048576}`:                         "no handler for",
		`{"name":"x","cfgstr":"async/y"}`:                                         "give the parameter size",
		`{"name":"x","cfgstr":"file/"}`:                                           "No path found",
		`{"name":"x","cfgstr":"file//no/such/dir/disk"}`:                          "No such file",
		`{"name":"x","cfgstr":"null/","size":1048576,"block_size":500}`:           "block size",
		`{"name":"x","cfgstr":"null/","size":1048576,"handler":"/no/such.so"}`:    "such.so",
		`{"name":"x","cfgstr":"null/","size":1048576,"abi":"1.4.0"}`:              "must be one of",
		`{"name":"x","cfgstr":"null/","size":1048576,"user":"no-such-user-here"}`: "unknown user",
	} {
		c.want("bdev_tcmur_create", params, want)
	}
	c.module.config.Helper = filepath.Join(t.TempDir(), helperName)
	c.want("bdev_tcmur_create", `{"name":"x","cfgstr":"null/","size":1048576}`, "make build")
	c.want("bdev_tcmur_delete", `{"name":"x"}`, "No such device")
	if n := len(c.registry.Devices()); n != 0 {
		t.Errorf("%d devices are left", n)
	}
}

// TestConfigAgain: the saved calls make the same devices again.
func TestConfigAgain(t *testing.T) {
	c := newCalls(t)
	disk := filepath.Join(t.TempDir(), "disk")
	c.want("bdev_tcmur_create", `{"minor":7,"name":"a","cfgstr":"async/`+disk+`","size":1048576,"timeout_sec":9,"lock":false,"restarts_max":3}`, `"a"`)
	c.want("bdev_tcmur_create", `{"name":"b","cfgstr":"null/","size":1048576,"threads":1,"block_size":4096}`, `"b"`)
	save := func() []rpc.ConfigEntry {
		var calls []rpc.ConfigEntry
		for _, d := range c.registry.Devices() {
			calls = append(calls, d.Spec().Config(d)...)
		}
		return calls
	}
	first := save()
	for _, name := range []string{"a", "b"} {
		c.want("bdev_tcmur_delete", `{"name":"`+name+`"}`, "true")
	}
	for _, e := range first {
		if _, err := c.server.Call(t.Context(), e.Method, e.Params); err != nil {
			t.Fatal(err)
		}
	}
	one, err1 := json.Marshal(first)
	two, err2 := json.Marshal(save())
	if err1 != nil || err2 != nil || string(one) != string(two) {
		t.Errorf("saved again:\n%s\nfirst:\n%s", two, one)
	}
}

// TestTwoReactors: two reactors on one device, the same blocks.
func TestTwoReactors(t *testing.T) {
	l := newLive(t, 0)
	l.create(Options{Name: "disk", Cfg: "file/" + filepath.Join(t.TempDir(), "disk"), Size: 16 << 20})
	a, b := l.open(0, "disk"), l.open(1, "disk")
	for i := range uint64(200) {
		var started []<-chan *bdev.Request
		for j := range uint64(4) {
			started = append(started, a.start(a.write(i*16+j, 1, byte(i))), b.start(b.write(i*16+8+j, 1, byte(i+1))))
		}
		for _, ended := range started {
			if q := a.await(ended); q.Status != bdev.StatusOK {
				t.Fatal(q.Status)
			}
		}
		b.verify(i*16, 4, byte(i))
		a.verify(i*16+8, 4, byte(i+1))
	}
}
