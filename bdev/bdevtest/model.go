package bdevtest

import "pollux/bdev"

// Model is a device as simple as can be: what every operation means.
type Model struct {
	BlockSize uint64
	Data      []byte
}

// Blocks is the model's size.
func (m *Model) Blocks() uint64 { return uint64(len(m.Data)) / m.BlockSize }

// at is the bytes of a range of blocks.
func (m *Model) at(lba, blocks uint64) []byte {
	return m.Data[lba*m.BlockSize : (lba+blocks)*m.BlockSize]
}

// Do carries out q, whose range is valid, and returns its status; reads fill q.Data.
func (m *Model) Do(q *bdev.Request) bdev.Status {
	switch q.Op {
	case bdev.OpRead:
		scatter(q.Data, m.at(q.LBA, q.Blocks))
	case bdev.OpWrite:
		gather(m.at(q.LBA, q.Blocks), q.Data)
	case bdev.OpUnmap, bdev.OpWriteZeroes:
		clear(m.at(q.LBA, q.Blocks))
	case bdev.OpCompare:
		return m.compare(q, q.Data)
	case bdev.OpCompareAndWrite:
		if s := m.compare(q, q.Compare); s != bdev.StatusOK {
			return s
		}
		gather(m.at(q.LBA, q.Blocks), q.Data)
	case bdev.OpCopy:
		copy(m.at(q.LBA, q.Blocks), m.at(q.SrcLBA, q.Blocks))
	case bdev.OpSeekData:
		q.Result = q.LBA // All of it may hold data.
	case bdev.OpSeekHole:
		q.Result = m.Blocks()
	default: // Flush, reset and abort change nothing.
	}
	return bdev.StatusOK
}

func (m *Model) compare(q *bdev.Request, expected [][]byte) bdev.Status {
	at := bdev.CursorOf(expected)
	if diff := at.Compare(m.at(q.LBA, q.Blocks)); diff >= 0 {
		q.Result = uint64(diff)
		return bdev.StatusMiscompare
	}
	return bdev.StatusOK
}

func scatter(pieces [][]byte, from []byte) {
	for _, p := range pieces {
		from = from[copy(p, from):]
	}
}

func gather(into []byte, pieces [][]byte) {
	for _, p := range pieces {
		into = into[copy(into, p):]
	}
}
