package tcmur

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"pollux/bdev"
	"pollux/reactor"
)

// gluster is a volume with one brick on loopback. `make test-gluster` runs it.
type gluster struct {
	t   *testing.T
	dir string
}

const (
	glusterHost   = "127.0.0.5" // Its client refuses 127.0.0.1 for bricks. The port, 24007, is fixed in the handler.
	glusterVolume = "v0"
	glusterSize   = 32 << 20
)

func newGluster(t *testing.T) *gluster {
	if os.Getenv("POLLUX_TEST_GLUSTER") == "" {
		t.Skip("make test-gluster runs this")
	}
	if os.Getuid() != 0 {
		t.Skip("only root may run glusterd")
	}
	for _, program := range []string{"glusterfsd", "gluster", "unshare", "gcc", "pkg-config"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skipf("%s is not installed (glusterfs-common, glusterfs-cli, libglusterfs-dev)", program)
		}
	}
	g := &gluster{t: t, dir: t.TempDir()}
	for _, folder := range []string{"lib", "run", "log", "brick"} {
		g.must(os.Mkdir(filepath.Join(g.dir, folder), 0o700))
	}
	g.must(os.WriteFile(filepath.Join(g.dir, "glusterd.vol"), fmt.Appendf(nil, `volume management
    type mgmt/glusterd
    option working-directory %[1]s/lib
    option run-directory %[1]s/run
    option glusterd-sockfile %[1]s/sock
    option transport-type socket
    option transport.socket.bind-address %[2]s
    option transport.socket.listen-port 24007
end-volume
`, g.dir, glusterHost), 0o600))
	g.start()
	g.run("gluster", "--mode=script", "--glusterd-sock="+g.dir+"/sock", "volume", "create", glusterVolume, glusterHost+":"+g.dir+"/brick", "force")
	g.run("gluster", "--mode=script", "--glusterd-sock="+g.dir+"/sock", "volume", "start", glusterVolume)
	return g
}

func (g *gluster) must(err error) {
	g.t.Helper()
	if err != nil {
		g.t.Fatal(err)
	}
}

func (g *gluster) run(name string, args ...string) string {
	g.t.Helper()
	out, err := exec.Command("timeout", append([]string{"60", name}, args...)...).CombinedOutput()
	if err != nil {
		g.t.Fatalf("%s %v: %v\n%s", name, args, err, out)
	}
	return string(out)
}

// start starts glusterd, which is glusterfsd by another name, as the first process of a PID namespace: bricks, which it starts and
// which leave its session, end with it. Their logs go to our folder.
func (g *gluster) start() {
	glusterfsd, err := exec.LookPath("glusterfsd")
	g.must(err)
	g.must(os.Symlink(glusterfsd, g.dir+"/glusterd"))
	g.must(os.MkdirAll("/var/log/glusterfs", 0o755))
	cmd := exec.Command("unshare", "--pid", "--fork", "--kill-child", "--mount", "--mount-proc", "sh", "-c",
		`mount --bind "$1/log" /var/log/glusterfs && exec "$1/glusterd" -N -f "$1/glusterd.vol" -l "$1/log/glusterd.log" -p "$1/run/pid" -L WARNING`,
		"sh", g.dir)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	g.must(cmd.Start())
	g.t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if g.t.Failed() {
			logs, _ := filepath.Glob(g.dir + "/log/*.log")
			for _, file := range logs {
				text, _ := os.ReadFile(file)
				g.t.Logf("%s:\n%s", file, text)
			}
		}
	})
	waitFor(g.t, "glusterd", func() bool { return exists(g.dir + "/sock") })
}

// build compiles something against libgfapi.
func (g *gluster) build(out string, args ...string) string {
	g.t.Helper()
	out = filepath.Join(g.dir, out)
	flags := strings.Fields(g.run("pkg-config", "--cflags", "--libs", "glusterfs-api"))
	g.must(gcc(append(append([]string{"-w", "-O2", "-g", "-D_GNU_SOURCE", "-o", out}, args...), flags...)))
	return out
}

