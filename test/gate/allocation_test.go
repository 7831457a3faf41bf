package gate

import (
	"encoding/json"
	"os/exec"
	"strconv"
	"testing"

	"pollux/test/target"
)

// The allocation promise: so many I/Os may add fewer than so many objects to what the target's process has ever allocated.
const (
	allocationIOs  = 1_000_000
	allocationsMax = 1000
)

// TestAllocation: a million mixed I/Os on two connections allocate next to nothing. What is counted is the process's cumulative number of
// allocations, so nothing that a collection has freed is forgotten; the call that asks is counted too.
func TestAllocation(t *testing.T) {
	onEach(t, func(b *bed) {
		b.drive(allocationIOs / 50) // tasks, buffers and send sets come into being
		before := b.mallocs()
		b.drive(allocationIOs)
		if grown := b.mallocs() - before; grown >= allocationsMax {
			b.t.Errorf("%d I/Os allocated %d objects, want fewer than %d", allocationIOs, grown, allocationsMax)
		} else {
			b.t.Logf("note: %d I/Os, %d allocations", allocationIOs, grown)
		}
	})
}

// mallocs is the number of objects that the target has allocated since it started.
func (b *bed) mallocs() uint64 {
	b.t.Helper()
	var m struct {
		Mallocs uint64 `json:"mallocs"`
	}
	b.rpc("process_get_memory", nil, &m)
	return m.Mallocs
}

// drive makes count I/Os of 4 KiB, reads and writes, on two connections.
func (b *bed) drive(count int) {
	b.t.Helper()
	binary, err := target.Build("")
	if err != nil {
		b.t.Fatal(err)
	}
	out, err := exec.CommandContext(b.ctx, binary, "bench", "--json", "--connections", "2", "--depth", "16",
		"--block-size", "4096", "--read-share", "50", "--count", strconv.Itoa(count), "--wait", "block", b.srv.URL("disk", 0)).Output()
	if err != nil {
		b.t.Fatalf("pollux bench: %v", err)
	}
	var result struct {
		Commands int `json:"commands"`
		Errors   int `json:"errors"`
	}
	if err := json.Unmarshal(out, &result); err != nil {
		b.t.Fatalf("pollux bench printed %q: %v", out, err)
	}
	if result.Commands < count || result.Errors > 0 {
		b.t.Fatalf("pollux bench made %d commands of %d, %d errors", result.Commands, count, result.Errors)
	}
}
