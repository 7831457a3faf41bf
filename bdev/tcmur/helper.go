package tcmur

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// stopPatience is how long a helper may take to end what it has begun and to close its handler, before it is killed. It is shorter
// than what the target gives all devices to end.
const stopPatience = 5 * time.Second

// messageMax is the longest message on the control socket, in bytes.
const messageMax = 4096

// helper is one process with one handler and one open device. Control plane.
type helper struct {
	cmd     *exec.Cmd
	region  *region
	control *net.UnixConn
	ready   readiness
	events  chan string   // messages after the first; closed when the socket has ended
	exited  chan struct{} // closed when the process has been waited for; then status
	gone    chan struct{} // closed when nobody reads events any more
	status  error
	leave   sync.Once     // closes gone
	logEnd  chan struct{} // closed when everything that it printed has been read
	logs    *logPump
}

// readiness is what the helper says of the opened device.
type readiness struct {
	size                          uint64
	blockSize                     uint32
	threads, nrThreads            int
	writeCache, writeProtect, ssd bool
	ops                           opSet
	maxXfer, maxUnmap             uint32 // blocks, 0 for no limit
	unmapGran, unmapAlign         uint32 // blocks
	abi, subtype                  string
}

// launch is what a helper is started with.
type launch struct {
	program   string
	handler   string
	cfg       string
	name      string
	size      uint64
	blockSize uint32
	threads   int
	abi       string
	lock      bool
	user      string
	timeout   time.Duration
	pipes     []pipe
	logs      *logPump
}

func (l *launch) args() []string {
	lock := "1"
	if !l.lock {
		lock = "0"
	}
	return []string{
		"handler=" + l.handler, "cfg=" + l.cfg, "name=" + l.name, "size=" + strconv.FormatUint(l.size, 10),
		"block_size=" + strconv.FormatUint(uint64(l.blockSize), 10), "threads=" + strconv.Itoa(l.threads), "abi=" + l.abi, "lock=" + lock,
	}
}

// startHelper starts a process and returns when its handler has opened the device.
func startHelper(ctx context.Context, l launch) (*helper, error) {
	g, err := newRegion(len(l.pipes))
	if err != nil {
		return nil, err
	}
	h := &helper{region: g, events: make(chan string, 64), exited: make(chan struct{}), gone: make(chan struct{}), logs: l.logs}
	l.logs.takeErrors() // Of the helper before.
	if err := h.spawn(l); err != nil {
		g.release()
		return nil, fmt.Errorf("start %s: %w", l.program, err)
	}
	if err := h.awaitReady(ctx, l.timeout); err != nil {
		h.kill()
		g.release()
		return nil, h.explain(err)
	}
	return h, nil
}

// explain adds to the error of a helper that has gone what its handler said last.
func (h *helper) explain(err error) error {
	select {
	case <-h.logEnd:
	case <-time.After(time.Second):
	}
	if said := h.logs.takeErrors(); said != "" {
		return fmt.Errorf("%w: %s", err, said)
	}
	return err
}

// spawn starts the process with the socket, the region and the pipes as descriptors 3, 4, 5, ...
func (h *helper) spawn(l launch) error {
	ours, theirs, err := socketPair()
	if err != nil {
		return err
	}
	defer theirs.Close()
	h.control = ours
	files := []*os.File{theirs, h.region.fd}
	for _, p := range l.pipes {
		f, err := duplicate(p.write)
		if err != nil {
			_ = ours.Close()
			return err
		}
		defer f.Close()
		files = append(files, f)
	}
	out, ended, err := l.logs.pipe()
	h.logEnd = ended
	if err != nil {
		_ = ours.Close()
		return err
	}
	defer out.Close()
	h.cmd = exec.Command(l.program, l.args()...)
	h.cmd.ExtraFiles, h.cmd.Stdout, h.cmd.Stderr = files, out, out
	// A process group of its own: Ctrl-C is for the target alone, and killing the group kills everything.
	h.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := h.setUser(l.user); err != nil {
		_ = ours.Close()
		return err
	}
	if err := h.cmd.Start(); err != nil {
		_ = ours.Close()
		return err
	}
	_ = h.region.fd.Close()
	h.region.fd = nil
	go h.wait()
	go h.listen()
	return nil
}

func (h *helper) setUser(name string) error {
	if name == "" {
		return nil
	}
	u, err := user.Lookup(name)
	if err != nil {
		return err
	}
	uid, err1 := strconv.ParseUint(u.Uid, 10, 32)
	gid, err2 := strconv.ParseUint(u.Gid, 10, 32)
	if err := errors.Join(err1, err2); err != nil {
		return err
	}
	h.cmd.SysProcAttr.Credential = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
	return nil
}

// socketPair makes the control connection; messages keep their boundaries.
func socketPair() (ours *net.UnixConn, theirs *os.File, err error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("socketpair: %w", err)
	}
	theirs = os.NewFile(uintptr(fds[1]), "control")
	f := os.NewFile(uintptr(fds[0]), "control")
	defer f.Close() // FileConn has a duplicate.
	c, err := net.FileConn(f)
	if err != nil {
		_ = theirs.Close()
		return nil, nil, err
	}
	return c.(*net.UnixConn), theirs, nil
}

