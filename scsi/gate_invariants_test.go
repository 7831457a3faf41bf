//go:build invariants

package scsi

import "testing"

// TestGateNotices breaks the program in each known way and expects the gate to fail.
func TestGateNotices(t *testing.T) {
	kind := func(name string) func(uint64) error {
		for _, k := range fenceKinds {
			if k.name == name {
				return func(seed uint64) error { return fenceRounds(t, k, 2, 50, seed) }
			}
		}
		t.Fatalf("no fence %s", name)
		return nil
	}
	count := func(seed uint64) error { return countUp(t, 2, 2000, seed) }
	for _, c := range []struct {
		mutation Mutation
		what     string
		run      func(uint64) error
	}{
		{MutateTornSwap, "counter", count},
		{MutateOwnOrder, "order", func(seed uint64) error { return orderRound(t, seed) }},
		{MutateNoFence, "CLEAR TASK SET", kind("CLEAR TASK SET")},
		{MutateNoFence, "LOGICAL UNIT RESET", kind("LOGICAL UNIT RESET")},
		{MutateNoFence, "TARGET WARM RESET", kind("TARGET WARM RESET")},
		{MutateNoFence, "PREEMPT", kind("PREEMPT")},
		{MutateNoFence, "PREEMPT AND ABORT", kind("PREEMPT AND ABORT")},
		{MutateStaleView, "PREEMPT", kind("PREEMPT")},
		{MutateNoDrain, "ABORT TASK SET", kind("ABORT TASK SET")},
		{MutateNoDrain, "close", kind("close")},
	} {
		restore := Mutate(c.mutation)
		var err error
		for seed := uint64(0); seed < gateSeeds && err == nil; seed += 2 {
			err = c.run(seed)
		}
		restore()
		if err == nil {
			t.Errorf("mutation %d goes unnoticed by %s", c.mutation, c.what)
		}
	}
}
