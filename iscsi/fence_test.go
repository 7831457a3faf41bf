package iscsi_test

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"pollux/iscsi"
	"pollux/iscsi/initiator"
	"pollux/scsi"
)

// fenceRig is two sessions on one slow LUN. The first writes stamped blocks; after the fence has answered, none of them that the
// target had received before may reach the disk any more. (What arrives behind a reset is a new command.)
type fenceRig struct {
	*rig
	rng    *rand.Rand
	slow   *slowDisk
	writer *host
	other  *host
	fenced bool // the fence has answered
	late   int  // writes of the writer that reached the disk afterwards
	seen   int
	ended  int // commands of the writer
	sent   [fenceWrites]initiator.Command
	before uint32 // commands up to this CmdSN were received before the fence began
}

const fenceStamp = 0xfe00 << 48

func newFenceRig(t testing.TB, seed uint64) *fenceRig {
	rng := rand.New(rand.NewPCG(seed, 3))
	g := &fenceRig{rig: newRig(t, 1+rng.IntN(2), nil), rng: rng}
	g.slow = g.addSlowDisk("Slow0", seed)
	g.must(g.server.AddLUN("disk1", iscsi.LUNSpec{BdevName: "Slow0", LUN: 1}))
	g.Seed(seed)
	kinds := []string{"plain", "digests", "R2T alone", "small segments"}
	make := func(isid byte) *host {
		h := g.newHost(rng.IntN(len(g.Reactors)), func(c *initiator.Config) {
			sessionKinds[kinds[rng.IntN(len(kinds))]](c)
			c.ISID[5] = isid
		})
		h.open(rng.IntN(len(g.Reactors))).ready()
		for range 4 {
			h.do(&initiator.Command{LUN: slowLUN})
		}
		return h
	}
	g.writer, g.other = make(1), make(2)
	g.slow.writes = func(stamp uint64) {
		if stamp&fenceStamp != fenceStamp {
			return
		}
		g.seen++
		c := &g.sent[stamp&0xffff]
		if g.fenced && iscsi.SerialLess(c.CmdSN, g.before) {
			g.late++
		}
	}
	return g
}

const fenceWrites = 32

// storm submits the stamped writes.
func (g *fenceRig) storm() {
	g.on(g.writer.r.ID(), func() {
		for i := range fenceWrites {
			data := pattern(1+g.rng.IntN(24), 1)
			binary.BigEndian.PutUint64(data, fenceStamp|uint64(i))
			c := &g.sent[i]
			*c = *writeOf(i*32, data)
			c.LUN = slowLUN
			c.Done = func(*initiator.Command) { g.ended++ }
			g.writer.session.Submit(c)
		}
	})
	for range g.rng.IntN(80) {
		g.Step(g.rng.IntN(len(g.Reactors)))
	}
	if g.rng.IntN(2) == 0 {
		g.Advance(time.Duration(g.rng.Int64N(int64(2 * time.Millisecond))))
	}
}

// manage sends a management function from h; its answer is the fence.
func (g *fenceRig) manage(h *host, function scsi.Function, lun uint64) {
	x := &initiator.Exchange{}
	x.Done = func(x *initiator.Exchange) {
		g.fenced = x.Result == initiator.ResultAnswered && x.Answer.Response() == uint8(scsi.ResponseComplete)
	}
	x.Request.Clear(iscsi.OpTaskManagement)
	x.Request.SetFinal(true)
	x.Request.SetImmediate(true)
	x.Request.SetFunction(uint8(function))
	x.Request.SetLUN(lun)
	x.Request.SetReferencedTaskTag(iscsi.ReservedTag)
	g.on(h.r.ID(), func() { h.session.Start(x) })
}

