package iscsi_test

import (
	"bytes"
	"fmt"
	"testing"
	"time"

	"pollux/iscsi"
	"pollux/iscsi/initiator"
	"pollux/scsi"
)

// sessionKinds are the ways of moving data that a session can agree on.
var sessionKinds = map[string]func(*initiator.Config){
	"plain":       func(*initiator.Config) {},
	"digests":     func(c *initiator.Config) { c.Offers.HeaderDigest, c.Offers.DataDigest = iscsi.CRC32C, iscsi.CRC32C },
	"data digest": func(c *initiator.Config) { c.Offers.DataDigest = iscsi.CRC32C },
	"R2T alone":   func(c *initiator.Config) { c.Offers.InitialR2T, c.Offers.ImmediateData = true, false },
	"one R2T":     func(c *initiator.Config) { c.Offers.MaxOutstandingR2T, c.Offers.MaxBurstLength = 1, 8192 },
	"no immediate": func(c *initiator.Config) {
		c.Offers.ImmediateData, c.Offers.FirstBurstLength = false, 4096
	},
	"small segments": func(c *initiator.Config) {
		c.Offers.MaxRecvDataSegmentLength, c.Offers.MaxBurstLength, c.Offers.FirstBurstLength = 512, 1536, 1024
	},
	"a send per PDU": func(c *initiator.Config) { c.Batch = false },
}

func TestDataIsKept(t *testing.T) {
	for name, edit := range sessionKinds {
		for _, reactors := range []int{1, 2} {
			t.Run(fmt.Sprintf("%s, %d reactors", name, reactors), func(t *testing.T) {
				g := newRig(t, reactors, nil)
				h := g.newHost(0, edit).open(reactors - 1).ready()
				for i, blocks := range []int{1, 2, 3, 7, 8, 16, 17, 64, 129, 600} {
					data := pattern(blocks, byte(i))
					h.good(writeOf(5*i, data))
					c := readOf(5*i, blocks)
					if h.good(c); !bytes.Equal(c.In, data) {
						t.Fatalf("%d blocks came back changed", blocks)
					}
				}
				g.close()
			})
		}
	}
}

func TestDigestsAreAgreedOn(t *testing.T) {
	g := newRig(t, 1, nil)
	h := g.newHost(0, sessionKinds["digests"]).open(0)
	if p := h.session.Params(); !p.HasHeaderDigest() || !p.HasDataDigest() {
		t.Errorf("agreed on %+v", p)
	}
	g.close()
}

func TestTargetInsistsOnDigests(t *testing.T) {
	g := newRig(t, 1, func(_ *iscsi.Options, s *iscsi.TargetSpec) { s.HeaderDigest, s.DataDigest = true, true })
	h := g.newHost(0, sessionKinds["plain"])
	h.start(0)
	g.Run()
	if h.up || h.login == nil {
		t.Errorf("logged in with %+v, %v", h.session.Params(), h.login)
	}
	g.newHost(0, sessionKinds["digests"]).open(0).ready()
	g.close()
}

func TestManyCommandsAtOnce(t *testing.T) {
	g := newRig(t, 2, nil)
	h := g.newHost(0, nil).open(1).ready()
	const commands = 500
	left := commands
	g.on(0, func() {
		for i := range commands {
			c := readOf(i%1000, 1+i%32)
			if i%3 == 0 {
				c = writeOf(2000+i, pattern(1+i%16, byte(i)))
			}
			c.Done = func(c *initiator.Command) {
				if c.Status != scsi.StatusGood {
					t.Errorf("command %x: status %#x", c.CDB, c.Status)
				}
				left--
			}
			h.session.Submit(c)
		}
	})
	g.Run()
	if left != 0 {
		t.Fatalf("%d commands have not ended: %v", left, h.reason)
	}
	g.close()
}

func TestPing(t *testing.T) {
	g := newRig(t, 1, nil)
	h := g.newHost(0, nil).open(0)
	data := bytes.Repeat([]byte("ping"), 500)
	x := h.ask(iscsi.OpNOPOut, func(p *iscsi.PDU) { p.Data = data })
	if !bytes.Equal(x.Answer.Data, data) {
		t.Errorf("%d bytes came back of %d", len(x.Answer.Data), len(data))
	}
	g.close()
}

