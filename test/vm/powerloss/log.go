package powerloss

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// Format of the log, as include/uapi has none: drivers/md/dm-log-writes.c, version 1. All numbers are little-endian.
const (
	magic     = 0x6a736677736872
	version   = 1
	superSize = 28
	entrySize = 32

	flagFlush   = 1 << 0
	flagFUA     = 1 << 1
	flagDiscard = 1 << 2
	flagMark    = 1 << 3
)

// Bounds on what a log may say.
const (
	sectorMax = 4096
	writeMax  = 64 << 20
	// discardStep is how many bytes of a discard are cleared at once.
	discardStep = 1 << 20
)

// ErrFormat is what all errors about a log's content wrap.
var ErrFormat = errors.New("not a log of dm-log-writes")

// Entry is one thing that became durable.
type Entry struct {
	Flush, FUA, Discard bool
	Mark                string // the text of a mark, which writes nothing; empty otherwise
	Offset, Length      int64  // bytes of the disk; 0, 0 for a flush alone
	Data                []byte // Length bytes, unless Discard; valid until the next call of Next
}

// Log reads a log entry by entry.
type Log struct {
	from    io.ReaderAt
	at      int64
	sector  int64
	entries uint64 // that are left
	buf     []byte
}

// Open reads the log's first sector.
func Open(from io.ReaderAt) (*Log, error) {
	var super [superSize]byte
	if _, err := from.ReadAt(super[:], 0); err != nil {
		return nil, err
	}
	l := &Log{
		from: from, entries: binary.LittleEndian.Uint64(super[16:]), sector: int64(binary.LittleEndian.Uint32(super[24:])),
	}
	l.at = l.sector
	m, v := binary.LittleEndian.Uint64(super[:]), binary.LittleEndian.Uint64(super[8:])
	if m != magic || v != version || l.sector < 512 || l.sector > sectorMax {
		return nil, fmt.Errorf("%w: magic %#x, version %d, sectors of %d bytes", ErrFormat, m, v, l.sector)
	}
	return l, nil
}

// Next is the next entry, io.EOF behind the last.
func (l *Log) Next() (e Entry, err error) {
	if l.entries == 0 {
		return e, io.EOF
	}
	head := make([]byte, l.sector)
	if _, err := l.from.ReadAt(head, l.at); err != nil {
		return e, err
	}
	l.entries--
	l.at += l.sector
	flags, inline := binary.LittleEndian.Uint64(head[16:]), binary.LittleEndian.Uint64(head[24:])
	e.Flush, e.FUA, e.Discard = flags&flagFlush != 0, flags&flagFUA != 0, flags&flagDiscard != 0
	if flags&flagMark != 0 {
		if inline > uint64(l.sector-entrySize) {
			return e, fmt.Errorf("%w: a mark of %d bytes", ErrFormat, inline)
		}
		e.Mark = string(head[entrySize : entrySize+inline])
		return e, nil
	}
	sector, sectors := binary.LittleEndian.Uint64(head), binary.LittleEndian.Uint64(head[8:])
	if sector > 1<<40 || sectors > 1<<40 || !e.Discard && int64(sectors)*l.sector > writeMax || inline != 0 {
		return e, fmt.Errorf("%w: %d sectors at %d, %d bytes inline", ErrFormat, sectors, sector, inline)
	}
	e.Offset, e.Length = int64(sector)*l.sector, int64(sectors)*l.sector
	if e.Discard {
		return e, nil
	}
	return e, l.data(&e)
}

// data reads what e writes.
func (l *Log) data(e *Entry) error {
	if int64(cap(l.buf)) < e.Length {
		l.buf = make([]byte, e.Length)
	}
	e.Data = l.buf[:e.Length]
	_, err := l.from.ReadAt(e.Data, l.at)
	l.at += e.Length
	return err
}

// Apply does to disk what e has done. Of all that a disk may do at a discard, forgetting is what shows the most.
func (e *Entry) Apply(disk io.WriterAt) error {
	if !e.Discard {
		_, err := disk.WriteAt(e.Data, e.Offset)
		return err
	}
	zero := make([]byte, min(e.Length, discardStep))
	for off, end := e.Offset, e.Offset+e.Length; off < end; off += int64(len(zero)) {
		if _, err := disk.WriteAt(zero[:min(int64(len(zero)), end-off)], off); err != nil {
			return err
		}
	}
	return nil
}
