package iscsi

import "strings"

// Values that answer a key instead of a value of its own (RFC 7143 6.2).
const (
	NotUnderstood = "NotUnderstood"
	Irrelevant    = "Irrelevant"
	Reject        = "Reject"
	None          = "None"
)

// Pair is one key=value of a text.
type Pair struct{ Key, Value string }

// ParseText cuts text into pairs. It is false when the text breaks a rule of RFC 7143 6.1 or a limit above: a pair without
// "=", a key that is not one, a value too long, a last pair without its NUL, or too many pairs. Empty pairs are skipped:
// padding found its way into the text of some initiators.
func ParseText(text []byte) (pairs []Pair, ok bool) {
	if len(text) > TextMax {
		return nil, false
	}
	for rest := string(text); rest != ""; {
		p, tail, ok := NextPair(rest)
		if !ok || len(pairs) == TextPairsMax {
			return nil, false
		}
		if rest = tail; p.Key != "" {
			pairs = append(pairs, p)
		}
	}
	return pairs, true
}

// NextPair takes the first pair off text; its Key is empty where an empty pair was skipped.
func NextPair(text string) (p Pair, rest string, ok bool) {
	pair, rest, terminated := strings.Cut(text, "\x00")
	if pair == "" {
		return Pair{}, rest, terminated
	}
	key, value, found := strings.Cut(pair, "=")
	return Pair{key, value}, rest, terminated && found && isKey(key) && len(value) <= LongValueMax
}

// AppendPair appends key=value and its NUL.
func AppendPair(text []byte, key, value string) []byte {
	text = append(text, key...)
	text = append(text, '=')
	text = append(text, value...)
	return append(text, 0)
}

// isKey: RFC 7143 6.1 standard-label, with the first letter of any case: iSCSIProtocolLevel is a key too.
func isKey(s string) bool {
	if s == "" || len(s) > KeyMax || !isLetter(s[0]) {
		return false
	}
	for i := range len(s) {
		c := s[i]
		if !isLetter(c) && (c < '0' || c > '9') && strings.IndexByte(".-+@_#", c) < 0 {
			return false
		}
	}
	return true
}

func isLetter(c byte) bool { return c|0x20 >= 'a' && c|0x20 <= 'z' }

// TextBuffer collects a text whose PDUs have the C bit set (RFC 7143 6.2). The zero TextBuffer is empty.
type TextBuffer struct {
	text   []byte
	rounds int
}

// Add appends the data segment of one PDU; it is false at TextMax or TextRoundsMax.
func (b *TextBuffer) Add(segment []byte) bool {
	b.rounds++
	if len(b.text)+len(segment) > TextMax || b.rounds > TextRoundsMax {
		return false
	}
	b.text = append(b.text, segment...)
	return true
}

// Pairs is the whole text; it empties the buffer for the next exchange.
func (b *TextBuffer) Pairs() (pairs []Pair, ok bool) {
	pairs, ok = ParseText(b.text)
	b.text, b.rounds = b.text[:0], 0
	return pairs, ok
}

// Reset forgets what was collected.
func (b *TextBuffer) Reset() { b.text, b.rounds = b.text[:0], 0 }
