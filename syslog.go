package main

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"sync"
	"time"

	"pollux/rpc"
)

// systemLogSocket is where the system's log listens (syslog(3)).
const systemLogSocket = "/dev/log"

// systemLogPatience is how long a line may wait for a log that does not read; then it is dropped.
const systemLogPatience = 100 * time.Millisecond

// journalVariable is set by systemd where standard error is the journal already, so that lines are not to come twice.
const journalVariable = "JOURNAL_STREAM"

// systemLog writes lines to the system's log in the form of RFC 3164, without time, as local7. It is one socket for all loggers.
type systemLog struct {
	text slog.Handler // into to.line
	to   *logSocket
}

type logSocket struct {
	path string

	mu   sync.Mutex
	line bytes.Buffer
	conn net.Conn // nil: not connected
}

// newSystemLog is nil where there is no system log to write to.
func newSystemLog(path string) slog.Handler {
	if _, err := os.Stat(path); err != nil || os.Getenv(journalVariable) != "" {
		return nil
	}
	to := &logSocket{path: path}
	text := slog.NewTextHandler(&to.line, &slog.HandlerOptions{
		Level: slog.LevelDebug, // logHandler decides
		ReplaceAttr: func(groups []string, a slog.Attr) slog.Attr {
			if len(groups) == 0 && (a.Key == slog.TimeKey || a.Key == slog.LevelKey) {
				return slog.Attr{} // The system's log has both.
			}
			return a
		},
	})
	return &systemLog{text: text, to: to}
}

// Enabled implements slog.Handler: logHandler decides.
func (*systemLog) Enabled(context.Context, slog.Level) bool { return true }

// Handle implements slog.Handler.
func (s *systemLog) Handle(ctx context.Context, r slog.Record) error {
	s.to.mu.Lock()
	defer s.to.mu.Unlock()
	s.to.line.Reset()
	fmt.Fprintf(&s.to.line, "<%d>pollux[%d]: ", priority(r.Level), os.Getpid())
	if err := s.text.Handle(ctx, r); err != nil {
		return err
	}
	return s.to.send()
}

// WithAttrs implements slog.Handler.
func (s *systemLog) WithAttrs(attrs []slog.Attr) slog.Handler {
	return &systemLog{text: s.text.WithAttrs(attrs), to: s.to}
}

// WithGroup implements slog.Handler.
func (s *systemLog) WithGroup(name string) slog.Handler {
	return &systemLog{text: s.text.WithGroup(name), to: s.to}
}

// priority is facility and severity of a line.
func priority(level slog.Level) int {
	const local7, err, warning, notice, info, debug = 23 << 3, 3, 4, 5, 6, 7
	switch {
	case level >= slog.LevelError:
		return local7 | err
	case level >= slog.LevelWarn:
		return local7 | warning
	case level >= rpc.LevelNotice:
		return local7 | notice
	case level >= slog.LevelInfo:
		return local7 | info
	default:
		return local7 | debug
	}
}

// send sends the line. A log that was started again is connected to again, with the next line.
func (t *logSocket) send() (err error) {
	if t.conn == nil {
		if t.conn, err = net.DialTimeout("unixgram", t.path, systemLogPatience); err != nil {
			t.conn = nil
			return err
		}
	}
	if err = t.conn.SetWriteDeadline(time.Now().Add(systemLogPatience)); err == nil {
		_, err = t.conn.Write(bytes.TrimRight(t.line.Bytes(), "\n"))
	}
	if err != nil {
		t.conn.Close()
		t.conn = nil
	}
	return err
}
