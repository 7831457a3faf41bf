package scsi

import (
	"testing"
	"time"

	"pollux/bdev"
)

// manage runs a task management function and waits for the answer.
func (n *initiator) manage(f Function, lun int, tag uint64) Response {
	n.b.t.Helper()
	m, done := n.startManage(f, lun, tag)
	for range 10000 {
		if *done {
			return m.Response
		}
		n.b.w.Advance(time.Millisecond)
	}
	n.b.t.Fatal("the function does not end")
	return 0
}

func (n *initiator) startManage(f Function, lun int, tag uint64) (*Management, *bool) {
	n.b.t.Helper()
	done := new(bool)
	m := &Management{Function: f, LUN: EncodeLUN(lun), Tag: tag, Done: func(*Management) { *done = true }}
	n.b.must(n.r.Call(func() { n.Manage(m) }))
	return m, done
}

func (n *initiator) write(lba uint32, c byte) *testTask {
	return n.new(0, cdb10(0x2a, 0, lba, 1), fill(benchBlock, c), 0)
}

// release lets the disk do what it has kept.
func (b *bench) release() {
	b.t.Helper()
	b.disk.held = false
	b.releaseAndHold()
}

// releaseAndHold lets the disk do what it has kept, and nothing that comes of it if it goes on holding.
func (b *bench) releaseAndHold() {
	b.t.Helper()
	kept := b.disk.kept
	b.disk.kept = nil
	b.must(b.w.Reactors[0].Call(func() {})) // The world stands still now.
	for _, serve := range kept {
		serve()
	}
	b.w.Run()
}

func TestAttentionsInOrder(t *testing.T) {
	b := newBench(t, 2)
	n, o := b.openRaw(0, "a"), b.open(1, "b")
	n.cmd(inquiry, nil)
	n.lun(0, []byte{0xff}).wantSense(attentionPowerOn)
	n.lun(0, []byte{0xff}).wantSense(senseInvalidOpcode)

	o.register(1)
	o.out(outReserve, 3, 1, 0).wantGood()
	n.lun(0, cdb10(0x28, 0, 0, 1)).wantStatus(StatusReservationConflict)
	if o.manage(FunctionLogicalUnitReset, 0, 0) != ResponseComplete {
		t.Error("reset failed")
	}
	n.lun(0, cdb10(0x28, 0, 0, 1)).wantSense(attentionReset) // A reset comes before a conflict.
	n.lun(0, cdb10(0x28, 0, 0, 1)).wantStatus(StatusReservationConflict)
	o.lun(0, tur).wantSense(attentionReset)

	b.addDisk("Disk1", diskOps, bdev.Spec{})
	_, err := b.dev.AddLUN(3, "Disk1", LUNOptions{})
	b.must(err)
	n.lun(0, cdb10(0x28, 0, 0, 1)).wantStatus(StatusReservationConflict) // Other conditions come after it.
	n.lun(0, tur).wantSense(attentionLUNsChanged)
	n.lun(0, tur).wantGood()
	n.lun(3, tur).wantSense(attentionPowerOn)
	o.lun(0, []byte{0xa0, 0, 0, 0, 0, 0, 0, 0, 0, 16, 0, 0}).wantGood()
	o.lun(0, tur).wantGood() // REPORT LUNS has told it.
}

func TestAttentionsKeepOneOfEachKind(t *testing.T) {
	var a attentions
	for range 3 {
		for _, s := range []Sense{
			attentionCapacityChanged, attentionPowerOn, attentionModeChanged, attentionReset, attentionReservationsPreempt,
			attentionReservationsReleased, attentionRegistrationsPreempt, attentionCommandsCleared, attentionLUNsChanged,
		} {
			a.add(s)
		}
	}
	if s, _ := a.first(); s != attentionReset || a.n != 8 {
		t.Errorf("%d conditions, first %+v", a.n, s)
	}
}

func TestResize(t *testing.T) {
	b := newBench(t, 2)
	n := b.open(1, "a")
	d, err := b.reg.Lookup("Disk0")
	b.must(err)
	b.disk.data = append(b.disk.data, make([]byte, 100*benchBlock)...)
	b.must(d.Resize(benchBlocks + 100))
	b.w.Run()
	n.lun(0, tur).wantSense(attentionCapacityChanged)
	n.cmd(cdb10(0x28, 0, benchBlocks+99, 1), nil)
}

