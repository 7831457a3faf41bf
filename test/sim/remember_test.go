package sim

import (
	"fmt"
	"strings"
	"testing"

	"pollux/bdev/replicated/engine"
)

// TestOthersRemember: a disk may lose metadata while another leg of its node is sure to stay in sync, and only then.
func TestOthersRemember(t *testing.T) {
	worn := func(leg int) func(*Sim, *node) {
		return func(_ *Sim, n *node) { n.disks[leg].cells[7].worn = true }
	}
	for _, c := range []struct {
		name   string
		legs   int
		before func(*Sim, *node)
		want   bool
	}{
		{"an only leg", 1, func(*Sim, *node) {}, false},
		{"two legs", 2, func(*Sim, *node) {}, true},
		{"the other of two is worn", 2, worn(1), false},
		{"the one that loses is worn", 2, worn(0), true},
		{"one of two others is worn", 3, worn(1), true},
		{"the other of two is good once it is written", 2, func(_ *Sim, n *node) { n.disks[1].cells[7].unreadable = true }, true},
		{"writes fail by chance", 2, func(s *Sim, _ *node) { s.prof.eio = 1 }, false},
		{"the other of two has failed", 2, func(s *Sim, n *node) {
			s.command(n, engine.Event{Cmd: engine.CmdLegRemove, Leg: 1}, nil)
			s.runFor(1e9)
		}, false},
	} {
		p := &player{last: map[string]string{}}
		p.run(strings.Fields(fmt.Sprintf("world legs=%d", c.legs)))
		p.run(strings.Fields("primary a force"))
		p.s.runFor(1e9)
		n := p.s.nodes[0]
		c.before(p.s, n)
		if got := p.s.othersRemember(n, n.disks[0]); got != c.want {
			t.Errorf("%s: it may: %v", c.name, got)
		}
	}
}
