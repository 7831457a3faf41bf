package tcmur

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"pollux/bdev"
	"pollux/reactor"
)

// cacheFolder is where scripts/deps.sh unpacks packages.
func cacheFolder(t testing.TB) string {
	t.Helper()
	if cache := os.Getenv("POLLUX_TEST_CACHE"); cache != "" {
		return cache
	}
	dir, err := os.UserCacheDir()
	if err != nil {
		t.Skip("no cache folder")
	}
	return filepath.Join(dir, "pollux-test")
}

// packaged is the folder with the handlers of Debian's package, or skips the test.
func packaged(t testing.TB, handler string) string {
	t.Helper()
	cache := cacheFolder(t)
	for _, pattern := range []string{cache + "/tcmu-runner/usr/lib/*/tcmu-runner/", "/usr/lib/*/tcmu-runner/"} {
		if found, _ := filepath.Glob(pattern + handler); len(found) > 0 {
			return filepath.Dir(found[0])
		}
	}
	t.Skipf("%s of the package tcmu-runner is not here: scripts/deps.sh unpacks it", handler)
	return ""
}

func qemuImg(t testing.TB, args ...string) string {
	t.Helper()
	if _, err := exec.LookPath("qemu-img"); err != nil {
		t.Skip("qemu-img is not installed (qemu-utils)")
	}
	out, err := exec.Command("qemu-img", args...).CombinedOutput()
	if err != nil {
		t.Fatalf("qemu-img %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

// onDisk is a folder on a file system that can zero ranges, which tmpfs cannot.
func onDisk(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	var st syscall.Statfs_t
	if err := syscall.Statfs(dir, &st); err != nil || st.Type == 0x01021994 {
		t.Skipf("%s is on tmpfs, where the qcow handler cannot allocate", dir)
	}
	return dir
}

const qcowSize = 64 << 20

// TestQcow: Debian's qcow handler, the options that it can be trusted with: random operations with a copy of what must be there,
// then the image is clean and equal.
func TestQcow(t *testing.T) {
	dir := packaged(t, "handler_qcow.so")
	matrix := []string{
		"", "compat=0.10", "lazy_refcounts=on", "cluster_size=16k", "refcount_bits=1", "refcount_bits=32", "preallocation=metadata",
	}
	if os.Getenv("POLLUX_TEST_FULL") != "" {
		matrix = append(matrix, "cluster_size=4k", "cluster_size=512k", "lazy_refcounts=on,cluster_size=16k", "refcount_bits=8")
	}
	for _, options := range matrix {
		t.Run(options, func(t *testing.T) {
			t.Parallel()
			image := filepath.Join(onDisk(t), "disk.qcow2")
			args := []string{"create", "-q", "-f", "qcow2", image, fmt.Sprint(qcowSize)}
			if options != "" {
				args = append([]string{"create", "-q", "-f", "qcow2", "-o", options}, image, fmt.Sprint(qcowSize))
			}
			qemuImg(t, args...)
			exercise(t, dir, image, bytes.Repeat([]byte{0}, qcowSize))
		})
	}
}

// exercise does random operations on an image that holds shadow, and compares.
func exercise(t *testing.T, handlers, image string, shadow []byte) {
	l := newLive(t, reactor.ModeAdaptive)
	l.module.config.Dirs = []string{handlers}
	l.create(Options{Name: "qcow", Cfg: "qcow/" + image})
	clients := []*client{l.open(0, "qcow"), l.open(1, "qcow")}
	rng := rand.New(rand.NewPCG(7, 7))
	mem := l.memory(512, 0)[0]
	for i := range 1500 {
		c := clients[i%2]
		q := bdev.Request{Blocks: 1 + rng.Uint64N(256)}
		q.LBA = rng.Uint64N(qcowSize/512 - q.Blocks + 1)
		part := shadow[q.LBA*512:][:q.Blocks*512]
		q.Data = [][]byte{mem[:q.Blocks*512]}
		switch rng.IntN(10) {
		case 0, 1, 2, 3:
			c.want(bdev.StatusOK, with(q, bdev.OpRead))
			if !bytes.Equal(q.Data[0], part) {
				at := bdev.Difference(q.Data[0], part)
				t.Fatalf("operation %d: blocks %d+%d read otherwise than they were written, at byte %d (%x, not %x)",
					i, q.LBA, q.Blocks, at, q.Data[0][at:at+8], part[at:at+8])
			}
		case 4:
			c.want(bdev.StatusOK, with(q, bdev.OpWriteZeroes))
			clear(part)
		case 5:
			c.want(bdev.StatusUnsupported, with(q, bdev.OpUnmap))
		case 6:
			c.want(bdev.StatusOK, bdev.Request{Op: bdev.OpFlush})
		default:
			for j := range q.Data[0] {
				q.Data[0][j] = byte(rng.Uint32())
			}
			copy(part, q.Data[0])
			c.want(bdev.StatusOK, with(q, bdev.OpWrite))
		}
	}
	if err := l.module.Delete("qcow"); err != nil {
		t.Fatal(err)
	}
	qemuImg(t, "check", "-q", image)
	raw := filepath.Join(t.TempDir(), "shadow.img")
	if err := os.WriteFile(raw, shadow, 0o600); err != nil {
		t.Fatal(err)
	}
	qemuImg(t, "compare", "-q", "-f", "raw", "-F", "qcow2", raw, image)
}

func with(q bdev.Request, op bdev.Op) bdev.Request {
	q.Op = op
	return q
}

// TestQcowRefused: images that the packaged handler aborts on, loops on or corrupts are refused before it sees them.
func TestQcowRefused(t *testing.T) {
	dir := packaged(t, "handler_qcow.so")
	for options, want := range map[string]string{
		"refcount_bits=64":      "64 bits",
		"cluster_size=512":      "512 bytes",
		"extended_l2=on":        "extended L2",
		"data_file=data":        "data file",
		"compression_type=zstd": "zlib",
		"snapshot":              "snapshots",
		"backing":               "backing file",
		"cluster_size=2M":       "bad cluster_bits",
		"truncated":             "header",
	} {
		t.Run(options, func(t *testing.T) {
			l := newLive(t, reactor.ModeAdaptive)
			folder := onDisk(t)
			image := filepath.Join(folder, "disk.qcow2")
			t.Chdir(folder) // A path with the test's name in it would be read as options.
			switch {
			case options == "backing":
				qemuImg(t, "create", "-q", "-f", "raw", "base", fmt.Sprint(qcowSize))
				qemuImg(t, "create", "-q", "-f", "qcow2", "-b", "base", "-F", "raw", image)
			case strings.Contains(options, "="):
				qemuImg(t, "create", "-q", "-f", "qcow2", "-o", options, image, fmt.Sprint(qcowSize))
			default:
				qemuImg(t, "create", "-q", "-f", "qcow2", image, fmt.Sprint(qcowSize))
			}
			switch options {
			case "snapshot":
				qemuImg(t, "snapshot", "-c", "s1", image)
			case "truncated":
				if err := os.Truncate(image, 40); err != nil {
					t.Fatal(err)
				}
			}
			l.module.config.Dirs = []string{dir}
			_, err := l.module.Create(t.Context(), Options{Name: "qcow", Cfg: "qcow/" + image})
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Fatalf("%v, want %q", err, want)
			}
		})
	}
}

// TestQcowKilled: helpers that are killed while they write leave images that are repaired before the next one writes. What was
// acknowledged is there.
func TestQcowKilled(t *testing.T) {
	dir := packaged(t, "handler_qcow.so")
	image := filepath.Join(onDisk(t), "disk.qcow2")
	qemuImg(t, "create", "-q", "-f", "qcow2", "-o", "cluster_size=4k", image, fmt.Sprint(qcowSize))
	l := newLive(t, reactor.ModeAdaptive)
	l.module.config.Dirs = []string{dir}
	s := l.create(Options{Name: "qcow", Cfg: "qcow/" + image, RestartsMax: 100})
	c := l.open(0, "qcow")
	last := map[uint64]byte{}
	rng := rand.New(rand.NewPCG(1, 2))
	for round := range byte(8) {
		var started []<-chan *bdev.Request
		for range 60 {
			lba := rng.Uint64N(qcowSize/4096) * 8
			last[lba] = round + 1
			started = append(started, c.start(c.write(lba, 8, round+1)))
		}
		if h := s.d.helper.Load(); h != nil {
			_ = syscall.Kill(h.cmd.Process.Pid, syscall.SIGKILL)
		}
		for _, ended := range started {
			if q := c.await(ended); q.Status != bdev.StatusOK {
				t.Fatalf("%v at %d: %v", q.Op, q.LBA, q.Status)
			}
		}
	}
	for lba, v := range last {
		c.verify(lba, 8, v)
	}
	restarts := s.copyReport().Restarts
	if err := l.module.Delete("qcow"); err != nil {
		t.Fatal(err)
	}
	if restarts == 0 || !strings.Contains(l.logged.String(), "has been checked after the crash") {
		t.Errorf("%d restarts, none with a check", restarts)
	}
	qemuImg(t, "check", "-q", image)
}

// TestQcowBeyondRepair: an image that cannot be repaired is not written again.
func TestQcowBeyondRepair(t *testing.T) {
	dir := packaged(t, "handler_qcow.so")
	image := filepath.Join(onDisk(t), "disk.qcow2")
	qemuImg(t, "create", "-q", "-f", "qcow2", image, fmt.Sprint(qcowSize))
	l := newLive(t, reactor.ModeAdaptive)
	l.module.config.Dirs = []string{dir}
	s := l.create(Options{Name: "qcow", Cfg: "qcow/" + image})
	c := l.open(0, "qcow")
	c.want(bdev.StatusOK, c.write(0, 8, 1))
	if err := os.Truncate(image, 100); err != nil {
		t.Fatal(err)
	}
	_ = syscall.Kill(s.d.helper.Load().cmd.Process.Pid, syscall.SIGKILL)
	waitFor(t, "state offline", func() bool { return s.copyReport().State == "offline" })
	c.want(bdev.StatusNotReady, c.write(8, 8, 1))
}

// TestImageVerify: an image with errors is refused at creation, and left as it is.
func TestImageVerify(t *testing.T) {
	path := filepath.Join(t.TempDir(), "disk.qcow2")
	qemuImg(t, "create", "-q", "-f", "qcow2", "-o", "preallocation=metadata", path, fmt.Sprint(qcowSize))
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt(make([]byte, 64), 2*65536); err != nil { // reference counts
		t.Fatal(err)
	}
	m := &image{path: path}
	l := newLive(t, reactor.ModeAdaptive)
	if err := m.verify(context.Background(), l.registry.Log()); !errors.Is(err, errDamagedImage) {
		t.Fatalf("an image with errors: %v", err)
	}
}