// fences are what must keep the writer's writes away once they have answered.
var fences = []struct {
	name  string
	all   bool // also writes that have not arrived yet
	fence func(*fenceRig)
}{
	{"logical unit reset by another", false, func(g *fenceRig) { g.manage(g.other, scsi.FunctionLogicalUnitReset, slowLUN) }},
	{"logical unit reset by itself", false, func(g *fenceRig) { g.manage(g.writer, scsi.FunctionLogicalUnitReset, slowLUN) }},
	{"abort task set", false, func(g *fenceRig) { g.manage(g.writer, scsi.FunctionAbortTaskSet, slowLUN) }},
	{"clear task set", false, func(g *fenceRig) { g.manage(g.other, scsi.FunctionClearTaskSet, slowLUN) }},
	{"target warm reset", false, func(g *fenceRig) { g.manage(g.other, scsi.FunctionTargetWarmReset, 0) }},
	{"reinstatement", true, func(g *fenceRig) {
		h := g.newHost(g.rng.IntN(len(g.Reactors)), func(c *initiator.Config) { c.ISID[5] = 1 })
		h.session.Events.LoggedIn = func(err error) { g.fenced = err == nil }
		h.start(g.rng.IntN(len(g.Reactors)))
	}},
	{"LUN removal", true, func(g *fenceRig) {
		g.must(g.server.RemoveLUN("disk1", 1))
		g.fenced = true
	}},
	{"target deletion", true, func(g *fenceRig) {
		g.must(g.server.DeleteTarget("disk1"))
		g.fenced = true
	}},
	{"preempt and abort", true, func(g *fenceRig) { g.preempt() }},
}

// preempt registers the other session, and has it preempt and abort the writer's registration.
func (g *fenceRig) preempt() {
	out := func(action byte, own, other uint64) *initiator.Command {
		c := &initiator.Command{LUN: slowLUN, Out: make([]byte, 24)}
		c.CDB[0], c.CDB[1], c.CDB[2], c.CDB[8] = 0x5f, action, 0x05, 24 // write exclusive, registrants only
		if action == 0 || action == 6 {
			c.CDB[2] = 0
		}
		binary.BigEndian.PutUint64(c.Out, own)
		binary.BigEndian.PutUint64(c.Out[8:], other)
		return c
	}
	c := out(5, 0xb, 0xa)
	c.Done = func(c *initiator.Command) {
		g.fenced = c.Result == initiator.ResultAnswered && c.Status == scsi.StatusGood
	}
	g.on(g.other.r.ID(), func() { g.other.session.Submit(c) })
}

// register makes both sessions registrants with keys of their own (PERSISTENT RESERVE OUT, REGISTER AND IGNORE EXISTING KEY).
func (g *fenceRig) register() {
	for h, key := range map[*host]uint64{g.writer: 0xa, g.other: 0xb} {
		c := &initiator.Command{LUN: slowLUN, Out: make([]byte, 24)}
		c.CDB[0], c.CDB[1], c.CDB[8] = 0x5f, 6, 24
		binary.BigEndian.PutUint64(c.Out[8:], key)
		h.good(c)
	}
	c := &initiator.Command{LUN: slowLUN, Out: make([]byte, 24)}
	c.CDB[0], c.CDB[1], c.CDB[2], c.CDB[8] = 0x5f, 1, 0x05, 24
	binary.BigEndian.PutUint64(c.Out, 0xa)
	g.writer.good(c)
}

// fenceRound runs one fence and says what it let through.
func fenceRound(t testing.TB, seed uint64) (late, seen int) {
	f := fences[seed%uint64(len(fences))]
	g := newFenceRig(t, seed)
	if f.name == "preempt and abort" {
		g.register()
	}
	g.storm()
	g.before = g.server.ExpCmdSN(g.writer.session.Config.ISID)
	if f.all {
		g.before += fenceWrites
	}
	f.fence(g)
	g.Advance(time.Minute)
	if !g.fenced {
		t.Errorf("%s has not answered", f.name)
	}
	g.close()
	g.Close()
	return g.late, g.seen
}

// TestNothingIsWrittenBehindAFence: when a fence has answered, no write that it is about reaches the device any more.
func TestNothingIsWrittenBehindAFence(t *testing.T) {
	reached := 0
	for seed := range rounds(40 * len(fences)) {
		ok := t.Run(fmt.Sprintf("seed %d %s", seed, fences[seed%uint64(len(fences))].name), func(t *testing.T) {
			late, seen := fenceRound(t, seed)
			if late > 0 {
				t.Errorf("%d writes reached the disk after the fence had answered", late)
			}
			reached += seen
		})
		if !ok {
			return
		}
	}
	if reached == 0 {
		t.Error("no write reached the disk at all: the test shows nothing")
	}
}
