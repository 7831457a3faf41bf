package scsi

import (
	"bytes"
	"testing"

	"pollux/bdev"
)

func senseMode(page, subpage byte) []byte { return []byte{0x1a, 8, page, subpage, 255, 0} }

func selectMode(list []byte) []byte { return []byte{0x15, 0x10, 0, 0, byte(len(list)), 0} }

func TestModeSense(t *testing.T) {
	b := newBenchSpec(t, 1, diskOps, bdev.Spec{WriteCache: true})
	n := b.open(0, "a")
	got := n.cmd([]byte{0x1a, 0, 0x3f, 0, 255, 0}, nil)
	if int(got[0]) != len(got)-1 || got[2] != 0x10 || got[3] != 8 || !bytes.Equal(got[4:12], []byte{0, 0, 8, 0, 0, 0, 2, 0}) {
		t.Errorf("header and descriptor % x", got[:12])
	}
	if len(got) != 12+16+20+12+12 {
		t.Errorf("all pages have %d bytes", len(got))
	}
	got = n.cmd([]byte{0x5a, 0x10, 0x3f, 0xff, 0, 0, 0, 2, 0, 0}, nil)
	if len(got) != 8+16+16+20+12+12+32 || got[1] != byte(len(got)-2) || got[4] != 1 || got[7] != 16 {
		t.Errorf("all pages and subpages, long descriptor: % x", got)
	}
	if got := n.cmd(senseMode(0x08, 0), nil); !bytes.Equal(got[4:8], []byte{0x08, 18, 4, 0}) {
		t.Errorf("caching % x", got)
	}
	if got := n.cmd(senseMode(0x48, 0), nil); got[6] != 4 {
		t.Errorf("caching, changeable % x", got)
	}
	if got := n.cmd(senseMode(0x0a, 1), nil); !bytes.Equal(got[4:8], []byte{0x4a, 1, 0, 28}) {
		t.Errorf("control extension % x", got)
	}
	n.lun(0, senseMode(0xc8, 0)).wantSense(senseSavingNotSupported)
	n.lun(0, senseMode(0x07, 0)).wantField(2)
	n.lun(0, senseMode(0x0a, 7)).wantField(3)
}

func TestModeSelect(t *testing.T) {
	b := newBenchSpec(t, 2, diskOps, bdev.Spec{WriteCache: true})
	n, o := b.open(0, "a"), b.open(1, "b")
	control := func(d2, d4, d5 byte) []byte {
		return []byte{0, 0, 0, 0, 0x0a, 10, d2, 0x10, d4, d5, 0, 0, 0, 0, 0, 0}
	}
	put := func(list []byte) result { return n.run(0, selectMode(list), list, 0) }

	put(control(0, 8, 0)).wantGood() // SWP
	o.lun(0, tur).wantSense(attentionModeChanged)
	n.lun(0, tur).wantGood()
	o.run(0, cdb10(0x2a, 0, 0, 1), make([]byte, benchBlock), 0).wantSense(senseWriteProtected)
	if got := o.cmd(senseMode(0x0a, 0), nil); got[2] != 0x90 || got[8] != 8 {
		t.Errorf("SWP is not seen: % x", got)
	}
	if got := o.cmd(senseMode(0x8a, 0), nil); got[8] != 0 {
		t.Errorf("default % x", got)
	}

	put(control(4, 0, 0)).wantGood() // D_SENSE
	o.lun(0, tur).wantSense(attentionModeChanged)
	r := o.lun(0, []byte{0x28, 2, 0, 0, 0, 0, 0, 0, 1, 0})
	if want := []byte{0x72, 5, 0x24, 0, 0, 0, 0, 8, 2, 6, 0, 0, 0xc9, 0, 1, 0}; !bytes.Equal(r.Sense[:r.SenseLen], want) {
		t.Errorf("got  % x\nwant % x", r.Sense[:r.SenseLen], want)
	}
	wrong := make([]byte, benchBlock)
	wrong[9] = 1
	r = o.run(0, cdb10(0x2f, 2, 0, 1), wrong, 0)
	if want := []byte{0x72, 0xe, 0x1d, 0, 0, 0, 0, 12, 0, 10, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 9}; !bytes.Equal(r.Sense[:r.SenseLen], want) {
		t.Errorf("got  % x\nwant % x", r.Sense[:r.SenseLen], want)
	}

	put(control(0, 0, 0x20)).wantSense(senseInvalidFieldInParameter)
	put(control(0, 0, 0)[:10]).wantSense(senseParameterListLength)
	put([]byte{0, 0, 0}).wantSense(senseParameterListLength)
	put([]byte{0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 4, 0}).wantSense(senseInvalidFieldInParameter)
	put([]byte{0, 0, 0, 8, 0, 0, 8, 0, 0, 0, 2, 0}).wantGood()
	put([]byte{0, 0, 0, 0, 0x07, 2, 0, 0}).wantSense(senseInvalidFieldInParameter)
	n.run(0, []byte{0x15, 0x11, 0, 0, 4, 0}, make([]byte, 4), 0).wantSense(senseInvalidFieldInCDB)
}

func TestWriteThrough(t *testing.T) {
	b := newBenchSpec(t, 1, diskOps, bdev.Spec{WriteCache: true})
	n := b.open(0, "a")
	flushes := 0
	b.disk.hook = func(q *bdev.Request) {
		if q.Op == bdev.OpFlush {
			flushes++
		}
	}
	one := make([]byte, benchBlock)
	n.cmd(cdb10(0x2a, 0, 0, 1), one)
	if flushes != 0 {
		t.Error("a plain write was flushed")
	}
	n.cmd(cdb10(0x2a, 8, 0, 1), one)
	n.cmd(cdb10(0x28, 8, 0, 1), nil)
	n.cmd(cdb10(0x35, 0, 0, 0), nil)
	if flushes != 3 {
		t.Errorf("%d flushes for FUA write, FUA read and SYNCHRONIZE CACHE", flushes)
	}
	list := []byte{0, 0, 0, 0, 8, 18, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}
	n.cmd(selectMode(list), list)
	n.cmd(cdb10(0x2a, 0, 0, 1), one)
	if flushes != 4 {
		t.Error("WCE is zero, and a write was not made durable")
	}
}
