package tcmur

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"pollux/bdev"
	"pollux/reactor"
)

// ceph is a cluster on loopback: a monitor and two OSDs that keep their data in memory. `make test-ceph` runs it.
type ceph struct {
	t    *testing.T
	dir  string
	conf string
	osds []*exec.Cmd
}

const (
	cephFSID = "7f1e3f0e-6c1c-4b3f-9d2a-3c5d1e1f0a01"
	cephPool = "rbd"
)

func newCeph(t *testing.T) *ceph {
	if os.Getenv("POLLUX_TEST_CEPH") == "" {
		t.Skip("make test-ceph runs this")
	}
	for _, program := range []string{"ceph-mon", "ceph-osd", "ceph", "rbd", "monmaptool"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skipf("%s is not installed (ceph-mon, ceph-osd, ceph-common)", program)
		}
	}
	c := &ceph{t: t, dir: t.TempDir()}
	c.conf = filepath.Join(c.dir, "ceph.conf")
	c.write(c.conf, fmt.Sprintf(`[global]
fsid = %s
mon_host = 127.0.0.1:6789
auth_cluster_required = none
auth_service_required = none
auth_client_required = none
osd_pool_default_size = 2
osd_pool_default_min_size = 1
osd_crush_chooseleaf_type = 0
osd_objectstore = memstore
memstore_device_bytes = 1073741824
osd_crush_update_on_start = false
osd_class_update_on_start = false
run_dir = %[2]s
admin_socket = %[2]s/$name.asok
log_file = %[2]s/$name.log
mon_data = %[2]s/mon
osd_data = %[2]s/osd$id
public_addr = 127.0.0.1
cluster_addr = 127.0.0.1
keyring = %[2]s/keyring
mon_warn_on_insecure_global_id_reclaim = false
`, cephFSID, c.dir))
	c.startMonitor()
	for id := range 2 {
		c.startOSD(id)
	}
	c.run("ceph", "osd", "pool", "create", cephPool, "8", "8")
	c.run("rbd", "create", "--size", "64M", cephPool+"/img0")
	return c
}

func (c *ceph) write(path, text string) {
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		c.t.Fatal(err)
	}
}

// run runs a program to its end.
func (c *ceph) run(name string, args ...string) string {
	c.t.Helper()
	cmd := exec.Command("timeout", append([]string{"60", name, "-c", c.conf}, args...)...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		c.t.Fatalf("%s %v: %v\n%s", name, args, err, out)
	}
	return string(out)
}

// daemon starts a program that stays until the end of the test.
func (c *ceph) daemon(name string, args ...string) *exec.Cmd {
	cmd := exec.Command(name, append([]string{"-c", c.conf, "-f"}, args...)...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	return cmd
}

func (c *ceph) startMonitor() {
	monmap := filepath.Join(c.dir, "monmap")
	if out, err := exec.Command("monmaptool", "--create", "--add", "a", "127.0.0.1:6789", "--fsid", cephFSID, "--clobber", monmap).CombinedOutput(); err != nil {
		c.t.Fatalf("monmaptool: %v\n%s", err, out)
	}
	c.run("ceph-mon", "--mkfs", "-i", "a", "--monmap", monmap)
	c.daemon("ceph-mon", "-i", "a", "--public-addr", "127.0.0.1:6789")
}

func (c *ceph) startOSD(id int) {
	uuid := fmt.Sprintf("7f1e3f0e-6c1c-4b3f-9d2a-3c5d1e1f0b%02d", id)
	if err := os.MkdirAll(filepath.Join(c.dir, fmt.Sprint("osd", id)), 0o700); err != nil {
		c.t.Fatal(err)
	}
	c.run("ceph", "osd", "new", uuid, fmt.Sprint(id))
	c.run("ceph-osd", "-i", fmt.Sprint(id), "--mkfs", "--osd-uuid", uuid)
	c.run("ceph", "osd", "crush", "add", fmt.Sprint("osd.", id), "1.0", "root=default", "host=h0")
	c.osds = append(c.osds, c.daemon("ceph-osd", "-i", fmt.Sprint(id)))
}

const cephSize = 64 << 20

// TestCeph: an RBD image through Debian's handler: random operations with a copy of what must be there, then under load the helper is
// killed twice and an OSD once. No request fails, and the exported image equals the copy.
func TestCeph(t *testing.T) {
	dir := packaged(t, "handler_rbd.so")
	cluster := newCeph(t)
	l := newLive(t, reactor.ModeAdaptive)
	l.module.config.Dirs = []string{dir}
	s := l.create(Options{Name: "rbd", Cfg: "rbd/" + cephPool + "/img0;conf=" + cluster.conf, Size: cephSize, RestartsMax: 100})
	load := l.newShadow("rbd", cephSize)
	load.operate(1000)
	for _, disaster := range []func(){
		func() { _ = syscall.Kill(s.d.helper.Load().cmd.Process.Pid, syscall.SIGKILL) },
		func() { _ = cluster.osds[1].Process.Kill() },
		func() { _ = syscall.Kill(s.d.helper.Load().cmd.Process.Pid, syscall.SIGKILL) },
	} {
		started := time.Now()
		load.writes(32, disaster)
		load.operate(200)
		t.Logf("restarts %d, %v", s.copyReport().Restarts, time.Since(started))
	}
	if n := s.copyReport().Restarts; n < 2 {
		t.Errorf("%d restarts", n)
	}
	if err := l.module.Delete("rbd"); err != nil {
		t.Fatal(err)
	}
	out := filepath.Join(cluster.dir, "export")
	cluster.run("rbd", "export", cephPool+"/img0", out)
	exported, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	if at := bdev.Difference(exported, load.shadow); at >= 0 {
		t.Errorf("the exported image differs at byte %d", at)
	}
}
