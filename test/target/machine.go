package target

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// Environment variables that tests heed.
const (
	// EnvBinary names a Pollux program to test instead of building one.
	EnvBinary = "POLLUX_BINARY"
	// EnvTags are build tags for the program, such as invariants.
	EnvTags = "POLLUX_TEST_TAGS"
	// EnvCache is the folder of unpacked peers and guest images; default pollux-test in the user's cache.
	EnvCache = "POLLUX_TEST_CACHE"
	// EnvPorts is a range such as 21000-31999 to take TCP ports from.
	EnvPorts = "POLLUX_TEST_PORTS"
	// EnvTargets lists the kinds of target that tests run against, such as "pollux,tgt".
	EnvTargets = "POLLUX_TEST_TARGETS"
	// EnvFull asks for the long runs.
	EnvFull = "POLLUX_TEST_FULL"
)

// Full tells whether the long runs are asked for.
func Full() bool { return os.Getenv(EnvFull) != "" }

// Root is the folder of the module.
var Root = sync.OnceValue(func() string {
	dir, err := os.Getwd()
	for ; err == nil; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir
		}
		if dir == filepath.Dir(dir) {
			break
		}
	}
	panic("no go.mod above the working directory: tests run inside the repository")
})

// Cache is the folder for what tests fetch or build once.
func Cache() string {
	if dir := os.Getenv(EnvCache); dir != "" {
		return dir
	}
	dir, err := os.UserCacheDir()
	if err != nil {
		dir = os.TempDir()
	}
	return filepath.Join(dir, "pollux-test")
}

// ErrMissing is what an absent program, peer or right is; tests skip by it.
var ErrMissing = errors.New("not there")

// Program finds a program: in PATH, in the folders of administrators, or in a package unpacked into the cache.
func Program(name string) (string, error) {
	if path, err := exec.LookPath(name); err == nil {
		return path, nil
	}
	dirs := []string{"/usr/sbin", "/sbin", filepath.Join(Cache(), "tgt/usr/sbin"), filepath.Join(Cache(), "drbd-utils/sbin")}
	for _, dir := range dirs {
		if path, err := exec.LookPath(filepath.Join(dir, name)); err == nil {
			return path, nil
		}
	}
	return "", fmt.Errorf("program %s: %w (make deps installs it)", name, ErrMissing)
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return !errors.Is(err, fs.ErrNotExist)
}

// PolluxBinary is the program under test: EnvBinary, or one that is built with the tags of EnvTags.
var PolluxBinary = sync.OnceValues(func() (string, error) {
	if path := os.Getenv(EnvBinary); path != "" {
		return filepath.Abs(path)
	}
	return Build(os.Getenv(EnvTags))
})

// Build makes the program with build tags and returns its path. Processes that build at the same time wait for one another;
// the go command leaves an up-to-date program alone.
func Build(tags string) (string, error) {
	if !exists(filepath.Join(Root(), "main.go")) {
		return "", fmt.Errorf("main.go: %w", ErrMissing)
	}
	unlock, err := lockBuilds()
	if err != nil {
		return "", err
	}
	defer unlock()
	path := filepath.Join(builds(), strings.Join(append([]string{"pollux"}, strings.FieldsFunc(tags, isComma)...), "-"))
	cmd := exec.Command("go", "build", "-trimpath", "-tags", tags, "-o", path, ".")
	cmd.Dir = Root()
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if text, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("go build: %w\n%s", err, text)
	}
	return path, nil
}

// builds is where tests put what they build.
func builds() string { return filepath.Join(Root(), "test", "out") }

// lockBuilds keeps other tests and other processes from building until unlock is called.
func lockBuilds() (unlock func(), err error) {
	if err := os.MkdirAll(builds(), 0o755); err != nil {
		return nil, err
	}
	lock, err := os.Create(filepath.Join(builds(), "lock"))
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX); err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	return func() { _ = lock.Close() }, nil // which gives up the lock
}

func isComma(r rune) bool { return r == ',' }

// TakePort finds a TCP port on which nothing listens and which no other test has taken; release gives it back. The default
// range lies below the one from which the kernel takes ports for outgoing connections, so that a restarted server finds its
// port free.
func TakePort() (port int, release func(), err error) {
	low, high := 21000, 31999
	if text := os.Getenv(EnvPorts); text != "" {
		if _, err := fmt.Sscanf(strings.TrimSpace(text), "%d-%d", &low, &high); err != nil || low > high {
			return 0, nil, fmt.Errorf("%s=%q is not LOW-HIGH", EnvPorts, text)
		}
	}
	dir := filepath.Join(os.TempDir(), fmt.Sprintf("pollux-ports-%d", os.Getuid()))
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return 0, nil, err
	}
	const attempts = 1000
	for range attempts {
		port := low + rand.IntN(high-low+1)
		if release, ok := lockPort(dir, port); ok {
			return port, release, nil
		}
	}
	return 0, nil, fmt.Errorf("no free port in %d-%d", low, high)
}

// lockPort takes the port's lock file, which other tests heed, and sees whether the port is free.
func lockPort(dir string, port int) (release func(), ok bool) {
	lock, err := os.Create(filepath.Join(dir, strconv.Itoa(port)))
	if err != nil {
		return nil, false
	}
	release = func() { lock.Close() }
	if unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB) == nil {
		if l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port)); err == nil {
			l.Close()
			return release, true
		}
	}
	release()
	return nil, false
}
