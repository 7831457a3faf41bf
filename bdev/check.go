package bdev

import "math"

// opLimit is what the module takes in one request of an operation.
type opLimit struct {
	max      uint64 // blocks
	boundary uint64 // blocks, 0 for none
}

// check refuses what makes no sense or is not allowed, before anything else happens.
func (l *lane) check(q *Request) Status {
	if q.Op >= OpCount {
		return StatusInvalid
	}
	info := &ops[q.Op]
	if info.ranged && !l.inRange(q.LBA, q.Blocks) {
		return l.outOfRange()
	}
	switch {
	case info.writes && !q.channel.writable:
		return StatusReadOnly
	case info.data && bytesOf(q.Data) != q.Blocks<<l.dev.shift:
		return StatusInvalid
	case !l.dev.can[q.Op]:
		return StatusUnsupported
	case info.data && len(q.Data) > SegmentsMax:
		return StatusInvalid
	}
	return l.checkRare(q)
}

// checkRare is the checks of the operations that are not plain I/O.
func (l *lane) checkRare(q *Request) Status {
	switch q.Op {
	case OpCompareAndWrite:
		if bytesOf(q.Compare) != q.Blocks<<l.dev.shift || len(q.Compare) > SegmentsMax {
			return StatusInvalid
		}
		if q.Lock != nil && !q.Lock.covers(q.LBA, q.Blocks) {
			return StatusInvalid
		}
	case OpCopy:
		if !l.inRange(q.SrcLBA, q.Blocks) {
			return l.outOfRange()
		}
	case OpSeekData, OpSeekHole:
		if q.LBA > l.blocks {
			return l.outOfRange()
		}
	case OpAbort:
		if q.Target == nil || q.Target == q || q.Target.channel != nil && q.Target.channel.lane != l {
			return StatusInvalid
		}
	default:
	}
	return StatusOK
}

// inRange reports whether the blocks lie on the device. It cannot wrap.
func (l *lane) inRange(lba, blocks uint64) bool { return blocks <= l.blocks && lba <= l.blocks-blocks }

func (l *lane) outOfRange() Status {
	if l.removed {
		return StatusRemoved
	}
	return StatusOutOfRange
}

// isDirect reports whether the module can do q as it is.
func (l *lane) isDirect(q *Request) bool {
	d := l.dev
	lim := &d.limits[q.Op]
	switch {
	case !d.native[q.Op], q.Blocks > lim.max, len(q.Data) > d.segments:
		return false
	case q.Flags&FlagFUA != 0 && d.needsFlush(q.Op):
		return false
	case lim.boundary != 0 && q.LBA%lim.boundary+q.Blocks > lim.boundary:
		return false
	}
	return true
}

// needsFlush reports whether FUA of op is made of a flush afterwards.
func (d *Device) needsFlush(op Op) bool {
	return d.spec.WriteCache && ops[op].writes && (op != OpWrite || !d.spec.FUA) && !Mutated(MutateFUADropped)
}

// limitsOf works out the table that isDirect reads.
func limitsOf(s *Spec) (t [OpCount]opLimit) {
	for op := range t {
		t[op].max = math.MaxUint64
		if !ops[op].ranged {
			continue
		}
		if s.Limits.SplitAtBoundary {
			t[op].boundary = uint64(s.Limits.OptimalBoundaryBlocks)
		}
		max := uint64(s.Limits.MaxTransferBlocks)
		switch Op(op) {
		case OpUnmap:
			max = s.Limits.MaxUnmapBlocks
		case OpWriteZeroes:
			max = s.Limits.MaxWriteZeroesBlocks
		default:
		}
		if max != 0 {
			t[op].max = max
		}
	}
	return t
}
