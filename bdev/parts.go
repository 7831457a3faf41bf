package bdev

// pump gives the module as many parts as it may have at once. When none is left in flight, the stage is over.
func (c *composite) pump() {
	for c.inFlight < c.width() && !c.isIssued() {
		p := c.freePart()
		if p == nil || !c.prepare(p) {
			break
		}
		p.busy = true
		c.inFlight++
		c.lane.dispatch(&p.Request)
	}
	if c.inFlight == 0 {
		c.advance()
	}
}

// width is how many parts of the stage may be in flight at once: those that share the buffer go one by one, and those of a
// copy, which may overlap, too.
func (c *composite) width() int {
	switch s := c.program[c.step]; {
	case s == stageCompare, s == stageCopy, s == stageFlush, c.whole.Op == OpCopy:
		return 1
	default:
		return PartsMax
	}
}

// isIssued reports whether the stage needs no further part.
func (c *composite) isIssued() bool {
	switch {
	case c.status != StatusOK || c.aborted:
		return true
	case c.program[c.step] == stageFlush:
		return c.pos != 0
	default:
		return c.pos == c.whole.Blocks && !c.copied
	}
}

func (c *composite) freePart() *part {
	for i := range c.parts {
		if !c.parts[i].busy {
			return &c.parts[i]
		}
	}
	return nil
}

// prepare makes p the next part of the stage. It fails when the pieces of the data do not fit the module.
func (c *composite) prepare(p *part) bool {
	q := c.whole
	p.channel = q.channel
	p.Flags, p.Status, p.Result, p.LBA, p.SrcLBA, p.Blocks = 0, StatusOK, 0, 0, 0, 0
	p.Data, p.Compare, p.pos = nil, nil, c.pos
	switch c.program[c.step] {
	case stageSpread:
		return c.prepareSpread(p)
	case stageWrite:
		p.Op, p.Flags = OpWrite, c.flags
		return c.prepareData(p, q.Blocks-c.pos)
	case stageZero:
		c.prepareZero(p)
	case stageCompare:
		lba := q.LBA + c.pos
		c.prepareBuffer(p, OpRead, lba, c.partBlocks(OpRead, lba, min(c.bufBlocks(), q.Blocks-c.pos)))
		c.pos += p.Blocks
	case stageCopy:
		c.prepareCopy(p)
	case stageFlush:
		p.Op, c.pos = OpFlush, 1
	case stageEnd, stageLock:
		panic("bdev: a stage without parts")
	}
	return true
}

// partBlocks is how many blocks from lba the module takes in one request.
func (c *composite) partBlocks(op Op, lba, blocks uint64) uint64 {
	lim := &c.lane.dev.limits[op]
	blocks = min(blocks, lim.max)
	if lim.boundary != 0 {
		blocks = min(blocks, lim.boundary-lba%lim.boundary)
	}
	return blocks
}

func (c *composite) prepareSpread(p *part) bool {
	q := c.whole
	p.Op, p.Flags = c.op, c.flags
	switch {
	case q.Op == OpCompareAndWrite:
		p.LBA, p.Blocks, p.Data, p.Compare = q.LBA, q.Blocks, q.Data, q.Compare
		c.pos = q.Blocks
		return true
	case ops[q.Op].data:
		return c.prepareData(p, q.Blocks-c.pos)
	}
	from := c.pos
	if q.Op == OpCopy {
		from, p.Blocks = c.copyRange(OpCopy, OpCopy, q.Blocks-c.pos)
	} else {
		p.Blocks = c.partBlocks(p.Op, q.LBA+c.pos, q.Blocks-c.pos)
	}
	p.LBA, p.SrcLBA = q.LBA+from, q.SrcLBA+from
	c.pos += p.Blocks
	return true
}

// prepareData gives p the next blocks of the whole request's data.
func (c *composite) prepareData(p *part, blocks uint64) bool {
	d := c.lane.dev
	p.LBA = c.whole.LBA + c.pos
	blocks = c.partBlocks(p.Op, p.LBA, blocks)
	p.pieces, p.Blocks = c.data.take(p.pieces[:0], blocks, d.shift, d.segments)
	p.Data = p.pieces
	c.pos += p.Blocks
	if p.Blocks == 0 { // A block in more pieces than the module takes.
		c.status = StatusInvalid
		return false
	}
	return true
}

