package iobuf

import (
	"math/rand/v2"
	"testing"
)

func TestClasses(t *testing.T) {
	p := NewPool(NewBudget(64 << 20))
	for _, c := range []struct{ n, want int }{
		{0, 4 << 10}, {1, 4 << 10}, {4096, 4 << 10}, {4097, 8 << 10}, {100_000, 128 << 10}, {MaxSize, MaxSize},
	} {
		b, ok := p.Get(c.n)
		if !ok || len(b.Bytes()) != c.want || cap(b.Bytes()) != c.want {
			t.Errorf("Get(%d): %v, %d bytes, want %d", c.n, ok, len(b.Bytes()), c.want)
		}
		p.Put(b)
	}
	if p.Out() != 0 {
		t.Errorf("%d buffers out", p.Out())
	}
}

// Buffers never overlap, whatever the order of Get and Put, and all memory can be had in any class in the end.
func TestBuffersAreDisjoint(t *testing.T) {
	const limit = 8 << 20
	for seed := range uint64(5) {
		rng := rand.New(rand.NewPCG(seed, 0))
		p := NewPool(NewBudget(limit))
		type lent struct {
			b    Buf
			mark byte
		}
		var out []lent
		for step := range 3000 {
			if rng.IntN(5) < 3 {
				b, ok := p.Get(1 + rng.IntN(MaxSize>>rng.IntN(7)))
				if !ok {
					continue
				}
				mark := byte(step)
				mem := b.Bytes()
				for i := 0; i < len(mem); i += 512 {
					mem[i] = mark
				}
				out = append(out, lent{b, mark})
			} else if len(out) > 0 {
				i := rng.IntN(len(out))
				mem := out[i].b.Bytes()
				for j := 0; j < len(mem); j += 512 {
					if mem[j] != out[i].mark {
						t.Fatalf("seed %d: a buffer of %d bytes was overwritten", seed, len(mem))
					}
				}
				p.Put(out[i].b)
				out[i] = out[len(out)-1]
				out = out[:len(out)-1]
			}
		}
		for _, l := range out {
			p.Put(l.b)
		}
		all := 0
		for {
			if _, ok := p.Get(MaxSize); !ok {
				break
			}
			all += MaxSize
		}
		if all != limit {
			t.Fatalf("seed %d: %d bytes to be had as large buffers, want %d", seed, all, limit)
		}
		p.Close()
		if used := p.budget.Used(); used != 0 {
			t.Fatalf("seed %d: %d bytes of the budget used after Close", seed, used)
		}
	}
}

func TestBudgetIsSharedAndHolds(t *testing.T) {
	budget := NewBudget(3*SlabSize + 1)
	a, b := NewPool(budget), NewPool(budget)
	n := 0
	for _, p := range []*Pool{a, b, a, b} {
		for {
			if _, ok := p.Get(MaxSize); !ok {
				break
			}
			n += MaxSize
		}
	}
	if n != 3*SlabSize || budget.Used() != 3*SlabSize {
		t.Errorf("got %d bytes, used %d, want %d", n, budget.Used(), 3*SlabSize)
	}
}

// What one pool does not need any more, another can have.
func TestTrimGivesIdleSlabsToOthers(t *testing.T) {
	budget := NewBudget(2 * SlabSize)
	a, b := NewPool(budget), NewPool(budget)
	known := map[int]bool{}
	a.OnSlab(func(slab int, _ []byte, taken bool) { known[slab] = taken })
	var bufs []Buf
	for {
		buf, ok := a.Get(MinSize)
		if !ok {
			break
		}
		bufs = append(bufs, buf)
	}
	if _, ok := b.Get(MinSize); ok || !b.Short() {
		t.Fatalf("got %v, short %v: the budget does not hold", ok, b.Short())
	}
	kept := bufs[0]
	for _, buf := range bufs[1:] {
		a.Put(buf)
	}
	a.Trim()
	if _, ok := b.Get(MaxSize); !ok || b.Short() {
		t.Errorf("got %v, short %v after Trim", ok, b.Short())
	}
	if len(known) != 2 || known[0] == known[1] {
		t.Errorf("slabs known to be in use: %v, want one of two", known)
	}
	a.Put(kept)
	if _, ok := a.Get(MaxSize); !ok || budget.Used() != 2*SlabSize {
		t.Error("the slab with a lent buffer was given back")
	}
}

func TestSecondPutPanics(t *testing.T) {
	p := NewPool(NewBudget(SlabSize))
	b, _ := p.Get(1)
	p.Put(b)
	for name, bad := range map[string]Buf{"second": b, "empty": {}} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s Put does not panic", name)
				}
			}()
			p.Put(bad)
		}()
	}
}
