package scsi

import (
	"bytes"
	"encoding/binary"
	"strings"
	"testing"
)

func cdbOut(action, kind byte, n int) []byte {
	c := []byte{0x5f, action, kind, 0, 0, 0, 0, 0, 0, 0}
	binary.BigEndian.PutUint32(c[5:], uint32(n))
	return c
}

func outList(key, actionKey uint64) []byte {
	l := make([]byte, 24)
	binary.BigEndian.PutUint64(l, key)
	binary.BigEndian.PutUint64(l[8:], actionKey)
	return l
}

// out runs PERSISTENT RESERVE OUT.
func (n *initiator) out(action, kind byte, key, actionKey uint64) result {
	n.b.t.Helper()
	return n.run(0, cdbOut(action, kind, 24), outList(key, actionKey), 0)
}

func (n *initiator) in(action byte) []byte {
	n.b.t.Helper()
	return n.cmd([]byte{0x5e, action, 0, 0, 0, 0, 0, 0xff, 0xff, 0}, nil)
}

func (n *initiator) register(key uint64) {
	n.b.t.Helper()
	n.out(outRegisterIgnore, 0, 0, key).wantGood()
}

func (n *initiator) wantReservation(key uint64, kind byte) {
	n.b.t.Helper()
	got := n.in(1)
	if kind == 0 {
		if len(got) != 8 {
			n.b.t.Fatalf("a reservation: % x", got)
		}
		return
	}
	if len(got) != 24 || binary.BigEndian.Uint64(got[8:]) != key || got[21] != kind {
		n.b.t.Fatalf("reservation % x, want key %#x type %d", got, key, kind)
	}
}

func (n *initiator) wantKeys(want ...uint64) {
	n.b.t.Helper()
	got := n.in(0)
	if int(binary.BigEndian.Uint32(got[4:])) != 8*len(want) {
		n.b.t.Fatalf("keys % x, want %x", got[8:], want)
	}
	for i, k := range want {
		if binary.BigEndian.Uint64(got[8+8*i:]) != k {
			n.b.t.Fatalf("keys % x, want %x", got[8:], want)
		}
	}
}

// access tells what n may do: read, write.
func (n *initiator) access() string {
	n.b.t.Helper()
	var can strings.Builder
	for _, c := range []struct {
		name string
		cdb  []byte
		out  []byte
	}{
		{"r", cdb10(0x28, 0, 0, 1), nil},
		{"w", cdb10(0x2a, 0, 0, 1), make([]byte, benchBlock)},
	} {
		r := n.run(0, c.cdb, c.out, benchBlock)
		switch r.Status {
		case StatusGood:
			can.WriteString(c.name)
		case StatusReservationConflict:
			can.WriteString("-")
		default:
			n.b.t.Fatalf("%s: status %#x", c.name, r.Status)
		}
	}
	return can.String()
}

func TestAccessByReservationType(t *testing.T) {
	for _, c := range []struct {
		kind                        byte
		holder, registered, unknown string
	}{
		{1, "rw", "r-", "r-"}, {3, "rw", "--", "--"}, {5, "rw", "rw", "r-"}, {6, "rw", "rw", "--"}, {7, "rw", "rw", "r-"}, {8, "rw", "rw", "--"},
	} {
		b := newBench(t, 2)
		holder, registered, unknown := b.open(0, "h"), b.open(1, "r"), b.open(1, "u")
		holder.register(1)
		registered.register(2)
		holder.out(outReserve, c.kind, 1, 0).wantGood()
		key := uint64(1)
		if c.kind >= 7 {
			key = 0
		}
		unknown.wantReservation(key, c.kind)
		if h, r, u := holder.access(), registered.access(), unknown.access(); h != c.holder || r != c.registered || u != c.unknown {
			t.Errorf("type %d: holder %s, registered %s, unknown %s", c.kind, h, r, u)
		}
		unknown.lun(0, tur).wantGood()
		unknown.cmd(cdbAlloc16(0x10, 0, 32), nil)
		unknown.lun(0, []byte{0x12, 0, 0, 0, 96, 0}).wantGood()
		unknown.lun(0, []byte{0x1a, 0, 0x3f, 0, 255, 0}).wantStatus(StatusReservationConflict)
		unknown.lun(0, []byte{0x1b, 0, 0, 0, 1, 0}).wantGood()
		unknown.lun(0, []byte{0x1b, 0, 0, 0, 0, 0}).wantStatus(StatusReservationConflict)
	}
}

