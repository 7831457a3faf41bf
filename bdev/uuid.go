package bdev

import (
	"encoding/hex"
	"fmt"
	"strings"
)

// UUIDText is a UUID as RFC 9562 4 writes it.
func UUIDText(u [16]byte) string {
	return fmt.Sprintf("%x-%x-%x-%x-%x", u[0:4], u[4:6], u[6:8], u[8:10], u[10:16])
}

// ParseUUID reads what UUIDText writes, in either case.
func ParseUUID(text string) (u [16]byte, err error) {
	digits, ok := uuidDigits(text)
	if ok {
		_, err = hex.Decode(u[:], []byte(digits))
	}
	if !ok || err != nil {
		return [16]byte{}, fmt.Errorf("%q is not a UUID", text)
	}
	return u, nil
}

// uuidDigits takes the hyphens away, which must be at their places.
func uuidDigits(text string) (string, bool) {
	if len(text) != 36 || text[8] != '-' || text[13] != '-' || text[18] != '-' || text[23] != '-' {
		return "", false
	}
	digits := strings.ReplaceAll(text, "-", "")
	return digits, len(digits) == 32
}
