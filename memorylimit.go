package main

import (
	"fmt"
	"math"
	"os"
	"path"
	"runtime/debug"
	"strconv"
	"strings"
)

const (
	// memoryRest and memoryPerReactor are what the target takes beside its I/O buffers: the program, the Go heap, rings, receive
	// buffers, what sockets hold in the kernel.
	memoryRest       = 24 << 20
	memoryPerReactor = 16 << 20
	// memoryLeast is the smallest --max-data-memory that is proposed, memoryDefault what it is where nothing limits memory.
	memoryLeast   = 8 << 20
	memoryDefault = 1 << 30
)

// memoryLimit is the bound that a control group sets for this process, and the file that says so.
type memoryLimit struct {
	bytes uint64
	file  string
}

// findMemoryLimit is the tightest limit of the groups that the process is in, of the first or the second version; zero if there is
// none. self is /proc/self/cgroup, root /sys/fs/cgroup.
func findMemoryLimit(self, root string) (least memoryLimit) {
	text, err := os.ReadFile(self)
	if err != nil {
		return least
	}
	for line := range strings.Lines(string(text)) {
		_, rest, _ := strings.Cut(strings.TrimSpace(line), ":")
		controllers, group, _ := strings.Cut(rest, ":")
		top, name := root, "memory.max"
		if controllers != "" {
			top, name = path.Join(root, controllers), "memory.limit_in_bytes"
		}
		if controllers != "" && controllers != "memory" {
			continue
		}
		// A group is bound by those above it too.
		for dir := path.Join("/", group); ; dir = path.Dir(dir) {
			least = least.tighter(path.Join(top, dir, name))
			if dir == "/" {
				break
			}
		}
	}
	return least
}

// tighter is l or what file says. Without a limit it says max, or a number beyond all memory.
func (l memoryLimit) tighter(file string) memoryLimit {
	const beyond = 1 << 60
	text, err := os.ReadFile(file)
	if err != nil {
		return l
	}
	n, err := strconv.ParseUint(strings.TrimSpace(string(text)), 10, 64)
	if err != nil || n >= beyond || l.file != "" && l.bytes <= n {
		return l
	}
	return memoryLimit{n, file}
}

// dataMemory is the bound of all I/O buffers: data, or what the limit leaves if nobody has asked for so much. It refuses to start where the
// kernel would have to kill the target as soon as its buffers are used. The Go heap is told what is left.
func (l memoryLimit) dataMemory(data uint64, asked bool, reactors int) (uint64, error) {
	rest := uint64(memoryRest + reactors*memoryPerReactor)
	switch {
	case l.file == "":
		return data, nil
	case l.bytes < rest+memoryLeast:
		return 0, fmt.Errorf("the memory limit of %d MiB (%s) is too small for %d reactors: raise it to %d MiB and pass --max-data-memory %dM, or more",
			l.bytes>>20, l.file, reactors, (rest+memoryLeast)>>20, memoryLeast>>20)
	case !asked:
		data = min(data, l.bytes-rest)
	case data > l.bytes-rest:
		return 0, fmt.Errorf("I/O buffers of %d MiB and %d MiB beside them exceed the memory limit of %d MiB (%s): pass --max-data-memory %dM, or raise the limit",
			data>>20, rest>>20, l.bytes>>20, l.file, (l.bytes-rest)>>20)
	}
	debug.SetMemoryLimit(int64(min(l.bytes-data, math.MaxInt64) / 2))
	return data, nil
}