func TestRegister(t *testing.T) {
	b := newBench(t, 2)
	a, c := b.open(0, "a"), b.open(1, "c")
	a.out(outRegister, 0, 5, 7).wantStatus(StatusReservationConflict)
	a.out(outRegister, 0, 0, 0).wantGood()
	a.wantKeys()
	a.out(outRegister, 0, 0, 7).wantGood()
	a.out(outRegister, 0, 8, 9).wantStatus(StatusReservationConflict)
	a.out(outRegister, 0, 7, 9).wantGood()
	c.register(9)
	a.wantKeys(9, 9)
	if g := binary.BigEndian.Uint32(a.in(0)); g != 4 {
		t.Errorf("generation %d", g)
	}
	a.out(outRegister, 0, 9, 0).wantGood()
	c.wantKeys(9)
	for _, flag := range []byte{1, 8} {
		l := outList(0, 3)
		l[20] = flag
		r := a.run(0, cdbOut(outRegister, 0, 24), l, 0)
		r.wantSense(senseInvalidFieldInParameter)
		if r.Sense[15]&0xc0 != 0x80 || r.Sense[17] != 20 {
			t.Errorf("field pointer % x", r.Sense[15:18])
		}
	}
	a.run(0, cdbOut(outRegister, 0, 16), make([]byte, 16), 0).wantSense(senseParameterListLength)
	a.run(0, cdbOut(outRegister, 0, 28), make([]byte, 28), 0).wantSense(senseParameterListLength)
	a.run(0, cdbOut(outReserve, 2, 24), outList(0, 0), 0).wantField(2)
	a.run(0, cdbOut(outReserve, 0x11, 24), outList(0, 0), 0).wantField(2)
	a.run(0, cdbOut(0x0a, 0, 24), outList(0, 0), 0).wantField(1)
}

func TestReserveAndRelease(t *testing.T) {
	b := newBench(t, 2)
	a, c := b.open(0, "a"), b.open(1, "c")
	a.out(outReserve, 1, 0, 0).wantStatus(StatusReservationConflict)
	a.register(1)
	c.register(2)
	a.out(outReserve, 5, 1, 0).wantGood()
	a.out(outReserve, 5, 1, 0).wantGood()
	a.out(outReserve, 1, 1, 0).wantStatus(StatusReservationConflict)
	c.out(outReserve, 5, 2, 0).wantStatus(StatusReservationConflict)
	a.out(outRelease, 5, 9, 0).wantStatus(StatusReservationConflict)
	a.out(outRelease, 1, 1, 0).wantSense(senseInvalidRelease)
	c.out(outRelease, 5, 2, 0).wantGood()
	a.wantReservation(1, 5)
	a.out(outRelease, 5, 1, 0).wantGood()
	c.lun(0, tur).wantSense(attentionReservationsReleased)
	c.lun(0, tur).wantGood()
	a.lun(0, tur).wantGood()
	a.wantReservation(0, 0)
}

func TestUnregisteringTheHolderReleases(t *testing.T) {
	b := newBench(t, 2)
	a, c := b.open(0, "a"), b.open(1, "c")
	a.register(1)
	c.register(2)
	a.out(outReserve, 6, 1, 0).wantGood()
	a.out(outRegister, 0, 1, 0).wantGood()
	c.lun(0, tur).wantSense(attentionReservationsReleased)
	c.wantReservation(0, 0)
	a.register(1)
	a.out(outReserve, 8, 1, 0).wantGood()
	a.out(outRegister, 0, 1, 0).wantGood()
	c.wantReservation(0, 8)
	c.out(outRegister, 0, 2, 0).wantGood()
	c.wantReservation(0, 0)
}

func TestClear(t *testing.T) {
	b := newBench(t, 2)
	a, c := b.open(0, "a"), b.open(1, "c")
	a.register(1)
	c.register(2)
	a.out(outReserve, 1, 1, 0).wantGood()
	c.out(outClear, 0, 2, 0).wantGood()
	a.lun(0, tur).wantSense(attentionReservationsPreempt)
	a.wantKeys()
	a.wantReservation(0, 0)
}

func TestPreempt(t *testing.T) {
	b := newBench(t, 2)
	a, c, d := b.open(0, "a"), b.open(1, "c"), b.open(1, "d")
	a.register(1)
	c.register(2)
	d.register(3)
	a.out(outReserve, 5, 1, 0).wantGood()

	c.out(outPreempt, 1, 2, 9).wantStatus(StatusReservationConflict)
	c.out(outPreempt, 1, 2, 0).wantSense(senseInvalidFieldInParameter)
	c.out(outPreempt, 1, 9, 1).wantStatus(StatusReservationConflict)

	c.out(outPreempt, 1, 2, 3).wantGood() // a registration
	d.lun(0, tur).wantSense(attentionRegistrationsPreempt)
	a.wantKeys(1, 2)
	a.wantReservation(1, 5)
	d.register(3)

	c.out(outPreempt, 1, 2, 1).wantGood() // the reservation
	a.lun(0, tur).wantSense(attentionRegistrationsPreempt)
	d.lun(0, tur).wantSense(attentionReservationsReleased)
	c.wantKeys(2, 3)
	c.wantReservation(2, 1)

	c.out(outPreempt, 8, 2, 2).wantGood() // its own, for another type
	c.wantReservation(0, 8)
	c.wantKeys(2, 3)

	d.out(outPreempt, 3, 3, 0).wantGood() // all others, of an all registrants reservation
	c.lun(0, tur).wantSense(attentionRegistrationsPreempt)
	d.wantKeys(3)
	d.wantReservation(3, 3)
}

