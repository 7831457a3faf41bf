package aio

import (
	"testing"

	"pollux/bdev"
	"pollux/bdev/bdevtest"
	"pollux/reactor/reactortest"
)

// simulated is an open file of the simulated kernel.
func simulated(w *reactortest.World, blockSize uint32, size uint64) (*file, *reactortest.File) {
	fd, data := w.Open(make([]byte, size))
	return &file{
		fd: fd, size: size, blockSize: blockSize, direct: true, punches: true, zeroes: true,
		sync:    data.Sync,
		close:   func() error { return nil },
		sizeNow: func() (uint64, error) { return uint64(len(data.Data)), nil },
	}, data
}

// register makes a simulated file a device.
func register(e *bdevtest.Env, name string, f *file) {
	e.T.Helper()
	if err := New(e.Registry).register(Options{Name: name, Fallocate: true}, f); err != nil {
		e.T.Fatal(err)
	}
}

func TestContract(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*file)
	}{
		{"all of it", func(*file) {}},
		{"without fallocate", func(f *file) { f.punches, f.zeroes = false, false }},
	} {
		t.Run(c.name, func(t *testing.T) {
			bdevtest.Run(t, suite(c.change))
		})
	}
}

// suite is the contract of files of the simulated kernel, which are changed before they become devices. That kernel gives short
// counts at any byte, so that a block is read and written in two goes at times.
func suite(change func(*file)) bdevtest.Suite {
	var world *reactortest.World
	var data *reactortest.File
	return bdevtest.Suite{
		Tears: true, Allocates: true,
		Make: func(e *bdevtest.Env, blockSize uint32, blocks uint64) string {
			var f *file
			f, data = simulated(e.World, blockSize, blocks*uint64(blockSize))
			change(f)
			register(e, "file", f)
			data.Record()
			world = e.World
			return "file"
		},
		Crash: func() { world.PowerLoss(data) },
	}
}

func TestTruncatedFile(t *testing.T) {
	e := bdevtest.NewEnv(t, 1)
	f, sim := simulated(e.World, 512, 64<<10)
	register(e, "file", f)
	c := e.Open(0, "file", bdev.OpenOptions{Write: true})
	sim.Data = sim.Data[:40<<9]
	data := [][]byte{e.Memory(8 << 9)}
	e.Want(c.Do(bdev.Request{Op: bdev.OpRead, LBA: 32, Blocks: 8, Data: data}), bdev.StatusOK)
	e.Want(c.Do(bdev.Request{Op: bdev.OpRead, LBA: 36, Blocks: 8, Data: data}), bdev.StatusMediumError)
	e.Want(c.Do(bdev.Request{Op: bdev.OpRead, LBA: 60, Blocks: 8, Data: data}), bdev.StatusMediumError)
}
