package tcmur

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// errDamagedImage is that an image must not be written any more.
var errDamagedImage = errors.New("the image is damaged or cannot be checked")

// image is a QCOW file whose handler is known to corrupt some images, to loop or to die on others, and to leave an image in
// need of repair when it is killed.
type image struct {
	path string
	size uint64 // of the disk in it
	v1   bool
}

// The fields of a QCOW header that decide (QEMU's docs/interop/qcow2.txt), big-endian.
const (
	qcowHeaderMin = 104
	qcowMagic     = 0x514649fb

	qcowOffVersion      = 4
	qcowOffBacking      = 8
	qcowOffClusterBits  = 20
	qcowOffSize         = 24
	qcowOffCrypt        = 32
	qcow1OffCrypt       = 36
	qcowOffSnapshots    = 60
	qcowOffIncompatible = 72
	qcowOffRefcount     = 96

	qcowIncompatCorrupt    = 1 << 1
	qcowIncompatDataFile   = 1 << 2
	qcowIncompatZstd       = 1 << 3
	qcowIncompatExtendedL2 = 1 << 4
	qcowIncompatKnown      = 1<<5 - 1

	qcowClusterBitsMin = 10 // 512-byte clusters have the handler loop
	qcowRefcountMax    = 5  // log2: 64-bit reference counts have it abort
)

// openImage reads the header and refuses what the handler cannot be trusted with.
func openImage(path string) (*image, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("qcow image: %w", err)
	}
	defer f.Close()
	header := make([]byte, qcowHeaderMin)
	n, err := f.ReadAt(header, 0)
	if err != nil && n < qcowOffSnapshots {
		return nil, fmt.Errorf("qcow image %s: read its header: %w", path, err)
	}
	m := &image{path: path}
	if err := m.check(header); err != nil {
		return nil, fmt.Errorf("qcow image %s: %w", path, err)
	}
	return m, onFileSystem(f)
}

// check looks at the header. Each refusal was seen with tcmu-runner's handler on an image that qemu-img had made.
func (m *image) check(h []byte) error {
	be32 := func(at int) uint32 { return binary.BigEndian.Uint32(h[at:]) }
	refuse := func(text string) error { return fmt.Errorf("%s: %w", text, syscall.ENOTSUP) }
	if be32(0) != qcowMagic {
		return fmt.Errorf("not a QCOW image: %w", syscall.EINVAL)
	}
	m.size = binary.BigEndian.Uint64(h[qcowOffSize:])
	version := be32(qcowOffVersion)
	switch {
	case binary.BigEndian.Uint64(h[qcowOffBacking:]) != 0:
		return refuse("it has a backing file, and the handler zeroes the rest of each cluster that it writes to for the first time; " +
			"convert the image with qemu-img convert")
	case version == 1:
		m.v1 = true
		if be32(qcow1OffCrypt) != 0 {
			return refuse("it is encrypted")
		}
		return nil
	case version != 2 && version != 3:
		return refuse(fmt.Sprintf("version %d", version))
	case be32(qcowOffClusterBits) < qcowClusterBitsMin:
		return refuse("clusters of 512 bytes have the handler loop for ever; use cluster_size=64k")
	case be32(qcowOffCrypt) != 0:
		return refuse("it is encrypted")
	case be32(qcowOffSnapshots) != 0:
		return refuse("it has snapshots, which the handler would overwrite; delete them or convert the image")
	case version == 2:
		return nil
	}
	incompatible := binary.BigEndian.Uint64(h[qcowOffIncompatible:])
	switch {
	case incompatible&qcowIncompatCorrupt != 0:
		return fmt.Errorf("it is marked corrupt; run qemu-img check -r all: %w", syscall.EUCLEAN)
	case incompatible&qcowIncompatDataFile != 0:
		return refuse("it has a data file of its own, which the handler ignores")
	case incompatible&qcowIncompatZstd != 0:
		return refuse("it is compressed with another method than zlib")
	case incompatible&qcowIncompatExtendedL2 != 0:
		return refuse("extended L2 entries (extended_l2=on), which the handler corrupts")
	case incompatible&^uint64(qcowIncompatKnown) != 0:
		return refuse("incompatible features that are not known")
	case be32(qcowOffRefcount) > qcowRefcountMax:
		return refuse("reference counts of 64 bits have the handler abort; use refcount_bits=16")
	}
	return nil
}

// onFileSystem refuses file systems that cannot zero a range, which the handler needs for every cluster it allocates.
func onFileSystem(f *os.File) error {
	var st unix.Statfs_t
	if err := unix.Fstatfs(int(f.Fd()), &st); err == nil && st.Type == unix.TMPFS_MAGIC {
		return fmt.Errorf("qcow image %s is on tmpfs, where the handler's fallocate(ZERO_RANGE) fails: %w", f.Name(), syscall.ENOTSUP)
	}
	return nil
}

// verify checks an image before its first use, without changing it. Without qemu-img it cannot, and says so.
func (m *image) verify(ctx context.Context, log *slog.Logger) error {
	if m.v1 {
		return nil // Version 1 has no reference counts that could be wrong.
	}
	code, text, err := qemuImgCheck(ctx, m.path)
	switch {
	case errors.Is(err, exec.ErrNotFound):
		log.Warn("qemu-img is not installed: the image is used unchecked", "image", m.path)
		return nil
	case err != nil:
		return err
	case code != imgOK && code != imgLeaks:
		return fmt.Errorf("%w: qemu-img check %s: %s; repair it with qemu-img check -r all", errDamagedImage, m.path, text)
	}
	return nil
}

// repair mends an image after its helper died, before anything is written again: the handler writes L2 entries before reference
// counts, and a cluster in use that is not counted would be given out once more.
func (m *image) repair(ctx context.Context, log *slog.Logger) error {
	if m.v1 {
		return nil
	}
	code, text, err := qemuImgCheck(ctx, "-r", "all", m.path)
	switch {
	case err != nil:
		return fmt.Errorf("%w: %w", errDamagedImage, err)
	case code != imgOK && code != imgLeaks:
		return fmt.Errorf("%w: qemu-img check -r all %s: %s", errDamagedImage, m.path, text)
	}
	log.Info("the image has been checked after the crash", "image", m.path, "result", text)
	return nil
}

// Exit statuses of qemu-img check.
const (
	imgOK    = 0
	imgLeaks = 3
)

// qemuImgCheck runs qemu-img check and returns its exit status and what it says last.
func qemuImgCheck(ctx context.Context, args ...string) (code int, text string, err error) {
	out, err := exec.CommandContext(ctx, "qemu-img", append([]string{"check"}, args...)...).CombinedOutput()
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	text = lines[0]
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.Exited() {
		return exit.ExitCode(), text, nil
	}
	return 0, text, err
}
