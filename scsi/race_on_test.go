//go:build race

package scsi

// The race detector makes everything ten to a hundred times slower; it gets its share of the rounds.
const (
	gateSwaps  = 2_000
	gateRounds = 200
)
