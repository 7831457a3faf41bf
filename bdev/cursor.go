package bdev

import "bytes"

// cursor walks over the pieces of a request's data.
type cursor struct {
	pieces [][]byte
	at     int // piece
	off    int // bytes into it
}

// take appends the next blocks to into and returns it with how many they are: whole blocks, as many as fit into segments pieces.
func (c *cursor) take(into [][]byte, blocks uint64, shift uint8, segments int) ([][]byte, uint64) {
	blocks = min(blocks, c.reach(segments)>>shift)
	for left := blocks << shift; left > 0; {
		piece := c.pieces[c.at][c.off:]
		if uint64(len(piece)) > left {
			piece = piece[:left]
		}
		c.skip(len(piece))
		left -= uint64(len(piece))
		if len(piece) > 0 {
			into = append(into, piece)
		}
	}
	return into, blocks
}

// reach is how many bytes the next segments pieces hold.
func (c *cursor) reach(segments int) uint64 {
	n := uint64(0)
	for i := c.at; i < len(c.pieces) && i < c.at+segments; i++ {
		n += uint64(len(c.pieces[i]))
	}
	return n - uint64(c.off)
}

// skip goes n bytes on, which are in the present piece.
func (c *cursor) skip(n int) {
	c.off += n
	if c.off == len(c.pieces[c.at]) {
		c.at, c.off = c.at+1, 0
	}
}

// compare goes on by len(b) bytes and returns the offset in b of the first difference, or -1.
func (c *cursor) compare(b []byte) int {
	for done := 0; done < len(b); {
		piece := c.pieces[c.at][c.off:]
		piece = piece[:min(len(piece), len(b)-done)]
		if at := Difference(piece, b[done:done+len(piece)]); at >= 0 {
			return done + at
		}
		c.skip(len(piece))
		done += len(piece)
	}
	return -1
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
