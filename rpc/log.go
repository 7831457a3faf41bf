package rpc

import (
	"context"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync/atomic"
)

// LevelNotice is SPDK's level between INFO and WARNING.
const LevelNotice = slog.Level(2)

// levels are SPDK's names of the levels of package slog.
var levels = map[string]slog.Level{
	"ERROR": slog.LevelError, "WARNING": slog.LevelWarn, "NOTICE": LevelNotice,
	"INFO": slog.LevelInfo, "DEBUG": slog.LevelDebug,
}

// Logging is what the log_* methods control and what the program's slog
// handler obeys. All of it may be read and changed from any goroutine.
type Logging struct {
	// Level is of what goes to the system's log, PrintLevel of what goes to
	// standard error besides.
	Level, PrintLevel slog.LevelVar
	// Timestamps says whether lines on standard error bear the time.
	Timestamps atomic.Bool

	flags map[string]*atomic.Bool // the map is fixed, its values are not
}

// NewLogging returns SPDK's defaults, NOTICE for the log and INFO for standard
// error, with the named flags off. A flag lets the debug lines of one part of
// the program through.
func NewLogging(flags ...string) *Logging {
	l := &Logging{flags: map[string]*atomic.Bool{}}
	l.Level.Set(LevelNotice)
	l.PrintLevel.Set(slog.LevelInfo)
	l.Timestamps.Store(true)
	for _, name := range flags {
		l.flags[name] = &atomic.Bool{}
	}
	return l
}

// SetFlag sets one flag, or every flag for "all". It reports whether the flag
// exists.
func (l *Logging) SetFlag(name string, on bool) bool {
	if name == "all" {
		for _, flag := range l.flags {
			flag.Store(on)
		}
		return true
	}
	flag := l.flags[name]
	if flag == nil {
		return false
	}
	flag.Store(on)
	return true
}

// Flag reports whether the flag exists and is on.
func (l *Logging) Flag(name string) bool {
	flag := l.flags[name]
	return flag != nil && flag.Load()
}

// Flags lists all flags.
func (l *Logging) Flags() map[string]bool {
	all := map[string]bool{}
	for name, flag := range l.flags {
		all[name] = flag.Load()
	}
	return all
}

// logLevel is a level by SPDK's name, whatever its case.
type logLevel slog.Level

func (l *logLevel) UnmarshalText(text []byte) error {
	level, ok := levels[strings.ToUpper(string(text))]
	if !ok {
		return Errorf(CodeInternal, "must be one of %s, not %q", strings.Join(levelNames(), ", "), text)
	}
	*l = logLevel(level)
	return nil
}

// levelNames lists the levels from the least to the most talkative.
func levelNames() []string {
	return slices.SortedFunc(maps.Keys(levels), func(a, b string) int { return int(levels[b] - levels[a]) })
}

// levelName is the name of the highest level that is not above l.
func levelName(l slog.Level) string {
	for _, name := range levelNames() {
		if levels[name] <= l {
			return name
		}
	}
	return "DEBUG"
}

type (
	logLevelParams struct {
		Level logLevel `json:"level"`
	}
	logFlagParams struct {
		Flag string `json:"flag"`
	}
	timestampParams struct {
		Enabled bool `json:"enabled"`
	}
)

func (s *Server) registerLog(l *Logging) {
	both := Startup | Runtime
	setLevel := func(v *slog.LevelVar) func(context.Context, logLevelParams) (None, error) {
		return func(_ context.Context, p logLevelParams) (None, error) {
			v.Set(slog.Level(p.Level))
			return None{}, nil
		}
	}
	getLevel := func(v *slog.LevelVar) func(context.Context, None) (string, error) {
		return func(context.Context, None) (string, error) { return levelName(v.Level()), nil }
	}
	setFlag := func(on bool) func(context.Context, logFlagParams) (None, error) {
		return func(_ context.Context, p logFlagParams) (None, error) {
			if !l.SetFlag(p.Flag, on) {
				return None{}, Errorf(CodeInvalidParams, "invalid log flag: %s", p.Flag)
			}
			return None{}, nil
		}
	}
	Handle(s, both, "log_set_level", setLevel(&l.Level), "set_log_level").
		Help("Set the level of what goes to the system's log.")
	Handle(s, both, "log_get_level", getLevel(&l.Level), "get_log_level").
		Help("Get the level of what goes to the system's log.")
	Handle(s, both, "log_set_print_level", setLevel(&l.PrintLevel), "set_log_print_level").
		Help("Set the level of what goes to standard error.")
	Handle(s, both, "log_get_print_level", getLevel(&l.PrintLevel), "get_log_print_level").
		Help("Get the level of what goes to standard error.")
	Handle(s, both, "log_set_flag", setFlag(true), "set_log_flag").
		Help("Let the debug lines of one part of the program through, or of all.")
	Handle(s, both, "log_clear_flag", setFlag(false), "clear_log_flag").
		Help("Hold back the debug lines of one part of the program, or of all.")
	Handle(s, both, "log_get_flags", func(context.Context, None) (map[string]bool, error) {
		return l.Flags(), nil
	}, "get_log_flags").
		Help("List the parts of the program and whether their debug lines come through.")
	Handle(s, Runtime, "log_enable_timestamps", func(_ context.Context, p timestampParams) (None, error) {
		l.Timestamps.Store(p.Enabled)
		return None{}, nil
	}).DecodeError(CodeInvalidParams, "spdk_json_decode_object failed").
		Help("Begin each line on standard error with the time, or not.")
}
