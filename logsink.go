package main

import (
	"fmt"
	"io"
	"sync/atomic"
	"time"
)

const (
	// sinkLines is how many lines wait for whoever reads our output; more are dropped, and counted.
	sinkLines = 1024
	// sinkTimeout is how long the end of the program waits for lines to leave.
	sinkTimeout = time.Second
)

// sink takes lines for an output that may not take them: a pipe that nobody reads, a full disk, a terminal that is stopped. Writing to
// it neither waits nor fails. Control plane.
type sink struct {
	lines   chan []byte
	dropped atomic.Uint64 // since the last line that has left
	ended   chan struct{}
}

// newSink starts the goroutine that writes to w.
func newSink(w io.Writer) *sink {
	s := &sink{lines: make(chan []byte, sinkLines), ended: make(chan struct{})}
	go s.drain(w)
	return s
}

// drain writes until an empty line says that it was the last.
func (s *sink) drain(w io.Writer) {
	defer close(s.ended)
	for line := range s.lines {
		if line == nil {
			return
		}
		_, _ = w.Write(line) // Where to would one say that it failed?
		if n := s.dropped.Swap(0); n > 0 {
			_, _ = fmt.Fprintf(w, "level=WARN msg=\"nobody has read this output for a while\" dropped_lines=%d\n", n)
		}
	}
}

// Write keeps a copy of one line.
func (s *sink) Write(line []byte) (int, error) {
	select {
	case s.lines <- append([]byte{}, line...):
	default:
		s.dropped.Add(1)
	}
	return len(line), nil
}

// Close waits until all lines have left, or sinkTimeout. What is written after it is lost.
func (s *sink) Close() {
	timeout := time.After(sinkTimeout)
	select {
	case s.lines <- nil:
	case <-timeout:
		return
	}
	select {
	case <-s.ended:
	case <-timeout:
	}
}
