package vm

import (
	"testing"

	"pollux/test/target"
)

// TestDiskThatHangs runs guest/hung.sh: the deletion of a block device is bounded though its disk does not answer, and ends when it does.
func TestDiskThatHangs(t *testing.T) {
	t.Parallel()
	program, err := target.PolluxBinary()
	if err != nil {
		t.Skip(err)
	}
	const size = 64 << 20
	guest{
		script: "hung.sh", files: map[string]string{"pollux": program}, disks: []string{newDisk(t, t.TempDir(), "data", size)},
	}.run(t)
}
