package scsi

import (
	"errors"
	"testing"
	"time"

	"pollux/bdev"
)

// TestChangesThatWaitAreBounded: resets wait in line behind one that a device holds up; one more than the bound is rejected at once.
func TestChangesThatWaitAreBounded(t *testing.T) {
	b := newBench(t, 2)
	n, o := b.open(1, "a"), b.open(0, "b")
	b.disk.held = true
	w := n.write(1, 'w').start()
	_, first := o.startManage(FunctionLogicalUnitReset, 0, 0) // under way
	var ends []*bool
	for range changesMax {
		_, done := o.startManage(FunctionLogicalUnitReset, 0, 0)
		ends = append(ends, done)
	}
	b.w.Run()
	if *first || *ends[0] || *ends[changesMax-1] {
		t.Fatal("a reset has answered while the device has the write")
	}
	if r := o.manage(FunctionLogicalUnitReset, 0, 0); r != ResponseRejected {
		t.Errorf("one beyond the bound is answered with %d", r)
	}
	b.release()
	for i, done := range ends {
		if !*done {
			t.Fatalf("reset %d has not answered", i)
		}
	}
	if !*first || w.finished != 1 {
		t.Errorf("the first reset has answered: %v; the write has ended %d times", *first, w.finished)
	}
	if r := o.manage(FunctionLogicalUnitReset, 0, 0); r != ResponseComplete {
		t.Errorf("when the line is empty again: %d", r)
	}
}

// TestAbandonedManagement: nobody waits for it, not even the end of its nexus, and its fence holds all the same.
func TestAbandonedManagement(t *testing.T) {
	b := newBench(t, 2)
	n, o := b.open(1, "a"), b.open(0, "b")
	b.disk.held = true
	w := n.write(1, 'w').start()
	m, done := o.startManage(FunctionLogicalUnitReset, 0, 0)
	b.w.Run()
	b.must(o.r.Call(m.Abandon))
	if o.Abandoned() != 1 {
		t.Errorf("%d are abandoned", o.Abandoned())
	}
	o.close()
	b.release()
	if *done || w.finished != 1 || w.Status != StatusTaskAborted || o.Abandoned() != 0 {
		t.Errorf("done %v; the write has ended %d times with %#x; %d are abandoned", *done, w.finished, w.Status, o.Abandoned())
	}
	n.lun(0, tur).wantSense(attentionReset)
}

// TestTasksEndAndTheNexusStays is what a session needs that has lost its connection.
func TestTasksEndAndTheNexusStays(t *testing.T) {
	b := newBench(t, 2)
	n, o := b.open(1, "a"), b.open(0, "b")
	n.cmd([]byte{0x16, 0, 0, 0, 0, 0}, nil) // RESERVE(6)
	b.disk.held = true
	running, prepared := n.write(1, 'r').start(), n.write(2, 'p')
	b.must(n.r.Call(func() { prepared.prepare() }))
	ended := false
	b.must(n.r.Call(func() { n.EndTasks(func() { ended = true }) }))
	b.w.Run()
	if ended {
		t.Fatal("ended while the device has a write")
	}
	b.release()
	if !ended || running.finished != 1 || prepared.finished != 1 || !running.NoResponse {
		t.Errorf("ended %v, finished %d and %d", ended, running.finished, prepared.finished)
	}
	o.lun(0, cdb10(0x28, 0, 0, 1)).wantStatus(StatusReservationConflict)
	n.lun(0, tur).wantGood()
}

// TestDeviceWithAHungLUN: its end says what it waits for, and can be asked for again.
func TestDeviceWithAHungLUN(t *testing.T) {
	b := newBench(t, 2)
	n := b.open(1, "a")
	b.disk.held = true
	w := n.write(1, 'w').start()
	if err := b.dev.RemoveLUN(0); !errors.Is(err, ErrUnanswered) {
		t.Fatalf("removed: %v", err)
	}
	if all, err := b.dev.Unanswered(); err != nil || all["Disk0"] != 1 {
		t.Errorf("unanswered: %v, %v", all, err)
	}
	if w.finished != 0 {
		t.Error("the write has ended before the device has answered")
	}
	b.release()
	n.close()
	if all, err := b.dev.Unanswered(); err != nil || len(all) != 0 {
		t.Errorf("unanswered: %v, %v", all, err)
	}
	b.must(b.dev.Close())
	b.must(b.reg.Unregister("Disk0"))
}

// TestNewsOfAHungDevice: a new size that a reset holds up, which waits for the device, keeps nobody waiting for long, neither who resizes nor who
// removes the device after that; it becomes known when the device has answered.
func TestNewsOfAHungDevice(t *testing.T) {
	for _, removed := range []bool{false, true} {
		b := newBench(t, 2)
		n, o := b.open(1, "a"), b.open(0, "b")
		b.disk.held = true
		w := n.write(1, 'w').start()
		_, reset := o.startManage(FunctionLogicalUnitReset, 0, 0)
		b.w.Run()
		d, err := b.reg.Lookup("Disk0")
		b.must(err)
		b.disk.data = append(b.disk.data, make([]byte, 100*benchBlock)...)
		before := b.w.Nanos()
		b.must(d.Resize(benchBlocks + 100))
		if took := time.Duration(b.w.Nanos() - before); took != EventTimeout || *reset {
			t.Errorf("after %v; the reset has answered: %v", took, *reset)
		}
		if removed {
			if err := b.reg.Unregister("Disk0"); !errors.Is(err, ErrUnanswered) || b.w.Nanos()-before != int64(EventTimeout+bdev.RemovalTimeout) {
				t.Errorf("removed after %v: %v", time.Duration(b.w.Nanos()-before), err)
			}
			b.release()
			n.lun(0, tur).wantSense(senseLUNNotSupported)
			continue
		}
		b.release()
		if !*reset || w.finished != 1 {
			t.Errorf("the reset has answered: %v; the write has ended %d times", *reset, w.finished)
		}
		o.lun(0, tur).wantSense(attentionReset)
		o.lun(0, tur).wantSense(attentionCapacityChanged)
		o.cmd(cdb10(0x28, 0, benchBlocks+99, 1), nil)
	}
}
