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

func TestContract(t *testing.T) {
	config := build(t)
	for _, cfg := range []string{"file/%s", "ram/%s", "/ram/%s", "async/%s"} {
		t.Run(cfg, func(t *testing.T) {
			n := 0
			bdevtest.Run(t, bdevtest.Suite{Slow: true, Make: func(e *bdevtest.Env, blockSize uint32, blocks uint64) string {
				n++
				path := filepath.Join(t.TempDir(), fmt.Sprint("disk", n))
				name, err := New(e.Registry, config).Create(context.Background(), Options{
					Name: "tcmur", Cfg: fmt.Sprintf(cfg, path), Size: blocks * uint64(blockSize), BlockSize: blockSize,
				})
				if err != nil {
					t.Fatal(err)
				}
				dev, err := e.Registry.Lookup(name)
				if err != nil {
					t.Fatal(err)
				}
				keepAwake(e, dev.Spec().Backend.(*disk))
				return name
			}})
		})
	}
}

func TestNullContract(t *testing.T) {
	config := build(t)
	bdevtest.Run(t, bdevtest.Suite{Slow: true, Forgets: true, Make: func(e *bdevtest.Env, blockSize uint32, blocks uint64) string {
		m := New(e.Registry, config)
		if _, err := m.Create(context.Background(), Options{
			Name: "null", Cfg: "null/", Size: blocks * uint64(blockSize), BlockSize: blockSize,
		}); err != nil {
			t.Fatal(err)
		}
		dev, err := e.Registry.Lookup("null")
		if err != nil {
			t.Fatal(err)
		}
		keepAwake(e, dev.Spec().Backend.(*disk))
		return "null"
	}})
}

var _ bdev.Backend = (*disk)(nil)
