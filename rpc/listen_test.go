package rpc

import (
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

func quietServer(t *testing.T) *Server {
	t.Helper()
	s := New(Options{Log: slog.New(slog.DiscardHandler)})
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func expectError(t *testing.T, err error, parts ...string) {
	t.Helper()
	if err == nil {
		t.Fatalf("no error, want %q", parts)
	}
	for _, part := range parts {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("%q does not say %q", err, part)
		}
	}
}

func mustNotExist(t *testing.T, path string) {
	t.Helper()
	if _, err := os.Lstat(path); !os.IsNotExist(err) {
		t.Errorf("%s: %v, want that it does not exist", path, err)
	}
}

func TestSocketLifecycle(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	s := quietServer(t)
	if err := s.Listen(path); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{path, path + ".lock"} {
		if info, err := os.Stat(name); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", name, info, err)
		}
	}
	_ = s.Close()
	mustNotExist(t, path)
	mustNotExist(t, path+".lock")
	if err := s.Listen(path); err == nil {
		t.Error("a closed server listens")
	}
	mustNotExist(t, path)
}

func TestSocketInUse(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	first := quietServer(t)
	if err := first.Listen(path); err != nil {
		t.Fatal(err)
	}
	err := quietServer(t).Listen(path)
	expectError(t, err, path, "in use by process "+strconv.Itoa(os.Getpid()), "-r")
	c, err := Dial(path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	if err := c.Call(t.Context(), "spdk_get_version", nil, nil); err != nil {
		t.Error(err)
	}
}

// TestStaleSocket finds what a killed server leaves: a socket and a lock file
// that is not locked.
func TestStaleSocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	_ = l.Close()
	if err := os.WriteFile(path+".lock", []byte("99999999\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Dial(path); err == nil {
		t.Fatal("somebody listens")
	} else {
		expectError(t, err, path, "nobody listens")
	}
	if err := quietServer(t).Listen(path); err != nil {
		t.Error(err)
	}
	if c, err := Dial(path); err != nil {
		t.Error(err)
	} else {
		_ = c.Close()
	}
}

func TestSocketPathIsAFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	if err := os.WriteFile(path, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	expectError(t, quietServer(t).Listen(path), path, "not a socket")
	if text, _ := os.ReadFile(path); string(text) != "precious" {
		t.Errorf("the file holds %q", text)
	}
	mustNotExist(t, path+".lock")
}

func TestSocketErrors(t *testing.T) {
	s := quietServer(t)
	long := filepath.Join(t.TempDir(), strings.Repeat("x", 108))
	expectError(t, s.Listen(long), long, "must have 1 to 107")
	expectError(t, s.Listen(""), "must have 1 to 107")
	missing := filepath.Join(t.TempDir(), "no", "s")
	expectError(t, s.Listen(missing), missing, "no such file or directory")
}

// TestSocketWithAt is a file of that name and not an abstract socket, whose
// access nothing restricts.
func TestSocketWithAt(t *testing.T) {
	t.Chdir(t.TempDir())
	s := quietServer(t)
	if err := s.Listen("@s"); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat("@s"); err != nil || info.Mode().Type() != fs.ModeSocket {
		t.Errorf("%v, %v", info, err)
	}
	c, err := Dial("@s")
	if err != nil {
		t.Fatal(err)
	}
	_ = c.Close()
	_ = s.Close()
	mustNotExist(t, "@s")
}

func TestAllowedMethodThatIsNone(t *testing.T) {
	s := New(Options{Allowed: []string{"spdk_get_version", "spdk_get_vresion"}})
	path := filepath.Join(t.TempDir(), "s")
	expectError(t, s.Listen(path), "there is no method spdk_get_vresion")
	s = New(Options{Allowed: []string{"get_spdk_version"}})
	expectError(t, s.Listen(path), "get_spdk_version is an older name of spdk_get_version")
	mustNotExist(t, path)
}

func TestDialErrors(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	_, err := Dial(path)
	expectError(t, err, path, "there is no such socket")
}
