package sim

import (
	"strings"
	"testing"

	"pollux/bdev/replicated/engine"
)

// atResyncEnd plays until node b, which takes over the data of a, is writing down that it is equal.
func atResyncEnd(t *testing.T) (p *player, script func(lines ...string)) {
	p = &player{last: map[string]string{}}
	script = func(lines ...string) {
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
	return p, script
}

// TestLinkLostAtResyncEnd: the connection ends while a target writes down that it is equal. It goes by what it has written, as
// it would after a crash: were it still Inconsistent, the next resync would not write that down again, and a crash in the
// middle of that one would leave half of a copy that is called UpToDate.
func TestLinkLostAtResyncEnd(t *testing.T) {
	p, script := atResyncEnd(t)
	s, target := p.s, p.s.nodes[1]
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

// TestSourceWritesAloneAfterResyncEnd: the connection ends while a target writes down that it is equal, and of the source's generation.
// A source that writes alone after that does so in another one: when the target has been promoted, too, it is a split brain, and
// nothing that either has acknowledged is overwritten. One that has only crashed takes over what the target has written since.
func TestSourceWritesAloneAfterResyncEnd(t *testing.T) {
	for _, c := range []struct {
		name   string
		script []string
		want   string
	}{
		{"a Primary", []string{"cut a", "write a 4", "crash a"}, ": StandAlone: split brain"},
		{"promoted after a crash", []string{"crash a", "cut a", "start a", "primary a", "write a 4", "crash a"}, ": StandAlone: split brain"},
		{"only crashed", []string{"crash a", "cut a"}, "a: uuid compare: -1 by rule 50"},
	} {
		p, script := atResyncEnd(t)
		p.s.closeSide(p.s.wires[0].conn, 1, true)
		script(c.script...)
		script("primary b", "write b 5", "start a", "heal a")
		if !strings.Contains(p.out.String(), c.want) {
			t.Errorf("%s: not %q:\n%s", c.name, c.want, p.out.String())
		}
	}
}
