package gate

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"pollux/iscsi/initiator"
)

// TestLargeLUNs: a LUN of 3 TiB in a sparse file and one of 2^63 bytes. READ CAPACITY(10) says that it cannot say, I/O works
// around LBA 2^32 and at the last block, and what lies beyond the end or wraps is refused.
func TestLargeLUNs(t *testing.T) {
	onEach(t, func(b *bed) {
		const sparse = 3 << 40
		path := filepath.Join(b.srv.Dir(), "sparse.img")
		makeSparse(b.t, path, sparse)
		b.rpc("bdev_aio_create", object{"name": "sparse", "filename": path, "block_size": blockSize}, nil)
		b.rpc("bdev_null_create", object{"name": "huge", "block_size": blockSize, "num_blocks": uint64(1) << 63 / blockSize}, nil)
		for i, l := range []struct {
			bdev   string
			blocks uint64
			keeps  bool // what is written
		}{
			{"sparse", sparse / blockSize, true},
			{"huge", 1 << 63 / blockSize, false},
		} {
			b.t.Run(l.bdev, func(t *testing.T) {
				own := *b
				own.t = t
				own.addLUN(l.bdev, i+1)
				c := own.dial("disk", wrapping)
				testLargeLUN(&own, c, uint64(i+1)<<48, l.blocks, l.keeps)
			})
		}
	})
}

func makeSparse(t *testing.T, path string, size int64) {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Truncate(size); err != nil {
		t.Skipf("the file system of %s holds no file of %d bytes: %v", path, size, err)
	}
}

func testLargeLUN(b *bed, c *initiator.Client, lun, blocks uint64, keeps bool) {
	b.ready(c, lun)
	if got := binary.BigEndian.Uint32(b.must(c, lun, readCapacity10(), nil, 8)); got != 0xffffffff {
		b.t.Errorf("READ CAPACITY(10) says %#x", got)
	}
	if got := binary.BigEndian.Uint64(b.must(c, lun, readCapacity16(), nil, 32)); got != blocks-1 {
		b.t.Errorf("READ CAPACITY(16) says %#x, the last block is %#x", got, blocks-1)
	}
	for _, lba := range []uint64{0, 1<<32 - 1, 1 << 32, 1<<32 + 1, blocks - 1} {
		block := bytes.Repeat(fmt.Appendf(nil, "%016x", lba), blockSize/16)
		b.must(c, lun, write16(lba, 1), block, 0)
		if got := b.must(c, lun, read16(lba, 1), nil, blockSize); keeps && !bytes.Equal(got, block) {
			b.t.Errorf("LBA %#x reads %.16q...", lba, got)
		}
	}
	for _, wrong := range []struct {
		lba    uint64
		blocks uint32
	}{{blocks, 1}, {blocks - 1, 2}, {1<<64 - 1, 1}, {1<<64 - 1, 2}, {1<<64 - 2, 4}} {
		a, err := c.Do(b.ctx, lun, read16(wrong.lba, wrong.blocks), nil, int(wrong.blocks)*blockSize)
		if err != nil {
			b.t.Fatal(err)
		}
		if want := (sense{keyIllegalRequest, ascOutOfRange}); a.Status != statusCheck || senseOf(a.Sense) != want {
			b.t.Errorf("read of %d at %#x: status %#x, sense %+v", wrong.blocks, wrong.lba, a.Status, senseOf(a.Sense))
		}
	}
}

// wrapping begins a session's CmdSN shortly before it wraps.
func wrapping(c *initiator.Config) { c.CmdSN = 0xffffffe0 }

// TestSessionOverTheWrap uses a session whose CmdSN wraps early on, with digests, and small bursts that make many R2Ts.
func TestSessionOverTheWrap(t *testing.T) {
	onEach(t, func(b *bed) {
		c := b.dial("disk", wrapping, func(c *initiator.Config) {
			c.Offers.HeaderDigest, c.Offers.DataDigest = "CRC32C", "CRC32C"
			c.Offers.InitialR2T, c.Offers.ImmediateData = true, false
			c.Offers.MaxBurstLength, c.Offers.FirstBurstLength = 4096, 4096
			c.Offers.MaxRecvDataSegmentLength = 4096
		})
		b.ready(c, b.lun(0))
		data := make([]byte, 128*blockSize)
		for i := range 100 {
			stamp(data, uint64(i))
			b.must(c, b.lun(0), write16(uint64(i), 128), data, 0)
			if got := b.must(c, b.lun(0), read16(uint64(i), 128), nil, len(data)); !bytes.Equal(got, data) {
				b.t.Fatalf("round %d: what was written is not what is read", i)
			}
		}
		if err := c.Logout(b.ctx); err != nil {
			b.t.Error(err)
		}
	})
}
