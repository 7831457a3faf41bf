package aio

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"pollux/bdev"
	"pollux/reactor/iobuf"
)

// file is an open file or block device, and what can be done with it. It does not change.
type file struct {
	fd        int
	size      uint64 // bytes, when it was opened
	sector    uint32 // bytes, of a block device; 0 for a file
	direct    bool   // O_DIRECT, through the ring; otherwise the pool
	readOnly  bool
	punches   bool // holes can be punched
	zeroes    bool // FALLOC_FL_ZERO_RANGE works
	seeks     bool // SEEK_DATA and SEEK_HOLE work
	blockSize uint32

	// What the control plane does with it.
	sync, close func() error
	sizeNow     func() (uint64, error)
}

// File systems by their magic number.
const (
	magicTmpfs = unix.TMPFS_MAGIC
	magicExt4  = unix.EXT4_SUPER_MAGIC
	magicXFS   = unix.XFS_SUPER_MAGIC
	magicBtrfs = unix.BTRFS_SUPER_MAGIC
)

// openFile opens path for blocks of blockSize bytes (0: a block device's own), and locks it.
func openFile(path string, blockSize uint32, readOnly bool) (*file, error) {
	f, err := openBest(path, blockSize, readOnly)
	if err != nil {
		return nil, err
	}
	if err := lock(f.fd, path, readOnly, lockMax); err != nil {
		_ = f.close()
		return nil, err
	}
	return f, nil
}

// openBest opens path with O_DIRECT if possible.
func openBest(path string, blockSize uint32, readOnly bool) (*file, error) {
	mode := unix.O_RDWR
	if readOnly {
		mode = unix.O_RDONLY
	}
	f, err := openMode(path, mode|unix.O_DIRECT, readOnly)
	if errors.Is(err, syscall.EINVAL) { // The file system has no O_DIRECT.
		f, err = openMode(path, mode, readOnly)
	}
	if err != nil {
		return nil, err
	}
	if err := f.fit(path, blockSize); err != nil {
		_ = f.close()
		return nil, err
	}
	if f.direct && !f.takesDirect() {
		_ = f.close()
		return reopenBuffered(path, mode, blockSize, readOnly)
	}
	return f, nil
}

// reopenBuffered is the way of files whose O_DIRECT does not take the blocks.
func reopenBuffered(path string, mode int, blockSize uint32, readOnly bool) (*file, error) {
	f, err := openMode(path, mode, readOnly)
	if err != nil {
		return nil, err
	}
	if err := f.fit(path, blockSize); err != nil {
		_ = f.close()
		return nil, err
	}
	return f, nil
}

// openMode opens path and looks at what it is.
func openMode(path string, mode int, readOnly bool) (*file, error) {
	fd, err := unix.Open(path, mode|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	f := &file{fd: fd, readOnly: readOnly, direct: mode&unix.O_DIRECT != 0}
	f.close = func() error { return unix.Close(fd) }
	f.sync = func() error { return unix.Fdatasync(fd) }
	f.sizeNow = func() (uint64, error) { return sizeOf(fd) }
	if err := f.inspect(path); err != nil {
		_ = f.close()
		return nil, err
	}
	return f, nil
}

// inspect finds the size, the sector and the abilities.
func (f *file) inspect(path string) (err error) {
	var st unix.Stat_t
	if err := unix.Fstat(f.fd, &st); err != nil {
		return fmt.Errorf("stat %s: %w", path, err)
	}
	if f.size, err = sizeOf(f.fd); err != nil {
		return fmt.Errorf("size of %s: %w", path, err)
	}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		return f.inspectRegular(path)
	case unix.S_IFBLK:
		n, err := unix.IoctlGetInt(f.fd, unix.BLKSSZGET)
		if err != nil {
			return fmt.Errorf("sector size of %s: %w", path, err)
		}
		f.sector = uint32(n)
		f.punches = !f.readOnly && blockLimit(st.Rdev, "write_zeroes_max_bytes") > 0
		f.zeroes = f.punches
		return nil
	default:
		return fmt.Errorf("%s is neither a file nor a block device: %w", path, syscall.EINVAL)
	}
}

func (f *file) inspectRegular(path string) error {
	var fs unix.Statfs_t
	if err := unix.Fstatfs(f.fd, &fs); err != nil {
		return fmt.Errorf("statfs %s: %w", path, err)
	}
	magic := int64(fs.Type)
	f.direct = f.direct && magic != magicTmpfs
	f.zeroes = !f.readOnly && (magic == magicExt4 || magic == magicXFS || magic == magicBtrfs)
	// Beyond the end there is nothing to punch: the call changes nothing, and tells.
	const punch = unix.FALLOC_FL_PUNCH_HOLE | unix.FALLOC_FL_KEEP_SIZE
	f.punches = !f.readOnly && unix.Fallocate(f.fd, punch, int64(f.size), iobuf.MinSize) == nil
	_, err := unix.Seek(f.fd, 0, unix.SEEK_HOLE)
	f.seeks = err == nil
	return nil
}

// A process that was killed may have left writes on their way to the disk, which nothing calls back. Its lock is gone when the last of
// them has ended: the kernel holds the file open for them. Its successor looks every lockStep, for lockMax.
const (
	lockMax  = 3 * time.Second
	lockStep = 5 * time.Millisecond
)

