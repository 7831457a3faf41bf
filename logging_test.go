package main

import (
	"bytes"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"pollux/rpc"
)

// systemLogReader is a system log at a path of the test's own.
func systemLogReader(t *testing.T, path string) *net.UnixConn {
	t.Helper()
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

// next is the next line of the system log.
func next(t *testing.T, conn *net.UnixConn) string {
	t.Helper()
	b := make([]byte, 1000)
	n, err := conn.Read(b)
	if err != nil {
		t.Fatal(err)
	}
	return string(b[:n])
}

func TestLevelsAndFlags(t *testing.T) {
	t.Setenv(journalVariable, "")
	path := filepath.Join(t.TempDir(), "log")
	system := systemLogReader(t, path)
	logging := rpc.NewLogging(logFlags...)
	logging.Timestamps.Store(false)
	var printed bytes.Buffer
	log := newLogger(&printed, newSystemLog(path), logging).With("flag", "iscsi")
	all := []slog.Level{slog.LevelDebug, slog.LevelInfo, rpc.LevelNotice, slog.LevelWarn, slog.LevelError}
	names := []string{"DEBUG", "INFO", "NOTICE", "WARN", "ERROR"}
	for i, level := range all {
		logging.PrintLevel.Set(level)
		logging.Level.Set(all[len(all)-1-i])
		printed.Reset()
		want := ""
		for j, of := range all {
			log.Log(t.Context(), of, "line", "n", j)
			if j >= i {
				want += fmt.Sprintf("level=%s msg=line flag=iscsi n=%d\n", names[j], j)
			}
			if severity := 7 - j; j >= len(all)-1-i {
				if got, want := next(t, system), fmt.Sprintf("<%d>pollux[%d]: msg=line flag=iscsi n=%d", 23<<3|severity, os.Getpid(), j); got != want {
					t.Errorf("the system's log has %q, want %q", got, want)
				}
			}
		}
		if printed.String() != want {
			t.Errorf("print level %s: %q, want %q", names[i], printed.String(), want)
		}
	}
	logging.Level.Set(slog.LevelError)
	for flag, want := range map[string]bool{"": false, "bdev": false, "iscsi": true, "all": true} {
		logging.SetFlag("all", false)
		logging.SetFlag(flag, true)
		printed.Reset()
		if log.Debug("fine"); strings.Contains(printed.String(), "fine") != want {
			t.Errorf("flag %q: printed %q", flag, printed.String())
		}
	}
}

// TestSystemLogThatStartsAgain: lines that nobody takes are lost, and hold nobody up.
func TestSystemLogThatStartsAgain(t *testing.T) {
	t.Setenv(journalVariable, "")
	path := filepath.Join(t.TempDir(), "log")
	if newSystemLog(path) != nil {
		t.Error("a system log where there is none")
	}
	first := systemLogReader(t, path)
	logging := rpc.NewLogging()
	log := newLogger(&bytes.Buffer{}, newSystemLog(path), logging)
	log.Error("one")
	if got := next(t, first); !strings.HasSuffix(got, "msg=one") {
		t.Errorf("got %q", got)
	}
	first.Close()
	log.Error("two")
	if err := os.Remove(path); err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	second := systemLogReader(t, path)
	log.Error("three")
	if got := next(t, second); !strings.HasSuffix(got, "msg=three") {
		t.Errorf("got %q", got)
	}
	t.Setenv(journalVariable, "8:1")
	if newSystemLog(path) != nil {
		t.Error("lines would come to the journal twice")
	}
}
