package engine

import (
	"fmt"
	"strings"
)

// Debug lists what is under way, for a person who looks for what does not end.
func (e *Engine) Debug() string {
	var b strings.Builder
	free := map[int]bool{}
	for _, i := range e.freeOps {
		free[i] = true
	}
	for i, o := range e.ops {
		if !free[i] {
			fmt.Fprintf(&b, "op%d{kind %d stage %d peer %d off %d len %d locked %v waits %v al %v local %v/%v done %v logged %v legs %x ackWait %x barWait %x} ",
				i, o.kind, o.stage, o.peer, o.off, o.len, o.locked, e.waitsForRange(o), o.inAL, o.localDone, o.localOK,
				o.completed, o.logged, o.legs, o.ackWait, o.barWait)
		}
	}
	fmt.Fprintf(&b, "meta %v jobs %d pending %d al busy %v waiting %d cmd %d rotating %d loss %x gate %d",
		e.meta.current != nil, len(e.meta.jobs), e.meta.pending, e.meta.alBusy, len(e.al.waiting), e.cmd.kind, e.rotating, e.lossWait, e.writeGate())
	for i := range e.peers {
		if p := &e.peers[i]; p.up {
			fmt.Fprintf(&b, " peer%d{%v hold %d inbox %d active %d writes %d hello %v/%v pulls %d serves %d finishing %v barriers %d}", i, p.conn, p.hold, len(p.inbox), p.active, p.writes, p.helloSent, p.hello != nil, len(p.sync.pulls), len(p.sync.serves), p.sync.finishing, len(p.barriers))
		}
	}
	return b.String()
}
