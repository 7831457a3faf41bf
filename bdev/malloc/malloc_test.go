package malloc

import (
	"testing"

	"pollux/bdev/bdevtest"
)

func newDisks(e *bdevtest.Env, blockSize uint32, blocks uint64) string {
	e.T.Helper()
	name, err := New(e.Registry).Create(Options{BlockSize: blockSize, Blocks: blocks})
	if err != nil {
		e.T.Fatal(err)
	}
	return name
}

func TestContract(t *testing.T) {
	bdevtest.Run(t, bdevtest.Suite{Make: newDisks, BlockSizes: []uint32{512, 4096, 65536}})
}
