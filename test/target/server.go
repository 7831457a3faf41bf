package target

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// driver knows one kind of server.
type driver interface {
	// command is the server's command line.
	command(s *Server) (*exec.Cmd, error)
	// ready returns nil when the server can be configured.
	ready(s *Server) error
	// configure makes it serve s.cfg, and returns when the portal answers.
	configure(s *Server) error
	// clean removes what a killed server leaves outside its folder.
	clean(s *Server)
	// firstLUN is the number of a node's first LUN: 0, or 1 where LUN 0 is a controller.
	firstLUN() int
	// stopSignal ends it; exitsCleanly tells whether it must then have exit status 0.
	stopSignal() (sig syscall.Signal, exitsCleanly bool)
}

var drivers = map[Kind]driver{Pollux: polluxDriver{}, Tgt: tgtDriver{}, Gotgt: gotgtDriver{}}

// Server is a target that was launched: running, or stopped and able to start again. One goroutine uses it.
type Server struct {
	cfg     Config
	drv     driver
	dir     string
	port    int
	proc    *process
	ownsDir bool
	release func()   // of the port
	temp    []string // files outside dir
}

// Launch starts the server that cfg describes and returns when its portal answers. Close it in the end.
func Launch(cfg Config) (*Server, error) {
	drv, ok := drivers[cfg.Kind]
	if !ok {
		return nil, fmt.Errorf("no driver for a server %q", cfg.Kind)
	}
	if err := cfg.check(); err != nil {
		return nil, fmt.Errorf("%s: %w", cfg, err)
	}
	port, release, err := TakePort()
	if err != nil {
		return nil, err
	}
	s := &Server{cfg: cfg, drv: drv, dir: cfg.Dir, port: port, release: release}
	if s.dir == "" {
		// Short, because a socket's path has 108 bytes.
		if s.dir, err = os.MkdirTemp("", "plx"); err != nil {
			release()
			return nil, err
		}
		s.ownsDir = true
	}
	if err := s.Start(); err != nil {
		if err = fmt.Errorf("%s: %w", cfg, err); s.proc != nil {
			err = fmt.Errorf("%w\n%s", err, s.Log())
		}
		s.Close()
		return nil, err
	}
	return s, nil
}

// Start starts a stopped server again, on the same portal and with the same LUNs.
func (s *Server) Start() error {
	cmd, err := s.drv.command(s)
	if err != nil {
		return err
	}
	if s.cfg.Cores != "" {
		cmd = wrapped(cmd, "taskset", "-c", s.cfg.Cores)
	}
	if len(s.cfg.Wrap) > 0 {
		cmd = wrapped(cmd, s.cfg.Wrap...)
	}
	proc, err := startProcess(cmd, s.logPath())
	if err != nil {
		return err
	}
	s.proc = proc
	if err := s.proc.until(func() error { return s.drv.ready(s) }); err != nil {
		return err
	}
	if err := s.drv.configure(s); err != nil {
		return fmt.Errorf("configure: %w", err)
	}
	return s.proc.until(s.portalAnswers)
}

// wrapped is cmd run by another program, which takes its command line behind arguments of its own.
func wrapped(cmd *exec.Cmd, by ...string) *exec.Cmd {
	w := exec.Command(by[0], slices.Concat(by[1:], []string{cmd.Path}, cmd.Args[1:])...)
	w.Env = cmd.Env
	return w
}

func (s *Server) portalAnswers() error {
	c, err := net.DialTimeout("tcp", s.Portal(), time.Second)
	if err != nil {
		return err
	}
	return c.Close()
}

// Stop ends the server the way its user would, and returns an error if it does not end as it should.
func (s *Server) Stop() error {
	sig, exitsCleanly := s.drv.stopSignal()
	if s.proc.ended() {
		return fmt.Errorf("%s ended by itself: %v", s.cfg, s.proc.err)
	}
	err := s.proc.signal(sig)
	s.drv.clean(s)
	if exitsCleanly && err != nil {
		return fmt.Errorf("%s on %s: %w", s.cfg, sig, err)
	}
	return s.portalGone()
}

// portalGone waits until nothing listens any more: the kernel takes an io_uring apart, and the sockets that it refers to, a
// moment after the process has ended.
func (s *Server) portalGone() error {
	for deadline := time.Now().Add(stopTimeout); s.portalAnswers() == nil; time.Sleep(pollInterval) {
		if time.Now().After(deadline) {
			return fmt.Errorf("%s has ended, but %s still answers after %s", s.cfg, s.Portal(), stopTimeout)
		}
	}
	return nil
}

// Kill ends the server by SIGKILL.
func (s *Server) Kill() error {
	if s.proc.ended() {
		return fmt.Errorf("%s ended by itself: %v", s.cfg, s.proc.err)
	}
	err := s.proc.signal(syscall.SIGKILL)
	s.drv.clean(s)
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
		return err
	}
	return s.portalGone()
}

