package bdevtest

import (
	"fmt"
	"testing"

	"pollux/bdev"
)

// Suite is how a module's devices are made for the contract.
type Suite struct {
	// Make registers a device of at least this size, all zeroes, and returns its name.
	Make func(e *Env, blockSize uint32, blocks uint64) string
	// BlockSizes to run with; 512 and 4096 if empty.
	BlockSizes []uint32
	// Forgets is true for devices that keep no data: what they read is not looked at.
	Forgets bool
	// Tears is true for devices that promise no more of a block than what is below them, which may move a part of it at a time.
	Tears bool
	// Allocates is true where the world itself allocates for a request (the simulated kernel does).
	Allocates bool
	// Slow is true for devices whose requests take system calls on other threads: fewer rounds.
	Slow bool
}

// Contract tests that not every device can pass.
const (
	contractAtomic     = "one block is one instant"
	contractAllocation = "no allocation"
)

// contract is the list of tests that every device passes.
var contract = []struct {
	name string
	keep bool // only for devices that keep data
	run  func(*run)
}{
	{"ops", true, testOps},
	{"bounds", false, testBounds},
	{"read-only desc", false, testReadOnlyDesc},
	{"random", true, testRandom},
	{contractAtomic, true, testAtomicBlocks},
	{"compare and write counts", true, testCounter},
	{"range lock", true, testRangeLock},
	{"range locks in order", false, testRangeLockOrder},
	{"abort and reset", false, testAbortReset},
	{"remove under load", false, testRemove},
	{"resize under load", false, testResize},
	{contractAllocation, false, testAllocations},
}

// run is one contract test of one device.
type run struct {
	*Env
	suite     Suite
	blockSize uint32
	seed      uint64
}

// Run holds a module's devices to the contract of package bdev.
func Run(t *testing.T, s Suite) {
	if len(s.BlockSizes) == 0 {
		s.BlockSizes = []uint32{512, 4096}
	}
	for _, c := range contract {
		if c.keep && s.Forgets || c.name == contractAtomic && s.Tears || c.name == contractAllocation && s.Allocates {
			continue
		}
		for _, blockSize := range s.BlockSizes {
			t.Run(fmt.Sprintf("%s/%d", c.name, blockSize), func(t *testing.T) {
				for seed := range uint64(3) {
					e := NewEnv(t, 2)
					e.World.Seed(seed)
					r := &run{Env: e, suite: s, blockSize: blockSize, seed: seed}
					c.run(r)
					if err := e.Registry.Close(); err != nil {
						t.Fatalf("close the registry: %v", err)
					}
					if t.Failed() {
						return
					}
				}
			})
		}
	}
}

// open makes a device and opens it once on each reactor.
func (r *run) open(blocks uint64) (name string, clients [2]*Client) {
	r.T.Helper()
	name = r.suite.Make(r.Env, r.blockSize, blocks)
	for i := range clients {
		clients[i] = r.Open(i, name, bdev.OpenOptions{Write: true})
	}
	return name, clients
}

// rounds scales a number of rounds.
func (r *run) rounds(n int) int {
	if r.suite.Slow {
		return max(1, n/10)
	}
	return n
}

// blocksOf is memory of n blocks, each byte v, in one piece.
func (r *run) blocksOf(n int, v byte) [][]byte {
	b := r.Memory(n * int(r.blockSize))
	for i := range b {
		b[i] = v
	}
	return [][]byte{b}
}
