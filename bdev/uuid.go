package bdev

import (
	"crypto/sha1"
	"encoding/hex"
	"fmt"
	"os"
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

// uuidSpace is the name space of derived UUIDs.
var uuidSpace = [16]byte{'p', 'o', 'l', 'l', 'u', 'x', 0x40, 0, 0x80, 0, 'b', 'd', 'e', 'v', 0, 1}

// uuidOf derives a UUID of version 5 (RFC 9562 5.5), the same at every start. The machine is a part of it: an initiator takes two
// LUNs with one identity for two paths to one LUN, and Malloc0 of two machines is not that.
func uuidOf(machine, name string) [16]byte {
	h := sha1.New()
	h.Write(uuidSpace[:])
	fmt.Fprintf(h, "%s\x00%s", machine, name)
	u := [16]byte(h.Sum(nil)[:16])
	u[6] = u[6]&0x0f | 0x50
	u[8] = u[8]&0x3f | 0x80
	return u
}

// machineID is the machine's, or its name where it has none.
func machineID() string {
	if id, err := os.ReadFile("/etc/machine-id"); err == nil && len(strings.TrimSpace(string(id))) > 0 {
		return strings.TrimSpace(string(id))
	}
	name, err := os.Hostname()
	if err != nil {
		return ""
	}
	return name
}
