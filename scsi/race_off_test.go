//go:build !race

package scsi

// What the gate asks for, over all seeds.
const (
	gateSwaps  = 100_000
	gateRounds = 1_000
)
