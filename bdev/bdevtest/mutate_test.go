//go:build invariants

package bdevtest_test

import (
	"testing"

	"pollux/bdev"
	"pollux/bdev/bdevtest"
)

// TestContractNotices: each way to break the generic layer fails the contract of one of these disks.
func TestContractNotices(t *testing.T) {
	for _, c := range []struct {
		name     string
		mutation bdev.Mutation
		disk     string
	}{
		{"lock-not-broadcast", bdev.MutateLockNotBroadcast, "read, write, later"},
		{"lock-not-drained", bdev.MutateLockNotDrained, "read, write, later"},
		{"free-before-drained", bdev.MutateFreeBeforeDrained, "all native"},
		{"reset-forgets", bdev.MutateResetForgets, "all native, later"},
		{"abort-forgets", bdev.MutateAbortForgets, "all native, later"},
		{"fua-dropped", bdev.MutateFUADropped, "cache without FUA"},
		{"shrink-not-drained", bdev.MutateShrinkNotDrained, "all native, later"},
	} {
		t.Run(c.name, func(t *testing.T) { bdevtest.Notices(t, c.mutation, suite(disks[c.disk])) })
	}
}
