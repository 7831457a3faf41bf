//go:build invariants

package main

import (
	"fmt"
	"os"

	"pollux/bdev"
)

// mutationVariable names a way to be wrong, for tests of the built binary. Only builds with -tags invariants read it.
const mutationVariable = "POLLUX_MUTATION"

// mutate breaks the program on purpose if it is told to, to show that tests notice.
func mutate(stderr *os.File) {
	name := os.Getenv(mutationVariable)
	mutation, known := map[string]bdev.Mutation{
		"": bdev.MutateNone, "flush-does-nothing": bdev.MutateFlushDoesNothing, "fua-ignored": bdev.MutateFUAIgnored,
		"flush-answers-early": bdev.MutateFlushAnswersEarly, "file-not-synced": bdev.MutateFileNotSynced,
		"size-not-synced": bdev.MutateSizeNotSynced,
	}[name]
	if !known {
		fmt.Fprintf(stderr, "pollux: %s=%q is not known\n", mutationVariable, name)
		os.Exit(exitMisuse)
	}
	bdev.Mutate(mutation)
}
