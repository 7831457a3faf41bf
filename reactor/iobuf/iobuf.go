package iobuf

import "sync/atomic"

// The size classes: 4 KiB, 8 KiB, ... 256 KiB. Every buffer starts at a page.
const (
	MinSize = 4 << 10
	MaxSize = 256 << 10

	// SlabSize is what a pool takes from the Budget at a time: one huge page.
	SlabSize = 2 << 20

	classes = 7 // MinSize << 0 ... MinSize << 6
	pages   = SlabSize / MinSize
)

// Budget bounds what all pools of a process hold together, in bytes. It may be used from any goroutine.
type Budget struct {
	limit int64
	used  atomic.Int64 // written by all pools
	short atomic.Bool  // a pool has asked in vain since the last slab was taken or given back; all pools write it
}

// NewBudget bounds memory to limit bytes, at least one slab of 2 MiB.
func NewBudget(limit int64) *Budget { return &Budget{limit: max(limit, SlabSize)} }

// Used is how much memory the pools hold, in use or free.
func (b *Budget) Used() int64 { return b.used.Load() }

// take accounts for one slab, unless that would exceed the limit.
func (b *Budget) take() bool {
	if b.used.Add(SlabSize) <= b.limit {
		return true
	}
	b.used.Add(-SlabSize)
	b.short.Store(true)
	return false
}

// give is the opposite of take.
func (b *Budget) give() {
	b.used.Add(-SlabSize)
	b.short.Store(false)
}

// Buf is a buffer; Bytes is its whole memory, with the capacity of its class. The zero Buf holds nothing.
type Buf struct {
	b    []byte
	page uint32 // the first page of the buffer, counted over all slabs of the pool
}

// Bytes is the buffer's memory.
func (b Buf) Bytes() []byte { return b.b }

// Pool is a reactor's store of free buffers. It belongs to that reactor.
type Pool struct {
	budget *Budget
	slabs  [][]byte // nil where a slab was given back
	busy   []uint32 // by slab: pages lent
	onSlab func(slab int, mem []byte, taken bool)
	class  []uint8           // by page: class+1 of the buffer that starts there, 0 for none
	lent   []bool            // by page: the buffer that starts there is out
	free   [classes][]uint32 // by class: first pages of free buffers
	out    int
}

// NewPool makes a reactor's pool.
func NewPool(b *Budget) *Pool { return &Pool{budget: b} }

// Limit is the budget's bound, which all pools share, in bytes.
func (p *Pool) Limit() int64 { return p.budget.limit }

// Out is the number of buffers that have not been put back.
func (p *Pool) Out() int { return p.out }

// Get returns a buffer of at least n bytes (n <= MaxSize); ok is false when the budget is used up.
func (p *Pool) Get(n int) (b Buf, ok bool) {
	c := classOf(n)
	if len(p.free[c]) == 0 && !p.refill(c) {
		return Buf{}, false
	}
	last := len(p.free[c]) - 1
	page := p.free[c][last]
	p.free[c] = p.free[c][:last]
	p.lent[page] = true
	p.busy[page/pages] += 1 << c
	p.out++
	return Buf{b: p.memory(page, c), page: page}, true
}

// Put gives the buffer back. With -tags invariants its memory is poisoned. A second Put panics.
func (p *Pool) Put(b Buf) {
	if b.b == nil || !p.lent[b.page] {
		panic("iobuf: Put of a buffer that is not lent")
	}
	poison(b.b)
	p.lent[b.page] = false
	c := p.class[b.page] - 1
	p.busy[b.page/pages] -= 1 << c
	p.free[c] = append(p.free[c], b.page)
	p.out--
}

// Close gives all memory back; no buffer may be used any more.
func (p *Pool) Close() {
	for _, mem := range p.slabs {
		if mem != nil {
			Unmap(mem)
			p.budget.give()
		}
	}
	*p = Pool{budget: p.budget}
}

// classOf is the smallest class that holds n bytes.
func classOf(n int) int {
	if n < 0 || n > MaxSize {
		panic("iobuf: Get of more than MaxSize")
	}
	c := 0
	for MinSize<<c < n {
		c++
	}
	return c
}

func (p *Pool) memory(page uint32, class int) []byte {
	off := int(page%pages) * MinSize
	return p.slabs[page/pages][off : off+MinSize<<class : off+MinSize<<class]
}

// refill makes at least one free buffer of class c: it splits a larger one, or maps a slab, or rebuilds larger buffers
// from the free small ones.
func (p *Pool) refill(c int) bool {
	return p.split(c) || p.grow() && p.split(c) || p.coalesce() && p.split(c)
}

// split halves the smallest free buffer larger than c until there is one of class c.
func (p *Pool) split(c int) bool {
	from := c
	for from < classes && len(p.free[from]) == 0 {
		from++
	}
	if from == classes {
		return false
	}
	for ; from > c; from-- {
		last := len(p.free[from]) - 1
		page := p.free[from][last]
		p.free[from] = p.free[from][:last]
		p.addFree(from-1, page)
		p.addFree(from-1, page+1<<(from-1))
	}
	return true
}

func (p *Pool) addFree(class int, page uint32) {
	p.class[page] = uint8(class + 1)
	p.free[class] = append(p.free[class], page)
}

// grow maps a slab and adds its buffers of MaxSize.
func (p *Pool) grow() bool {
	if !p.budget.take() {
		return false
	}
	mem, err := Map(SlabSize)
	if err != nil {
		p.budget.give()
		return false
	}
	slab := p.place()
	p.slabs[slab] = mem
	if p.onSlab != nil {
		p.onSlab(slab, mem, true)
	}
	first := uint32(slab * pages)
	for page := first; page < first+pages; page += MaxSize / MinSize {
		p.addFree(classes-1, page)
	}
	return true
}

// place is a free number for a slab.
func (p *Pool) place() int {
	for slab, mem := range p.slabs {
		if mem == nil {
			return slab
		}
	}
	p.slabs = append(p.slabs, nil)
	p.busy = append(p.busy, 0)
	p.class = append(p.class, make([]uint8, pages)...)
	p.lent = append(p.lent, make([]bool, pages)...)
	return len(p.slabs) - 1
}

// coalesce joins free neighbours into larger buffers, over the whole pool. It is slow, and runs only when the budget is
// used up and no buffer is large enough. It reports whether it joined any.
func (p *Pool) coalesce() bool {
	joined := false
	for c := range classes - 1 {
		var odd []uint32
		for _, page := range p.free[c] {
			buddy := page ^ 1<<c
			switch {
			case p.class[page] != uint8(c+1): // Joined already, from its buddy's turn.
			case p.class[buddy] == uint8(c+1) && !p.lent[buddy]:
				p.class[page], p.class[buddy] = 0, 0
				p.addFree(c+1, min(page, buddy))
				joined = true
			default:
				odd = append(odd, page)
			}
		}
		p.free[c] = append(p.free[c][:0], odd...)
	}
	return joined
}
