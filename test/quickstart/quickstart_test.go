package quickstart

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"pollux/test/target"
)

const (
	limit  = 30 * time.Second
	screen = 50 // lines
)

// served is a program in a process group of its own, as a terminal would run it.
type served struct {
	cmd   *exec.Cmd
	out   *lockedBuffer
	ended chan struct{}
}

// lockedBuffer collects output that is read while it is written.
type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// place finds a portal and a socket for a program.
func place(t *testing.T) (portal, socket string) {
	t.Helper()
	port, release, err := target.TakePort()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(release)
	dir, err := os.MkdirTemp("", "plxq")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return fmt.Sprintf("127.0.0.1:%d", port), filepath.Join(dir, "rpc.sock")
}

// serve runs a command and waits until its portal answers.
func serve(t *testing.T, cmd *exec.Cmd, portal string) *served {
	t.Helper()
	s := &served{cmd: cmd, out: &lockedBuffer{}, ended: make(chan struct{})}
	cmd.Stdout, cmd.Stderr = s.out, s.out
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(s.ended)
		_ = cmd.Wait() // the state is looked at by who ended it
	}()
	t.Cleanup(func() {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) // it may have ended long since
		<-s.ended
		if t.Failed() {
			t.Logf("%s printed:\n%s", strings.Join(cmd.Args, " "), s.out)
		}
	})
	s.eventually(t, "the portal answers", func() bool {
		c, err := net.Dial("tcp", portal)
		if err != nil {
			return false
		}
		c.Close()
		return true
	})
	return s
}

func (s *served) eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(limit); !ok(); time.Sleep(20 * time.Millisecond) {
		select {
		case <-s.ended:
			t.Fatalf("ended before %s: %s", what, s.cmd.ProcessState)
		default:
		}
		if time.Now().After(deadline) {
			t.Fatalf("after %s it is still not so that %s", limit, what)
		}
	}
}

// end sends sig to the group, as a terminal does, and returns the program's exit status.
func (s *served) end(t *testing.T, sig syscall.Signal) int {
	t.Helper()
	if err := syscall.Kill(-s.cmd.Process.Pid, sig); err != nil {
		t.Fatal(err)
	}
	select {
	case <-s.ended:
		return s.cmd.ProcessState.ExitCode()
	case <-time.After(limit):
		t.Fatalf("still there %s after %s", limit, sig)
		return -1
	}
}

// printed returns the line that contains a word, without what is before it.
func (s *served) printed(t *testing.T, word string) string {
	t.Helper()
	var found string
	s.eventually(t, "it has printed "+word, func() bool {
		for line := range strings.Lines(s.out.String()) {
			if i := strings.Index(line, word); i >= 0 && strings.HasSuffix(line, "\n") {
				found = strings.TrimSpace(line[i:])
				return true
			}
		}
		return false
	})
	return found
}

func binary(t *testing.T) string {
	t.Helper()
	path, err := target.PolluxBinary()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// TestMakeRun does what the README says, for memory and for a file, and pastes what is printed.
func TestMakeRun(t *testing.T) {
	file := filepath.Join(t.TempDir(), "disk.img")
	for name, variables := range map[string][]string{"memory": nil, "file": {"FILE=" + file}} {
		t.Run(name, func(t *testing.T) {
			portal, socket := place(t)
			cmd := exec.Command("make", append(variables, "run", "SIZE=64M", "RUNFLAGS=--listen "+portal+" --rpc-socket "+socket)...)
			cmd.Dir = target.Root()
			s := serve(t, cmd, portal)
			s.printed(t, socket)
			s.printed(t, "iscsiadm -m discovery")
			paste(t, s.printed(t, "iscsi-ls "), "iqn.")
			paste(t, strings.Replace(s.printed(t, "qemu-img "), "qemu-img convert", "true", 1), "")
			s.end(t, syscall.SIGINT) // make itself says that it was interrupted
			if name == "file" {
				mustHaveSize(t, file, 64<<20)
			}
		})
	}
}

// paste runs a printed line in a shell.
func paste(t *testing.T, line, says string) {
	t.Helper()
	first, _, _ := strings.Cut(line, " ")
	if _, err := target.Program(first); err != nil {
		t.Logf("not pasted: %v", err)
		return
	}
	out := target.Run(t, limit, "bash", "-c", line)
	if !strings.Contains(out, says) {
		t.Errorf("%s\nprints no %q:\n%s", line, says, out)
	}
}

func mustHaveSize(t *testing.T, path string, size int64) {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if info.Size() != size {
		t.Errorf("%s has %d bytes, want %d", path, info.Size(), size)
	}
}

// TestSignalsEndItCleanly is what make run's user sees: status 0, no socket left.
func TestSignalsEndItCleanly(t *testing.T) {
	for _, sig := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM} {
		t.Run(sig.String(), func(t *testing.T) {
			portal, socket := place(t)
			s := serve(t, exec.Command(binary(t), "serve", "--malloc", "64M", "--listen", portal, "--rpc-socket", socket), portal)
			if status := s.end(t, sig); status != 0 {
				t.Errorf("exit status %d", status)
			}
			if _, err := os.Stat(socket); err == nil {
				t.Errorf("%s is still there", socket)
			}
		})
	}
}

// TestSocketIsPrivateAndLocked: nobody else may configure the target, and a second one does not take the socket away.
func TestSocketIsPrivateAndLocked(t *testing.T) {
	portal, socket := place(t)
	serve(t, exec.Command(binary(t), "serve", "--malloc", "64M", "--listen", portal, "--rpc-socket", socket), portal)
	info, err := os.Stat(socket)
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode() != fs.ModeSocket|0o600 {
		t.Errorf("the socket's mode is %s", info.Mode())
	}
	otherPortal, _ := place(t)
	mustFail(t, 1, "rpc.sock", "serve", "--malloc", "64M", "--listen", otherPortal, "--rpc-socket", socket)
	_, otherSocket := place(t)
	mustFail(t, 1, portal, "serve", "--malloc", "64M", "--listen", portal, "--rpc-socket", otherSocket)
}

func TestMisuseIsNamed(t *testing.T) {
	mustFail(t, 2, "")
	mustFail(t, 2, "nonsense", "nonsense")
	mustFail(t, 2, "nonsense", "serve", "--nonsense")
	mustFail(t, 2, "nonsense", "serve", "--mode", "nonsense")
}

// mustFail runs the program, which must end with status and say what was wrong.
func mustFail(t *testing.T, status int, says string, args ...string) {
	t.Helper()
	out, err := target.TryRun(t, limit, binary(t), args...)
	code := 0
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		code = exit.ExitCode()
	}
	if code != status || !strings.Contains(out, says) {
		t.Errorf("pollux %s: %v, want status %d and %q\n%s", strings.Join(args, " "), err, status, says, out)
	}
}

func TestHelpFitsAScreen(t *testing.T) {
	for _, command := range [][]string{nil, {"serve"}, {"rpc"}, {"bench"}} {
		out := target.Run(t, limit, binary(t), append(command, "--help")...)
		if n := strings.Count(out, "\n"); n == 0 || n > screen {
			t.Errorf("pollux %s --help has %d lines", strings.Join(command, " "), n)
		}
	}
}
