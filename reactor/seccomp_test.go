package reactor

import (
	"bytes"
	"log/slog"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// deniedVariable tells the test binary that it is the process without io_uring.
const deniedVariable = "POLLUX_TEST_DENY_IO_URING"

// Under a container's seccomp profile io_uring_setup fails. Reactors then run on the software ring, and say why.
func TestDeniedIOURing(t *testing.T) {
	if os.Getenv(deniedVariable) != "" {
		runDenied(t)
		return
	}
	child := exec.Command(os.Args[0], "-test.run=^TestDeniedIOURing$", "-test.v")
	child.Env = append(os.Environ(), deniedVariable+"=1")
	if out, err := child.CombinedOutput(); err != nil || !bytes.Contains(out, []byte("PASS")) {
		t.Fatalf("%v\n%s", err, out)
	}
}

func runDenied(t *testing.T) {
	runtime.LockOSThread()
	denyIOURing(t)
	runtime.UnlockOSThread()
	var out bytes.Buffer
	g := start(t, Config{Cores: []int{-1}, Log: slog.New(slog.NewTextHandler(&out, nil))})
	if name := g.Reactors()[0].Kernel().Name(); name != "software" {
		t.Errorf("the kernel is %q", name)
	}
	if log := out.String(); strings.Count(log, "\n") != 1 || !strings.Contains(log, "seccomp") {
		t.Errorf("log %q, want one line that names the cause", log)
	}
	ran := false
	if err := g.Reactors()[0].Call(func() { ran = true }); err != nil || !ran {
		t.Errorf("call: %v, ran %v", err, ran)
	}
}

// denyIOURing installs a filter for all threads of the process, as a container's profile does.
func denyIOURing(t *testing.T) {
	t.Helper()
	const allow, denied = 0x7fff0000, 0x00050000 | uint32(unix.EPERM) // SECCOMP_RET_ALLOW, SECCOMP_RET_ERRNO
	filter := []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: 0}, // the number of the system call
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: unix.SYS_IO_URING_SETUP, Jf: 1},
		{Code: unix.BPF_RET | unix.BPF_K, K: denied},
		{Code: unix.BPF_RET | unix.BPF_K, K: allow},
	}
	prog := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	// With TSYNC the kernel wants the no_new_privs of the calling thread only, so both calls are made on one.
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		t.Skipf("no_new_privs: %v", err)
	}
	const setModeFilter, tsync = 1, 1
	_, _, errno := unix.Syscall(unix.SYS_SECCOMP, setModeFilter, tsync, uintptr(unsafe.Pointer(&prog)))
	if errno != 0 {
		t.Skipf("seccomp: %v", errno)
	}
}
