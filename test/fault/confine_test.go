package fault

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// confineCommand is the first argument by which this test program becomes the one that starts a server in hostile surroundings.
const confineCommand = "confine"

func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == confineCommand {
		err := confine(os.Args[2:])
		fmt.Fprintln(os.Stderr, "confine:", err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// surroundings are what confine gives a server.
type surroundings struct {
	noURing bool   // seccomp answers io_uring_setup with EPERM, as containers do
	user    int    // runs as this user, without privileges; 0: as we do
	memlock int64  // RLIMIT_MEMLOCK in bytes; -1: as it is
	nofile  int64  // RLIMIT_NOFILE; -1: as it is
	small   string // a folder that becomes a small file system of its own, in a mount namespace of the server
	size    string // of a tmpfs there, as mount takes it
	image   string // of the file system there; none: a tmpfs
}

// usual are surroundings as they are.
func usual() surroundings { return surroundings{memlock: -1, nofile: -1} }

// wrap is the command line that a server's is appended to.
func (s surroundings) wrap() []string {
	return []string{
		"/proc/self/exe", confineCommand, fmt.Sprintf("-no-uring=%t", s.noURing), fmt.Sprintf("-user=%d", s.user),
		fmt.Sprintf("-memlock=%d", s.memlock), fmt.Sprintf("-nofile=%d", s.nofile), "-small=" + s.small, "-size=" + s.size, "-image=" + s.image, "--",
	}
}

// confine becomes the program in args, in the surroundings that the flags before it describe. It returns only if it cannot.
func confine(args []string) error {
	var s surroundings
	flags := flag.NewFlagSet(confineCommand, flag.ContinueOnError)
	flags.BoolVar(&s.noURing, "no-uring", false, "")
	flags.IntVar(&s.user, "user", 0, "")
	flags.Int64Var(&s.memlock, "memlock", -1, "")
	flags.Int64Var(&s.nofile, "nofile", -1, "")
	flags.StringVar(&s.small, "small", "", "")
	flags.StringVar(&s.size, "size", "", "")
	flags.StringVar(&s.image, "image", "", "")
	if err := flags.Parse(args); err != nil {
		return err
	}
	// What follows holds for this thread, which is the only one that the program inherits.
	runtime.LockOSThread()
	err := errors.Join(s.mount(), limit(unix.RLIMIT_MEMLOCK, s.memlock), limit(unix.RLIMIT_NOFILE, s.nofile), s.become(), s.deny())
	if err != nil {
		return err
	}
	program := flags.Args()
	return syscall.Exec(program[0], program, os.Environ())
}

func (s surroundings) mount() error {
	if s.small == "" {
		return nil
	}
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		return fmt.Errorf("mount namespace: %w", err)
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return err
	}
	if s.image == "" {
		return unix.Mount("tmpfs", s.small, "tmpfs", 0, "mode=0777,size="+s.size)
	}
	// The loop device goes with the namespace.
	if out, err := exec.Command("mount", "-o", "loop", s.image, s.small).CombinedOutput(); err != nil {
		return fmt.Errorf("mount %s: %w: %s", s.image, err, out)
	}
	return nil
}

func limit(resource int, n int64) error {
	if n < 0 {
		return nil
	}
	// By package syscall, which knows then that it must not restore the old limit at exec.
	return syscall.Setrlimit(resource, &syscall.Rlimit{Cur: uint64(n), Max: uint64(n)})
}

// become changes the user of this thread, and has the program end with the test still.
func (s surroundings) become() error {
	if s.user == 0 {
		return nil
	}
	if _, _, errno := unix.RawSyscall(unix.SYS_SETGROUPS, 0, 0, 0); errno != 0 {
		return fmt.Errorf("setgroups: %w", errno)
	}
	for _, call := range []uintptr{unix.SYS_SETRESGID, unix.SYS_SETRESUID} {
		if _, _, errno := unix.RawSyscall(call, uintptr(s.user), uintptr(s.user), uintptr(s.user)); errno != 0 {
			return fmt.Errorf("become user %d: %w", s.user, errno)
		}
	}
	return unix.Prctl(unix.PR_SET_PDEATHSIG, uintptr(unix.SIGKILL), 0, 0, 0)
}

// deny has the kernel answer io_uring_setup with EPERM from now on.
func (s surroundings) deny() error {
	if !s.noURing {
		return nil
	}
	const loadWord, isEqual, answer = unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, unix.BPF_RET | unix.BPF_K
	program := []unix.SockFilter{
		{Code: loadWord, K: 0}, // struct seccomp_data begins with the number of the call
		{Code: isEqual, Jf: 1, K: unix.SYS_IO_URING_SETUP},
		{Code: answer, K: unix.SECCOMP_RET_ERRNO | uint32(unix.EPERM)},
		{Code: answer, K: unix.SECCOMP_RET_ALLOW},
	}
	filter := unix.SockFprog{Len: uint16(len(program)), Filter: &program[0]}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return err
	}
	err := unix.Prctl(unix.PR_SET_SECCOMP, unix.SECCOMP_MODE_FILTER, uintptr(unsafe.Pointer(&filter)), 0, 0)
	runtime.KeepAlive(program)
	return err
}

// needRoot skips the test for ordinary users.
func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("only root makes these surroundings")
	}
}

// needLoop skips the test where there are no loop devices.
func needLoop(t *testing.T) {
	t.Helper()
	control, err := unix.Open("/dev/loop-control", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err == nil {
		_, err = unix.IoctlRetInt(control, unix.LOOP_CTL_GET_FREE)
		_ = unix.Close(control)
	}
	if err != nil {
		t.Skipf("no loop devices: %v", err)
	}
}

// linesWith are the lines of a log that hold one of the words.
func linesWith(log string, words ...string) (lines []string) {
	for line := range strings.Lines(log) {
		for _, w := range words {
			if strings.Contains(line, w) {
				lines = append(lines, strings.TrimSpace(line))
				break
			}
		}
	}
	return lines
}
