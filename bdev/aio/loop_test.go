package aio

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"pollux/bdev"
)

// loopDevice is a block device of the kernel with sectors of the given size, over a file.
func loopDevice(t *testing.T, sectorSize, size int) string {
	if os.Geteuid() != 0 {
		t.Skip("needs root for a loop device")
	}
	backing := path(t, "")
	if _, err := CreateFile(t.Context(), backing, uint64(size)); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("losetup", "--find", "--show", "--sector-size", strconv.Itoa(sectorSize), backing).Output()
	if err != nil {
		t.Skipf("no loop device to be had: %v", err)
	}
	dev := strings.TrimSpace(string(out))
	t.Cleanup(func() {
		if err := exec.Command("losetup", "--detach", dev).Run(); err != nil {
			t.Errorf("detach %s: %v", dev, err)
		}
	})
	return dev
}

// TestLiveBlockDevice: sector size and size of a block device are found; smaller blocks are refused.
func TestLiveBlockDevice(t *testing.T) {
	const size = 8 << 20
	for _, sectorSize := range []int{512, 4096} {
		t.Run(strconv.Itoa(sectorSize), func(t *testing.T) {
			dev := loopDevice(t, sectorSize, size)
			l := newLive(t, 0)
			if err := l.module.Create(Options{Name: "d", Filename: dev, Fallocate: true}); err != nil {
				t.Fatal(err)
			}
			d, err := l.registry.Lookup("d")
			if err != nil {
				t.Fatal(err)
			}
			if int(d.BlockSize()) != sectorSize || d.Blocks() != uint64(size/sectorSize) {
				t.Fatalf("%d blocks of %d bytes, want %d of %d", d.Blocks(), d.BlockSize(), size/sectorSize, sectorSize)
			}
			err = l.module.Create(Options{Name: "e", Filename: dev, BlockSize: uint32(sectorSize / 2)})
			if !errors.Is(err, syscall.EINVAL) {
				t.Errorf("blocks of half a sector: %v", err)
			}
			checkBlockDevice(t, l.open(1, "d"), uint64(size/sectorSize), sectorSize)
		})
	}
}

// checkBlockDevice writes, unmaps, zeroes and reads at the end of the device.
func checkBlockDevice(t *testing.T, c *liveClient, blocks uint64, blockSize int) {
	defer c.close()
	ones, got := bytes.Repeat([]byte{1}, 8*blockSize), make([]byte, 8*blockSize)
	at := bdev.Request{LBA: blocks - 8, Blocks: 8}
	step := func(op bdev.Op, flags bdev.Flags, data []byte) {
		t.Helper()
		q := at
		q.Op, q.Flags = op, flags
		c.want(q, data, bdev.StatusOK)
	}
	for _, erase := range []bdev.Op{bdev.OpUnmap, bdev.OpWriteZeroes} {
		step(bdev.OpWrite, bdev.FlagFUA, ones)
		if step(bdev.OpRead, 0, got); !bytes.Equal(got, ones) {
			t.Fatal("what was written is not read")
		}
		if !c.desc.Device().Supports(erase) {
			continue
		}
		step(erase, bdev.FlagFUA, nil)
		if step(bdev.OpRead, 0, got); !bytes.Equal(got, make([]byte, len(got))) {
			t.Fatalf("%v does not leave zeroes", erase)
		}
	}
	c.want(bdev.Request{Op: bdev.OpFlush}, nil, bdev.StatusOK)
	c.want(bdev.Request{Op: bdev.OpRead, LBA: blocks, Blocks: 8}, got, bdev.StatusOutOfRange)
}

// smallFileSystem is an ext4 of some MiB on a device with sectors of 4 KiB.
func smallFileSystem(t *testing.T) (dir string) {
	dev := loopDevice(t, 4096, 16<<20)
	if out, err := exec.Command("mkfs.ext4", "-q", "-F", dev).CombinedOutput(); err != nil {
		t.Skipf("no mkfs.ext4: %v %s", err, out)
	}
	dir = t.TempDir()
	if err := syscall.Mount(dev, dir, "ext4", 0, ""); err != nil {
		t.Skipf("may not mount: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, 0); err != nil {
			t.Errorf("unmount %s: %v", dir, err)
		}
	})
	return dir
}

// TestLiveFullDisk: a full disk below is a status, what was written is kept, and there is room again after unmap. Blocks smaller
// than the sector go through the page cache.
func TestLiveFullDisk(t *testing.T) {
	for _, blockSize := range []uint32{4096, 512} {
		t.Run(strconv.Itoa(int(blockSize)), func(t *testing.T) {
			dir := smallFileSystem(t)
			t.Run("", func(t *testing.T) { fillDisk(t, dir+"/disk.img", blockSize) })
		})
	}
}

func fillDisk(t *testing.T, name string, blockSize uint32) {
	const chunk = 256 << 10
	if _, err := CreateFile(t.Context(), name, 64<<20); err != nil {
		t.Fatal(err)
	}
	l := newLive(t, 0)
	if err := l.module.Create(Options{Name: "d", Filename: name, BlockSize: blockSize, Fallocate: true}); err != nil {
		t.Fatal(err)
	}
	d, err := l.registry.Lookup("d")
	if err != nil {
		t.Fatal(err)
	}
	if direct := d.Spec().Backend.(*backend).file.direct; direct != (blockSize == 4096) {
		t.Fatalf("blocks of %d bytes on sectors of 4096: direct is %v", blockSize, direct)
	}
	c := l.open(0, "d")
	defer c.close()
	n := uint64(chunk / blockSize)
	write := func(i uint64) bdev.Status {
		data := bytes.Repeat([]byte{byte(i + 1)}, chunk)
		return c.do(bdev.Request{Op: bdev.OpWrite, Flags: bdev.FlagFUA, LBA: i * n, Blocks: n}, data).Status
	}
	full := uint64(0)
	for write(full) == bdev.StatusOK {
		full++
	}
	if status := write(full); status != bdev.StatusNoSpace || full < 8 {
		t.Fatalf("after %d chunks: %v, want no space", full, status)
	}
	got := make([]byte, chunk)
	for i := range full {
		c.want(bdev.Request{Op: bdev.OpRead, LBA: i * n, Blocks: n}, got, bdev.StatusOK)
		if !bytes.Equal(got, bytes.Repeat([]byte{byte(i + 1)}, chunk)) {
			t.Fatalf("chunk %d is not what was written", i)
		}
	}
	c.want(bdev.Request{Op: bdev.OpUnmap, Flags: bdev.FlagFUA, Blocks: 4 * n}, nil, bdev.StatusOK)
	if status := write(full); status != bdev.StatusOK {
		t.Fatalf("a write after unmap: %v", status)
	}
	c.want(bdev.Request{Op: bdev.OpFlush}, nil, bdev.StatusOK)
}
