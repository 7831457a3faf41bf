//go:build !invariants

package scsi

// mutation reports whether a test has broken the program on purpose; only builds with -tags invariants can.
func mutation(Mutation) bool { return false }
