package vm

import (
	"strconv"
	"testing"

	"pollux/test/target"
)

// TestMemoryLimit runs guest/memory.sh: the target in a control group with a memory limit refuses to start in one that is too small for its
// buffers, and is not killed in one that holds them.
func TestMemoryLimit(t *testing.T) {
	t.Parallel()
	program, err := target.PolluxBinary()
	if err != nil {
		t.Skip(err)
	}
	const disk, data, rest = 64 << 20, 16, 64 // MiB of the latter
	guest{
		script: "memory.sh", env: map[string]string{"DATA": strconv.Itoa(data), "REST": strconv.Itoa(rest)},
		files: map[string]string{"pollux": program}, disks: []string{newDisk(t, t.TempDir(), "data", disk)},
	}.run(t)
}
