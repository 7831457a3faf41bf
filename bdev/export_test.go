package bdev

import "time"

// KeepBackground has what would run in the background run by the test instead, when it calls run, so that a stepped world is driven by one
// goroutine at a time.
func (g *Registry) KeepBackground() (run func()) {
	kept := make(chan func(), 16)
	g.background = func(fn func()) { kept <- fn }
	return func() {
		for len(kept) > 0 {
			(<-kept)()
		}
	}
}

// SetDestroyTimeout sets another DestroyTimeout, which is real time.
func (g *Registry) SetDestroyTimeout(d time.Duration) { g.destroyTimeout = d }
