package reactor

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// pin confines the calling thread to one core; -1 leaves it alone.
func pin(core int) error {
	if core < 0 {
		return nil
	}
	var set unix.CPUSet
	set.Set(core)
	if err := unix.SchedSetaffinity(0, &set); err != nil {
		return fmt.Errorf("pin to core %d: %w", core, err)
	}
	return nil
}
