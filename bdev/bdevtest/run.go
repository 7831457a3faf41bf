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
	// Crash, if not nil, is a power failure of the device that Make made last: what was not durable is lost.
	Crash func()
	// Slow is true for devices whose requests take system calls on other threads: fewer rounds.
	Slow bool
}

// Contract tests that not every device can pass.
const (
	contractAtomic     = "one block is one instant"
	contractAllocation = "no allocation"
	contractDurable    = "durable"
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
	{contractDurable, true, testDurable},
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
	for _, c := range s.contract() {
		t.Run(c.name, func(t *testing.T) {
			for seed := range seedCount {
				c.run(t, seed)
				if t.Failed() {
					return
				}
			}
		})
	}
}

// contractTest is one contract test of one block size.
type contractTest struct {
	name string
	run  func(t testing.TB, seed uint64)
}

// contract is the tests that the suite's devices have to pass.
func (s Suite) contract() (tests []contractTest) {
	if len(s.BlockSizes) == 0 {
		s.BlockSizes = []uint32{512, 4096}
	}
	for _, c := range contract {
		if s.skips(c.name) || c.keep && s.Forgets {
			continue
		}
		for _, blockSize := range s.BlockSizes {
			tests = append(tests, contractTest{fmt.Sprintf("%s/%d", c.name, blockSize), func(t testing.TB, seed uint64) {
				e := NewEnv(t, 2)
				e.World.Seed(seed)
				c.run(&run{Env: e, suite: s, blockSize: blockSize, seed: seed})
				if err := e.Registry.Close(); err != nil {
					t.Fatalf("close the registry: %v", err)
				}
			}})
		}
	}
	return tests
}

// skips reports whether a test says nothing of the suite's devices.
func (s Suite) skips(name string) bool {
	switch name {
	case contractAtomic:
		return s.Tears
	case contractAllocation:
		return s.Allocates
	case contractDurable:
		return s.Crash == nil
	default:
		return false
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
		n /= 10
	}
	return max(1, n/thinner)
}

// blocksOf is memory of n blocks, each byte v, in one piece.
func (r *run) blocksOf(n int, v byte) [][]byte {
	b := r.Memory(n * int(r.blockSize))
	for i := range b {
		b[i] = v
	}
	return [][]byte{b}
}
