//go:build invariants

package scsi

import "sync/atomic"

// mutated is the mutation that is in force; tests write it, reactors read it.
var mutated atomic.Uint32

// SetMutation breaks the program on purpose, so that a test can show that it would notice.
func SetMutation(m Mutation) { mutated.Store(uint32(m)) }

func mutation(m Mutation) bool { return mutated.Load() == uint32(m) }
