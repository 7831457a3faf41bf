//go:build !race

package bdevtest

const (
	seedCount = uint64(3) // orders of events that each test is run in
	thinner   = 1         // what numbers of rounds are divided by
)
