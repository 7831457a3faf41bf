package iscsi

import (
	"encoding/binary"
	"hash/crc32"
)

// DigestLength is the length of a header or data digest, in bytes (RFC 7143 11.2.3).
const DigestLength = 4

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Digest is a running CRC32C (RFC 7143 13.1). The zero Digest is that of no bytes.
type Digest uint32

// Add continues the digest over b.
func (d Digest) Add(b []byte) Digest { return Digest(crc32.Update(uint32(d), castagnoli, b)) }

// AddPadding continues the digest over the padding of a segment of n bytes: data digests cover it, and it is zero when we send.
func (d Digest) AddPadding(n int) Digest { return d.Add(zeroes[:Padding(n)]) }

// Put writes the digest as it is sent: RFC 7143 13.1 reflects every byte, which comes out as little-endian.
func (d Digest) Put(b []byte) { binary.LittleEndian.PutUint32(b, uint32(d)) }

// Matches compares with a digest as received.
func (d Digest) Matches(b []byte) bool { return binary.LittleEndian.Uint32(b) == uint32(d) }

var zeroes [4]byte

// Padding is the number of bytes that follow a segment of n bytes, to the next multiple of four (RFC 7143 11.1).
func Padding(n int) int { return -n & 3 }

// PutHeaderDigest writes the digest of a header (BHS and AHS) behind it: b is the header and four more bytes.
func PutHeaderDigest(b []byte) {
	n := len(b) - DigestLength
	Digest(0).Add(b[:n]).Put(b[n:])
}