func duplicate(fd int) (*os.File, error) {
	n, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("duplicate a descriptor: %w", err)
	}
	return os.NewFile(uintptr(n), "wake"), nil
}

// wait reaps the process: its death is known here first.
func (h *helper) wait() {
	h.status = h.cmd.Wait()
	close(h.exited)
}

// listen passes messages on until the socket ends, which a handler that closes everything can do before its process does.
func (h *helper) listen() {
	defer close(h.events)
	b := make([]byte, messageMax)
	for {
		n, err := h.control.Read(b)
		if err != nil || n == 0 {
			return
		}
		select {
		case h.events <- string(b[:n]):
		case <-h.gone:
			return
		}
	}
}

// send gives the helper an order.
func (h *helper) send(order string) error {
	if err := h.control.SetWriteDeadline(time.Now().Add(time.Second)); err != nil {
		return err
	}
	_, err := h.control.Write([]byte(order))
	return err
}

// awaitReady waits for the first message: that the device is open, or why it is not.
func (h *helper) awaitReady(ctx context.Context, timeout time.Duration) error {
	timer := time.NewTimer(timeout)
	defer timer.Stop()
	for {
		select {
		case m, ok := <-h.events:
			if !ok {
				return h.early()
			}
			if text, failed := strings.CutPrefix(m, "error "); failed {
				return errors.New(text)
			}
			if fields, isReady := strings.CutPrefix(m, "ready "); isReady {
				return h.ready.parse(fields)
			}
		case <-timer.C:
			return fmt.Errorf("the handler has not opened the device within %v: %w", timeout, syscall.ETIMEDOUT)
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// early says how a helper ended that has said nothing.
func (h *helper) early() error {
	select {
	case <-h.exited:
		return fmt.Errorf("the helper ended while opening the device: %s", h.fate())
	case <-time.After(time.Second):
		return errors.New("the handler has closed the helper's control socket")
	}
}

// fate is how the process ended.
func (h *helper) fate() string {
	if h.status == nil {
		return "exit status 0"
	}
	return h.status.Error()
}

// kill ends the process and everything in its group, and returns when it is gone.
func (h *helper) kill() {
	select {
	case <-h.exited:
	default:
		_ = syscall.Kill(-h.cmd.Process.Pid, syscall.SIGKILL)
		_ = h.cmd.Process.Kill() // Should it have left its group, without which nothing else can be in it.
	}
	<-h.exited
	h.leave.Do(func() { close(h.gone) })
	_ = h.control.Close()
}

// stop has the helper end what it has begun and close its handler; after stopPatience it is killed. The helper is gone either
// way; the error is that the handler has not been closed.
func (h *helper) stop() error {
	err := h.send("stop")
	if err == nil {
		err = h.awaitExit(stopPatience)
	}
	h.kill()
	return err
}

// awaitExit waits until the helper has ended by itself.
func (h *helper) awaitExit(patience time.Duration) error {
	timer := time.NewTimer(patience)
	defer timer.Stop()
	for events := h.events; ; {
		select {
		case <-h.exited:
			return h.status
		case <-timer.C:
			return fmt.Errorf("it did not end within %v and was killed", patience)
		case _, ok := <-events:
			if !ok {
				events = nil
			}
		}
	}
}

// parse reads key=value fields, which a foreign process has written: what makes no sense is an error.
func (r *readiness) parse(fields string) error {
	numbers := map[string]uint64{}
	for field := range strings.FieldsSeq(fields) {
		key, value, _ := strings.Cut(field, "=")
		switch key {
		case "ops":
			r.ops.parse(value)
		case "abi":
			r.abi = value
		case "subtype":
			r.subtype = value
		default:
			n, err := strconv.ParseUint(value, 10, 64)
			if err != nil {
				return fmt.Errorf("the helper says %s", field)
			}
			numbers[key] = n
		}
	}
	small := func(key string) uint32 { return uint32(min(numbers[key], 1<<32-1)) }
	r.size, r.blockSize = numbers["size"], small("block_size")
	r.threads, r.nrThreads = int(small("threads")), int(small("nr_threads"))
	r.writeCache, r.writeProtect, r.ssd = numbers["write_cache"] != 0, numbers["write_protect"] != 0, numbers["ssd"] != 0
	r.maxXfer, r.maxUnmap = small("max_xfer"), small("max_unmap")
	r.unmapGran, r.unmapAlign = small("unmap_gran"), small("unmap_align")
	r.ops.unmap = r.ops.unmap && numbers["unmap"] != 0
	if r.size == 0 || r.blockSize == 0 || r.size%uint64(r.blockSize) != 0 {
		return fmt.Errorf("the handler says that its device has %d bytes in blocks of %d", r.size, r.blockSize)
	}
	return nil
}

// parse reads the letters of the callouts.
func (o *opSet) parse(letters string) {
	has := func(c byte) bool { return slices.Contains([]byte(letters), c) }
	*o = opSet{
		write: has('w'), flush: has('f'), unmap: has('u'), writeSame: has('s'), caw: has('c'), lock: has('l'), reconfig: has('g'),
	}
}
