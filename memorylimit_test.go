package main

import (
	"errors"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
	"testing"
)

func TestMemoryLimit(t *testing.T) {
	for name, c := range map[string]struct {
		self  string
		files map[string]string
		want  uint64
		file  string
	}{
		"none":          {"0::/\n", nil, 0, ""},
		"max":           {"0::/a\n", map[string]string{"a/memory.max": "max\n"}, 0, ""},
		"own":           {"0::/a/b\n", map[string]string{"a/b/memory.max": "4096\n", "a/memory.max": "max\n"}, 4096, "a/b/memory.max"},
		"parent":        {"0::/a/b\n", map[string]string{"a/b/memory.max": "8192\n", "a/memory.max": "4096\n"}, 4096, "a/memory.max"},
		"of a sibling":  {"0::/a\n", map[string]string{"b/memory.max": "4096\n"}, 0, ""},
		"zero":          {"0::/a\n", map[string]string{"a/memory.max": "0\n"}, 0, "a/memory.max"},
		"namespace":     {"0::/\n", map[string]string{"memory.max": "4096\n"}, 4096, "memory.max"},
		"first version": {"4:memory:/a\n3:cpu:/b\n0::/\n", map[string]string{"memory/a/memory.limit_in_bytes": "4096\n"}, 4096, "memory/a/memory.limit_in_bytes"},
		"first version, none": {
			"4:memory:/a\n0::/\n", map[string]string{"memory/a/memory.limit_in_bytes": "9223372036854771712\n"}, 0, "",
		},
		"another controller": {"4:cpu:/a\n", map[string]string{"cpu/a/memory.limit_in_bytes": "4096\n"}, 0, ""},
	} {
		root := t.TempDir()
		self := filepath.Join(root, "self")
		err := os.WriteFile(self, []byte(c.self), 0o600)
		for file, text := range c.files {
			p := filepath.Join(root, file)
			err = errors.Join(err, os.MkdirAll(filepath.Dir(p), 0o700), os.WriteFile(p, []byte(text), 0o600))
		}
		if err != nil {
			t.Fatal(err)
		}
		got := findMemoryLimit(self, root)
		if file := strings.TrimPrefix(got.file, root+"/"); got.bytes != c.want || file != c.file {
			t.Errorf("%s: %d of %q, want %d of %q", name, got.bytes, file, c.want, c.file)
		}
	}
}

func TestDataMemory(t *testing.T) {
	defer debug.SetMemoryLimit(debug.SetMemoryLimit(-1))
	const rest = memoryRest + 2*memoryPerReactor
	for _, c := range []struct {
		limit       memoryLimit
		asked, data uint64   // asked: 0 is nothing
		want        []string // parts of the error; none: there is none
	}{
		{memoryLimit{}, 1 << 40, 1 << 40, nil},
		{memoryLimit{}, 0, memoryDefault, nil},
		{memoryLimit{rest + memoryDefault + 1, "f"}, 0, memoryDefault, nil},
		{memoryLimit{rest + 64<<20, "f"}, 0, 64 << 20, nil},
		{memoryLimit{rest + memoryLeast, "f"}, 0, memoryLeast, nil},
		{memoryLimit{rest + memoryLeast - 1, "f"}, 0, 0, []string{"63 MiB (f)", "raise it to 64 MiB"}},
		{memoryLimit{rest + 64<<20, "f"}, 64 << 20, 64 << 20, nil},
		{memoryLimit{rest + 64<<20, "f"}, 64<<20 + 1, 0, []string{"120 MiB (f)", "--max-data-memory 64M"}},
		{memoryLimit{rest + memoryLeast, "f"}, memoryLeast, memoryLeast, nil},
		{memoryLimit{rest + memoryLeast - 1, "f"}, 1, 0, []string{"63 MiB (f)", "2 reactors", "raise it to 64 MiB"}},
		{memoryLimit{0, "f"}, 1, 0, []string{"0 MiB (f)"}},
	} {
		asked := c.asked
		if asked == 0 {
			asked = memoryDefault
		}
		data, err := c.limit.dataMemory(asked, c.asked != 0, 2)
		if data != c.data || (err == nil) != (c.want == nil) {
			t.Errorf("%+v, %d asked: %d, %v, want %d", c.limit, c.asked, data, err, c.data)
		}
		for _, part := range c.want {
			if err != nil && !strings.Contains(err.Error(), part) {
				t.Errorf("%+v, %d asked: %v, want %q in it", c.limit, c.asked, err, part)
			}
		}
	}
}
