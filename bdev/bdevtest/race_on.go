//go:build race

package bdevtest

// Race builds are ten times slower.
const (
	seedCount = uint64(1) // orders of events that each test is run in
	thinner   = 4         // what numbers of rounds are divided by
)
