package bdev

import "bytes"

// Cursor walks over the pieces of a request's data, from the start to the end.
type Cursor struct {
	pieces [][]byte
	at     int // piece
	off    int // bytes into it
}

// CursorOf begins a walk.
func CursorOf(pieces [][]byte) Cursor { return Cursor{pieces: pieces} }

// Next is the rest of the present piece, at most n bytes, and goes past it.
func (c *Cursor) Next(n int) []byte {
	for c.off == len(c.pieces[c.at]) {
		c.at, c.off = c.at+1, 0
	}
	piece := c.pieces[c.at][c.off:]
	piece = piece[:min(n, len(piece))]
	c.off += len(piece)
	return piece
}

// Compare goes on by len(b) bytes and returns the offset in b of the first difference, or -1. After a difference the cursor stands
// somewhere in between.
func (c *Cursor) Compare(b []byte) int {
	for done := 0; done < len(b); {
		piece := c.Next(len(b) - done)
		if at := Difference(piece, b[done:done+len(piece)]); at >= 0 {
			return done + at
		}
		done += len(piece)
	}
	return -1
}

// take appends the next blocks to into and returns it with how many they are: whole blocks, as many as fit into segments pieces.
func (c *Cursor) take(into [][]byte, blocks uint64, shift uint8, segments int) ([][]byte, uint64) {
	blocks = min(blocks, c.reach(segments)>>shift)
	for left := int(blocks << shift); left > 0; {
		piece := c.Next(left)
		left -= len(piece)
		into = append(into, piece)
	}
	return into, blocks
}

// reach is how many bytes the next segments pieces hold.
func (c *Cursor) reach(segments int) uint64 {
	n := uint64(0)
	for i := c.at; i < len(c.pieces) && i < c.at+segments; i++ {
		n += uint64(len(c.pieces[i]))
	}
	return n - uint64(c.off)
}

// Difference is the offset of the first byte in which a and b, of one length, differ, or -1.
func Difference(a, b []byte) int {
	if bytes.Equal(a, b) {
		return -1
	}
	for i := range a {
		if a[i] != b[i] {
			return i
		}
	}
	return -1
}
