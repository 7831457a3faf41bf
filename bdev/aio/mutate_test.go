//go:build invariants

package aio

import (
	"testing"

	"pollux/bdev"
	"pollux/bdev/bdevtest"
)

// TestPowerLossNotices: each way to lose what was promised to be durable is found by some history.
func TestPowerLossNotices(t *testing.T) {
	for name, m := range map[string]bdev.Mutation{
		"flush-does-nothing":    bdev.MutateFlushDoesNothing,
		"fua-ignored":           bdev.MutateFUAIgnored,
		"flush-answers-early":   bdev.MutateFlushAnswersEarly,
		"fua-not-flushed-after": bdev.MutateFUADropped,
	} {
		t.Run(name, func(t *testing.T) {
			defer bdev.Mutate(m)()
			for seed := range uint64(powerSeeds) {
				if failure := bdevtest.Failure(t, func(t testing.TB) { testPowerLoss(t, seed) }); failure != "" {
					t.Logf("seed %d: %s", seed, failure)
					return
				}
			}
			t.Error("not noticed")
		})
	}
	for name, c := range map[string]struct {
		m    bdev.Mutation
		test func(testing.TB)
	}{
		"flush-forgets-failure": {bdev.MutateFlushForgetsFailure, testFailedSync},
		"file-not-synced":       {bdev.MutateFileNotSynced, testNewFileIsSynced},
		"directory-not-synced":  {bdev.MutateDirectoryNotSynced, testNewFileIsSynced},
		"size-not-synced":       {bdev.MutateSizeNotSynced, testPowerLossAfterResize},
	} {
		t.Run(name, func(t *testing.T) {
			defer bdev.Mutate(c.m)()
			failure := bdevtest.Failure(t, c.test)
			if failure == "" {
				t.Error("not noticed")
			}
			t.Log(failure)
		})
	}
}
