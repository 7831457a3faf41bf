package iscsi

import (
	"crypto/md5"
	"crypto/rand"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"strconv"
	"strings"
)

// CHAPAlgorithm is a number of IANA's registry "PPP Authentication Algorithms", as CHAP_A carries it (RFC 7143 12.1.3).
type CHAPAlgorithm uint8

// Algorithms.
const (
	CHAPMD5    CHAPAlgorithm = 5
	CHAPSHA1   CHAPAlgorithm = 6
	CHAPSHA256 CHAPAlgorithm = 7
)

// CHAPAlgorithms are all that we have, the best first.
var CHAPAlgorithms = []CHAPAlgorithm{CHAPSHA256, CHAPSHA1, CHAPMD5}

// CheckCHAPSecret says what is wrong with a secret that somebody configures. peer is the secret of the other direction, empty for
// none: RFC 7143 9.2.1 forbids that they are equal.
func CheckCHAPSecret(secret, peer string) error {
	switch {
	case len(secret) < CHAPSecretMin:
		return fmt.Errorf("CHAP secret is shorter than %d bytes", CHAPSecretMin)
	case len(secret) > CHAPSecretMax:
		return errors.New("CHAP secret is longer than 255 bytes")
	case secret == peer:
		return errors.New("CHAP secrets of both directions are equal")
	}
	return nil
}

func (a CHAPAlgorithm) hash() hash.Hash {
	switch a {
	case CHAPMD5:
		return md5.New()
	case CHAPSHA1:
		return sha1.New()
	case CHAPSHA256:
		return sha256.New()
	default:
		panic("iscsi: CHAP algorithm " + strconv.Itoa(int(a)))
	}
}

// CHAPResponse computes CHAP_R (RFC 1994 4.1): the hash over identifier, secret and challenge.
func CHAPResponse(a CHAPAlgorithm, identifier uint8, secret string, challenge []byte) []byte {
	h := a.hash()
	h.Write([]byte{identifier})
	h.Write([]byte(secret))
	h.Write(challenge)
	return h.Sum(nil)
}

// CHAPChallenge is one question: an identifier and random bytes. Each is used once.
type CHAPChallenge struct {
	Algorithm  CHAPAlgorithm
	Identifier uint8
	Challenge  []byte
}

// NewCHAPChallenge draws a challenge.
func NewCHAPChallenge(a CHAPAlgorithm) CHAPChallenge {
	b := make([]byte, chapChallengeLength+1)
	rand.Read(b) // never fails: crypto/rand ends the process instead
	return CHAPChallenge{a, b[chapChallengeLength], b[:chapChallengeLength]}
}

// Verify compares a response in constant time.
func (c *CHAPChallenge) Verify(secret string, response []byte) bool {
	want := CHAPResponse(c.Algorithm, c.Identifier, secret, c.Challenge)
	return subtle.ConstantTimeCompare(want, response) == 1
}

// ChooseCHAPAlgorithm picks the first of the peer's list that is allowed; 0 is none.
func ChooseCHAPAlgorithm(list string, allowed []CHAPAlgorithm) CHAPAlgorithm {
	for s := range strings.SplitSeq(list, ",") {
		for _, a := range allowed {
			if s == strconv.Itoa(int(a)) {
				return a
			}
		}
	}
	return 0
}

// formatCHAPAlgorithms is the value of an offered CHAP_A.
func formatCHAPAlgorithms(list []CHAPAlgorithm) string {
	names := make([]string, len(list))
	for i, a := range list {
		names[i] = strconv.Itoa(int(a))
	}
	return strings.Join(names, ",")
}

// FormatBinary is the hexadecimal form of a binary value (RFC 7143 6.1), which every implementation reads.
func FormatBinary(b []byte) string { return "0x" + hex.EncodeToString(b) }

// ParseBinary decodes a binary value in hexadecimal or base64 of at most limit bytes (RFC 7143 6.1). An odd number of
// hexadecimal digits lacks a leading zero.
func ParseBinary(s string, limit int) ([]byte, bool) {
	if len(s) < 3 || s[0] != '0' {
		return nil, false
	}
	var b []byte
	var err error
	switch digits := s[2:]; s[1] {
	case 'x', 'X':
		if len(digits)%2 != 0 {
			digits = "0" + digits
		}
		b, err = hex.DecodeString(digits)
	case 'b', 'B':
		b, err = base64.StdEncoding.Strict().DecodeString(digits)
	default:
		return nil, false
	}
	return b, err == nil && len(b) <= limit
}
