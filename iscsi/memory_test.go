package iscsi_test

import (
	"bytes"
	"fmt"
	"testing"
	"time"

	"pollux/iscsi"
	"pollux/iscsi/initiator"
	"pollux/reactor/iobuf"
)

// hoard logs in peers that fill their windows with writes and then do nothing more.
func (g *rig) hoard(peers, immediate, blocks int) (all []*peer) {
	for i := range peers {
		p := g.connect(i % len(g.Reactors))
		rsp := enter(p, func(q *iscsi.PDU) { q.SetISID(iscsi.ISID{0x80, 0, 0, 1, byte(i >> 8), byte(i)}) })
		settleAttentions(p)
		for n := rsp.ExpCmdSN() + 4; iscsi.SerialLess(n, rsp.MaxCmdSN()); n++ {
			var w iscsi.PDU
			w.Clear(iscsi.OpSCSICommand)
			w.SetFinal(true)
			w.SetWrite(true)
			w.SetCDB(rw(opWrite10, 0, blocks).CDB[:])
			w.SetExpectedDataTransferLength(uint32(blocks * rigBlockSize))
			w.SetInitiatorTaskTag(n)
			w.SetCmdSN(n)
			w.Data = pattern(immediate, 1)
			p.send(&w)
		}
		g.Run()
		all = append(all, p)
	}
	return all
}

// TestHoardersDoNotStopOthers: sessions that take memory and stop leave the others going, and are thrown out in the end.
func TestHoardersDoNotStopOthers(t *testing.T) {
	for _, c := range []struct{ peers, immediate, blocks int }{
		{100, 8, 64},   // immediate data, and R2Ts that nobody answers
		{100, 0, 64},   // R2Ts alone
		{100, 0, 4096}, // each for 2 MiB
		{100, 16, 16},  // all of it immediate
	} {
		t.Run(fmt.Sprintf("%d peers, %d of %d blocks immediate", c.peers, c.immediate, c.blocks), func(t *testing.T) {
			g := newRig(t, 2, nil)
			g.hoard(c.peers, c.immediate, c.blocks)
			h := g.newHost(0, nil).open(0).ready()
			for i := range 100 {
				data := pattern(1+i%32, byte(i))
				h.good(writeOf(5000, data))
				r := readOf(5000, 1+i%32)
				if h.good(r); !bytes.Equal(r.In, data) {
					t.Fatal("data came back changed")
				}
			}
			g.Advance(10 * time.Minute)
			if !h.up || g.server.Running() != 1 {
				t.Errorf("the honest session is up: %v (%v); %d connections", h.up, h.reason, g.server.Running())
			}
			g.close()
		})
	}
}

// TestLargeTasksWaitForMemory: more than fits is asked for at once, and all of it is done in the end.
func TestLargeTasksWaitForMemory(t *testing.T) {
	g := newRig(t, 1, nil)
	g.server.LeaveMemory(128 << 10)
	h := g.newHost(0, nil).open(0).ready()
	left := 0
	g.on(0, func() {
		for i := range 24 {
			c := readOf(i, 64+i*8)
			c.Done = func(*initiator.Command) { left-- }
			left++
			h.session.Submit(c)
		}
	})
	g.Run()
	g.Advance(time.Second)
	if left != 0 || g.server.Counted("waits_for_memory") == 0 {
		t.Errorf("%d commands are left, %d have waited for memory; session: %v", left, g.server.Counted("waits_for_memory"), h.reason)
	}
	g.close()
}

// TestWindowsOfAllSessionsFit: what max_sessions sessions may send unasked, each its whole command window, fits the memory, unless a window is a
// single command; and no window is smaller than it has to be.
func TestWindowsOfAllSessionsFit(t *testing.T) {
	for _, sessions := range []uint32{1, 16, 128, 1000, 8000} {
		for _, burst := range []uint32{512, 8 << 10, 64 << 10, 256 << 10} {
			g := newRig(t, 2, func(o *iscsi.Options, _ *iscsi.TargetSpec) {
				o.MaxSessions, o.FirstBurstLength, o.MaxQueueDepth = sessions, burst, iscsi.QueueDepthMax
			})
			p := g.connect(0)
			rsp := enter(p, func(q *iscsi.PDU) {
				q.Data = bytes.Replace(q.Data, []byte("FirstBurstLength=8192"), fmt.Appendf(nil, "FirstBurstLength=%d", burst), 1)
				q.Data = bytes.Replace(q.Data, []byte("MaxBurstLength=16384"), []byte("MaxBurstLength=262144"), 1)
			})
			window := int64(rsp.MaxCmdSN() - rsp.ExpCmdSN() + 1)
			limit := g.Reactors[0].Buffers().Limit()
			all := func(window int64) int64 { return window * max(int64(burst), iobuf.MinSize) * int64(sessions) }
			if window < 1 || window > 1 && all(window) > limit {
				t.Errorf("%d sessions, first burst %d: windows of %d are %d bytes of %d", sessions, burst, window, all(window), limit)
			}
			if window < iscsi.QueueDepthMax && all(window+1) < limit/3 {
				t.Errorf("%d sessions, first burst %d: windows of %d leave much of %d bytes", sessions, burst, window, limit)
			}
			g.close()
		}
	}
}
