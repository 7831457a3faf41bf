package iscsi_test

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"time"

	"pollux/bdev"
	"pollux/iscsi"
	"pollux/iscsi/initiator"
	"pollux/reactor"
	"pollux/scsi"
)

// hungDisk is a block device that answers nothing, and cannot abort, until it is let go. A write takes effect only then, from the memory that
// it was given.
type hungDisk struct {
	data []byte
	hung bool
	kept []hungRequest
}

// hungRequest is a request and the reactor that waits for it.
type hungRequest struct {
	r *reactor.Reactor
	b *bdev.Request
}

// hungQueue is one reactor's path to the disk.
type hungQueue struct {
	d *hungDisk
	r *reactor.Reactor
}

// hungLUN is the LUN number of a hungRig's hung disk, as the protocol has it.
const hungLUN = 1 << 48

// hungRig is a rig whose LUN 1 hangs.
type hungRig struct {
	*rig
	disk *hungDisk
}

func newHungRig(t *testing.T, reactors int) *hungRig {
	g := &hungRig{rig: newRig(t, reactors, nil), disk: &hungDisk{data: make([]byte, slowBlocks*rigBlockSize)}}
	_, err := g.registry.Register(bdev.Spec{Name: "Hung0", ProductName: "Hung disk", BlockSize: rigBlockSize, Blocks: slowBlocks, Backend: g.disk})
	g.must(err)
	g.must(g.server.AddLUN("disk1", iscsi.LUNSpec{BdevName: "Hung0", LUN: 1}))
	return g
}

// OpenQueue makes the path of a reactor (bdev.Backend).
func (d *hungDisk) OpenQueue(r *reactor.Reactor) (bdev.Queue, error) { return &hungQueue{d, r}, nil }

// Supports is true of what the generic layer cannot emulate.
func (d *hungDisk) Supports(op bdev.Op) bool { return op == bdev.OpRead || op == bdev.OpWrite }

// Destroy does nothing.
func (d *hungDisk) Destroy() error { return nil }

// Close does nothing (bdev.Queue).
func (q *hungQueue) Close() {}

// Submit keeps the request while the disk hangs.
func (q *hungQueue) Submit(b *bdev.Request) {
	d := q.d
	if d.hung {
		d.kept = append(d.kept, hungRequest{q.r, b})
		return
	}
	d.carryOut(b)
	b.Complete(bdev.StatusOK)
}

func (d *hungDisk) carryOut(b *bdev.Request) {
	at := d.data[b.LBA*rigBlockSize:]
	for _, p := range b.Data {
		if b.Op == bdev.OpRead {
			copy(p, at)
		} else {
			copy(at, p)
		}
		at = at[len(p):]
	}
}

// letGo has the disk answer everything, on the reactor that asked.
func (g *hungRig) letGo() {
	g.t.Helper()
	kept := g.disk.kept
	g.disk.hung, g.disk.kept = false, nil
	for id, r := range g.Reactors {
		g.on(id, func() {
			for _, k := range kept {
				if k.r == r {
					g.disk.carryOut(k.b)
					k.b.Complete(bdev.StatusOK)
				}
			}
		})
	}
	g.Run()
}

// hang opens a host and leaves it with n writes that the disk does not answer.
func (g *hungRig) hang(isid byte, n int) (*host, []*initiator.Command) {
	g.t.Helper()
	h := g.newHost(0, func(c *initiator.Config) { c.ISID[5] = isid }).open(len(g.Reactors) - 1).ready()
	for range 4 {
		h.do(&initiator.Command{LUN: hungLUN})
	}
	g.disk.hung = true
	var all []*initiator.Command
	g.on(h.r.ID(), func() {
		for i := range n {
			c := writeOf(i*32, pattern(24, byte(i+1)))
			c.LUN = hungLUN
			c.Done = func(*initiator.Command) {}
			all = append(all, c)
			h.session.Submit(c)
		}
	})
	g.Run()
	if len(g.disk.kept) != n {
		g.t.Fatalf("the disk keeps %d requests, not %d", len(g.disk.kept), n)
	}
	return h, all
}

