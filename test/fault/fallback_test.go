package fault

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"pollux/test/target"
)

// initiatorLimit bounds one run of the initiator's tests.
const initiatorLimit = 2 * time.Minute

// ordinaryUser is nobody; ordinaryMemlock is what Debian lets one lock.
const (
	ordinaryUser    = 65534
	ordinaryMemlock = 8 << 20
)

// roads are the ways on which the target must work, and what it says about them.
var roads = []struct {
	name    string
	without string       // for --without
	around  surroundings // the zero value: as they are
	say     []string     // what the one line holds; none: no line
}{
	{name: "everything there"},
	{name: "no defer-taskrun", without: "defer-taskrun"},
	{name: "no recv-multishot", without: "recv-multishot"},
	{name: "no accept-multishot", without: "accept-multishot"},
	{name: "no buffer-ring", without: "buffer-ring,buffer-ring-inc"},
	{name: "no buffer-ring-inc", without: "buffer-ring-inc"},
	{name: "no no-sqarray", without: "no-sqarray"},
	{name: "no registered-buffers", without: "registered-buffers"},
	{name: "no io-uring", without: "io-uring"},
	{name: "as Linux 6.1", without: "buffer-ring-inc,no-sqarray"},
	{name: "the bare ring", without: "defer-taskrun,recv-multishot,accept-multishot,buffer-ring,buffer-ring-inc,no-sqarray,registered-buffers"},
	{
		name: "io_uring denied by seccomp", around: surroundings{noURing: true, memlock: -1, nofile: -1},
		say: []string{"level=WARN", "no io_uring", "seccomp"},
	},
	{
		name: "ordinary user", around: surroundings{user: ordinaryUser, memlock: ordinaryMemlock, nofile: -1},
		say: []string{"missing=registered-buffers", "RLIMIT_MEMLOCK is 8192 KiB"},
	},
	{
		name: "ordinary user without io_uring", around: surroundings{user: ordinaryUser, memlock: ordinaryMemlock, nofile: -1, noURing: true},
		say: []string{"level=WARN", "no io_uring", "seccomp"},
	},
}

// features are the words by which a line about the kernel is known.
var features = []string{"kernel features", "io_uring", "registered with the kernel"}

// TestFallbacks: with each kernel feature missing the initiator's tests pass, stamped blocks are found, and exactly one line of
// the log says what is missing and why.
func TestFallbacks(t *testing.T) {
	program, initiator := forEveryone(t)
	for _, road := range roads {
		t.Run(road.name, func(t *testing.T) {
			cfg := target.Config{Kind: target.Pollux, Nodes: []target.Node{
				{Name: "disk", LUNs: []target.LUN{{Backing: target.Malloc, Size: lunSize}, {Backing: target.AIO, Size: lunSize}}},
			}}
			if road.without != "" {
				cfg.Args = []string{"--without", road.without}
				road.say = []string{"level=INFO", "masked off"}
				if road.without != "io-uring" {
					road.say = append(road.say, "masked="+road.without)
				}
			}
			if road.around != (surroundings{}) {
				needRoot(t)
				cfg.Wrap, cfg.Dir = road.around.wrap(), folderOf(t, road.around.user)
			}
			cfg.Binary = program
			server := target.Start(t, cfg)
			for lun := range 2 {
				runInitiator(t, initiator, server, lun)
				report, words, status := bench(t, "--verify", "--read-share", "40", "--count", "2000", "--connections", "2", server.URL("disk", lun))
				if status != 0 || report["mismatches"] != 0.0 || report["commands"] != 2000.0 {
					t.Errorf("LUN %d: status %d, %v\n%s", lun, status, report, words)
				}
			}
			checkTold(t, server.Log(), road.say)
		})
	}
}

// checkTold asserts that one line about the kernel holds all the words of say, or that there is none.
func checkTold(t *testing.T, log string, say []string) {
	t.Helper()
	lines := linesWith(log, features...)
	if len(say) == 0 && len(lines) == 0 {
		return
	}
	if len(lines) != 1 {
		t.Errorf("%d lines about the kernel, want one with %q:\n%s", len(lines), say, log)
		return
	}
	if len(say) == 0 {
		t.Skipf("this kernel does not have everything: %s", lines[0])
	}
	for _, word := range say {
		if !strings.Contains(lines[0], word) {
			t.Errorf("the line about the kernel lacks %q: %s", word, lines[0])
		}
	}
}

// folderOf is a folder for a server that runs as user, with the file behind LUN 1.
func folderOf(t *testing.T, user int) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "plx") // short, because a socket's path has 108 bytes
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	file := filepath.Join(dir, "disk-1.img")
	if err := errors.Join(os.WriteFile(file, nil, 0o600), os.Truncate(file, lunSize), os.Chown(file, user, user), os.Chown(dir, user, user)); err != nil {
		t.Fatal(err)
	}
	return dir
}

// forEveryone makes a folder with the program under test, which every user may run, and the tests of the initiator.
func forEveryone(t *testing.T) (server, initiator string) {
	t.Helper()
	path, err := target.PolluxBinary()
	if err != nil {
		t.Skip(err)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp("", "plxbin")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	server, initiator = filepath.Join(dir, "pollux"), filepath.Join(dir, "initiator.test")
	if err := errors.Join(os.Chmod(dir, 0o755), os.WriteFile(server, text, 0o755)); err != nil {
		t.Fatal(err)
	}
	build := exec.CommandContext(t.Context(), "go", "test", "-c", "-o", initiator, "./iscsi/initiator")
	build.Dir = target.Root()
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return server, initiator
}

// runInitiator runs the initiator's own test against a LUN: sessions of every kind, checked strictly.
func runInitiator(t *testing.T, program string, server *target.Server, lun int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), initiatorLimit)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, "-test.run", "^TestLiveTarget$", "-test.v")
	cmd.Env = append(os.Environ(), "POLLUX_TEST_PORTAL="+server.Portal(), "POLLUX_TEST_TARGET="+target.IQN("disk"),
		"POLLUX_TEST_LUN="+strconv.Itoa(server.LUN(lun)))
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "--- PASS: TestLiveTarget") {
		t.Errorf("LUN %d: %v\n%s", lun, err, out)
	}
}
