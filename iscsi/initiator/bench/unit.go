package bench

import "fmt"

// record is what --verify knows of one unit.
type record struct {
	generation uint32 // that was acknowledged; 0 if none was
	pending    uint32 // that may be there instead, block by block: in flight, or lost with its connection; 0 if there is none
	last       uint32 // that was ever sent: each is used once, so that a write that comes too late is seen
	busy       bool   // a command is in flight
}

// units is a worker's share of the LUN: every step-th unit, beginning with first.
type units struct {
	first, step, count uint64
	blocks             uint64 // logical blocks in a unit
	blockLength        int
	run                uint64
	sequential         bool
	position           uint64
	random             uint64
	records            []record // with --verify
}

// pick chooses the next unit of this share. With --verify one without a command in flight; there are more of them than slots.
func (u *units) pick() uint64 {
	var i uint64
	if u.sequential {
		i = u.position
		u.position = (u.position + 1) % u.count
	} else {
		u.random += 0x9e3779b97f4a7c15
		i = mix(u.random) % u.count
	}
	if u.records == nil {
		return i
	}
	for u.records[i].busy {
		i = (i + 1) % u.count
	}
	u.records[i].busy = true
	return i
}

// lba is the first block of unit i of this share.
func (u *units) lba(i uint64) uint64 { return (u.first + i*u.step) * u.blocks }

// chance is a number from 0 to 99.
func (u *units) chance() int {
	u.random += 0x9e3779b97f4a7c15
	return int(mix(u.random) % 100)
}

// mustRead reports whether a unit has to be read before it is written again, so that only one write's fate is ever open. (A unit of
// which a read finds some blocks old and some new is only read from then on.)
func (u *units) mustRead(i uint64) bool { return u.records != nil && u.records[i].pending != 0 }

// stamp fills buf with the next generation of unit i, which is in flight from now on.
func (u *units) stamp(i uint64, buf []byte) {
	r := &u.records[i]
	r.last++
	r.pending = r.last
	for b := range u.blocks {
		at := int(b) * u.blockLength
		putStamp(buf[at:at+u.blockLength], u.run, u.lba(i)+b, uint64(r.pending))
	}
}

// written notes how the write of unit i ended: for certain, or not.
func (u *units) written(i uint64, certain bool) {
	r := &u.records[i]
	r.busy = false
	if certain {
		r.generation, r.pending = r.pending, 0
	}
}

// check compares what was read from unit i with what must be there. It returns what is wrong, empty for nothing.
func (u *units) check(i uint64, buf []byte) (mismatch string) {
	r := &u.records[i]
	r.busy = false
	olds, news := 0, 0
	for b := range u.blocks {
		at, lba := int(b)*u.blockLength, u.lba(i)+b
		generation, what := checkStamp(buf[at:at+u.blockLength], u.run, lba)
		switch {
		case what == foundStamp && r.pending != 0 && generation == uint64(r.pending):
			news++
		case what == foundStamp && r.generation != 0 && generation == uint64(r.generation), what == foundOther && r.generation == 0:
			olds++
		default:
			return fmt.Sprintf("LBA %d: found %v, generation %d; acknowledged %d, perhaps written %d", lba, what, generation, r.generation, r.pending)
		}
	}
	switch {
	case olds == 0:
		r.generation, r.pending = r.pending, 0
	case news == 0:
		r.pending = 0
	}
	return ""
}

// release ends a command on unit i that found out nothing.
func (u *units) release(i uint64) {
	if u.records != nil {
		u.records[i].busy = false
	}
}
