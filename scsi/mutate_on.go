//go:build invariants

package scsi

import "sync/atomic"

// mutation is written by tests and read by reactors.
var mutation atomic.Uint32

// Mutated reports whether a mutation is on.
func Mutated(m Mutation) bool { return Mutation(mutation.Load()) == m }

// Mutate breaks the program on purpose until restore is called, to show that tests notice. One at a time.
func Mutate(m Mutation) (restore func()) {
	mutation.Store(uint32(m))
	return func() { mutation.Store(0) }
}
