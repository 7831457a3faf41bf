package tcmur

import (
	"pollux/bdev"
)

// step is one callout of the handler, or, for zeroes that it cannot write with one, a series of writes.
type step struct {
	op       uint32
	off, len uint64 // bytes
}

// stepsMax is the longest program: an unmap with a head and a tail that are no whole unit of the handler.
const stepsMax = 3

// program is how a request is carried out. It lives in a slot.
type program struct {
	steps  [stepsMax]step
	n, at  int
	writes bool   // zeroes are written, piece by piece
	pos    uint64 // of the present piece in the present step

	looking bool // a compare-and-write has found a difference, and the medium is read to see where; pos is what the handler says
}

// callouts says which of the handler's callouts does a request; those that take more than one are not in it.
var callouts = [bdev.OpCount]uint32{
	bdev.OpRead:            opRead,
	bdev.OpWrite:           opWrite,
	bdev.OpFlush:           opFlush,
	bdev.OpWriteZeroes:     opWriteSame,
	bdev.OpUnmap:           opUnmap,
	bdev.OpCompareAndWrite: opCAW,
}

// compile makes the program of a request.
func (p *program) compile(d *disk, req *bdev.Request) {
	*p = program{writes: !d.ops.writeSame}
	off, length := req.LBA<<d.shift, req.Blocks<<d.shift
	if req.Op != bdev.OpUnmap {
		p.add(callouts[req.Op], off, length)
		return
	}
	begin, end := d.unmapUnits(off, length)
	p.add(opWriteSame, off, begin-off)
	p.add(opUnmap, begin, end-begin)
	p.add(opWriteSame, end, off+length-end)
}

func (p *program) add(op uint32, off, length uint64) {
	if length == 0 && op != opFlush {
		return
	}
	p.steps[p.n] = step{op: op, off: off, len: length}
	p.n++
}

// unmapUnits is the part of a range that consists of whole units of the handler's unmap: of the rest, handlers unmap nothing,
// or refuse it. What the range must read as afterwards is zeroes, so the rest is written. begin is the end if there is no such part.
func (d *disk) unmapUnits(off, length uint64) (begin, end uint64) {
	unit := d.unmapUnit
	if unit == 0 {
		return off, off + length
	}
	begin, end = (off+unit-1)/unit*unit, (off+length)/unit*unit
	if begin >= end {
		return off + length, off + length
	}
	return begin, end
}

// next says what to submit, with its data in memory.
func (p *program) next(d *disk, req *bdev.Request, memory []byte) (op uint32, off, length uint64, data int) {
	s := &p.steps[p.at]
	op, off, length = s.op, s.off, s.len
	switch {
	case op == opWriteSame && p.writes:
		op, off, length = opWrite, off+p.pos, min(length-p.pos, transferMax)
		data = int(length)
		clear(memory[:data])
	case op == opWriteSame:
		data = 1 << d.shift
		clear(memory[:data])
	case op == opCAW:
		data = gather(memory, req.Compare)
		data += gather(memory[data:], req.Data)
	case op == opWrite:
		data = gather(memory, req.Data)
	case op == opRead:
		data = int(length)
	}
	return op, off, length, data
}

// writeInstead reports whether a callout that the handler has not handled can be made of writes, and goes over to that.
func (p *program) writeInstead() bool {
	can := p.steps[p.at].op == opWriteSame && !p.writes
	p.writes = p.writes || can
	return can
}

// advance goes past what has been done and reports whether there is more. Data that was read is copied into the request.
func (p *program) advance(d *disk, req *bdev.Request, memory []byte) bool {
	s := &p.steps[p.at]
	if s.op == opRead {
		scatter(req.Data, memory)
	}
	if s.op == opWriteSame && p.writes {
		if p.pos += transferMax; p.pos < s.len {
			return true
		}
	}
	p.pos = 0
	p.at++
	return p.at < p.n
}

// look has the medium read after a miscompare. Where the difference is, handlers say wrongly: tcmu-runner's rbd subtracts the
// request's offset from a number that librbd has made relative already.
func (p *program) look(said uint64) {
	p.looking, p.pos = true, said
	p.steps[0].op = opRead
}

// gather copies the pieces to the start of memory, and returns how many bytes that is.
func gather(memory []byte, pieces [][]byte) int {
	n := 0
	for _, piece := range pieces {
		n += copy(memory[n:], piece)
	}
	return n
}

// scatter is gather the other way.
func scatter(pieces [][]byte, memory []byte) {
	for _, piece := range pieces {
		memory = memory[copy(piece, memory):]
	}
}
