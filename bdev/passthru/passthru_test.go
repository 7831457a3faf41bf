package passthru

import (
	"errors"
	"syscall"
	"testing"

	"pollux/bdev"
	"pollux/bdev/bdevtest"
)

// over makes a passthru device over a test disk.
func over(e *bdevtest.Env, disk *bdevtest.Disk, blockSize uint32, blocks uint64) string {
	disk.Register(e, "base", blockSize, blocks)
	if err := New(e.Registry).Create("top", "base", [16]byte{}); err != nil {
		e.T.Fatal(err)
	}
	return "top"
}

func TestContract(t *testing.T) {
	for name, disk := range map[string]bdevtest.Disk{
		"later":          {Native: bdevtest.Everything(), Later: true},
		"emulated below": {Native: bdevtest.Only(bdev.OpRead, bdev.OpWrite, bdev.OpFlush), Cache: true, Later: true},
	} {
		t.Run(name, func(t *testing.T) {
			bdevtest.Run(t, bdevtest.Suite{Make: func(e *bdevtest.Env, blockSize uint32, blocks uint64) string {
				d := disk
				return over(e, &d, blockSize, blocks)
			}})
		})
	}
}

// TestBaseRemoved: what is above a removed device goes with it, in order.
func TestBaseRemoved(t *testing.T) {
	e := bdevtest.NewEnv(t, 2)
	disk := &bdevtest.Disk{Native: bdevtest.Everything(), Hold: true}
	over(e, disk, 512, 64)
	if _, err := e.Registry.Open("base", bdev.OpenOptions{Write: true}); !errors.Is(err, syscall.EPERM) {
		t.Fatalf("a claimed base was opened for writing: %v", err)
	}
	c := e.Open(1, "top", bdev.OpenOptions{Write: true})
	o := c.Start(bdev.Request{Op: bdev.OpFlush})
	e.World.Run()
	disk.ReleaseAll()
	disk.Hold = false
	if err := e.Registry.Unregister("base"); err != nil {
		t.Fatal(err)
	}
	e.Want(o, bdev.StatusOK)
	if !disk.Destroyed || len(e.Registry.Devices()) != 0 {
		t.Fatalf("destroyed: %v, devices left: %v", disk.Destroyed, e.Registry.Devices())
	}
}

// TestBaseResized: the device above has the size of the one below.
func TestBaseResized(t *testing.T) {
	e := bdevtest.NewEnv(t, 2)
	disk := &bdevtest.Disk{Native: bdevtest.Everything()}
	over(e, disk, 512, 64)
	base, err := e.Registry.Lookup("base")
	if err != nil {
		t.Fatal(err)
	}
	if err := base.Resize(40); err != nil {
		t.Fatal(err)
	}
	c := e.Open(1, "top", bdev.OpenOptions{Write: true})
	if got := c.Desc.Device().Blocks(); got != 40 {
		t.Fatalf("%d blocks, want 40", got)
	}
	e.Want(c.Do(bdev.Request{Op: bdev.OpUnmap, LBA: 30, Blocks: 11}), bdev.StatusOutOfRange)
	if err := e.Registry.Close(); err != nil {
		t.Fatal(err)
	}
}