func TestIdleSessionIsAsked(t *testing.T) {
	g := newRig(t, 1, nil)
	h := g.newHost(0, nil).open(0)
	g.Advance(10 * time.Minute)
	if !h.up || h.nopIns == 0 {
		t.Errorf("up %v (%v), asked %d times", h.up, h.reason, h.nopIns)
	}
	g.close()
}

func TestVanishedPeerIsNoticed(t *testing.T) {
	g := newRig(t, 1, nil)
	p := g.connect(0)
	enter(p, nil)
	g.Advance(10 * time.Minute)
	if n := g.server.Running(); n != 0 || g.server.Counted("nop_timeouts") != 1 {
		t.Errorf("%d connections are left, %d NOP time-outs", n, g.server.Counted("nop_timeouts"))
	}
	g.close()
}

// TestPeerVanishesUnderCommands: a peer that is gone without a word has writes that wait for their data. They are aborted when it does not answer
// a NOP-In, and its session is kept for DefaultTime2Retain and no longer.
func TestPeerVanishesUnderCommands(t *testing.T) {
	g := newRig(t, 1, func(o *iscsi.Options, _ *iscsi.TargetSpec) { o.NOPTimeout, o.NOPInInterval = 10, 5 })
	p := g.connect(0)
	rsp := enter(p, func(q *iscsi.PDU) { q.Data = iscsi.AppendPair(q.Data, "DefaultTime2Retain", "20") })
	settleAttentions(p)
	const writes = 3
	for i := range uint32(writes) {
		var w iscsi.PDU
		w.Clear(iscsi.OpSCSICommand)
		w.SetFinal(true)
		w.SetWrite(true)
		w.SetCDB(rw(opWrite10, int(i)*64, 64).CDB[:])
		w.SetExpectedDataTransferLength(64 * rigBlockSize)
		w.SetInitiatorTaskTag(0x100 + i)
		w.SetCmdSN(rsp.ExpCmdSN() + 4 + i)
		p.send(&w)
	}
	g.Run()
	for range 600 {
		if g.server.Counted("nop_timeouts") > 0 {
			break
		}
		if g.server.Running() != 1 {
			t.Fatal("given up before a NOP-In has been without an answer")
		}
		g.Advance(time.Second)
	}
	g.wantCounted(map[string]uint64{"nop_timeouts": 1, "tasks_aborted": writes, "sessions_failed": 1})
	g.wantStates("after the loss", "FAILED")
	g.Advance(retained - 2*time.Second)
	g.wantStates("within the time", "FAILED")
	g.Advance(3 * time.Second)
	g.wantStates("after the time")
	g.wantCounted(map[string]uint64{"sessions_expired": 1})
	h := g.newHost(0, nil).open(0).ready()
	r := readOf(0, 3*64)
	if h.good(r); !bytes.Equal(r.In, make([]byte, 3*64*rigBlockSize)) {
		t.Error("something of the writes has reached the disk")
	}
	g.close()
}

func TestPeerThatDoesNotReadIsGivenUp(t *testing.T) {
	g := newRig(t, 1, nil)
	p := g.connect(0)
	enter(p, nil)
	p.far.SetWindow(0)
	g.Advance(10 * time.Minute)
	if n := g.server.Running(); n != 0 || g.server.Counted("send_timeouts") != 1 {
		t.Errorf("%d connections are left, %d send time-outs", n, g.server.Counted("send_timeouts"))
	}
	g.close()
}

func TestLogout(t *testing.T) {
	for _, reactors := range []int{1, 2} {
		g := newRig(t, reactors, nil)
		h := g.newHost(0, nil).open(reactors - 1).ready()
		x := h.ask(iscsi.OpLogout, func(p *iscsi.PDU) { p.SetImmediate(true) })
		if x.Answer.Opcode() != iscsi.OpLogoutResponse || x.Answer.Response() != iscsi.LogoutResponseClosed {
			t.Errorf("answer: %v, response %d", x.Answer.Opcode(), x.Answer.Response())
		}
		g.Advance(time.Minute)
		if !h.ended || g.server.Running() != 0 {
			t.Errorf("ended %v, %d connections", h.ended, g.server.Running())
		}
		g.close()
	}
}

func TestServerAsksForLogoutAtItsEnd(t *testing.T) {
	g := newRig(t, 2, nil)
	h := g.newHost(0, nil).open(1)
	g.must(g.server.Close())
	g.Run()
	if len(h.asyncs) != 1 || h.asyncs[0] != iscsi.AsyncRequestLogout || !h.ended {
		t.Errorf("asynchronous events %v, ended %v", h.asyncs, h.ended)
	}
	g.close()
}

