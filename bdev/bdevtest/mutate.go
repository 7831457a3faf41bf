//go:build invariants

package bdevtest

import (
	"fmt"
	"runtime"
	"testing"

	"pollux/bdev"
)

// probe is a testing.TB that notes a failure instead of failing. It runs on a goroutine of its own, which Fatal ends.
type probe struct {
	testing.TB
	failure  string
	cleanups []func()
}

func (p *probe) Helper()          {}
func (p *probe) Log(...any)       {}
func (p *probe) Failed() bool     { return p.failure != "" }
func (p *probe) Cleanup(f func()) { p.cleanups = append(p.cleanups, f) }

// Logf says nothing: the failure is wanted.
func (p *probe) Logf(string, ...any) {}

// Errorf notes the first failure.
func (p *probe) Errorf(format string, args ...any) {
	if p.failure == "" {
		p.failure = fmt.Sprintf(format, args...)
	}
}

// Fatalf notes the first failure and ends the test.
func (p *probe) Fatalf(format string, args ...any) {
	p.Errorf(format, args...)
	runtime.Goexit()
}

// Error and Fatal are Errorf and Fatalf.
func (p *probe) Error(args ...any) { p.Errorf("%s", fmt.Sprint(args...)) }
func (p *probe) Fatal(args ...any) { p.Fatalf("%s", fmt.Sprint(args...)) }

// Failure runs fn as a test and returns how it failed, by a message or by a panic; "" if it did not.
func Failure(t testing.TB, fn func(testing.TB)) string {
	p := &probe{TB: t}
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer func() {
			if cause := recover(); cause != nil {
				p.Errorf("panic: %v", cause)
			}
		}()
		fn(p)
	}()
	<-done
	for _, f := range p.cleanups {
		f()
	}
	return p.failure
}

// Notices fails the test unless the contract fails when the program is wrong in the way of m.
func Notices(t *testing.T, m bdev.Mutation, s Suite) {
	t.Helper()
	defer bdev.Mutate(m)()
	for _, c := range s.contract() {
		for seed := range seedCount {
			if failure := Failure(t, func(t testing.TB) { c.run(t, seed) }); failure != "" {
				t.Logf("%s, seed %d: %s", c.name, seed, failure)
				return
			}
		}
	}
	t.Error("the contract does not notice")
}