// TestWritesLost: when a device below may have lost writes that were not flushed, every nexus hears what a power failure would say.
func TestWritesLost(t *testing.T) {
	b := newBench(t, 2)
	n := b.open(1, "a")
	d, err := b.reg.Lookup("Disk0")
	b.must(err)
	d.TellWritesLost()
	b.w.Run()
	n.lun(0, tur).wantSense(attentionPowerOn)
	n.cmd(tur, nil)
}

func TestAbortTask(t *testing.T) {
	b := newBench(t, 2)
	n := b.open(1, "a")
	b.disk.held = true
	w, x := n.write(1, 'w').start(), n.write(2, 'x').start()
	if n.manage(FunctionQueryTask, 0, w.Tag) != ResponseSucceeded || n.manage(FunctionQueryTask, 0, 999) != ResponseComplete {
		t.Error("QUERY TASK is wrong")
	}
	if n.manage(FunctionAbortTask, 0, 999) != ResponseNoTask || n.manage(FunctionAbortTask, 9, 1) != ResponseNoLUN {
		t.Error("ABORT TASK of nothing is wrong")
	}
	m, done := n.startManage(FunctionAbortTask, 0, w.Tag)
	b.w.Run()
	if *done {
		t.Fatal("ABORT TASK has answered while the device has the write")
	}
	b.release()
	if !*done || m.Response != ResponseComplete || w.finished != 1 || w.Status != StatusTaskAborted || !w.NoResponse {
		t.Errorf("done %v, response %d; finished %d, status %#x", *done, m.Response, w.finished, w.Status)
	}
	if x.finished != 1 || x.Status != StatusGood {
		t.Error("the other task was touched")
	}
}

func TestAbortOfPreparedTask(t *testing.T) {
	b := newBench(t, 1)
	n := b.open(0, "a")
	w := n.write(1, 'w')
	b.must(n.r.Call(func() { w.prepare() }))
	if n.manage(FunctionAbortTaskSet, 0, 0) != ResponseComplete {
		t.Fatal("not complete")
	}
	if w.finished != 0 {
		t.Fatal("finished before Execute")
	}
	b.must(n.r.Call(func() { w.execute() }))
	b.w.Run()
	if w.finished != 1 || w.Status != StatusTaskAborted || !w.NoResponse || b.disk.data[benchBlock] != 0 {
		t.Errorf("finished %d, status %#x", w.finished, w.Status)
	}
}

func TestCancel(t *testing.T) {
	b := newBench(t, 1)
	n := b.open(0, "a")
	w := n.write(1, 'w')
	b.must(n.r.Call(func() {
		w.prepare()
		n.Cancel(&w.Task)
	}))
	n.close()
	if w.finished != 0 {
		t.Error("a cancelled task has finished")
	}
}

func TestClearTaskSetTellsTheOthers(t *testing.T) {
	for _, tas := range []bool{false, true} {
		b := newBench(t, 2)
		n, o := b.open(0, "a"), b.open(1, "b")
		if tas {
			list := []byte{0, 0, 0, 0, 0x0a, 10, 0, 0x10, 0, 0x40, 0, 0, 0, 0, 0, 0}
			n.cmd(selectMode(list), list)
			o.lun(0, tur).wantSense(attentionModeChanged)
		}
		b.disk.held = true
		mine, theirs := n.write(1, 'm').start(), o.write(2, 't').start()
		_, done := n.startManage(FunctionClearTaskSet, 0, 0)
		b.w.Run()
		if *done {
			t.Fatal("answered while writes are under way")
		}
		b.release()
		if !*done || mine.Status != StatusTaskAborted || !mine.NoResponse || theirs.Status != StatusTaskAborted || theirs.NoResponse == tas {
			t.Errorf("TAS %v: done %v, mine %#x %v, theirs %#x %v", tas, *done, mine.Status, mine.NoResponse, theirs.Status, theirs.NoResponse)
		}
		if tas {
			o.lun(0, tur).wantGood()
		} else {
			o.lun(0, tur).wantSense(attentionCommandsCleared)
		}
		n.lun(0, tur).wantGood()
	}
}