// Pause keeps the server from running until Resume.
func (s *Server) Pause() error { return s.proc.cmd.Process.Signal(syscall.SIGSTOP) }

// Resume lets a paused server run on.
func (s *Server) Resume() error { return s.proc.cmd.Process.Signal(syscall.SIGCONT) }

// Kind is the server's program.
func (s *Server) Kind() Kind { return s.cfg.Kind }

// Running tells whether the server's process is there.
func (s *Server) Running() bool { return s.proc != nil && !s.proc.ended() }

// Close ends the server, if it runs, and removes its files.
func (s *Server) Close() {
	if s.Running() {
		_ = s.Kill() // it has ended by itself at worst
	}
	s.release()
	for _, path := range s.temp {
		os.Remove(path)
	}
	if s.ownsDir {
		os.RemoveAll(s.dir)
	}
}

// Portal is the address of the server's portal.
func (s *Server) Portal() string { return net.JoinHostPort(s.Host(), strconv.Itoa(s.port)) }

// Host is the address of the portal.
func (s *Server) Host() string { return cmp.Or(s.cfg.Host, "127.0.0.1") }

// Port is the TCP port of the portal.
func (s *Server) Port() int { return s.port }

// PID is the server's process.
func (s *Server) PID() int { return s.proc.cmd.Process.Pid }

// Dir is the server's folder.
func (s *Server) Dir() string { return s.dir }

// LUN is the number by which initiators know the i-th LUN of a node.
func (s *Server) LUN(i int) int { return i + s.drv.firstLUN() }

// URL is the i-th LUN of a node as libiscsi and qemu spell it, with the CHAP secret if there is one.
func (s *Server) URL(node string, i int) string {
	return fmt.Sprintf("iscsi://%s%s/%s/%d", s.credentials(node), s.Portal(), IQN(node), s.LUN(i))
}

// PortalURL is the portal as iscsi-ls takes it.
func (s *Server) PortalURL(node string) string {
	return fmt.Sprintf("iscsi://%s%s", s.credentials(node), s.Portal())
}

func (s *Server) credentials(node string) string {
	for _, n := range s.cfg.Nodes {
		if n.Name == node && n.CHAP != nil {
			return n.CHAP.User + "%" + n.CHAP.Secret + "@"
		}
	}
	return ""
}

// CPUTime is the processor time that the kernel has charged to the server so far.
func (s *Server) CPUTime() (time.Duration, error) { return s.proc.cpuTime() }

// ResidentMemory is what the kernel counts as the process's memory, and the most that it ever was, in bytes.
func (s *Server) ResidentMemory() (now, most int64, err error) {
	if now, err = s.proc.memory("VmRSS"); err != nil {
		return 0, 0, err
	}
	most, err = s.proc.memory("VmHWM")
	return now, most, err
}

// RPC calls a method of Pollux; result may be nil.
func (s *Server) RPC(method string, params, result any) error {
	if s.cfg.Kind != Pollux {
		return fmt.Errorf("%s has no JSON-RPC", s.cfg.Kind)
	}
	ctx, cancel := context.WithTimeout(context.Background(), rpcTimeout)
	defer cancel()
	return call(ctx, s.rpcSocket(), method, params, result)
}

// Log is the end of what the server has printed.
func (s *Server) Log() string {
	text, err := os.ReadFile(s.logPath())
	if err != nil {
		return err.Error()
	}
	const lines = 200
	all := strings.Split(strings.TrimRight(string(text), "\n"), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}

func (s *Server) logPath() string { return filepath.Join(s.dir, "log") }

func (s *Server) rpcSocket() string { return filepath.Join(s.dir, "rpc.sock") }

// File is the path of the file behind an AIO LUN.
func (s *Server) File(node string, i int) string {
	return filepath.Join(s.dir, lunName(node, i)+".img")
}

// backingFile makes the file behind a LUN, once, and returns its path.
func (s *Server) backingFile(l LUN, name string) (string, error) {
	path := filepath.Join(s.dir, name+".img")
	switch {
	case l.Path != "":
		path = l.Path
	case l.Backing == Malloc:
		path = fmt.Sprintf("/dev/shm/plx-%d-%s", s.port, name)
	}
	if exists(path) {
		return path, nil
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR|os.O_EXCL, 0o600)
	if err != nil {
		return "", err
	}
	if l.Backing == Malloc {
		s.temp = append(s.temp, path)
	}
	return path, errors.Join(f.Truncate(l.Size), f.Close())
}

// lunName is a name for the i-th LUN of a node: of a bdev, or of a file.
func lunName(node string, i int) string { return fmt.Sprintf("%s-%d", node, i) }
