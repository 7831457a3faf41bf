package tcmur

import (
	"bufio"
	"context"
	"errors"
	"log/slog"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// The bounds of what a handler can write into our log.
const (
	logLineMax  = 1024 // bytes; what is longer is cut
	logBurst    = 50   // lines at once
	logPerSec   = 10   // lines after that
	logErrors   = 3    // lines that explain why a device could not be opened
	logReadSize = 64 << 10
	// logBrake is how long the reader rests after each logReadSize of lines that are dropped, so that a flood costs the target
	// little: the pipe fills, and the handler waits.
	logBrake = 20 * time.Millisecond
)

// logPump reads what helpers of one device print and writes it, tagged and bounded, into the log. Control plane.
type logPump struct {
	log     *slog.Logger
	now     func() time.Time
	dropped atomic.Uint64 // lines, for driver_specific

	mu      sync.Mutex // The last lines of one helper and the first of the next may overlap.
	tokens  float64    // lines that may be written now
	last    time.Time  // when tokens were counted
	silence uint64     // lines dropped since the last that was written
	errors  []string   // the first lines of errors since takeErrors, logErrors at most
}

func newLogPump(log *slog.Logger) *logPump {
	return &logPump{log: log, now: time.Now, tokens: logBurst, last: time.Now()}
}

// pipe returns the end to print into, whose lines are read until it is closed everywhere; then ended is closed.
func (p *logPump) pipe() (w *os.File, ended chan struct{}, err error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, nil, err
	}
	ended = make(chan struct{})
	go func() {
		defer close(ended)
		p.read(r)
	}()
	return w, ended, nil
}

// takeErrors is the first errors that were logged since the last call.
func (p *logPump) takeErrors() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	text := strings.Join(p.errors, "; ")
	p.errors = nil
	return text
}

func (p *logPump) read(r *os.File) {
	defer r.Close()
	b := bufio.NewReaderSize(r, logLineMax)
	for unread := 0; ; {
		line, err := b.ReadSlice('\n')
		if len(line) > 0 && !p.line(line) {
			if unread += len(line); unread >= logReadSize {
				unread = 0
				time.Sleep(logBrake)
			}
		}
		for errors.Is(err, bufio.ErrBufferFull) {
			_, err = b.ReadSlice('\n')
		}
		if err != nil {
			return
		}
	}
}

// line writes one line that the helper has printed, or drops it and returns false.
func (p *logPump) line(line []byte) bool {
	level, text := levelOf(line)
	return p.write(level, printable(text))
}

// write writes a line that a handler has caused, which it can do as often as it likes, or drops it and returns false.
func (p *logPump) write(level slog.Level, text string) bool {
	silence, ok := p.take(level, text)
	if !ok {
		p.dropped.Add(1)
		return false
	}
	if silence > 0 {
		p.log.Warn("the handler logs too much", "dropped_lines", silence)
	}
	p.log.Log(context.Background(), level, "handler: "+text)
	return true
}

// take takes a token from the bucket, and tells how many lines were dropped before.
func (p *logPump) take(level slog.Level, text string) (silence uint64, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if level == slog.LevelError && len(p.errors) < logErrors {
		p.errors = append(p.errors, strings.TrimSpace(text))
	}
	now := p.now()
	p.tokens = min(logBurst, p.tokens+now.Sub(p.last).Seconds()*logPerSec)
	p.last = now
	if p.tokens < 1 {
		p.silence++
		return 0, false
	}
	p.tokens--
	silence, p.silence = p.silence, 0
	return silence, true
}

// levelOf reads the mark that the helper's own lines bear; what a library prints bears none.
func levelOf(line []byte) (slog.Level, []byte) {
	if len(line) > 3 && line[0] == '<' && line[2] == '>' {
		switch line[1] {
		case 'E':
			return slog.LevelError, line[3:]
		case 'W':
			return slog.LevelWarn, line[3:]
		case 'D':
			return slog.LevelDebug, line[3:]
		default:
			return slog.LevelInfo, line[3:]
		}
	}
	return slog.LevelInfo, line
}

// printable keeps control characters out of terminals.
func printable(line []byte) string {
	out := make([]byte, 0, len(line))
	for _, c := range line {
		switch {
		case c == '\n':
		case c < ' ' || c == 0x7f:
			out = append(out, '?')
		default:
			out = append(out, c)
		}
	}
	return string(out)
}
