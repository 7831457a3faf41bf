//go:build !invariants

package iscsi

// Mutated reports whether a mutation is on: never, outside of builds with -tags invariants.
func Mutated(Mutation) bool { return false }
