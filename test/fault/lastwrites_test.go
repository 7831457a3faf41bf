package fault

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"pollux/test/target"
)

// FIFREEZE and FITHAW (linux/fs.h): a file system holds all writes back, and lets them go.
const (
	fiFreeze = 0xc0045877
	fiThaw   = 0xc0045878
)

// slowDisk is a block device whose writes do not end while it is frozen: a loop device on a file of a file system of its own.
type slowDisk struct {
	t      *testing.T
	device string
	folder *os.File // where the file system is mounted
	frozen bool
}

func newSlowDisk(t *testing.T) *slowDisk {
	t.Helper()
	needRoot(t)
	needLoop(t)
	target.NeedProgram(t, "mke2fs", "mount", "umount", "losetup")
	image, dir := filepath.Join(t.TempDir(), "image"), t.TempDir()
	run := func(words ...string) string {
		t.Helper()
		out, err := exec.Command(words[0], words[1:]...).Output() // Not by the test's context: it is over in a clean-up.
		if err != nil {
			t.Errorf("%q: %v", words, err)
		}
		return strings.TrimSpace(string(out))
	}
	sparse(t, image, 2*lunSize)
	run("mke2fs", "-q", "-t", "ext4", image)
	run("mount", "-o", "loop", image, dir)
	t.Cleanup(func() { run("umount", dir) })
	if t.Failed() {
		t.FailNow()
	}
	sparse(t, filepath.Join(dir, "disk"), lunSize)
	s := &slowDisk{t: t, device: run("losetup", "--find", "--show", filepath.Join(dir, "disk"))}
	t.Cleanup(func() { run("losetup", "--detach", s.device) })
	var err error
	if s.folder, err = os.Open(dir); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		s.thaw()
		_ = s.folder.Close()
	})
	return s
}

func sparse(t *testing.T, path string, size int64) {
	t.Helper()
	if err := errors.Join(os.WriteFile(path, nil, 0o600), os.Truncate(path, size)); err != nil {
		t.Fatal(err)
	}
}

func (s *slowDisk) freeze() {
	s.t.Helper()
	if err := unix.IoctlSetInt(int(s.folder.Fd()), fiFreeze, 0); err != nil {
		s.t.Fatal(err)
	}
	s.frozen = true
}

func (s *slowDisk) thaw() {
	s.t.Helper()
	if !s.frozen {
		return
	}
	s.frozen = false
	if err := unix.IoctlSetInt(int(s.folder.Fd()), fiThaw, 0); err != nil {
		s.t.Error(err)
	}
}

// writing reports whether writes are on their way to the disk.
func (s *slowDisk) writing() bool {
	text, err := os.ReadFile(filepath.Join("/sys/block", filepath.Base(s.device), "inflight"))
	counts := strings.Fields(string(text))
	return err == nil && len(counts) == 2 && counts[1] != "0"
}

// TestSuccessorWaitsForLastWrites: a write that was in flight when its target was killed ends before another target can write.
func TestSuccessorWaitsForLastWrites(t *testing.T) {
	slow := newSlowDisk(t)
	server := target.Start(t, oneMalloc())
	addFile(t, server, slow.device)
	d := logIn(t, server, 1)
	d.mustTell("a write", d.write(0, 1), good)
	slow.freeze()
	ended := make(chan error, 1)
	go func() {
		_, err := d.c.Do(d.ctx, d.lun, cdb10(0x2a, 0, chunkBlocks), pattern(0, 2), 0)
		ended <- err
	}()
	for until := time.Now().Add(surroundingsLimit); !slow.writing(); time.Sleep(time.Millisecond) {
		if time.Now().After(until) {
			t.Fatal("no write is in flight")
		}
	}
	if err := errors.Join(server.Kill(), server.Start()); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; err == nil || errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("the write in flight: %v", err)
	}
	create := func() error {
		return server.RPC("bdev_aio_create", map[string]any{"name": "file", "filename": slow.device, "block_size": blockSize}, nil)
	}
	if err := create(); err == nil || !strings.Contains(err.Error(), "has writes on their way") || !strings.Contains(err.Error(), slow.device) {
		t.Fatalf("a device with writes of a dead target in flight: %v", err)
	}
	if !slow.writing() {
		t.Fatal("the write of the dead target has ended, so nothing was shown")
	}
	slow.thaw()
	if err := create(); err != nil {
		t.Fatal(err)
	}
	err := server.RPC("iscsi_target_node_add_lun", map[string]any{"name": target.IQN("disk"), "bdev_name": "file", "lun_id": 1}, nil)
	if err != nil {
		t.Fatal(err)
	}
	d = logIn(t, server, 1)
	d.holds(0, 2)
	d.mustTell("a write", d.write(0, 3), good)
	d.holds(0, 3)
}
