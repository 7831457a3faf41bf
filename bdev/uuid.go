package bdev

import (
	"encoding/hex"
	"fmt"
	"strings"
)

// UUID is a UUID as RPC parameters and results hold it. Spec and Device have its bytes.
type UUID [16]byte

// String is the form of RFC 9562 4.
func (u UUID) String() string {
	return fmt.Sprintf("%x-%x-%x-%x-%x", u[0:4], u[4:6], u[6:8], u[8:10], u[10:16])
}

// Bytes are zero for no UUID.
func (u *UUID) Bytes() [16]byte {
	if u == nil {
		return [16]byte{}
	}
	return *u
}

// MarshalText writes what UnmarshalText reads.
func (u UUID) MarshalText() ([]byte, error) { return []byte(u.String()), nil }

// UnmarshalText reads the form of RFC 9562 4, in either case.
func (u *UUID) UnmarshalText(text []byte) error {
	t := string(text)
	if len(t) != 36 || t[8] != '-' || t[13] != '-' || t[18] != '-' || t[23] != '-' {
		return fmt.Errorf("%q is not a UUID", t)
	}
	if n, err := hex.Decode(u[:], []byte(strings.ReplaceAll(t, "-", ""))); err != nil || n != len(u) {
		return fmt.Errorf("%q is not a UUID", t)
	}
	return nil
}
