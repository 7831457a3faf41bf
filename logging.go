package main

import (
	"context"
	"io"
	"log/slog"

	"pollux/rpc"
)

// logFlags are the parts of the program whose debug lines can be let through one by one (log_set_flag).
var logFlags = []string{"reactor", "bdev", "aio", "scsi", "iscsi", "rpc", "tcmur", "replicated"}

// logHandler writes lines to standard error as the log_* methods say. Control plane only.
type logHandler struct {
	slog.Handler
	logging *rpc.Logging
	flag    string // the part of the program, from Logger.With("flag", ...)
}

// newLogger returns the program's logger over w.
func newLogger(w io.Writer, logging *rpc.Logging) *slog.Logger {
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
	return slog.New(&logHandler{Handler: text, logging: logging})
}

func (h *logHandler) Enabled(_ context.Context, level slog.Level) bool {
	return level >= h.logging.PrintLevel.Level() || h.logging.Flag(h.flag)
}

// WithAttrs remembers the attribute that names the part of the program.
func (h *logHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	flag := h.flag
	for _, a := range attrs {
		if a.Key == "flag" {
			flag = a.Value.String()
		}
	}
	return &logHandler{Handler: h.Handler.WithAttrs(attrs), logging: h.logging, flag: flag}
}

func (h *logHandler) WithGroup(name string) slog.Handler {
	return &logHandler{Handler: h.Handler.WithGroup(name), logging: h.logging, flag: h.flag}
}