// manage starts a management function, and returns where its answer will be.
func (h *host) manage(function scsi.Function, lun uint64, tag uint32) *initiator.Exchange {
	x := &initiator.Exchange{Done: func(x *initiator.Exchange) {}}
	x.Request.Clear(iscsi.OpTaskManagement)
	x.Request.SetFinal(true)
	x.Request.SetImmediate(true)
	x.Request.SetFunction(uint8(function))
	x.Request.SetLUN(lun)
	x.Request.SetReferencedTaskTag(tag)
	h.g.on(h.r.ID(), func() { h.session.Start(x) })
	h.g.Run()
	return x
}

func (x *hungRig) answered(e *initiator.Exchange) bool {
	return e.Answer.Opcode() == iscsi.OpTaskManagementResponse
}

// TestManagementOfAHungDeviceIsRejected: a function that waits for a device that does not answer is rejected when its time is over, not
// completed; the session goes on, and the function completes when the device has answered.
func TestManagementOfAHungDeviceIsRejected(t *testing.T) {
	for name, c := range map[string]struct {
		function scsi.Function
		byOther  bool
	}{
		"ABORT TASK":                  {scsi.FunctionAbortTask, false},
		"ABORT TASK SET":              {scsi.FunctionAbortTaskSet, false},
		"CLEAR TASK SET":              {scsi.FunctionClearTaskSet, false},
		"LOGICAL UNIT RESET":          {scsi.FunctionLogicalUnitReset, false},
		"LOGICAL UNIT RESET by other": {scsi.FunctionLogicalUnitReset, true},
		"TARGET WARM RESET":           {scsi.FunctionTargetWarmReset, false},
		"TARGET COLD RESET":           {scsi.FunctionTargetColdReset, true},
	} {
		t.Run(name, func(t *testing.T) {
			g := newHungRig(t, 2)
			h, writes := g.hang(1, 3)
			by := h
			if c.byOther {
				by = g.newHost(1, func(c *initiator.Config) { c.ISID[5] = 2 }).open(0)
			}
			x := by.manage(c.function, hungLUN, writes[0].ITT)
			g.Advance(iscsi.ManagementTimeout - time.Millisecond)
			if g.answered(x) {
				t.Fatalf("answered %d while the device has the writes, before the time", x.Answer.Response())
			}
			g.Advance(time.Millisecond)
			if !g.answered(x) || x.Answer.Response() != uint8(scsi.ResponseRejected) {
				t.Fatalf("answered %v with %d, not rejected", x.Answer.Opcode(), x.Answer.Response())
			}
			h.ready().good(writeOf(0, pattern(8, 1)))
			g.wantCounted(map[string]uint64{"management_timeouts": 1})
			g.letGo()
			if x = by.manage(c.function, hungLUN, writes[0].ITT); x.Answer.Response() > uint8(scsi.ResponseNoTask) {
				t.Errorf("once the device has answered: response %d", x.Answer.Response())
			}
			g.close()
		})
	}
}

// TestManagementIsBounded: functions that the device holds up count until it answers.
func TestManagementIsBounded(t *testing.T) {
	g := newHungRig(t, 1)
	h, _ := g.hang(1, 1)
	for i := range iscsi.ManagementMax {
		if x := h.manage(scsi.FunctionLogicalUnitReset, hungLUN, iscsi.ReservedTag); g.answered(x) {
			t.Fatalf("function %d is answered at once", i)
		}
	}
	for _, after := range []time.Duration{0, iscsi.ManagementTimeout, time.Hour} {
		g.Advance(after)
		if x := h.manage(scsi.FunctionLogicalUnitReset, hungLUN, iscsi.ReservedTag); x.Answer.Response() != uint8(scsi.ResponseRejected) {
			t.Errorf("one more after %v: %v", after, x.Answer.Opcode())
		}
	}
	g.wantCounted(map[string]uint64{"management_timeouts": iscsi.ManagementMax, "too_many_management": 3})
	g.letGo()
	if x := h.manage(scsi.FunctionLogicalUnitReset, hungLUN, iscsi.ReservedTag); !g.answered(x) || x.Answer.Response() != uint8(scsi.ResponseComplete) {
		t.Errorf("once the device has answered: %v, %d", x.Answer.Opcode(), x.Answer.Response())
	}
	g.close()
}

