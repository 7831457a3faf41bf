package null

import (
	"testing"

	"pollux/bdev"
	"pollux/bdev/bdevtest"
)

func TestContract(t *testing.T) {
	bdevtest.Run(t, bdevtest.Suite{Forgets: true, Make: func(e *bdevtest.Env, blockSize uint32, blocks uint64) string {
		name, err := New(e.Registry).Create(Options{BlockSize: blockSize, Blocks: blocks})
		if err != nil {
			e.T.Fatal(err)
		}
		return name
	}})
}

// TestLargest: 2^63 bytes are served to the last block, and not beyond.
func TestLargest(t *testing.T) {
	const blocks = 1 << 54
	e := bdevtest.NewEnv(t, 1)
	m := New(e.Registry)
	if _, err := m.Create(Options{Name: "big", BlockSize: 512, Blocks: blocks}); err != nil {
		t.Fatal(err)
	}
	if _, err := m.Create(Options{Name: "too big", BlockSize: 512, Blocks: blocks + 1}); err == nil {
		t.Fatal("a device of more than 2^63 bytes was made")
	}
	c := e.Open(0, "big", bdev.OpenOptions{Write: true})
	data := [][]byte{e.Memory(1024)}
	for _, lba := range []uint64{0, 1<<32 - 1, 1 << 32, blocks - 2} {
		for _, op := range []bdev.Op{bdev.OpRead, bdev.OpWrite, bdev.OpUnmap, bdev.OpWriteZeroes} {
			e.Want(c.Do(bdev.Request{Op: op, LBA: lba, Blocks: 2, Data: data}), bdev.StatusOK)
		}
	}
	e.Want(c.Do(bdev.Request{Op: bdev.OpRead, LBA: blocks - 1, Blocks: 2, Data: data}), bdev.StatusOutOfRange)
	if err := m.Resize("big", 100); err != nil {
		t.Fatal(err)
	}
	e.Want(c.Do(bdev.Request{Op: bdev.OpRead, LBA: 99, Blocks: 2, Data: data}), bdev.StatusOutOfRange)
	if err := m.Delete("big"); err != nil {
		t.Fatal(err)
	}
	if err := m.Delete("big"); err == nil {
		t.Fatal("a device was deleted twice")
	}
}
