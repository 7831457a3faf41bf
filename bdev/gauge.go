package bdev

import (
	"sync/atomic"

	"pollux/reactor"
)

// gauge counts users, whom the control plane can wait for to be gone. Anybody may add and take away.
type gauge struct {
	n    atomic.Int32
	idle atomic.Pointer[func()] // called once, when n becomes 0; whenIdle sets it
}

func (g *gauge) add() { g.n.Add(1) }

func (g *gauge) drop() {
	if g.n.Add(-1) == 0 {
		g.tell()
	}
}

func (g *gauge) tell() {
	if fn := g.idle.Swap(nil); fn != nil {
		(*fn)()
	}
}

// await returns when there are none, by way of r. Control plane.
func (g *gauge) await(r *reactor.Reactor) error {
	return r.Do(g.whenIdle)
}

// whenIdle has fn called once when there are none, by whoever is the last.
func (g *gauge) whenIdle(fn func()) {
	g.idle.Store(&fn)
	if g.n.Load() == 0 {
		g.tell()
	}
}
