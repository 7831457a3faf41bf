package meta

import "fmt"

// An activity log page: magic 0, checksum 4, transaction number 8, number of updates 16, first slot of the context 18,
// slots in the context 20, slots of the whole table 22; updates from 32, {slot u16, pad u16, extent u32} each; the context
// from 32 + 8 x updatesMax, an extent of 4 bytes for each slot.
const (
	alMagic    = 0x4c415247 // "GRAL"
	alCRC      = 4
	UpdatesMax = 192
	alContext  = 32 + 8*UpdatesMax
	contextMax = (PageSize - alContext) / 4
	// ExtentFree is what a slot holds that holds nothing.
	ExtentFree = 1<<32 - 1
)

// Update says that a slot holds an extent from now on.
type Update struct {
	Slot   uint16
	Extent uint32
}

// Transaction is one page of the activity log.
type Transaction struct {
	Number  uint64
	Updates []Update
	First   int      // first slot of the context
	Context []uint32 // what the slots from First on hold, this transaction included
	Slots   int
}

// Encode writes a transaction to a page.
func (t *Transaction) Encode(p *Page) error {
	if len(t.Updates) > UpdatesMax || len(t.Context) > contextMax {
		return fmt.Errorf("%d updates, %d slots of context: %w", len(t.Updates), len(t.Context), ErrImplausible)
	}
	*p = Page{}
	p.set32(0, alMagic)
	p.set64(8, t.Number)
	p.set16(16, uint16(len(t.Updates)))
	p.set16(18, uint16(t.First))
	p.set16(20, uint16(len(t.Context)))
	p.set16(22, uint16(t.Slots))
	for i, u := range t.Updates {
		p.set16(32+8*i, u.Slot)
		p.set32(36+8*i, u.Extent)
	}
	for i, x := range t.Context {
		p.set32(alContext+4*i, x)
	}
	p.seal(alCRC)
	return nil
}

// DecodeTransaction reads a page of the activity log. A page of zeroes is one that was never written: nil, nil.
func DecodeTransaction(p *Page) (*Transaction, error) {
	if *p == (Page{}) {
		return nil, nil
	}
	if p.u32(0) != alMagic || !p.sealed(alCRC) {
		return nil, fmt.Errorf("activity log: %w", ErrTorn)
	}
	t := &Transaction{Number: p.u64(8), First: int(p.u16(18)), Slots: int(p.u16(22))}
	updates, context := int(p.u16(16)), int(p.u16(20))
	if updates > UpdatesMax || context > contextMax || t.First+context > t.Slots {
		return nil, fmt.Errorf("activity log: %w", ErrImplausible)
	}
	for i := range updates {
		u := Update{p.u16(32 + 8*i), p.u32(36 + 8*i)}
		if int(u.Slot) >= t.Slots {
			return nil, fmt.Errorf("activity log: slot %d of %d: %w", u.Slot, t.Slots, ErrImplausible)
		}
		t.Updates = append(t.Updates, u)
	}
	for i := range context {
		t.Context = append(t.Context, p.u32(alContext+4*i))
	}
	return t, nil
}

// Rebuild puts the slot table together from the pages of the ring; transaction n lies at page n modulo their number, and
// bad tells which could not be read. complete is false if something may be missing: a damaged page where the newest
// transaction may have been, or slots that no page in one piece with the newest tells of. Then everything counts as hot.
func Rebuild(pages []*Transaction, bad []bool, slots int) (table []uint32, last uint64, complete bool) {
	table = make([]uint32, slots)
	for i := range table {
		table[i] = ExtentFree
	}
	byNumber := map[uint64]*Transaction{}
	anyBad := false
	for i, t := range pages {
		if t != nil && (t.Number%uint64(len(pages)) != uint64(i) || t.Slots != slots) {
			bad[i] = true // it was written to the wrong place, over one that may have counted
		}
		anyBad = anyBad || bad[i]
		if t != nil && !bad[i] {
			byNumber[t.Number] = t
			last = max(last, t.Number)
		}
	}
	if last == 0 {
		return table, 0, !anyBad
	}
	first := last
	for byNumber[first-1] != nil {
		first--
	}
	known := replay(table, byNumber, first, last)
	complete = !bad[(last+1)%uint64(len(pages))]
	if first > 1 {
		for _, k := range known {
			complete = complete && k
		}
	}
	return table, last, complete
}

// replay applies transactions first..last to the table and tells which slots they spoke of.
func replay(table []uint32, byNumber map[uint64]*Transaction, first, last uint64) (known []bool) {
	known = make([]bool, len(table))
	put := func(slot int, extent uint32) {
		if slot < len(table) {
			table[slot], known[slot] = extent, true
		}
	}
	for n := first; n <= last; n++ {
		t := byNumber[n]
		for i, x := range t.Context {
			put(t.First+i, x)
		}
		for _, u := range t.Updates {
			put(int(u.Slot), u.Extent)
		}
	}
	return known
}