// TestLostSessionOfAHungDevice: the session keeps its place and its memory, a login that would reinstate it is put off, and everybody else
// goes on. What the device writes in the end is what it was given.
func TestLostSessionOfAHungDevice(t *testing.T) {
	const writes = 3
	g := newHungRig(t, 2)
	h, _ := g.hang(1, writes)
	h.cut()
	if q := g.server.Quarantine(); q.Tasks != 0 {
		t.Errorf("quarantined at once: %+v", q)
	}
	g.Advance(iscsi.QuarantineAfter)
	if q := g.server.Quarantine(); q.Tasks != writes || q.Bytes < writes*24*rigBlockSize {
		t.Errorf("quarantined: %+v", q)
	}
	other := g.newHost(0, func(c *initiator.Config) { c.ISID[5] = 2 }).open(0).ready()
	for i := range 40 { // Its data go through the same pool.
		other.good(writeOf(0, pattern(48, byte(200+i))))
	}
	again := g.newHost(1, nil)
	again.start(0)
	g.Advance(iscsi.SessionWait - time.Millisecond)
	if again.in {
		t.Fatalf("answered before the time: %v", again.login)
	}
	g.Advance(time.Millisecond)
	if again.login != iscsi.LoginServiceUnavailable {
		t.Errorf("a login that waited: %v", again.login)
	}
	if err := h.rejoin(0, 1); err != iscsi.LoginSessionDoesNotExist { // That login has ended it for good.
		t.Errorf("joined: %v", err)
	}
	g.wantCounted(map[string]uint64{"login_waits_given_up": 1, "tasks_quarantined": writes})
	g.letGo()
	for i := range writes {
		if got := g.disk.data[i*32*rigBlockSize:][:24*rigBlockSize]; !bytes.Equal(got, pattern(24, byte(i+1))) {
			t.Errorf("write %d took effect with other data than it was given: its memory was used again", i)
		}
	}
	if q := g.server.Quarantine(); q != (iscsi.Quarantine{}) {
		t.Errorf("still quarantined: %+v", q)
	}
	g.newHost(1, nil).open(0).ready()
	g.close()
}

// TestContinuingASessionOfAHungDevice: the time for which it is kept runs meanwhile.
func TestContinuingASessionOfAHungDevice(t *testing.T) {
	g := newHungRig(t, 2)
	h, _ := g.hang(1, 1)
	h.cut()
	h.startAgain(0, 1)
	g.Advance(iscsi.SessionWait)
	if h.login != iscsi.LoginServiceUnavailable {
		t.Fatalf("continued while the device has a write of it: %v", h.login)
	}
	h.startAgain(0, 1)
	g.Run()
	g.letGo()
	if !h.up {
		t.Fatalf("not continued when the device has answered: %v", h.login)
	}
	g.hangAgain(h)
	h.cut()
	g.Advance(retained - time.Second)
	h.startAgain(0, 2) // In time, but the device answers later.
	g.Advance(2 * time.Second)
	g.wantStates("while a login waits, after the time", "FAILED")
	g.letGo()
	if !h.up {
		t.Errorf("a login in time is not let in when the device has answered: %v", h.login)
	}
	g.hangAgain(h)
	h.cut()
	g.Advance(retained)
	g.wantStates("while the device hangs", "FAILED")
	g.letGo()
	g.wantStates("when it has answered, after the time")
	g.close()
}

// hangAgain leaves the host with one write that the disk does not answer.
func (g *hungRig) hangAgain(h *host) {
	g.t.Helper()
	g.disk.hung = true
	c := writeOf(0, pattern(8, 9))
	c.LUN, c.Done = hungLUN, func(*initiator.Command) {}
	g.on(h.r.ID(), func() { h.session.Submit(c) })
	g.Run()
	if len(g.disk.kept) != 1 {
		g.t.Fatalf("the disk keeps %d requests, not one; session: %v", len(g.disk.kept), h.reason)
	}
}

// TestAHungDeviceHoldsNobodyElse: a session that has nothing in the device ends and comes again, though its reset has not completed.
func TestAHungDeviceHoldsNobodyElse(t *testing.T) {
	g := newHungRig(t, 2)
	g.hang(1, 2)
	other := g.newHost(1, func(c *initiator.Config) { c.ISID[5] = 2 }).open(0).ready()
	other.manage(scsi.FunctionLogicalUnitReset, hungLUN, iscsi.ReservedTag)
	g.Advance(iscsi.ManagementTimeout)
	for range 3 {
		other = g.newHost(0, func(c *initiator.Config) { c.ISID[5] = 2 }).open(1).ready()
		other.good(readOf(0, 8))
	}
	g.letGo()
	g.close()
}

