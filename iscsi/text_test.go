package iscsi

import (
	"slices"
	"strings"
	"testing"
)

func TestParseText(t *testing.T) {
	long := strings.Repeat("k", KeyMax)
	for _, c := range []struct {
		name, text string
		want       []Pair // nil: refused
	}{
		{"nothing", "", []Pair{}},
		{"one", "A=1\x00", []Pair{{"A", "1"}}},
		{"two", "A=1\x00B=2,3\x00", []Pair{{"A", "1"}, {"B", "2,3"}}},
		{"empty value", "A=\x00", []Pair{{"A", ""}}},
		{"value with equals sign", "A=b=c\x00", []Pair{{"A", "b=c"}}},
		{"padding between", "A=1\x00\x00\x00B=2\x00\x00", []Pair{{"A", "1"}, {"B", "2"}}},
		{"small letter first", "iSCSIProtocolLevel=1\x00", []Pair{{"iSCSIProtocolLevel", "1"}}},
		{"private extension", "X-com.example.key_1=@\x00", []Pair{{"X-com.example.key_1", "@"}}},
		{"longest key", long + "=1\x00", []Pair{{long, "1"}}},
		{"longest value", "A=" + strings.Repeat("v", TextMax-3) + "\x00", []Pair{{"A", strings.Repeat("v", TextMax-3)}}},
		{"key too long", long + "k=1\x00", nil},
		{"no NUL", "A=1", nil},
		{"no NUL at the end", "A=1\x00B=2", nil},
		{"no equals sign", "A\x00", nil},
		{"no key", "=1\x00", nil},
		{"key begins with a digit", "1A=1\x00", nil},
		{"key with a space", "A B=1\x00", nil},
		{"text too long", "A=" + strings.Repeat("v", TextMax-2) + "\x00", nil},
		{"too many pairs", strings.Repeat("A=1\x00", TextPairsMax+1), nil},
	} {
		got, ok := ParseText([]byte(c.text))
		if ok != (c.want != nil) || ok && !slices.Equal(got, c.want) {
			t.Errorf("%s: %v, %v", c.name, got, ok)
		}
	}
	if _, ok := ParseText([]byte(strings.Repeat("A=1\x00", TextPairsMax))); !ok {
		t.Error("as many pairs as allowed are refused")
	}
}

func TestAppendPairRoundTrip(t *testing.T) {
	want := []Pair{{"A", ""}, {"B", "x=y"}, {"TargetName", "iqn.2016-06.io.example:a"}}
	var text []byte
	for _, p := range want {
		text = AppendPair(text, p.Key, p.Value)
	}
	got, ok := ParseText(text)
	if !ok || !slices.Equal(got, want) {
		t.Errorf("%v, %v", got, ok)
	}
	for n := range text {
		got, ok := ParseText(text[:n])
		if ok && len(got) >= len(want) {
			t.Errorf("cut at %d: %v", n, got)
		}
	}
}

func TestTextBufferHasBounds(t *testing.T) {
	var b TextBuffer
	for i := range TextRoundsMax {
		if !b.Add([]byte("A")) {
			t.Fatalf("round %d refused", i)
		}
	}
	if b.Add([]byte("A")) {
		t.Error("a round too many was taken")
	}
	b.Reset()
	if !b.Add(make([]byte, TextMax)) || b.Add([]byte("A")) {
		t.Error("TextMax does not hold")
	}
	b.Reset()
	b.Add([]byte("Target"))
	b.Add([]byte("Name=x\x00A="))
	b.Add([]byte("1\x00"))
	if got, ok := b.Pairs(); !ok || !slices.Equal(got, []Pair{{"TargetName", "x"}, {"A", "1"}}) {
		t.Errorf("%v, %v", got, ok)
	}
	if got, ok := b.Pairs(); !ok || len(got) != 0 {
		t.Errorf("not emptied: %v", got)
	}
}

func FuzzText(f *testing.F) {
	var n Negotiation
	n.Own, n.Leading = DefaultParams(), true
	n.Start()
	f.Add(n.Offer(nil))
	f.Add([]byte("InitiatorName=iqn.a\x00\x00AuthMethod=CHAP,None\x00"))
	f.Fuzz(func(t *testing.T, text []byte) {
		pairs, ok := ParseText(text)
		if !ok {
			return
		}
		var again []byte
		target := Negotiation{Target: true, Leading: true, Own: DefaultParams()}
		target.Start()
		answers := 0
		for _, p := range pairs {
			again = AppendPair(again, p.Key, p.Value)
			reply, _ := target.Take(p, StageOperational)
			answers += len(p.Key) + len(reply) + 2
		}
		if answers > TextMax {
			t.Fatalf("the answer has %d bytes", answers)
		}
		if back, ok := ParseText(again); !ok || !slices.Equal(back, pairs) {
			t.Fatalf("%v became %v", pairs, back)
		}
		target.Declare(nil)
		target.Consistent()
	})
}
