//go:build invariants

package iscsi_test

import (
	"bytes"
	"fmt"
	"testing"

	"pollux/iscsi"
	"pollux/iscsi/initiator"
)

// recorder is a test that is expected to fail.
type recorder struct {
	testing.TB
	failure string
}

type recorderStop struct{}

// Errorf, Error, Fatalf and Fatal note the first failure; the latter two end the test.
func (r *recorder) Errorf(format string, args ...any) { r.note(fmt.Sprintf(format, args...)) }
func (r *recorder) Error(args ...any)                 { r.note(fmt.Sprint(args...)) }
func (r *recorder) Fatalf(format string, args ...any) {
	r.note(fmt.Sprintf(format, args...))
	panic(recorderStop{})
}

func (r *recorder) Fatal(args ...any) {
	r.note(fmt.Sprint(args...))
	panic(recorderStop{})
}

func (r *recorder) note(s string) {
	if r.failure == "" {
		r.failure = s
	}
}

// failureOf runs a test that is expected to fail, and returns how it did, by a panic too.
func failureOf(t *testing.T, test func(testing.TB)) (failure string) {
	r := &recorder{TB: t}
	defer func() {
		failure = r.failure
		if p := recover(); p != nil && p != (recorderStop{}) {
			failure = fmt.Sprint("panic: ", p)
		}
	}()
	test(r)
	return ""
}

// TestMutationsAreNoticed: each way to be wrong makes the test fail that is there for it.
func TestMutationsAreNoticed(t *testing.T) {
	for _, c := range []struct {
		mutation iscsi.Mutation
		name     string
		test     func(testing.TB, uint64)
	}{
		{iscsi.MutateReinstateEarly, "reinstatement does not wait", func(t testing.TB, seed uint64) {
			if late, _ := fenceRound(t, seed*uint64(len(fences))+5); late > 0 {
				t.Error("late writes")
			}
		}},
		{iscsi.MutateKeepTask, "a task is kept", sessionRound},
		{iscsi.MutateWrongTask, "data of one task goes to another", sessionRound},
		{iscsi.MutatePlainCompare, "sequence numbers are compared as numbers", sessionRound},
	} {
		t.Run(c.name, func(t *testing.T) {
			defer iscsi.Mutate(c.mutation)()
			for seed := range uint64(200) {
				if failure := failureOf(t, func(t testing.TB) { c.test(t, seed) }); failure != "" {
					t.Logf("seed %d: %s", seed, failure)
					return
				}
			}
			t.Error("no test has noticed")
		})
	}
}

// sessionRound writes a lot at once and reads it back.
func sessionRound(t testing.TB, seed uint64) {
	g := newRig(t, 2, nil)
	g.Seed(seed)
	h := g.newHost(0, sessionKinds["R2T alone"]).open(1).ready()
	data := pattern(40*16, byte(seed))
	left := 40
	g.on(0, func() {
		for i := range 40 {
			c := writeOf(i*16, data[i*16*rigBlockSize:][:16*rigBlockSize])
			c.Done = func(*initiator.Command) { left-- }
			h.session.Submit(c)
		}
	})
	g.Run()
	c := readOf(0, 40*16)
	if h.good(c); left > 0 || !bytes.Equal(c.In, data) {
		t.Fatalf("%d commands are left, or the data is wrong", left)
	}
	g.close()
}
