package tcmur

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// built is where the helper and the test handlers are, made once for all tests of the package.
var built struct {
	once sync.Once
	dir  string
	err  error
}

func TestMain(m *testing.M) {
	// Leaks are looked for by ptrace, which a helper is denied.
	if err := os.Setenv("ASAN_OPTIONS", "detect_leaks=0"); err != nil {
		panic(err)
	}
	code := m.Run()
	if built.dir != "" {
		_ = os.RemoveAll(built.dir)
	}
	os.Exit(code)
}

// build compiles the helper and the handlers, or skips the test where there is no gcc.
func build(t testing.TB) Config {
	t.Helper()
	if _, err := exec.LookPath("gcc"); err != nil {
		t.Skip("no gcc: the helper cannot be built")
	}
	built.once.Do(func() {
		if built.dir, built.err = os.MkdirTemp("", "pollux-tcmur"); built.err == nil {
			built.err = compile(built.dir)
		}
	})
	if built.err != nil {
		t.Fatal(built.err)
	}
	return Config{Helper: filepath.Join(built.dir, helperName), Dirs: []string{built.dir}}
}

func compile(dir string) error {
	sources, err := filepath.Glob("helper/*.c")
	if err != nil {
		return err
	}
	flags := append([]string{"-std=gnu11", "-O2", "-g", "-Wall", "-Wextra", "-Werror", "-pthread"}, strings.Fields(sanitizers)...)
	args := append(append([]string{}, flags...), "-rdynamic", "-o", filepath.Join(dir, helperName))
	if err := gcc(append(append(args, sources...), "-ldl")); err != nil {
		return err
	}
	handlers, err := filepath.Glob("testdata/handlers/*.c")
	if err != nil {
		return err
	}
	for _, c := range handlers {
		name := filepath.Base(c)
		so := filepath.Join(dir, "handler_"+name[:len(name)-2]+".so")
		if err := gcc(append(append([]string{}, flags...), "-shared", "-fPIC", "-Ihelper", "-o", so, c)); err != nil {
			return err
		}
	}
	return nil
}

func gcc(args []string) error {
	if out, err := exec.Command("gcc", args...).CombinedOutput(); err != nil {
		return fmt.Errorf("gcc %v: %w\n%s", args, err, out)
	}
	return nil
}