// hidden requires that the host sees no LUN there.
func (h *host) hidden(lun uint64) {
	h.g.t.Helper()
	for range 4 {
		c := h.do(&initiator.Command{LUN: lun})
		if c.Status == scsi.StatusCheckCondition && c.Sense[2]&0xf == 5 && c.Sense[12] == 0x25 {
			return
		}
	}
	h.g.t.Error("the LUN is still seen")
}

func TestRemovalOfAHungLUN(t *testing.T) {
	g := newHungRig(t, 2)
	h, _ := g.hang(1, 3)
	before := g.Nanos()
	err := g.server.RemoveLUN("disk1", 1)
	if !errors.Is(err, scsi.ErrUnanswered) || !strings.Contains(err.Error(), "bdev Hung0 keeps 3 requests") || g.Nanos()-before != int64(scsi.RemovalTimeout) {
		t.Errorf("after %v: %v", time.Duration(g.Nanos()-before), err)
	}
	h.hidden(hungLUN)
	g.must(g.server.AddLUN("disk1", iscsi.LUNSpec{BdevName: "Malloc0", LUN: 1})) // The number is free, and nobody holds the table.
	h.ready()
	for range 4 {
		h.do(&initiator.Command{LUN: hungLUN})
	}
	x := readOf(0, 8)
	x.LUN = hungLUN
	h.good(x)
	g.must(g.server.RemoveLUN("disk1", 1))
	g.letGo()
	g.must(g.registry.Unregister("Hung0")) // Nobody has it open any more.
	g.close()
}

// TestRemovalOfAHungBdev: deleting the block device below LUNs of several targets takes no longer than one removal; nobody sees them any more, and
// the block device goes when it has answered.
func TestRemovalOfAHungBdev(t *testing.T) {
	g := newHungRig(t, 2)
	for lun := int32(2); lun < 5; lun++ {
		g.must(g.server.AddLUN("disk1", iscsi.LUNSpec{BdevName: "Hung0", LUN: lun}))
	}
	gone := make(chan struct{})
	g.registry.Follow(func(bdev.Change, *bdev.Device) { close(gone) })
	h, writes := g.hang(1, 3)
	ended := 0
	for lun := uint64(2); lun < 5; lun++ {
		for range 4 {
			h.do(&initiator.Command{LUN: lun << 48})
		}
		w := writeOf(0, pattern(8, 9))
		w.LUN = lun << 48
		g.on(h.r.ID(), func() { h.session.Submit(w) })
		writes = append(writes, w)
	}
	for _, w := range writes {
		w.Done = func(*initiator.Command) { ended++ }
	}
	g.Run()
	other := g.newHost(1, func(c *initiator.Config) { c.ISID[5] = 2 }).open(0).ready()
	before := g.Nanos()
	err := g.registry.Unregister("Hung0")
	if !errors.Is(err, bdev.ErrUnanswered) || !strings.Contains(err.Error(), "bdev Hung0 keeps 6 requests") || g.Nanos()-before != int64(bdev.RemovalTimeout) {
		t.Errorf("after %v: %v", time.Duration(g.Nanos()-before), err)
	}
	for _, o := range []*host{h, other} {
		o.hidden(hungLUN)
		o.hidden(4 << 48)
		o.ready().good(readOf(0, 8))
	}
	if ended != 0 {
		t.Errorf("%d writes have ended that the device has not answered", ended)
	}
	if err := g.server.AddLUN("disk1", iscsi.LUNSpec{BdevName: "Hung0", LUN: 7}); err == nil {
		t.Error("a LUN on a device that is on its way out")
	}
	g.letGo()
	<-gone
	if ended != 6 {
		t.Errorf("%d writes of 6 have ended when the device has answered", ended)
	}
	g.close()
}

// TestFenceAndRemovalOfAHungLUN: a reset that waits for the device is not completed by the removal of the LUN.
func TestFenceAndRemovalOfAHungLUN(t *testing.T) {
	g := newHungRig(t, 2)
	g.hang(1, 2)
	other := g.newHost(1, func(c *initiator.Config) { c.ISID[5] = 2 }).open(0).ready()
	x := other.manage(scsi.FunctionLogicalUnitReset, hungLUN, iscsi.ReservedTag)
	if err := g.server.RemoveLUN("disk1", 1); !errors.Is(err, scsi.ErrUnanswered) {
		t.Errorf("removal: %v", err)
	}
	if !g.answered(x) || x.Answer.Response() != uint8(scsi.ResponseRejected) {
		t.Errorf("the reset is answered %v, %d while the device has the writes", x.Answer.Opcode(), x.Answer.Response())
	}
	g.letGo()
	g.close()
}

