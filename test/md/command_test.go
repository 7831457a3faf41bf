package md

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"pollux/test/target"
)

// newFile is a file of zeroes.
func newFile(t *testing.T, size int64) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "disk")
	if err := errors.Join(os.WriteFile(path, nil, 0o600), os.Truncate(path, size)); err != nil {
		t.Fatal(err)
	}
	return path
}

// run runs `pollux replicated md`, expects an exit status and a part of what it prints, and returns that.
func run(t *testing.T, status int, part string, args ...string) string {
	t.Helper()
	program, err := target.PolluxBinary()
	if err != nil {
		t.Skip(err)
	}
	out, err := target.TryRun(t, limit, program, append([]string{"replicated", "md"}, args...)...)
	got := 0
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		got = exit.ExitCode()
	} else if err != nil {
		t.Fatal(err)
	}
	if got != status || !strings.Contains(out, part) {
		t.Errorf("%v: exit status %d, want %d and %q:\n%s", args, got, status, part, out)
	}
	return out
}

func TestExitStatusAndHelp(t *testing.T) {
	disk := newFile(t, 8<<20)
	run(t, 0, "usage: pollux replicated md", "--help")
	run(t, 0, "usage: pollux replicated md", "create", "--help")
	run(t, 2, "usage: pollux replicated md")
	run(t, 2, "--help tells how", "create")
	run(t, 2, "--help tells how", "dump", "--nothing", disk)
	run(t, 1, "disk: no valid superblock", "dump", disk)
	run(t, 1, "no valid superblock", "check", disk)
	run(t, 1, "no such file", "dump", disk+"2")
	run(t, 0, "format GREP v1", "create", disk)
	run(t, 0, "format GREP v1", "dump", disk)
	run(t, 0, "ok\n", "check", disk)
	run(t, 1, "--force overwrites it", "create", disk)
	if err := os.Truncate(disk, 8<<20-4096); err != nil {
		t.Fatal(err)
	}
	run(t, 1, "the disk was cut short", "dump", disk)
}

// TestCreateSparesFileSystems: those that mkfs makes.
func TestCreateSparesFileSystems(t *testing.T) {
	for what, command := range map[string][]string{
		"ext4":      {"mke2fs", "-q", "-t", "ext4"},
		"swap":      {"mkswap"},
		"partition": {"sfdisk", "-q"},
	} {
		t.Run(what, func(t *testing.T) {
			target.NeedProgram(t, command[0])
			disk := newFile(t, 32<<20)
			path, err := target.Program(command[0])
			if err != nil {
				t.Skip(err)
			}
			mkfs := exec.CommandContext(t.Context(), path, append(command[1:], disk)...)
			mkfs.Stdin = strings.NewReader(",\n") // for sfdisk: one partition
			if out, err := mkfs.CombinedOutput(); err != nil {
				t.Fatalf("%v: %v\n%s", command, err, out)
			}
			run(t, 1, what, "create", disk)
			run(t, 0, "format GREP v1", "create", "--force", disk)
		})
	}
}

// TestBlockDevice: the same on a loop device, which create leaves alone while somebody else has it.
func TestBlockDevice(t *testing.T) {
	target.NeedProgram(t, "losetup")
	if os.Getuid() != 0 {
		t.Skip("a loop device takes root")
	}
	file := newFile(t, 8<<20)
	out, err := target.TryRun(t, limit, "losetup", "--find", "--show", file)
	if err != nil {
		t.Skipf("no loop device here: %v: %s", err, out)
	}
	device := strings.TrimSpace(out)
	t.Cleanup(func() {
		if out, err := exec.Command("losetup", "--detach", device).CombinedOutput(); err != nil {
			t.Errorf("%v: %s", err, out)
		}
	})
	user, err := unix.Open(device, unix.O_RDWR|unix.O_EXCL|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	run(t, 1, "device or resource busy: unmount it", "create", device)
	if err := unix.Close(user); err != nil {
		t.Fatal(err)
	}
	run(t, 0, "size 8101888 of 8101888 bytes", "create", device)
	run(t, 0, "ok\n", "check", device)
	if onFile := run(t, 0, "format GREP v1", "dump", file); onFile != run(t, 0, "", "dump", device) {
		t.Error("file and device differ")
	}
}
