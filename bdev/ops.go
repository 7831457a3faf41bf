package bdev

// opInfo is what the generic layer knows of an operation.
type opInfo struct {
	name    string // as in supported_io_types
	writes  bool   // needs a writable desc
	ranged  bool   // works on Blocks blocks from LBA
	data    bool   // Data has Blocks blocks
	compare bool   // Compare has Blocks blocks
}

// ops has a row per operation.
var ops = [OpCount]opInfo{
	OpRead:            {name: "read", ranged: true, data: true},
	OpWrite:           {name: "write", writes: true, ranged: true, data: true},
	OpFlush:           {name: "flush"},
	OpUnmap:           {name: "unmap", writes: true, ranged: true},
	OpWriteZeroes:     {name: "write_zeroes", writes: true, ranged: true},
	OpCompare:         {name: "compare", ranged: true, data: true},
	OpCompareAndWrite: {name: "compare_and_write", writes: true, ranged: true, data: true, compare: true},
	OpCopy:            {name: "copy", writes: true, ranged: true},
	OpReset:           {name: "reset"},
	OpAbort:           {name: "abort"},
	OpSeekData:        {name: "seek_data"},
	OpSeekHole:        {name: "seek_hole"},
}

// String is the operation's name as clients of bdev_get_bdevs know it.
func (o Op) String() string { return ops[o].name }

var statusNames = [StatusCount]string{
	StatusOK:            "ok",
	StatusAborted:       "aborted",
	StatusNoMemory:      "nomem",
	StatusInvalid:       "invalid",
	StatusUnsupported:   "unsupported",
	StatusOutOfRange:    "out_of_range",
	StatusReadOnly:      "read_only",
	StatusRemoved:       "removed",
	StatusMiscompare:    "miscompare",
	StatusNoSpace:       "no_space",
	StatusMediumError:   "medium_error",
	StatusHardwareError: "hardware_error",
	StatusNotReady:      "not_ready",
	StatusConflict:      "conflict",
}

// String is the status's name, as io_error of bdev_get_iostat has it.
func (s Status) String() string { return statusNames[s] }

// bytesOf is the sum of the pieces' lengths.
func bytesOf(pieces [][]byte) uint64 {
	n := uint64(0)
	for _, p := range pieces {
		n += uint64(len(p))
	}
	return n
}

// overlaps reports whether two ranges of blocks have one in common.
func overlaps(lba, blocks, lba2, blocks2 uint64) bool {
	return lba < lba2+blocks2 && lba2 < lba+blocks
}

// touches reports whether q works on any of the blocks.
func (q *Request) touches(lba, blocks uint64) bool {
	if !ops[q.Op].ranged {
		return false
	}
	return overlaps(q.LBA, q.Blocks, lba, blocks) ||
		q.Op == OpCopy && overlaps(q.SrcLBA, q.Blocks, lba, blocks)
}
