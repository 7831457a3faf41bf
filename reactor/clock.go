package reactor

import "time"

// Clock tells the monotonic time in nanoseconds, never 0. There are two: the machine's, and the one that a test sets.
type Clock interface {
	Nanos() int64
}

// machineClock counts from the start of the group.
type machineClock struct{ start time.Time }

func newMachineClock() machineClock { return machineClock{start: time.Now()} }

func (c machineClock) Nanos() int64 { return int64(time.Since(c.start)) + 1 }