// lock takes the file for ourselves, so that nobody else's write comes between or after ours; readers share it. Where a file system has
// no locks (ENOLCK, EOPNOTSUPP) there is none. Error: EBUSY.
func lock(fd int, path string, readOnly bool, linger time.Duration) error {
	how := unix.LOCK_EX | unix.LOCK_NB
	if readOnly {
		how = unix.LOCK_SH | unix.LOCK_NB
	}
	for until := time.Now().Add(linger); ; time.Sleep(lockStep) {
		if err := unix.Flock(fd, how); !errors.Is(err, syscall.EWOULDBLOCK) {
			return nil
		}
		if time.Now().After(until) {
			return fmt.Errorf("%s is in use by another bdev or process, or a process that was killed has writes on their way to it: %w", path, syscall.EBUSY)
		}
	}
}

// sizeOf is the size of a file or block device, in bytes.
func sizeOf(fd int) (uint64, error) {
	n, err := unix.Seek(fd, 0, unix.SEEK_END)
	return uint64(n), err
}

// blockLimit is a limit of a block device's queue, 0 if it is not known. A partition has its disk's.
func blockLimit(dev uint64, name string) uint64 {
	dir := fmt.Sprintf("/sys/dev/block/%d:%d", unix.Major(dev), unix.Minor(dev))
	for _, path := range []string{dir + "/queue/" + name, dir + "/../queue/" + name} {
		if text, err := os.ReadFile(path); err == nil {
			n, _ := strconv.ParseUint(strings.TrimSpace(string(text)), 10, 64)
			return n
		}
	}
	return 0
}

// fit settles the block size.
func (f *file) fit(path string, blockSize uint32) error {
	if blockSize == 0 {
		blockSize = f.sector
	}
	switch {
	case blockSize == 0:
		return fmt.Errorf("%s: a file needs a block size: %w", path, syscall.EINVAL)
	case blockSize < f.sector:
		return fmt.Errorf("%s: block size %d is smaller than the sector of %d bytes: %w", path, blockSize, f.sector, syscall.EINVAL)
	case f.size < uint64(blockSize):
		return fmt.Errorf("%s: %d bytes are less than one block: %w", path, f.size, syscall.EINVAL)
	}
	f.blockSize = blockSize
	return nil
}

// directUnknown is the alignment assumed where nobody tells, in bytes.
const directUnknown = 4096

// takesDirect reports whether O_DIRECT takes single blocks. Trying would not do: in a hole nothing is checked.
func (f *file) takesDirect() bool {
	var sx unix.Statx_t
	err := unix.Statx(f.fd, "", unix.AT_EMPTY_PATH, unix.STATX_DIOALIGN, &sx)
	if err == nil && sx.Mask&unix.STATX_DIOALIGN != 0 { // Since Linux 6.1. No alignment is no O_DIRECT.
		return sx.Dio_offset_align != 0 && sx.Dio_offset_align <= f.blockSize
	}
	if f.sector != 0 {
		return f.sector <= f.blockSize
	}
	var st unix.Stat_t
	if err := unix.Fstat(f.fd, &st); err != nil {
		return false
	}
	sector := blockLimit(st.Dev, "logical_block_size")
	if sector == 0 {
		sector = directUnknown
	}
	return sector <= uint64(f.blockSize)
}

// CreateFile makes a sparse file of size bytes, durably, unless there is one. It waits no longer than SyncTimeout and until ctx ends; with
// bdev.ErrUnanswered, or ctx's error, the file may be there or come later.
func CreateFile(ctx context.Context, path string, size uint64) (created bool, err error) {
	return createInTime(ctx, path, func() (bool, error) { return createFile(path, size, unix.Fsync) })
}

// createInTime is create in the time of CreateFile.
func createInTime(ctx context.Context, path string, create func() (created bool, err error)) (created bool, err error) {
	ctx, cancel := within(ctx, SyncTimeout)
	defer cancel()
	created, err = inTime(ctx, create)
	if errors.Is(err, bdev.ErrUnanswered) {
		return false, fmt.Errorf("create %s: %w: the disk or its server hangs: see to it", path, err)
	}
	return created, err
}

// createFile is CreateFile with another fsync, and waits as long as it takes.
func createFile(path string, size uint64, fsync func(fd int) error) (created bool, err error) {
	if _, err := os.Stat(path); err == nil {
		return false, nil
	}
	if size == 0 {
		return false, fmt.Errorf("%s does not exist, and a new file needs a size: %w", path, syscall.ENOENT)
	}
	fd, err := unix.Open(path, unix.O_CREAT|unix.O_EXCL|unix.O_RDWR|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return false, fmt.Errorf("create %s: %w", path, err)
	}
	err = unix.Ftruncate(fd, int64(size))
	if err == nil && !bdev.Mutated(bdev.MutateFileNotSynced) {
		err = fsync(fd)
	}
	if err := errors.Join(err, unix.Close(fd), syncDirectory(filepath.Dir(path), fsync)); err != nil {
		_ = os.Remove(path)
		return false, fmt.Errorf("create %s: %w", path, err)
	}
	return true, nil
}

// syncDirectory makes the names in dir durable.
func syncDirectory(dir string, fsync func(fd int) error) error {
	if bdev.Mutated(bdev.MutateDirectoryNotSynced) || bdev.Mutated(bdev.MutateFileNotSynced) {
		return nil
	}
	fd, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open %s: %w", dir, err)
	}
	if err := errors.Join(fsync(fd), unix.Close(fd)); err != nil {
		return fmt.Errorf("sync %s: %w", dir, err)
	}
	return nil
}
