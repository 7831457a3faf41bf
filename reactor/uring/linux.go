package uring

import (
	"errors"
	"fmt"
	"runtime"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Bits of io_uring_setup, io_uring_enter and io_uring_register.
const (
	setupCQSize       = 1 << 3
	setupClamp        = 1 << 4
	setupSubmitAll    = 1 << 7
	setupCoopTaskrun  = 1 << 8
	setupTaskrunFlag  = 1 << 9
	setupSingleIssuer = 1 << 12
	setupDeferTaskrun = 1 << 13
	setupNoSQArray    = 1 << 16

	featSingleMmap = 1 << 0
	featNoDrop     = 1 << 1
	featExtArg     = 1 << 8

	enterGetEvents      = 1 << 0
	enterExtArg         = 1 << 3
	enterRegisteredRing = 1 << 4

	registerProbe      = 8
	registerBuffers2   = 15
	registerUpdate     = 16
	registerIOWQAff    = 17
	registerRingFds    = 20
	registerPbufRing   = 22
	unregisterPbufRing = 23
)

// sqOffsets and cqOffsets are struct io_sqring_offsets and struct io_cqring_offsets.
type sqOffsets struct {
	head, tail, ringMask, ringEntries, flags, dropped, array, resv1 uint32
	userAddr                                                        uint64
}

type cqOffsets struct {
	head, tail, ringMask, ringEntries, overflow, cqes, flags, resv1 uint32
	userAddr                                                        uint64
}

// params is struct io_uring_params.
type params struct {
	sqEntries, cqEntries, flags, sqThreadCPU, sqThreadIdle, features, wqFd uint32
	resv                                                                   [3]uint32
	sqOff                                                                  sqOffsets
	cqOff                                                                  cqOffsets
}

// geteventsArg is struct io_uring_getevents_arg, timespec struct __kernel_timespec.
type geteventsArg struct {
	sigmask     uint64
	sigmaskSize uint32
	minWaitUsec uint32
	ts          uint64
}

type timespec struct{ sec, nsec int64 }

// waitArg is what a wait with a time-out passes; it lies in the kernel struct, so that a wait allocates nothing.
type waitArg struct {
	arg geteventsArg
	ts  timespec
}

// linux is the kernel's io_uring.
type linux struct {
	fd         int
	enterFd    int // the registered index, or fd
	enterFlags uint32
	features   Features
	rings      []byte
	sqeMem     []byte
	wait       *waitArg
}

// Config is what Open wants. Both sizes are powers of two.
type Config struct {
	SQEntries, CQEntries int
	Without              Features
}

// Open makes a ring answered by Linux, on the calling thread, which must be the only one ever to use it.
func Open(cfg Config) (*Ring, error) {
	if cfg.Without.Has(FeatureURing) {
		return nil, errors.New("io_uring is masked off")
	}
	k := &linux{wait: &waitArg{}}
	p, err := k.setup(cfg)
	if err != nil {
		return nil, err
	}
	q, err := k.mapRings(p)
	if err != nil {
		k.Close()
		return nil, err
	}
	k.registerRing()
	k.probe(q, p, cfg.Without)
	return q, nil
}

// setup tries the fastest flags first, and leaves away what older kernels refuse.
func (k *linux) setup(cfg Config) (*params, error) {
	base := uint32(setupCQSize | setupClamp)
	tries := []uint32{
		setupSubmitAll | setupSingleIssuer | setupDeferTaskrun | setupTaskrunFlag | setupNoSQArray, // 6.6
		setupSubmitAll | setupSingleIssuer | setupDeferTaskrun | setupTaskrunFlag,                  // 6.1
		setupSubmitAll | setupCoopTaskrun | setupTaskrunFlag | setupNoSQArray,
		setupSubmitAll | setupCoopTaskrun | setupTaskrunFlag, // 5.19
		0,
	}
	var errno syscall.Errno
	for _, flags := range tries {
		if flags&setupNoSQArray != 0 && cfg.Without.Has(FeatureNoSQArray) ||
			flags&setupDeferTaskrun != 0 && cfg.Without.Has(FeatureDeferTaskrun) {
			continue
		}
		var p *params
		if p, errno = k.setupSmaller(cfg, base|flags); errno == 0 {
			return p, k.check(p)
		}
		if errno != unix.EINVAL {
			break
		}
	}
	return nil, setupError(errno)
}

// setupSmaller tries rings of a quarter and a sixteenth of the size where memory may not be locked (RLIMIT_MEMLOCK).
func (k *linux) setupSmaller(cfg Config, flags uint32) (p *params, errno syscall.Errno) {
	for divide := 1; divide <= 16; divide *= 4 {
		p = &params{flags: flags, cqEntries: uint32(max(1, cfg.CQEntries/divide))}
		fd, _, errno := unix.Syscall(unix.SYS_IO_URING_SETUP, uintptr(max(1, cfg.SQEntries/divide)),
			uintptr(unsafe.Pointer(p)), 0)
		if errno == 0 {
			k.fd, k.enterFd = int(fd), int(fd)
			return p, 0
		}
		if errno != unix.ENOMEM {
			return nil, errno
		}
	}
	return nil, unix.ENOMEM
}

// setupError names the likely cause of a failed io_uring_setup.
func setupError(errno syscall.Errno) error {
	causes := map[syscall.Errno]string{
		unix.ENOSYS: "the kernel is older than 5.1 or built without it",
		unix.EPERM:  "a seccomp profile (containers) or sysctl kernel.io_uring_disabled forbids it",
		unix.EACCES: "a security module forbids it",
		unix.ENOMEM: "RLIMIT_MEMLOCK is too small",
		unix.EINVAL: "the kernel is too old",
	}
	cause, known := causes[errno]
	if !known {
		cause = "unknown cause"
	}
	return fmt.Errorf("io_uring_setup: %w (%s)", errno, cause)
}

// check refuses kernels before 5.11, which lack waits with a time-out.
func (k *linux) check(p *params) error {
	const needed = featSingleMmap | featNoDrop | featExtArg
	if p.features&needed == needed {
		return nil
	}
	_ = unix.Close(k.fd)
	return fmt.Errorf("io_uring of this kernel is too old: features %#x, need %#x (Linux 5.11)", p.features, needed)
}

// mapRings maps what the kernel has made and finds the words in it.
func (k *linux) mapRings(p *params) (*Ring, error) {
	const prot, flags = unix.PROT_READ | unix.PROT_WRITE, unix.MAP_SHARED | unix.MAP_POPULATE
	const offsetRings, offsetSQEs = 0, 0x10000000
	size := int(p.cqOff.cqes) + int(p.cqEntries)*int(unsafe.Sizeof(CQE{}))
	if p.flags&setupNoSQArray == 0 {
		size = max(size, int(p.sqOff.array)+int(p.sqEntries)*4)
	}
	var err error
	if k.rings, err = unix.Mmap(k.fd, offsetRings, size, prot, flags); err != nil {
		return nil, fmt.Errorf("map rings: %w", err)
	}
	if k.sqeMem, err = unix.Mmap(k.fd, offsetSQEs, int(p.sqEntries)*int(unsafe.Sizeof(SQE{})), prot, flags); err != nil {
		return nil, fmt.Errorf("map submission entries: %w", err)
	}
	// Sound: the kernel says where its words lie inside the mapping, which lives as long as the ring.
	at := func(offset uint32) unsafe.Pointer { return unsafe.Pointer(&k.rings[offset]) }
	word := func(offset uint32) *atomic.Uint32 { return (*atomic.Uint32)(at(offset)) }
	q := &Ring{
		kernel: k,
		sqes:   unsafe.Slice((*SQE)(unsafe.Pointer(&k.sqeMem[0])), p.sqEntries),
		cqes:   unsafe.Slice((*CQE)(at(p.cqOff.cqes)), p.cqEntries),
		sqHead: word(p.sqOff.head), sqTail: word(p.sqOff.tail), sqFlags: word(p.sqOff.flags),
		cqHead: word(p.cqOff.head), cqTail: word(p.cqOff.tail),
	}
	if p.flags&setupNoSQArray == 0 {
		q.sqArray = unsafe.Slice((*uint32)(at(p.sqOff.array)), p.sqEntries)
	}
	return q, nil
}

// registerRing saves the look-up of the descriptor in each enter; without it everything works as well.
func (k *linux) registerRing() {
	update := struct {
		offset, resv uint32
		data         uint64
	}{offset: ^uint32(0), data: uint64(k.fd)} // struct io_uring_rsrc_update
	n, errno := k.register(registerRingFds, unsafe.Pointer(&update), 1)
	if n == 1 && errno == 0 {
		k.enterFd, k.enterFlags = int(update.offset), enterRegisteredRing
	}
}

func (k *linux) register(op uintptr, arg unsafe.Pointer, n int) (int, syscall.Errno) {
	r, _, errno := unix.Syscall6(unix.SYS_IO_URING_REGISTER, uintptr(k.fd), op, uintptr(arg), uintptr(n), 0, 0)
	return int(r), errno
}

// Enter submits and fetches. The call that cannot sleep does not tell the Go scheduler; the one that can does.
func (k *linux) Enter(_ *Ring, submit uint32, wait bool, timeout time.Duration) (int, syscall.Errno) {
	if !wait {
		n, _, errno := syscall.RawSyscall6(unix.SYS_IO_URING_ENTER, uintptr(k.enterFd), uintptr(submit), 0,
			uintptr(enterGetEvents|k.enterFlags), 0, 0)
		return taken(n, errno)
	}
	flags := uintptr(enterGetEvents | enterExtArg | k.enterFlags)
	k.wait.arg = geteventsArg{}
	if timeout >= 0 {
		k.wait.ts = timespec{sec: int64(timeout / time.Second), nsec: int64(timeout % time.Second)}
		k.wait.arg.ts = uint64(uintptr(unsafe.Pointer(&k.wait.ts))) // Sound: a heap object, kept alive by k.
	}
	n, _, errno := syscall.Syscall6(unix.SYS_IO_URING_ENTER, uintptr(k.enterFd), uintptr(submit), 1, flags,
		uintptr(unsafe.Pointer(&k.wait.arg)), unsafe.Sizeof(k.wait.arg))
	return taken(n, errno)
}

func taken(n uintptr, errno syscall.Errno) (int, syscall.Errno) {
	if errno != 0 {
		return 0, errno
	}
	return int(n), 0
}

// Features are what this kernel offers and what is not masked off.
func (k *linux) Features() Features { return k.features }

// Name tells the kernels apart.
func (k *linux) Name() string { return "io_uring" }

// Close ends everything in flight.
func (k *linux) Close() {
	for _, mem := range [][]byte{k.rings, k.sqeMem} {
		if mem != nil {
			_ = unix.Munmap(mem)
		}
	}
	_ = unix.Close(k.fd)
}

// RegisterBuffers makes b known under its group.
func (k *linux) RegisterBuffers(b *BufRing) syscall.Errno {
	reg := b.register()
	_, errno := k.register(registerPbufRing, unsafe.Pointer(&reg), 1)
	return errno
}

// FixedMax is how many registered buffers there can be.
const FixedMax = 1 << 14

// rsrcRegister and rsrcUpdate are struct io_uring_rsrc_register and struct io_uring_rsrc_update2.
type rsrcRegister struct {
	nr, flags  uint32
	_          uint64
	data, tags uint64
}

type rsrcUpdate struct {
	offset, _  uint32
	data, tags uint64
	nr, _      uint32
}

// openFixed makes the table of registered buffers, empty (since 5.19).
func (k *linux) openFixed() bool {
	const sparse = 1
	reg := rsrcRegister{nr: FixedMax, flags: sparse}
	_, errno := k.register(registerBuffers2, unsafe.Pointer(&reg), int(unsafe.Sizeof(reg)))
	return errno == 0
}

// SetFixed pins mem, which counts against RLIMIT_MEMLOCK, or unpins what was there.
func (k *linux) SetFixed(index int, mem []byte) syscall.Errno {
	if index >= FixedMax {
		return unix.EINVAL
	}
	iov := &Iovec{}
	if mem != nil {
		iov.Set(mem)
	}
	up := rsrcUpdate{offset: uint32(index), data: uint64(uintptr(unsafe.Pointer(iov))), nr: 1}
	_, errno := k.register(registerUpdate, unsafe.Pointer(&up), int(unsafe.Sizeof(up)))
	runtime.KeepAlive(iov)
	return errno
}

// WorkersOn confines the threads that the kernel starts for this ring to the cores of set.
func (k *linux) WorkersOn(set *unix.CPUSet) syscall.Errno {
	_, errno := k.register(registerIOWQAff, unsafe.Pointer(set), int(unsafe.Sizeof(*set)))
	return errno
}
