package bdevtest

import (
	"math"

	"pollux/bdev"
)

// testOps does each operation once and looks at what it did.
func testOps(r *run) {
	const size = 64
	_, clients := r.open(size)
	c := clients[0]
	a, b, z, got := r.blocksOf(8, 0xaa), r.blocksOf(8, 0xbb), r.blocksOf(8, 0), r.blocksOf(8, 0x11)
	see := func(lba uint64, want [][]byte) {
		r.T.Helper()
		r.Want(clients[1].Do(bdev.Request{Op: bdev.OpRead, LBA: lba, Blocks: 8, Data: got}), bdev.StatusOK)
		if at := bdev.Difference(got[0], want[0]); at >= 0 {
			r.T.Fatalf("at LBA %d byte %d is %#x, want %#x", lba, at, got[0][at], want[0][at])
		}
	}
	ok := func(q bdev.Request) {
		r.T.Helper()
		r.Want(c.Do(q), bdev.StatusOK)
	}
	see(0, z)
	ok(bdev.Request{Op: bdev.OpWrite, LBA: 8, Blocks: 8, Data: a})
	see(8, a)
	ok(bdev.Request{Op: bdev.OpWrite, Flags: bdev.FlagFUA, LBA: 16, Blocks: 8, Data: b})
	see(16, b)
	ok(bdev.Request{Op: bdev.OpFlush})
	ok(bdev.Request{Op: bdev.OpCompare, LBA: 8, Blocks: 8, Data: a})
	ok(bdev.Request{Op: bdev.OpCopy, SrcLBA: 8, LBA: 12, Blocks: 8})
	see(12, a)
	ok(bdev.Request{Op: bdev.OpCompareAndWrite, LBA: 12, Blocks: 8, Compare: a, Data: b})
	see(12, b)
	b[0][3*int(r.blockSize)+5]++
	o := c.Do(bdev.Request{Op: bdev.OpCompareAndWrite, LBA: 12, Blocks: 8, Compare: b, Data: a})
	r.Want(o, bdev.StatusMiscompare)
	if want := uint64(3*r.blockSize + 5); o.Result != want {
		r.T.Fatalf("miscompare at %d, want %d", o.Result, want)
	}
	b[0][3*int(r.blockSize)+5]--
	see(12, b)
	ok(bdev.Request{Op: bdev.OpWriteZeroes, Flags: bdev.FlagFUA, LBA: 12, Blocks: 8})
	see(12, z)
	if c.Desc.Device().Supports(bdev.OpUnmap) {
		ok(bdev.Request{Op: bdev.OpWrite, LBA: 40, Blocks: 8, Data: a})
		ok(bdev.Request{Op: bdev.OpUnmap, Flags: bdev.FlagFUA, LBA: 40, Blocks: 8})
		see(40, z)
	} else {
		r.Want(c.Do(bdev.Request{Op: bdev.OpUnmap, LBA: 40, Blocks: 8}), bdev.StatusUnsupported)
	}
	r.testSeek(c, size)
}

// testSeek: what has been written is found by seek data, whatever else is.
func (r *run) testSeek(c *Client, size uint64) {
	r.T.Helper()
	if !c.Desc.Device().Supports(bdev.OpSeekData) {
		r.Want(c.Do(bdev.Request{Op: bdev.OpSeekData}), bdev.StatusUnsupported)
		return
	}
	r.Want(c.Do(bdev.Request{Op: bdev.OpWriteZeroes, Flags: bdev.FlagUnmap, Blocks: size}), bdev.StatusOK)
	r.Want(c.Do(bdev.Request{Op: bdev.OpWrite, LBA: 33, Blocks: 1, Data: r.blocksOf(1, 7)}), bdev.StatusOK)
	o := c.Do(bdev.Request{Op: bdev.OpSeekData})
	r.Want(o, bdev.StatusOK)
	if o.Result > 33 {
		r.T.Fatalf("seek data from 0 skips the data at 33: %d", o.Result)
	}
	o = c.Do(bdev.Request{Op: bdev.OpSeekHole, LBA: 33})
	r.Want(o, bdev.StatusOK)
	if o.Result <= 33 || o.Result > size {
		r.T.Fatalf("seek hole from the data at 33: %d", o.Result)
	}
	o = c.Do(bdev.Request{Op: bdev.OpSeekData, LBA: size})
	if r.Want(o, bdev.StatusOK); o.Result != size {
		r.T.Fatalf("seek data from the end: %d", o.Result)
	}
}

