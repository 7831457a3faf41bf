package iscsi

// Sequence numbers are 32-bit serial numbers (RFC 7143 4.2.2, RFC 1982): they wrap, and only numbers less than 2^31
// apart can be compared.

// SerialLess reports whether a comes before b.
func SerialLess(a, b uint32) bool {
	if Mutated(MutatePlainCompare) {
		return a < b
	}
	return int32(a-b) < 0
}

// SerialLessEqual reports whether a is b or comes before it.
func SerialLessEqual(a, b uint32) bool { return !SerialLess(b, a) }

// SerialMax is the later of both.
func SerialMax(a, b uint32) uint32 {
	if SerialLess(a, b) {
		return b
	}
	return a
}

// SerialIn reports whether first <= n <= last. A window with last before first, as a target sends to close its command
// window, holds nothing.
func SerialIn(n, first, last uint32) bool {
	return SerialLessEqual(first, n) && SerialLessEqual(n, last)
}
