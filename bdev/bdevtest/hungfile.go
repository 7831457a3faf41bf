package bdevtest

import (
	"os"
	"os/signal"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// HungFile is a file on which open(2) hangs, for this process as for others, because somebody has a lease on it (fcntl, F_SETLEASE). The
// kernel breaks a lease after /proc/sys/fs/lease-break-time, 45 s, which is for ever here. One test of a process at a time has one.
type HungFile struct {
	Path    string
	t       testing.TB
	fd      int
	waiting chan os.Signal
}

// NewHungFile makes a file of size bytes where the file system has leases.
func NewHungFile(t testing.TB, size int64) *HungFile {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "pollux-hung")
	if err != nil {
		dir = t.TempDir()
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	h := &HungFile{Path: filepath.Join(dir, "disk.img"), t: t, waiting: make(chan os.Signal, 1)}
	if h.fd, err = unix.Open(h.Path, unix.O_CREAT|unix.O_RDWR|unix.O_CLOEXEC, 0o600); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Close(h.fd) }) // With it the lease goes.
	if err := unix.Ftruncate(h.fd, size); err != nil {
		t.Fatal(err)
	}
	signal.Notify(h.waiting, unix.SIGIO)
	t.Cleanup(func() { signal.Stop(h.waiting) })
	if _, err := unix.FcntlInt(uintptr(h.fd), unix.F_SETLEASE, unix.F_WRLCK); err != nil {
		t.Skipf("no lease on %s, so that open(2) cannot be made to hang: %v", h.Path, err)
	}
	// Otherwise the signal is for the thread that has taken the lease, and is lost when that thread has ended.
	if _, err := unix.FcntlInt(uintptr(h.fd), unix.F_SETOWN, os.Getpid()); err != nil {
		t.Fatal(err)
	}
	return h
}

// Await returns when somebody hangs in open(2): the kernel tells the holder of the lease.
func (h *HungFile) Await() { <-h.waiting }

// Release has open(2) go on.
func (h *HungFile) Release() {
	h.t.Helper()
	if _, err := unix.FcntlInt(uintptr(h.fd), unix.F_SETLEASE, unix.F_UNLCK); err != nil {
		h.t.Fatal(err)
	}
}

// Descriptors is how many this process has of the file, without the test's own.
func (h *HungFile) Descriptors() (n int) {
	h.t.Helper()
	all, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		h.t.Fatal(err)
	}
	for _, fd := range all {
		if name, err := os.Readlink("/proc/self/fd/" + fd.Name()); err == nil && name == h.Path {
			n++
		}
	}
	return n - 1
}
