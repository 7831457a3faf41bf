package target

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"
)

// Start launches cfg's server for a test. At the test's end it is stopped as its user would, must have ended as it should,
// and its log is shown if the test has failed. The test skips when the program is not there.
func Start(t testing.TB, cfg Config) *Server {
	t.Helper()
	s, err := Launch(cfg)
	if errors.Is(err, ErrMissing) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if s.Running() {
			if err := s.Stop(); err != nil {
				t.Error(err)
			}
		}
		if t.Failed() {
			t.Logf("log of %s:\n%s", cfg, s.Log())
		}
		s.Close()
	})
	return s
}

// NearWrap is where sequence numbers begin that are to be seen to wrap.
const NearWrap = 0xffffffe0

// UnderTest lists the servers that a test runs against, without nodes: Pollux with one reactor, and with two and a StatSN that is
// about to wrap, and peers that EnvTargets asks for. While there is no main.go the peer tgt stands in, so that the tests themselves are tested.
func UnderTest(t testing.TB) []Config {
	t.Helper()
	kinds := string(Pollux)
	if text := os.Getenv(EnvTargets); text != "" {
		kinds = text
	} else if os.Getenv(EnvBinary) == "" && !exists(filepath.Join(Root(), "main.go")) {
		kinds = string(Tgt)
	}
	var all []Config
	for kind := range strings.SplitSeq(kinds, ",") {
		if Kind(kind) != Pollux {
			all = append(all, Config{Kind: Kind(kind)})
			continue
		}
		all = append(all, Config{Kind: Pollux, Reactors: 1}, Config{Kind: Pollux, Reactors: 2, Mode: twoReactorMode(), StatSN: NearWrap})
	}
	return all
}

// twoReactorMode is adaptive where two reactors would take every core there is.
func twoReactorMode() string {
	if runtime.NumCPU() <= 2 {
		return "adaptive"
	}
	return ""
}

// NeedProgram skips the test when one of the programs is not installed.
func NeedProgram(t testing.TB, names ...string) {
	t.Helper()
	for _, name := range names {
		if _, err := Program(name); err != nil {
			t.Skip(err)
		}
	}
}

// Run runs a program, found as by Program, and returns its output, standard error included. The test fails when the program
// does, or when it has not ended after limit.
func Run(t testing.TB, limit time.Duration, name string, args ...string) string {
	t.Helper()
	out, err := TryRun(t, limit, name, args...)
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return out
}

// TryRun is Run for programs that may fail.
func TryRun(t testing.TB, limit time.Duration, name string, args ...string) (string, error) {
	t.Helper()
	path, err := Program(name)
	if err != nil {
		t.Skip(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.WaitDelay = time.Second
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err = cmd.Run()
	if ctx.Err() != nil {
		err = ctx.Err()
	}
	return out.String(), err
}
