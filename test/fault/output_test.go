package fault

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"pollux/test/target"
)

// TestLogThatCannotBeWritten: a full disk under the log stops nobody, nor does a pipe whose reader has gone or does not read. The
// same holds for standard output.
func TestLogThatCannotBeWritten(t *testing.T) {
	for name, lose := range map[string]func(t *testing.T, pipe string) (gone func()){
		"full disk": nil,
		"reader has gone": func(t *testing.T, pipe string) func() {
			reader, err := os.OpenFile(pipe, os.O_RDWR, 0)
			if err != nil {
				t.Fatal(err)
			}
			return func() { _ = reader.Close() }
		},
		"reader does not read": func(t *testing.T, pipe string) func() {
			fillPipe(t, pipe)
			return func() {}
		},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := oneMalloc()
			cfg.Args = []string{"-L", "all"}
			cfg.Dir = folderOf(t, 0)
			output, gone := "/dev/full", func() {}
			if lose != nil {
				output = filepath.Join(cfg.Dir, "output")
				if err := unix.Mkfifo(output, 0o600); err != nil {
					t.Fatal(err)
				}
				gone = lose(t, output)
			}
			cfg.Wrap = []string{"sh", "-c", `exec "$@" >` + output + ` 2>&1`, "sh"}
			server := target.Start(t, cfg)
			gone()
			d := logIn(t, server, 0)
			for i := range 3 { // Each device on tmpfs is worth a line.
				addAndDelete(t, server, i)
			}
			d.mustTell("a write", d.write(0, 1), good)
			d.holds(0, 1)
			if err := server.Stop(); err != nil {
				t.Error(err)
			}
		})
	}
}

// fillPipe leaves no room in a pipe that stays open to the end of the test.
func fillPipe(t *testing.T, pipe string) {
	t.Helper()
	fd, err := unix.Open(pipe, unix.O_RDWR|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Close(fd) })
	for err == nil {
		_, err = unix.Write(fd, make([]byte, 4096))
	}
	if !errors.Is(err, unix.EAGAIN) {
		t.Fatal(err)
	}
}

// addAndDelete makes a device on tmpfs, which the target tells of in its log.
func addAndDelete(t *testing.T, server *target.Server, i int) {
	t.Helper()
	file, err := os.CreateTemp("/dev/shm", "plx")
	if err != nil {
		t.Skip(err)
	}
	defer func() { _, _ = file.Close(), os.Remove(file.Name()) }()
	name := fmt.Sprint("shm", i)
	err = errors.Join(file.Truncate(lunSize),
		server.RPC("bdev_aio_create", map[string]any{"name": name, "filename": file.Name(), "block_size": blockSize}, nil),
		server.RPC("bdev_aio_delete", map[string]any{"name": name}, nil))
	if err != nil {
		t.Error(err)
	}
}
