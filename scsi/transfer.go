package scsi

// Data of a task: lists of pieces of memory.

func total(pieces [][]byte) (n uint64) {
	for _, p := range pieces {
		n += uint64(len(p))
	}
	return n
}

// cut appends to dst the n bytes from off of what src holds.
func cut(dst, src [][]byte, off, n uint64) [][]byte {
	for _, p := range src {
		size := uint64(len(p))
		if off >= size {
			off -= size
			continue
		}
		p = p[off:]
		off = 0
		if uint64(len(p)) > n {
			p = p[:n]
		}
		if len(p) > 0 {
			dst = append(dst, p)
		}
		n -= uint64(len(p))
		if n == 0 {
			break
		}
	}
	return dst
}

// fit is the first n bytes of pieces: the list itself if it has just these.
func (t *Task) fit(pieces [][]byte, n uint64) [][]byte {
	has := total(pieces)
	switch {
	case has == n:
		return pieces
	case has < n:
		panic("scsi: the transport gave less memory than Prepare asked for")
	}
	t.pieces = cut(t.pieces[:0], pieces, 0, n)
	return t.pieces
}

// scatter copies data to pieces from off on, as far as they reach.
func scatter(pieces [][]byte, off uint64, data []byte) {
	for _, p := range pieces {
		size := uint64(len(p))
		if off >= size {
			off -= size
			continue
		}
		n := copy(p[off:], data)
		data = data[n:]
		off = 0
		if len(data) == 0 {
			return
		}
	}
}

// reply ends the task with parameter data.
func (t *Task) reply(data []byte) {
	t.DataInTotal = min(uint32(len(data)), t.DataInMax)
	t.DataInLen = min(t.DataInTotal, t.ExpectedIn, uint32(total(t.DataIn)))
	scatter(t.DataIn, 0, data[:t.DataInLen])
	t.good()
}

// parameterList is the task's data-out as one piece.
func (t *Task) parameterList() []byte {
	t.pieces = cut(t.pieces[:0], t.DataOut, 0, uint64(t.DataOutLen))
	if len(t.pieces) == 1 {
		return t.pieces[0]
	}
	list := make([]byte, 0, t.DataOutLen) // Rare commands.
	for _, p := range t.pieces {
		list = append(list, p...)
	}
	return list
}

// takeBounce takes a buffer of at least n bytes for what goes through the task's own memory; false if there is none.
func (t *Task) takeBounce(n int) bool {
	b, ok := t.nexus.r.Buffers().Get(n)
	if ok {
		t.bounce = b
	}
	return ok
}

func (t *Task) releaseBounce() {
	if t.bounce.Bytes() != nil {
		t.nexus.r.Buffers().Put(t.bounce)
		t.bounce = noBuf
	}
}
