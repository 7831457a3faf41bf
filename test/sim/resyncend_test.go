package sim

import (
	"strings"
	"testing"

	"pollux/bdev/replicated/engine"
)

// TestLinkLostAtResyncEnd: the connection ends while a target writes down that it is equal. It goes by what it has written, as
// it would after a crash: were it still Inconsistent, the next resync would not write that down again, and a crash in the
// middle of that one would leave half of a copy that is called UpToDate.
func TestLinkLostAtResyncEnd(t *testing.T) {
	p := &player{last: map[string]string{}}
	script := func(lines ...string) {
		for _, line := range lines {
			p.run(strings.Fields(line))
		}
	}
	script("world", "primary a force", "cut a", "write a 3")
	s, target := p.s, p.s.nodes[1]
	s.healWire(s.wires[0])
	if !s.runUntil(6e9, func() bool {
		return target.eng.View().Disk == engine.Inconsistent && target.eng.Metadata().Flags&engine.SuperUpToDate != 0
	}) {
		t.Fatal("the end of the resync is not being written")
	}
	s.closeSide(s.wires[0].conn, 1, true)
	script("cut a")
	if d := target.eng.View().Disk; d != engine.UpToDate {
		t.Errorf("the target is %v, and its superblock says UpToDate", d)
	}
	script("write a 4", "pause b", "heal a")
	if d := target.eng.View().Disk; d != engine.Inconsistent {
		t.Errorf("the target of the next resync is %v", d)
	}
	script("cut a", "crash b", "start b")
	if d := target.eng.View().Disk; d == engine.UpToDate {
		t.Errorf("a crash in the next resync leaves the target %v", d)
	}
}
