package bdev_test

import (
	"testing"

	"pollux/bdev"
	"pollux/bdev/bdevtest"
	"pollux/bdev/malloc"
	"pollux/bdev/null"
)

// BenchmarkSubmit is what a request of 4 KiB costs from Submit to Done, without a transport.
func BenchmarkSubmit(b *testing.B) {
	for _, c := range []struct {
		name string
		make func(e *bdevtest.Env) error
		op   bdev.Op
	}{
		{"null/read", makeNull, bdev.OpRead},
		{"null/write", makeNull, bdev.OpWrite},
		{"malloc/read", makeMalloc, bdev.OpRead},
		{"malloc/write", makeMalloc, bdev.OpWrite},
	} {
		b.Run(c.name, func(b *testing.B) {
			e := bdevtest.NewEnv(b, 1)
			if err := c.make(e); err != nil {
				b.Fatal(err)
			}
			client := e.Open(0, "d", bdev.OpenOptions{Write: true})
			const depth = 32
			ended := 0
			ops := make([]*bdev.Request, depth)
			for i := range ops {
				ops[i] = &bdev.Request{Op: c.op, LBA: uint64(i) * 8, Blocks: 8, Data: [][]byte{e.Memory(4096)}}
				ops[i].Done = func(*bdev.Request) { ended++ }
			}
			b.ReportAllocs()
			for b.Loop() {
				for _, q := range ops {
					client.C.Submit(q)
				}
				e.World.Step(0)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(ended), "ns/request")
		})
	}
}

func makeNull(e *bdevtest.Env) error {
	_, err := null.New(e.Registry).Create(null.Options{Name: "d", BlockSize: 512, Blocks: 1 << 20})
	return err
}

func makeMalloc(e *bdevtest.Env) error {
	_, err := malloc.New(e.Registry).Create(malloc.Options{Name: "d", BlockSize: 512, Blocks: 1 << 16})
	return err
}
