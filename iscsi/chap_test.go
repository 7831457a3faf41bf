package iscsi

import (
	"bytes"
	"encoding/hex"
	"strings"
	"testing"
)

func TestCHAPResponse(t *testing.T) {
	// Computed with printf '\001secretsecretchallenge' | md5sum, sha1sum, sha256sum.
	for _, c := range []struct {
		algorithm CHAPAlgorithm
		want      string
	}{
		{CHAPMD5, "d36743c441a60f1cb031bdc095af5677"},
		{CHAPSHA1, "1c7ea968cbb2f111c0b124b2beca9dded588621e"},
		{CHAPSHA256, "3531d4643a82048385df150bf6eb437cfd6ede391a86c1c66d9cf5135eb00c2b"},
	} {
		got := CHAPResponse(c.algorithm, 1, "secretsecret", []byte("challenge"))
		if hex.EncodeToString(got) != c.want {
			t.Errorf("algorithm %d: %x, want %s", c.algorithm, got, c.want)
		}
		challenge := CHAPChallenge{c.algorithm, 1, []byte("challenge")}
		if !challenge.Verify("secretsecret", got) || challenge.Verify("secretsecrex", got) || challenge.Verify("secretsecret", got[1:]) || challenge.Verify("secretsecret", nil) {
			t.Errorf("algorithm %d: verified wrongly", c.algorithm)
		}
	}
}

func TestChallengesDiffer(t *testing.T) {
	a, b := NewCHAPChallenge(CHAPSHA256), NewCHAPChallenge(CHAPSHA256)
	if len(a.Challenge) != chapChallengeLength || bytes.Equal(a.Challenge, b.Challenge) {
		t.Errorf("%x and %x", a.Challenge, b.Challenge)
	}
}

func TestChooseAlgorithm(t *testing.T) {
	for list, want := range map[string]CHAPAlgorithm{"5": CHAPMD5, "7,6,5": CHAPSHA256, "5,7": CHAPMD5, "8,6": CHAPSHA1, "8": 0, "": 0, "05": 0, " 5": 0} {
		if got := ChooseCHAPAlgorithm(list, CHAPAlgorithms); got != want {
			t.Errorf("%q: %d, want %d", list, got, want)
		}
	}
	if ChooseCHAPAlgorithm("5,7", []CHAPAlgorithm{CHAPSHA256}) != CHAPSHA256 {
		t.Error("an algorithm that is not allowed was chosen")
	}
}

func TestBinaryValues(t *testing.T) {
	for _, c := range []struct {
		text string
		want string
		ok   bool
	}{
		{"0x00ff", "\x00\xff", true},
		{"0XaBcD", "\xab\xcd", true},
		{"0xfff", "\x0f\xff", true},
		{"0bAP8=", "\x00\xff", true},
		{"0BAP8=", "\x00\xff", true},
		{"0bAQID", "\x01\x02\x03", true},
		{"0x", "", false},
		{"0xzz", "", false},
		{"0b!", "", false},
		{"0bAP9=", "", false},
		{"12", "", false},
		{"", "", false},
		{"0x0102030405060708090a", "", false},
	} {
		got, ok := ParseBinary(c.text, 8)
		if ok != c.ok || ok && string(got) != c.want {
			t.Errorf("%q: %x, %v", c.text, got, ok)
		}
	}
	if got, ok := ParseBinary(FormatBinary([]byte{0, 1, 0xfe}), 3); !ok || !bytes.Equal(got, []byte{0, 1, 0xfe}) {
		t.Errorf("round trip: %x, %v", got, ok)
	}
}

func TestSecretRules(t *testing.T) {
	for _, c := range []struct {
		secret, peer string
		ok           bool
	}{
		{"123456789012", "", true},
		{"12345678901", "", false},
		{"", "", false},
		{strings.Repeat("s", 255), "", true},
		{strings.Repeat("s", 256), "", false},
		{"123456789012", "123456789012", false},
		{"123456789012", "123456789013", true},
	} {
		if err := CheckCHAPSecret(c.secret, c.peer); (err == nil) != c.ok {
			t.Errorf("%q, %q: %v", c.secret, c.peer, err)
		}
	}
}
