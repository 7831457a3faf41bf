//go:build invariants

package iobuf

// poisonByte makes use after Put visible: no test pattern consists of it.
const poisonByte = 0xdb

func poison(b []byte) {
	for i := range b {
		b[i] = poisonByte
	}
}