// testBounds: nothing beyond the end, nothing that wraps, nothing malformed reaches the module.
func testBounds(r *run) {
	const size = 64
	_, clients := r.open(size)
	c := clients[0]
	one, two := r.blocksOf(1, 1), r.blocksOf(2, 2)
	for _, op := range []bdev.Op{bdev.OpRead, bdev.OpWrite, bdev.OpCompare} {
		for _, at := range []struct {
			lba, blocks uint64
			data        [][]byte
			want        bdev.Status
		}{
			{size - 1, 2, two, bdev.StatusOutOfRange},
			{size, 1, one, bdev.StatusOutOfRange},
			{math.MaxUint64, 1, one, bdev.StatusOutOfRange},
			{math.MaxUint64, 2, two, bdev.StatusOutOfRange},
			{1, math.MaxUint64, one, bdev.StatusOutOfRange},
			{0, 2, one, bdev.StatusInvalid},
			{0, 1, two, bdev.StatusInvalid},
			{0, 1, nil, bdev.StatusInvalid},
			{0, 0, nil, bdev.StatusOK},
			{size, 0, nil, bdev.StatusOK},
			{size + 1, 0, nil, bdev.StatusOutOfRange},
		} {
			r.Want(c.Do(bdev.Request{Op: op, LBA: at.lba, Blocks: at.blocks, Data: at.data}), at.want)
		}
	}
	r.Want(c.Do(bdev.Request{Op: bdev.OpWrite, LBA: size - 1, Blocks: 1, Data: one}), bdev.StatusOK)
	r.Want(c.Do(bdev.Request{Op: bdev.OpRead, LBA: size - 1, Blocks: 1, Data: one}), bdev.StatusOK)
	r.Want(c.Do(bdev.Request{Op: bdev.OpWriteZeroes, LBA: 1, Blocks: math.MaxUint64}), bdev.StatusOutOfRange)
	r.Want(c.Do(bdev.Request{Op: bdev.OpCopy, LBA: 0, SrcLBA: size - 1, Blocks: 2}), bdev.StatusOutOfRange)
	r.Want(c.Do(bdev.Request{Op: bdev.OpCopy, LBA: 0, SrcLBA: math.MaxUint64, Blocks: 2}), bdev.StatusOutOfRange)
	r.Want(c.Do(bdev.Request{Op: bdev.OpCompareAndWrite, Blocks: 1, Data: one, Compare: two}), bdev.StatusInvalid)
	r.Want(c.Do(bdev.Request{Op: bdev.OpCount}), bdev.StatusInvalid)
	r.Want(c.Do(bdev.Request{Op: bdev.OpAbort}), bdev.StatusInvalid)
}

// testReadOnlyDesc: a desc that was not opened for writing writes nothing.
func testReadOnlyDesc(r *run) {
	name, _ := r.open(64)
	c := r.Open(1, name, bdev.OpenOptions{})
	one := r.blocksOf(1, 1)
	r.Want(c.Do(bdev.Request{Op: bdev.OpRead, Blocks: 1, Data: one}), bdev.StatusOK)
	for _, q := range []bdev.Request{
		{Op: bdev.OpWrite, Blocks: 1, Data: one},
		{Op: bdev.OpUnmap, Blocks: 1},
		{Op: bdev.OpWriteZeroes, Blocks: 1},
		{Op: bdev.OpCompareAndWrite, Blocks: 1, Data: one, Compare: one},
		{Op: bdev.OpCopy, Blocks: 1, SrcLBA: 2},
	} {
		r.Want(c.Do(q), bdev.StatusReadOnly)
	}
}