func TestDeletionOfAHungTarget(t *testing.T) {
	g := newHungRig(t, 2)
	h, _ := g.hang(1, 2)
	before := g.Nanos()
	err := g.server.DeleteTarget("disk1")
	if !errors.Is(err, scsi.ErrUnanswered) || !strings.Contains(err.Error(), "1 sessions have not ended") || !strings.Contains(err.Error(), "bdev Hung0 keeps 2 requests") {
		t.Errorf("%v", err)
	}
	if took := time.Duration(g.Nanos() - before); took != iscsi.EndTimeout || !h.ended {
		t.Errorf("after %v; the session has ended at the initiator: %v", took, h.ended)
	}
	h.start(0)
	g.Run()
	if h.login != iscsi.LoginTargetRemoved {
		t.Errorf("a login meanwhile: %v", h.login)
	}
	for what, err := range map[string]error{
		"added again": g.server.AddTarget(&iscsi.TargetSpec{
			Name: "disk1", Maps: []iscsi.Map{{PortalGroup: 1, InitiatorGroup: 1}}, LUNs: []iscsi.LUNSpec{{BdevName: "Malloc0"}},
		}),
		"changed":       g.server.SetRedirect("disk1", 1, "", ""),
		"given a LUN":   g.server.AddLUN("disk1", iscsi.LUNSpec{BdevName: "Malloc0", LUN: 5}),
		"deleted again": g.server.DeleteTarget("disk1"),
	} {
		if err == nil {
			t.Errorf("%s, and that worked", what)
		}
	}
	g.letGo()
	g.must(g.server.DeleteTarget("disk1"))
	if err := g.server.DeleteTarget("disk1"); !errors.Is(err, iscsi.ErrNoTarget) {
		t.Errorf("deleted twice: %v", err)
	}
	g.must(g.registry.Unregister("Hung0"))
	g.close()
}

// TestEndOverAHungDevice: the server ends within its time and says what it leaves.
func TestEndOverAHungDevice(t *testing.T) {
	g := newHungRig(t, 2)
	h, _ := g.hang(1, 5)
	before := g.Nanos()
	err := g.server.Close()
	if !errors.Is(err, scsi.ErrUnanswered) || !strings.Contains(err.Error(), "bdev Hung0 keeps 5 requests") || !h.ended {
		t.Errorf("%v; the session has ended at the initiator: %v", err, h.ended)
	}
	if took := time.Duration(g.Nanos() - before); took > iscsi.LogoutGrace+iscsi.EndTimeout {
		t.Errorf("it took %v", took)
	}
	g.letGo()
	if held := g.server.Held(); len(held) > 0 {
		t.Errorf("left when the device has answered: %v", held)
	}
}

func TestCallsOverAHungDevice(t *testing.T) {
	g := newRPCRig(t)
	h := &hungRig{rig: g.rig, disk: &hungDisk{data: make([]byte, slowBlocks*rigBlockSize)}}
	_, err := g.registry.Register(bdev.Spec{Name: "Hung0", ProductName: "Hung disk", BlockSize: rigBlockSize, Blocks: slowBlocks, Backend: h.disk})
	g.must(err)
	g.must(g.server.AddLUN("disk1", iscsi.LUNSpec{BdevName: "Hung0", LUN: 1}))
	h.hang(1, 2)
	g.call("iscsi_target_node_remove_lun", `{"name":"disk1","lun_id":1}`, "-16 Device or resource busy: scsi device iqn.2016-06.io.spdk:disk1: lun 1: bdev Hung0 keeps 2 requests: requests are unanswered after 10s; the LUN is hidden, and goes when they are answered")
	g.call("iscsi_delete_target_node", `{"name":"disk1"}`, "-16 Device or resource busy: target node iqn.2016-06.io.spdk:disk1: 1 sessions have not ended after 10s: bdev Hung0 keeps 2 requests: requests are unanswered")
	if got := g.saved("iscsi_create_target_node"); got != "" {
		t.Errorf("a target whose deletion has begun is saved: %s", got)
	}
	h.letGo()
	g.call("iscsi_delete_target_node", `{"name":"disk1"}`, "true")
	g.close()
}