func TestTargetReset(t *testing.T) {
	b := newBench(t, 2)
	b.addDisk("Disk1", diskOps, bdev.Spec{})
	_, err := b.dev.AddLUN(1, "Disk1", LUNOptions{})
	b.must(err)
	n, o := b.open(0, "a"), b.open(1, "b")
	if n.manage(FunctionTargetWarmReset, 0, 0) != ResponseComplete {
		t.Error("not complete")
	}
	for _, i := range []*initiator{n, o} {
		for lun := range uint64(2) {
			i.lun(lun, tur).wantSense(attentionReset)
			i.lun(lun, tur).wantGood()
		}
	}
	if n.manage(FunctionClearACA, 0, 0) != ResponseNotSupported {
		t.Error("CLEAR ACA")
	}
}

func TestOrderedTasks(t *testing.T) {
	b := newBench(t, 1)
	n := b.open(0, "a")
	var order []byte
	add := func(c byte, a Attribute) *testTask {
		w := n.write(0, c)
		w.Attribute = a
		w.onFinish = func() { order = append(order, c) }
		return w
	}
	b.disk.held = true
	late := add('1', AttributeSimple)
	b.must(n.r.Call(func() { late.prepare() })) // Its data-out is still being gathered.
	add('2', AttributeSimple).start()
	add('3', AttributeOrdered).start()
	add('4', AttributeSimple).start()
	add('5', AttributeOrdered).start()
	add('6', AttributeHeadOfQueue).start()
	b.w.Run()
	if len(b.disk.kept) != 2 {
		t.Fatalf("the device has %d requests, want those of 2 and 6", len(b.disk.kept))
	}
	b.release()
	b.must(n.r.Call(func() { late.execute() }))
	b.w.Run()
	if string(order) != "261345" {
		t.Errorf("order %s", order)
	}
	aca := add('7', AttributeACA).start()
	result{testTask: aca}.wantSense(senseInvalidMessage)
}

func TestCloseEndsEverything(t *testing.T) {
	b := newBench(t, 2)
	n := b.open(1, "a")
	b.disk.held = true
	running, prepared := n.write(1, 'r').start(), n.write(2, 'p')
	ordered := n.write(3, 'o')
	ordered.Attribute = AttributeOrdered
	b.must(n.r.Call(func() { prepared.prepare() }))
	ordered.start()
	closed := false
	b.must(n.r.Call(func() { n.Nexus.Close(func() { closed = true }) }))
	b.w.Run()
	if closed {
		t.Fatal("closed while the device has a write")
	}
	b.release()
	if !closed || running.finished != 1 || prepared.finished != 1 || ordered.finished != 1 {
		t.Errorf("closed %v, finished %d %d %d", closed, running.finished, prepared.finished, ordered.finished)
	}
	b.must(b.dev.Close())
}

func TestRemoveLUN(t *testing.T) {
	b := newBench(t, 2)
	b.addDisk("Disk1", diskOps, bdev.Spec{})
	_, err := b.dev.AddLUN(-1, "Disk1", LUNOptions{})
	b.must(err)
	n := b.open(1, "a")
	b.disk.delay = func() time.Duration { return time.Second }
	running, prepared := n.write(1, 'r').start(), n.write(2, 'p')
	b.must(n.r.Call(func() { prepared.prepare() }))
	b.must(b.dev.RemoveLUN(0))
	if running.finished != 1 || running.NoResponse || b.dev.LUNs()[0] != (LUNInfo{Number: 1, BdevName: "Disk1"}) {
		t.Errorf("finished %d; luns %v", running.finished, b.dev.LUNs())
	}
	result{testTask: running}.wantSense(senseLUNNotSupported)
	b.must(n.r.Call(func() { prepared.execute() }))
	b.w.Run()
	result{testTask: prepared}.wantSense(senseLUNNotSupported)
	n.lun(0, tur).wantSense(senseLUNNotSupported)
	n.lun(1, tur).wantSense(attentionLUNsChanged)
	if b.dev.RemoveLUN(0) == nil {
		t.Error("removed twice")
	}
	if b.dev.Close() == nil {
		t.Error("closed with a nexus")
	}
	n.close()
	b.must(b.dev.Close())
	b.must(b.reg.Unregister("Disk0"))
}

func TestHotRemove(t *testing.T) {
	b := newBench(t, 1)
	n := b.open(0, "a")
	n.lun(0, tur).wantGood()
	b.must(b.reg.Unregister("Disk0"))
	b.w.Run()
	n.lun(0, tur).wantSense(senseLUNNotSupported)
	if len(b.dev.LUNs()) != 0 {
		t.Error("the LUN is still there")
	}
}