func (c *composite) prepareZero(p *part) {
	d, q := c.lane.dev, c.whole
	p.Op, p.Flags, p.LBA = OpWrite, c.flags&^FlagUnmap, q.LBA+c.pos
	p.Blocks = c.partBlocks(OpWrite, p.LBA, min(uint64(len(d.zeroes))>>d.shift, q.Blocks-c.pos))
	p.one[0] = d.zeroes[:p.Blocks<<d.shift]
	p.Data = p.one[:]
	c.pos += p.Blocks
}

func (c *composite) bufBlocks() uint64 { return emulationBuffer >> c.lane.dev.shift }

// prepareBuffer makes p move blocks between the medium and the composite's buffer.
func (c *composite) prepareBuffer(p *part, op Op, lba, blocks uint64) {
	p.Op, p.LBA, p.Blocks = op, lba, blocks
	p.one[0] = c.buf.Bytes()[:p.Blocks<<c.lane.dev.shift]
	p.Data = p.one[:]
}

// prepareCopy reads the next blocks, or writes those that were read.
func (c *composite) prepareCopy(p *part) {
	q := c.whole
	from, n := c.copyRange(OpRead, OpWrite, min(c.bufBlocks(), q.Blocks-c.pos))
	if !c.copied {
		c.prepareBuffer(p, OpRead, q.SrcLBA+from, n)
	} else {
		c.prepareBuffer(p, OpWrite, q.LBA+from, n)
		c.pos += n
	}
	c.copied = !c.copied
}

// copyRange is what is copied next, in blocks from the start, n at most. Where the target overlaps the end of the source, the copy
// goes from the end to the start, so that nothing is overwritten before it is read.
func (c *composite) copyRange(read, write Op, n uint64) (from, blocks uint64) {
	q := c.whole
	if q.LBA <= q.SrcLBA {
		n = min(c.partBlocks(read, q.SrcLBA+c.pos, n), c.partBlocks(write, q.LBA+c.pos, n))
		return c.pos, n
	}
	end := q.Blocks - c.pos
	n = min(c.partBlocksBefore(read, q.SrcLBA+end, n), c.partBlocksBefore(write, q.LBA+end, n))
	return end - n, n
}

// partBlocksBefore is how many blocks up to end the module takes in one request.
func (c *composite) partBlocksBefore(op Op, end, blocks uint64) uint64 {
	lim := &c.lane.dev.limits[op]
	blocks = min(blocks, lim.max)
	if lim.boundary != 0 {
		blocks = min(blocks, (end-1)%lim.boundary+1)
	}
	return blocks
}

// partDone takes the end of a part.
func (c *composite) partDone(q *Request) {
	p := c.partOf(q)
	p.busy = false
	c.inFlight--
	switch {
	case q.Status != StatusOK:
		c.partFailed(p)
	case c.program[c.step] == stageCompare && c.status == StatusOK:
		c.compareRead(p)
	}
	c.pump()
}

func (c *composite) partOf(q *Request) *part {
	for i := range c.parts {
		if &c.parts[i].Request == q {
			return &c.parts[i]
		}
	}
	panic("bdev: a part of no request")
}

// partFailed notes the first failure; of several miscompares the one that is nearest to the start.
func (c *composite) partFailed(p *part) {
	q := c.whole
	result := p.pos<<c.lane.dev.shift + p.Result
	switch {
	case c.status == StatusOK:
		c.status, q.Result = p.Status, result
	case c.status == StatusMiscompare && p.Status == StatusMiscompare:
		q.Result = min(q.Result, result)
	}
}

// compareRead compares what a part has read.
func (c *composite) compareRead(p *part) {
	if at := c.data.Compare(p.one[0]); at >= 0 {
		c.status, c.whole.Result = StatusMiscompare, p.pos<<c.lane.dev.shift+uint64(at)
	}
}
