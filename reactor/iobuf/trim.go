package iobuf

import "slices"

// Short reports whether some pool of the budget has asked for memory in vain, so that Trim may help.
func (p *Pool) Short() bool { return p.budget.short.Load() }

// Trim gives slabs of which nothing is lent back to the budget, where another reactor's pool may take them.
func (p *Pool) Trim() {
	idle := func(page uint32) bool { return p.busy[page/pages] == 0 }
	for c := range p.free {
		p.free[c] = slices.DeleteFunc(p.free[c], idle)
	}
	for slab, mem := range p.slabs {
		if mem == nil || p.busy[slab] != 0 {
			continue
		}
		clear(p.class[slab*pages : (slab+1)*pages])
		if p.onSlab != nil {
			p.onSlab(slab, mem, false)
		}
		Unmap(mem)
		p.slabs[slab] = nil
		p.budget.give()
	}
}

// OnSlab has fn called, on the pool's reactor, with every slab that the pool takes, and again before it gives the slab back.
// A ring registers them with the kernel.
func (p *Pool) OnSlab(fn func(slab int, mem []byte, taken bool)) { p.onSlab = fn }