func TestRegisterAndMove(t *testing.T) {
	b := newBench(t, 2)
	a, c := b.open(0, "a"), b.open(1, "c")
	a.register(1)
	a.out(outReserve, 3, 1, 0).wantGood()
	list := func(name string, unreg byte) []byte {
		id := testTransportID(name)
		l := make([]byte, 24)
		binary.BigEndian.PutUint64(l, 1)
		binary.BigEndian.PutUint64(l[8:], 7)
		l[17], l[19] = unreg, 1
		binary.BigEndian.PutUint32(l[20:], uint32(len(id)))
		return append(l, id...)
	}
	l := list(a.initiator.Name, 0)
	a.run(0, cdbOut(outRegisterAndMove, 0, len(l)), l, 0).wantSense(senseInvalidFieldInParameter)
	l = list(c.initiator.Name, 2)
	a.run(0, cdbOut(outRegisterAndMove, 0, len(l)-4), l[:len(l)-4], 0).wantSense(senseParameterListLength)
	a.run(0, cdbOut(outRegisterAndMove, 0, len(l)), l, 0).wantGood()
	c.wantKeys(7)
	c.wantReservation(7, 3)
	if c.access() != "rw" || a.access() != "--" {
		t.Error("the reservation has not moved")
	}
}

func TestReadFullStatus(t *testing.T) {
	b := newBench(t, 1)
	a := b.open(0, "a")
	a.register(0x1122)
	a.out(outReserve, 1, 0x1122, 0).wantGood()
	got := a.in(3)
	id := testTransportID(a.initiator.Name)
	want := binary.BigEndian.AppendUint32([]byte{0, 0, 0, 1}, uint32(24+len(id)))
	want = append(want, 0, 0, 0, 0, 0, 0, 0x11, 0x22, 0, 0, 0, 0, 1, 1, 0, 0, 0, 0, 0, 1)
	want = binary.BigEndian.AppendUint32(want, uint32(len(id)))
	want = append(want, id...)
	if !bytes.Equal(got, want) {
		t.Errorf("got  % x\nwant % x", got, want)
	}
	if caps := a.in(2); !bytes.Equal(caps, []byte{0, 8, 4, 0x80, 0xea, 1, 0, 0}) {
		t.Errorf("capabilities % x", caps)
	}
	for n := range byte(16) {
		r := a.lun(0, []byte{0x5e, 3, 0, 0, 0, 0, 0, 0, n, 0})
		if r.wantGood(); int(r.DataInLen) != int(n) || !bytes.Equal(r.data(), want[:n]) {
			t.Errorf("allocation length %d: % x", n, r.data())
		}
	}
}

func TestRegistrationsOutliveTheNexus(t *testing.T) {
	b := newBench(t, 2)
	a, c := b.open(0, "a"), b.open(1, "c")
	a.register(1)
	a.out(outReserve, 3, 1, 0).wantGood()
	a.close()
	if c.access() != "--" {
		t.Error("the reservation has gone with the session")
	}
	a = b.open(1, "a")
	if a.access() != "rw" {
		t.Error("the holder is not known after it came back")
	}
}

func TestRegistrationsAreBounded(t *testing.T) {
	r := reservations{}
	q := reserveOut{action: outRegister, actionKey: 1}
	for i := range RegistrantsMax + 1 {
		q.nexus.nexus = nexusKey{"x", uint16(i)}
		e := r.out(&q)
		if i == RegistrantsMax {
			if e.sense != senseNoRegistrationResources {
				t.Errorf("one too many: %+v", e)
			}
			return
		}
		r = *e.next
	}
}

func TestReserve6(t *testing.T) {
	b := newBench(t, 2)
	a, c := b.open(0, "a"), b.open(1, "c")
	reserve, release := []byte{0x16, 0, 0, 0, 0, 0}, []byte{0x17, 0, 0, 0, 0, 0}
	a.lun(0, reserve).wantGood()
	a.lun(0, reserve).wantGood()
	c.lun(0, reserve).wantStatus(StatusReservationConflict)
	c.lun(0, tur).wantStatus(StatusReservationConflict)
	c.lun(0, []byte{0x12, 0, 0, 0, 96, 0}).wantGood()
	if c.access() != "--" || a.access() != "rw" {
		t.Error("RESERVE(6) does not exclude")
	}
	c.lun(0, release).wantGood()
	c.lun(0, tur).wantStatus(StatusReservationConflict)
	a.out(outRegisterIgnore, 0, 0, 1).wantStatus(StatusReservationConflict)
	a.lun(0, release).wantGood()
	c.lun(0, tur).wantGood()

	a.lun(0, reserve).wantGood()
	a.close()
	c.lun(0, tur).wantGood()

	c.lun(0, []byte{0x56, 0, 0, 0, 0, 0, 0, 0, 0, 0}).wantGood()
	d := b.open(0, "d")
	if d.manage(FunctionLogicalUnitReset, 0, 0) != ResponseComplete {
		t.Error("reset failed")
	}
	d.lun(0, tur).wantSense(attentionReset)
	d.lun(0, tur).wantGood()

	d.register(1)
	d.lun(0, reserve).wantStatus(StatusReservationConflict)
	d.lun(0, release).wantStatus(StatusReservationConflict)
}
