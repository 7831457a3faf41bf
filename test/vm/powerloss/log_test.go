package powerloss

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"slices"
	"testing"
)

const testSector = 512

// record makes a log as the kernel writes it.
type record struct {
	entries uint64
	body    bytes.Buffer
}

func (r *record) add(sector, sectors, flags uint64, inline string, data []byte) {
	head := make([]byte, testSector)
	for i, v := range []uint64{sector, sectors, flags, uint64(len(inline))} {
		binary.LittleEndian.PutUint64(head[8*i:], v)
	}
	copy(head[entrySize:], inline)
	r.body.Write(head)
	r.body.Write(data)
	r.entries++
}

func (r *record) bytes() []byte {
	super := make([]byte, testSector)
	for i, v := range []uint64{magic, version, r.entries} {
		binary.LittleEndian.PutUint64(super[8*i:], v)
	}
	binary.LittleEndian.PutUint32(super[24:], testSector)
	return append(super, r.body.Bytes()...)
}

type memory []byte

func (m memory) WriteAt(p []byte, off int64) (int, error) { return copy(m[off:], p), nil }

func TestReplay(t *testing.T) {
	var r record
	one, two := bytes.Repeat([]byte{1}, testSector), bytes.Repeat([]byte{2}, 2*testSector)
	r.add(3, 1, 0, "", one)
	r.add(0, 0, flagFlush, "", nil)
	r.add(0, 0, flagMark, "first", nil)
	r.add(0, 8, flagDiscard, "", nil)
	r.add(4, 2, flagFUA, "", two)
	l, err := Open(bytes.NewReader(r.bytes()))
	if err != nil {
		t.Fatal(err)
	}
	disk, marks, flushes, discards := make(memory, 8*testSector), []string{}, 0, 0
	for {
		e, err := l.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if err := e.Apply(disk); err != nil {
			t.Fatal(err)
		}
		if e.Mark != "" {
			marks = append(marks, e.Mark)
		}
		if e.Flush {
			flushes++
		}
		if e.Discard {
			discards++
		}
	}
	want := slices.Concat(make([]byte, 4*testSector), two, make([]byte, 2*testSector)) // The discard has cleared the first.
	if !bytes.Equal(disk, want) || !slices.Equal(marks, []string{"first"}) || flushes != 1 || discards != 1 {
		t.Errorf("disk %x, marks %q, %d flushes, %d discards", disk, marks, flushes, discards)
	}
}

func TestDamagedLog(t *testing.T) {
	var long record
	long.add(0, 1<<41, 0, "", nil)
	var mark record
	mark.add(0, 0, flagMark, "x", nil)
	marked := mark.bytes()
	binary.LittleEndian.PutUint64(marked[testSector+24:], testSector)
	for name, text := range map[string][]byte{"length": long.bytes(), "mark": marked} {
		l, err := Open(bytes.NewReader(text))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := l.Next(); !errors.Is(err, ErrFormat) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := Open(bytes.NewReader(make([]byte, testSector))); !errors.Is(err, ErrFormat) {
		t.Errorf("empty: %v", err)
	}
	if _, err := Open(bytes.NewReader(nil)); err == nil {
		t.Error("nothing is a log")
	}
}
