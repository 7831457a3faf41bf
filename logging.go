package main

import (
	"context"
	"errors"
	"io"
	"log/slog"

	"pollux/rpc"
)

// logFlags are the parts of the program whose debug lines can be let through one by one (log_set_flag).
var logFlags = []string{"reactor", "bdev", "aio", "scsi", "iscsi", "rpc", "tcmur", "replicated"}

// logHandler writes lines as the log_* methods say: to standard error from the print level or with a flag on, and to the system's log from
// the log level on. Control plane only.
type logHandler struct {
	text    slog.Handler // to standard error
	system  slog.Handler // nil: there is no system log, or standard error is one
	logging *rpc.Logging
	flag    string // the part of the program, from Logger.With("flag", ...)
}

// newLogger returns the program's logger over w and, unless that is nil, the system's log.
func newLogger(w io.Writer, system slog.Handler, logging *rpc.Logging) *slog.Logger {
	text := slog.NewTextHandler(w, &slog.HandlerOptions{
		Level: slog.LevelDebug, // logHandler decides
		ReplaceAttr: func(groups []string, a slog.Attr) slog.Attr {
			switch {
			case len(groups) == 0 && a.Key == slog.TimeKey && !logging.Timestamps.Load():
				return slog.Attr{}
			case len(groups) == 0 && a.Key == slog.LevelKey && a.Value.Any() == rpc.LevelNotice:
				return slog.String(slog.LevelKey, "NOTICE")
			}
			return a
		},
	})
	return slog.New(&logHandler{text: text, system: system, logging: logging})
}

func (h *logHandler) isPrinted(level slog.Level) bool {
	return level >= h.logging.PrintLevel.Level() || h.logging.Flag(h.flag)
}

func (h *logHandler) isLogged(level slog.Level) bool {
	return h.system != nil && level >= h.logging.Level.Level()
}

func (h *logHandler) Enabled(_ context.Context, level slog.Level) bool {
	return h.isPrinted(level) || h.isLogged(level)
}

func (h *logHandler) Handle(ctx context.Context, r slog.Record) error {
	var printed, logged error
	if h.isPrinted(r.Level) {
		printed = h.text.Handle(ctx, r)
	}
	if h.isLogged(r.Level) {
		logged = h.system.Handle(ctx, r)
	}
	return errors.Join(printed, logged)
}

// WithAttrs remembers the attribute that names the part of the program.
func (h *logHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	next := h.each(func(o slog.Handler) slog.Handler { return o.WithAttrs(attrs) })
	for _, a := range attrs {
		if a.Key == "flag" {
			next.flag = a.Value.String()
		}
	}
	return next
}

func (h *logHandler) WithGroup(name string) slog.Handler {
	return h.each(func(o slog.Handler) slog.Handler { return o.WithGroup(name) })
}

// each is a copy with both handlers changed.
func (h *logHandler) each(change func(slog.Handler) slog.Handler) *logHandler {
	next := *h
	next.text = change(h.text)
	if h.system != nil {
		next.system = change(h.system)
	}
	return &next
}
