package main

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"testing"
)

// TestSink: lines leave in order; nobody waits for an output that takes none; what was dropped is told when it takes some again.
func TestSink(t *testing.T) {
	var out bytes.Buffer
	s := newSink(&out)
	for i := range 3 {
		fmt.Fprintf(s, "line %d\n", i)
	}
	s.Close()
	fmt.Fprintln(s, "after the end")
	if out.String() != "line 0\nline 1\nline 2\n" {
		t.Errorf("%q", out.String())
	}

	r, w := io.Pipe()
	s = newSink(w)
	const more = 5
	for i := range 1 + sinkLines + more { // The first may be on its way, or not yet.
		fmt.Fprintf(s, "line %d\n", i)
	}
	dropped := s.dropped.Load()
	if dropped < more || dropped > more+1 {
		t.Errorf("%d lines were dropped, want %d or one more", dropped, more)
	}
	told := make(chan string)
	go func() {
		text, _ := io.ReadAll(r)
		told <- string(text)
	}()
	s.Close()
	_ = w.Close()
	text := <-told
	want := fmt.Sprintf("line 0\nlevel=WARN msg=\"nobody has read this output for a while\" dropped_lines=%d\nline 1\n", dropped)
	if !strings.HasPrefix(text, want) || strings.Count(text, "\n") != 1+sinkLines+more-int(dropped)+1 {
		t.Errorf("%d lines, beginning with %.150q, want %q", strings.Count(text, "\n"), text, want)
	}

	_, w = io.Pipe()
	s = newSink(w)
	fmt.Fprintln(s, "never read")
	s.Close() // It ends.
}