func TestReinstatement(t *testing.T) {
	g := newRig(t, 2, nil)
	first := g.newHost(0, nil).open(0).ready()
	second := g.newHost(1, nil).open(1)
	if !first.ended || g.server.Running() != 1 {
		t.Errorf("the old session has ended: %v; %d connections", first.ended, g.server.Running())
	}
	second.ready()
	other := g.newHost(0, func(c *initiator.Config) { c.ISID[5] = 2 }).open(0)
	if !second.up || !other.up || g.server.Running() != 2 {
		t.Errorf("another ISID ended the session: %v", second.reason)
	}
	g.close()
}

func TestOneOfManyReinstatementsStays(t *testing.T) {
	for seed := range uint64(200) {
		g := newRig(t, 2, nil)
		g.Seed(seed)
		var hosts []*host
		for i := range 6 {
			h := g.newHost(i%2, nil)
			h.start(i / 2 % 2)
			hosts = append(hosts, h)
		}
		g.Run()
		up := 0
		for _, h := range hosts {
			if h.up {
				up++
			}
		}
		if up != 1 || g.server.Running() != 1 {
			t.Fatalf("seed %d: %d sessions are up at the initiators, %d at the target", seed, up, g.server.Running())
		}
		g.close()
	}
}

func TestTargetDeletedUnderLoad(t *testing.T) {
	for seed := range uint64(100) {
		g := newRig(t, 2, nil)
		h := g.newHost(0, nil).open(1).ready()
		g.Seed(seed)
		ended := 0
		g.on(0, func() {
			for i := range 40 {
				c := writeOf(i*8, pattern(24, byte(i)))
				c.Done = func(*initiator.Command) { ended++ }
				h.session.Submit(c)
			}
		})
		for range seed % 17 {
			g.Step(int(seed) % 2)
			g.Step(1 - int(seed)%2)
		}
		g.must(g.server.DeleteTarget("disk1"))
		g.Run()
		if !h.ended || ended != 40 {
			t.Fatalf("seed %d: session ended %v, %d of 40 commands", seed, h.ended, ended)
		}
		g.close()
	}
}

// TestSlowReaderHoldsNothingUp: a peer that reads a little at a time gets whole blocks as they were, though they are overwritten, unmapped and
// their disk deleted meanwhile; and deleting does not wait for it.
func TestSlowReaderHoldsNothingUp(t *testing.T) {
	const blocks = 256
	g := newRig(t, 2, nil)
	h := g.newHost(0, nil).open(1).ready()
	before := pattern(blocks, 1)
	h.good(writeOf(0, before))
	p := g.connect(0)
	enter(p, nil)
	settleAttentions(p)
	p.far.SetWindow(4096)
	for i := range uint32(4) {
		var c iscsi.PDU
		c.Clear(iscsi.OpSCSICommand)
		c.SetFinal(true)
		c.SetRead(true)
		c.SetCDB(rw(opRead10, 0, blocks).CDB[:])
		c.SetExpectedDataTransferLength(blocks * rigBlockSize)
		c.SetInitiatorTaskTag(100 + i)
		c.SetCmdSN(nearWrap + 4 + i)
		p.send(&c)
	}
	g.Run()
	h.good(writeOf(0, pattern(blocks, 77)))
	unmap := &initiator.Command{Out: []byte{0, 22, 0, 16, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0}}
	unmap.CDB[0], unmap.CDB[8] = 0x42, byte(len(unmap.Out))
	h.good(unmap)
	g.must(g.registry.Unregister("Malloc0"))
	if g.server.Running() != 2 {
		t.Fatalf("%d connections, not 2: the slow one is to be there still", g.server.Running())
	}
	got := map[uint32][]byte{}
	for range 1000 {
		for _, pdu := range p.receive() {
			if pdu.Opcode() == iscsi.OpDataIn {
				got[pdu.InitiatorTaskTag()] = append(got[pdu.InitiatorTaskTag()], pdu.Data...)
			}
		}
		g.Run()
	}
	for i := range uint32(4) {
		if !bytes.Equal(got[100+i], before) {
			t.Errorf("read %d: %d bytes, or not what was there when it was read", i, len(got[100+i]))
		}
	}
	p.far.Close()
	g.close()
}
