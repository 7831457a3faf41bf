package engine

import "testing"

// TestCopyOnLostDisks: what was written to disks that are gone is no copy.
func TestCopyOnLostDisks(t *testing.T) {
	e := withPeers(t, 2)
	o := e.newOp(opWrite)
	o.localDone, o.localOK = true, true
	if !e.localCounts(o) {
		t.Error("the copy on a good disk does not count")
	}
	e.diskFailed()
	if e.localCounts(o) {
		t.Error("the copy on a lost disk counts")
	}
}

// TestSecondCopyOnALostPeer: two copies are asked for, and the peer that has the write is lost before the other has it. Only that
// other makes it two again: the lost one may have lost it, too.
func TestSecondCopyOnALostPeer(t *testing.T) {
	e := withPeers(t, 2)
	e.cfg.MinAcks = 2
	e.role = Primary
	for i := range 2 {
		p := &e.peers[i]
		p.up, p.conn, p.disk, p.role, p.gen = true, Connected, UpToDate, Secondary, 0x100
	}
	o := e.newOp(opWrite)
	o.off, o.len, o.epoch = 0, 1<<testShift, e.epoch
	o.ackWait, o.barWait = 0b11, 0b11
	e.logAppend(o)
	o.localDone, o.localOK = true, true
	e.ackedBy(o, &e.peers[0])
	if n := e.copies(o); n != 2 {
		t.Fatalf("%d copies here and on the peer", n)
	}
	e.linkLost(&e.peers[0], NetworkFailure)
	if n := e.copies(o); n != 1 {
		t.Errorf("%d copies after the peer is lost", n)
	}
	e.ackedBy(o, &e.peers[1])
	if n := e.copies(o); n != 2 {
		t.Errorf("%d copies with the other peer's", n)
	}
}

// TestResentWriteKeepsItsPlace: a Primary without disk sends a write to a peer whose disk has just failed, so that the copy there does
// not count, and then loses the peer. A later write of the same block has waited for it all the time, goes out after it and
// is not overwritten by it.
func TestResentWriteKeepsItsPlace(t *testing.T) {
	e := withPeers(t, 1)
	e.role, e.open, e.disk, e.cfg.OnNoData = Primary, true, Diskless, SuspendIO
	p := &e.peers[0]
	connect := func() {
		p.up, p.conn, p.disk, p.role, p.gen = true, Connected, UpToDate, Secondary, e.super.Current
	}
	sent := func(out []Action) (ids, data []uint64) {
		for _, a := range out {
			if a.Kind == ActSend && a.Msg.Type == MsgData {
				ids, data = append(ids, a.Msg.Block), append(data, a.Msg.Data.(uint64))
			}
		}
		return ids, data
	}
	write := func(n uint64) []Action {
		return e.Step(0, &Event{Kind: EvWrite, ID: n, Len: 1 << testShift, Data: n}, nil)
	}
	connect()
	ids, _ := sent(write(1))
	if _, data := sent(write(2)); len(ids) != 1 || len(data) != 0 {
		t.Fatalf("%d writes went out, then %v", len(ids), data)
	}
	p.disk = Diskless
	e.Step(0, &Event{Kind: EvMessage, Msg: &Msg{Type: MsgWriteAck, Block: ids[0], Len: 1 << testShift}}, nil)
	e.Step(0, &Event{Kind: EvLinkDown}, nil)
	connect()
	ids, data := sent(e.Step(0, &Event{Kind: EvTick}, nil))
	if len(data) != 1 || data[0] != 1 {
		t.Fatalf("writes %v go out again", data)
	}
	out := e.Step(0, &Event{Kind: EvMessage, Msg: &Msg{Type: MsgWriteAck, Block: ids[0], Len: 1 << testShift}}, nil)
	if _, data = sent(out); len(data) != 1 || data[0] != 2 {
		t.Errorf("writes %v follow", data)
	}
}

// TestTargetSendsAgain: a Primary in the middle of a resync loses its source, which has a write that is not acknowledged yet. The source
// may come back without it and overwrite it here, so it is sent again; one on good disks is here, and waits for its second copy.
func TestTargetSendsAgain(t *testing.T) {
	for _, c := range []struct {
		disk  Disk
		again bool
	}{{Inconsistent, true}, {UpToDate, false}} {
		e := withPeers(t, 1)
		e.cfg.MinAcks = 2
		e.role, e.disk = Primary, c.disk
		p := &e.peers[0]
		p.up, p.conn, p.disk, p.gen = true, SyncTarget, UpToDate, 0x100
		o := e.newOp(opWrite)
		o.off, o.len, o.epoch, o.barWait = 0, 1<<testShift, e.epoch, p.bit()
		e.lockRange(o, lockWrite)
		e.logAppend(o)
		o.localDone, o.localOK = true, true
		e.ackedBy(o, p)
		e.suspended = true
		e.Step(0, &Event{Kind: EvLinkDown, Peer: 0}, nil)
		if again := !o.logged; again != c.again || o.completed {
			t.Errorf("%v: sent again %v, completed %v", c.disk, again, o.completed)
		}
	}
}