// handler builds tcmu-runner's glfs handler, which Debian does not package, from the source of Debian's package as it is.
func (g *gluster) handler() string {
	g.t.Helper()
	source := filepath.Join(cacheFolder(g.t), "tcmu-source")
	if !exists(filepath.Join(source, "glfs.c")) {
		g.t.Skip("the source of tcmu-runner is not here: make test-gluster unpacks it")
	}
	generated := filepath.Join(g.dir, "version.h") // what its build system makes of version.h.in for libgfapi 7.6 and later
	g.must(os.WriteFile(generated, []byte("#define GFAPI_VERSION760 1\n#define GFAPI_VERSION766 1\n"), 0o600))
	return g.build("handler_glfs.so", "-std=gnu99", "-shared", "-fPIC", "-I"+g.dir, "-I"+source, "-I"+source+"/ccan", source+"/glfs.c")
}

// makeImage makes a file in the volume, which the handler does not do.
func (g *gluster) makeImage(name string, size int64) {
	g.t.Helper()
	file := filepath.Join(g.dir, "image.c")
	g.must(os.WriteFile(file, []byte(`
#include <fcntl.h>
#include <glusterfs/api/glfs.h>
#include <stdio.h>
#include <stdlib.h>
int main(int argc, char **argv)
{
	glfs_t *fs = glfs_new(argv[2]);
	if (!fs || glfs_set_volfile_server(fs, "tcp", argv[1], 24007) != 0 || glfs_init(fs) != 0)
		return perror("glfs_init"), 1;
	glfs_fd_t *fd = glfs_creat(fs, argv[3], O_RDWR, 0600);
	if (!fd || glfs_ftruncate(fd, atoll(argv[4]), NULL, NULL) != 0)
		return perror(argv[3]), 1;
	return glfs_close(fd);
}`), 0o600))
	program := g.build("image", file)
	g.run(program, glusterHost, glusterVolume, name, fmt.Sprint(size))
}

// TestGluster: a file of a Gluster volume through tcmu-runner's handler, which is asynchronous: random operations with a copy of what
// must be there, the helper killed under load, and the brick's file equals the copy. What cannot be opened says why.
func TestGluster(t *testing.T) {
	cluster := newGluster(t)
	handler := cluster.handler()
	cluster.makeImage("img0", glusterSize)
	l := newLive(t, reactor.ModeAdaptive)
	cfg := func(volume, file string) string { return "glfs/" + volume + "@" + glusterHost + "/" + file }
	for bad, want := range map[string]string{cfg("nosuch", "img0"): "glfs_init(vol=nosuch)", cfg(glusterVolume, "nosuch"): "file=nosuch"} {
		_, err := l.module.Create(t.Context(), Options{Name: "glfs", Cfg: bad, Handler: handler, Size: glusterSize})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", bad, err, want)
		}
	}
	s := l.create(Options{Name: "glfs", Cfg: cfg(glusterVolume, "img0"), Handler: handler, Size: glusterSize, RestartsMax: 100})
	load := l.newShadow("glfs", glusterSize)
	load.operate(500)
	load.writes(32, func() { _ = syscall.Kill(s.d.helper.Load().cmd.Process.Pid, syscall.SIGKILL) })
	waitFor(t, "restart", func() bool { return s.copyReport().Restarts == 1 && s.copyReport().State == "up" })
	load.rewrite()
	load.operate(200)
	load.clients[0].want(bdev.StatusOK, bdev.Request{Op: bdev.OpFlush})
	if err := l.module.Delete("glfs"); err != nil {
		t.Fatal(err)
	}
	nothingLeft(t, s)
	stored, err := os.ReadFile(filepath.Join(cluster.dir, "brick", "img0"))
	if err != nil {
		t.Fatal(err)
	}
	if at := bdev.Difference(stored, load.shadow); at >= 0 {
		t.Errorf("the brick's file differs at byte %d", at)
	}
}
