package tcmur

import (
	"context"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"pollux/bdev"
	"pollux/bdev/bdevtest"
	"pollux/reactor"
)

// keepAwake has the reactors of a stepped world wait for helper processes, which run in real time: while requests are in a ring,
// each pass counts as work, so that the world's clock stands still.
func keepAwake(e *bdevtest.Env, d *disk) {
	for i, r := range e.World.Reactors {
		p := &reactor.Poller{Name: "keep awake", Poll: func() int {
			if q := d.queues[i]; q != nil && q.inRing > 0 {
				time.Sleep(2 * time.Microsecond)
				return 1
			}
			return 0
		}}
		r.AddPoller(p)
	}
}

// newDevice registers a device and has the world wait for its helper.
func newDevice(e *bdevtest.Env, config Config, cfg string, blockSize uint32, blocks uint64) string {
	e.T.Helper()
	name, err := New(e.Registry, config).Create(context.Background(), Options{
		Name: "tcmur", Cfg: cfg, Size: blocks * uint64(blockSize), BlockSize: blockSize,
	})
	if err != nil {
		e.T.Fatal(err)
	}
	dev, err := e.Registry.Lookup(name)
	if err != nil {
		e.T.Fatal(err)
	}
	keepAwake(e, dev.Spec().Backend.(*disk))
	return name
}

// The suite's own test of allocations has few rounds for slow devices, in which what goroutines of the control plane allocate beside
// it shows; TestNoAllocation has many.

func TestContract(t *testing.T) {
	config := build(t)
	for _, cfg := range []string{"file/%s", "/ram/%s", "async/%s"} {
		t.Run(cfg, func(t *testing.T) {
			t.Parallel()
			n := 0
			bdevtest.Run(t, bdevtest.Suite{Slow: true, Allocates: true, Make: func(e *bdevtest.Env, blockSize uint32, blocks uint64) string {
				n++
				return newDevice(e, config, fmt.Sprintf(cfg, filepath.Join(t.TempDir(), fmt.Sprint("disk", n))), blockSize, blocks)
			}})
		})
	}
}

func TestNullContract(t *testing.T) {
	config := build(t)
	bdevtest.Run(t, bdevtest.Suite{
		Slow: true, Allocates: true, Forgets: true,
		Make: func(e *bdevtest.Env, blockSize uint32, blocks uint64) string {
			return newDevice(e, config, "null/", blockSize, blocks)
		},
	})
}

// TestNoAllocation: no operation allocates, on its way through the helper and back.
func TestNoAllocation(t *testing.T) {
	e := bdevtest.NewEnv(t, 1)
	newDevice(e, build(t), "async/"+filepath.Join(t.TempDir(), "disk"), 512, 1024)
	c := e.Open(0, "tcmur", bdev.OpenOptions{Write: true})
	ended := 0
	mem := [][]byte{e.Memory(16 * 512)}
	reqs := []*bdev.Request{
		{Op: bdev.OpRead},
		{Op: bdev.OpWrite},
		{Op: bdev.OpFlush},
		{Op: bdev.OpWriteZeroes, LBA: 3},
		{Op: bdev.OpUnmap, LBA: 5},
		{Op: bdev.OpCompareAndWrite, Compare: mem},
	}
	for _, q := range reqs {
		q.Blocks, q.Data = 16, mem
		q.Done = func(*bdev.Request) { ended++ }
	}
	once := func() {
		for _, q := range reqs {
			ended = 0
			for c.C.Submit(q); ended == 0; e.World.Step(0) {
			}
		}
	}
	once()
	if n := testing.AllocsPerRun(100, once); n != 0 {
		t.Errorf("%v allocations for %d requests", n, len(reqs))
	}
	c.Close()
	if err := e.Registry.Close(); err != nil {
		t.Error(err)
	}
}

var _ bdev.Backend = (*disk)(nil)
