package rpc

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

const (
	// socketPathMax is sizeof(sockaddr_un.sun_path) without the final zero.
	socketPathMax = 107
	// socketMode lets nobody but the owner configure storage.
	socketMode = 0o600
)

// listener is a Unix socket and the lock file that says whose it is.
type listener struct {
	*net.UnixListener
	path string
	lock *os.File
}

// listen takes the lock, removes what a process that is gone has left, and
// binds.
func listen(path string) (*listener, error) {
	if path == "" || len(path) > socketPathMax {
		return nil, fmt.Errorf("RPC socket %q: the path has %d bytes, and must have 1 to %d", path, len(path), socketPathMax)
	}
	lock, err := takeLock(path)
	if err != nil {
		return nil, fmt.Errorf("RPC socket %s: %w", path, err)
	}
	l := &listener{path: path, lock: lock}
	if err := l.bind(); err != nil {
		return nil, errors.Join(fmt.Errorf("RPC socket %s: %w", path, err), l.releaseLock())
	}
	return l, nil
}

func (l *listener) bind() error {
	if err := removeStale(l.path); err != nil {
		return err
	}
	config := net.ListenConfig{Control: restrict}
	bound, err := config.Listen(context.Background(), "unix", socketName(l.path))
	if err != nil {
		return err
	}
	l.UnixListener = bound.(*net.UnixListener)
	return nil
}

// restrict sets the mode of a socket that is not bound yet: on Linux the file
// is then made with it, and at no time can others connect.
func restrict(_, _ string, c syscall.RawConn) error {
	var err error
	if controlErr := c.Control(func(fd uintptr) { err = unix.Fchmod(int(fd), socketMode) }); controlErr != nil {
		return controlErr
	}
	return err
}

// socketName keeps package net from taking a leading @ for an abstract name.
func socketName(path string) string {
	if strings.HasPrefix(path, "@") {
		return "./" + path
	}
	return path
}

// removeStale removes a socket that nobody serves, which holding the lock
// proves. Anything else at the path is not ours to remove.
func removeStale(path string) error {
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case info.Mode().Type() != fs.ModeSocket:
		return fmt.Errorf("the path exists and is not a socket; choose another one, or remove it")
	}
	return os.Remove(path)
}

// takeLock opens and locks PATH.lock. If another process removed the file
// between the two, the lock is on a file that nobody sees, and is taken anew.
func takeLock(path string) (*os.File, error) {
	for {
		lock, err := os.OpenFile(path+".lock", os.O_RDWR|os.O_CREATE, socketMode)
		if err != nil {
			return nil, err
		}
		err = unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil && isAt(lock, path+".lock") {
			writeOwner(lock)
			return lock, nil
		}
		owner := readOwner(lock)
		lock.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, fmt.Errorf("in use by process %s; choose another path with -r", owner)
		}
		if err != nil {
			return nil, fmt.Errorf("lock %s.lock: %w", path, err)
		}
	}
}

func isAt(file *os.File, path string) bool {
	ours, err := file.Stat()
	if err != nil {
		return false
	}
	there, err := os.Stat(path)
	return err == nil && os.SameFile(ours, there)
}

// writeOwner leaves our process id for the message that a second server
// gives. Without it, on a full disk, the lock holds all the same.
func writeOwner(lock *os.File) {
	_ = lock.Truncate(0)
	_, _ = lock.WriteAt(fmt.Appendln(nil, os.Getpid()), 0)
}

func readOwner(lock *os.File) string {
	buffer := make([]byte, 20)
	n, _ := lock.ReadAt(buffer, 0)
	if text := strings.TrimSpace(string(buffer[:n])); text != "" {
		return text
	}
	return "of unknown id"
}

// close stops listening and removes first the socket and then the lock.
func (l *listener) close() error {
	return errors.Join(l.UnixListener.Close(), l.releaseLock())
}

func (l *listener) releaseLock() error {
	err := os.Remove(l.path + ".lock")
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	return errors.Join(err, l.lock.Close())
}
