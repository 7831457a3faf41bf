// Package iobuf gives out I/O buffers that live outside the Go heap.
//
// A Pool belongs to one reactor; a Buf has one owner at a time and goes back by one Put, on the reactor whose pool it
// came from. Size classes are powers of two from MinSize to MaxSize; larger needs take several. All pools of a process
// draw on one Budget, which bounds the memory (--max-data-memory).
package iobuf

// The size classes: 4 KiB, 8 KiB, ... 256 KiB. Every buffer starts at a page.
const (
	MinSize = 4 << 10
	MaxSize = 256 << 10
)

// Budget bounds what all pools of a process hold together, in bytes. It may be used from any goroutine.
type Budget struct{ limit int64 }

// Pool is a reactor's store of free buffers.
type Pool struct{ budget *Budget }

// Buf is a buffer; Bytes is its whole memory, with the capacity of its class. The zero Buf holds nothing.
type Buf struct{ b []byte }

// Bytes is the buffer's memory.
func (b Buf) Bytes() []byte { return b.b }

// NewBudget bounds memory to limit bytes.
func NewBudget(limit int64) *Budget { return &Budget{limit: limit} }

// NewPool makes a reactor's pool.
func NewPool(b *Budget) *Pool { return &Pool{budget: b} }

// Get returns a buffer of at least n bytes (n <= MaxSize); ok is false when the budget is used up.
func (p *Pool) Get(n int) (b Buf, ok bool) { panic("api") }

// Put gives the buffer back. With -tags invariants its memory is poisoned and a second Put panics.
func (p *Pool) Put(b Buf) { panic("api") }
