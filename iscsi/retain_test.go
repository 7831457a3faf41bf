package iscsi_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"pollux/iscsi"
	"pollux/iscsi/initiator"
	"pollux/scsi"
)

// retained is how long sessions are kept in these tests.
const retained = 20 * time.Second

// cut ends the host's connection as a broken cable would, and lets everybody notice.
func (h *host) cut() {
	h.g.t.Helper()
	h.g.on(h.r.ID(), func() { h.session.Close() })
	h.g.Run()
	if !h.ended {
		h.g.t.Fatal("the session has not ended at the initiator")
	}
}

// rejoin opens the session again over another connection, as the session that it was.
func (h *host) rejoin(at int, cid uint16) error {
	h.g.t.Helper()
	h.startAgain(at, cid)
	h.g.Run()
	return h.login
}

// startAgain begins what rejoin does.
func (h *host) startAgain(at int, cid uint16) {
	c := &h.session.Config
	if c.TSIH == 0 {
		agreed := *h.session.Params()
		c.TSIH, c.Agreed = h.session.TSIH(), &agreed
	}
	c.CID, c.CmdSN = cid, h.g.server.ExpCmdSN(c.ISID)
	h.start(at)
}

// states are the states of all sessions.
func (g *rig) states() (all []string) {
	g.t.Helper()
	sessions, err := g.server.Sessions()
	g.must(err)
	for _, s := range sessions {
		all = append(all, s.State)
	}
	return all
}

func (g *rig) wantStates(when string, want ...string) {
	g.t.Helper()
	if got := g.states(); !slices.Equal(got, want) {
		g.t.Errorf("%s the sessions are %v, not %v", when, got, want)
	}
}

// wantCounted requires some counters.
func (g *rig) wantCounted(want map[string]uint64) {
	g.t.Helper()
	for name, n := range want {
		if got := g.server.Counted(name); got != n {
			g.t.Errorf("%s is %d, not %d", name, got, n)
		}
	}
}

// reserve is RESERVE(6), a reservation of the nexus.
func reserve() *initiator.Command { c := &initiator.Command{}; c.CDB[0] = 0x16; return c }

func TestLostSessionIsKept(t *testing.T) {
	for _, reactors := range []int{1, 2} {
		g := newRig(t, reactors, nil)
		h := g.newHost(0, nil).open(reactors - 1).ready()
		other := g.newHost(0, func(c *initiator.Config) { c.ISID[5] = 2 }).open(0).ready()
		h.good(reserve())
		h.cut()
		g.wantStates("after the loss", "FAILED", "LOGGED_IN")
		if c := other.do(writeOf(0, pattern(1, 1))); c.Status != scsi.StatusReservationConflict {
			t.Errorf("status %#x for another, though a kept session holds the reservation", c.Status)
		}
		g.Advance(retained - time.Millisecond)
		g.wantStates("just before the end of the time", "FAILED", "LOGGED_IN")
		g.Advance(time.Millisecond)
		g.wantStates("after the time", "LOGGED_IN")
		other.good(writeOf(0, pattern(1, 1)))
		if err := h.rejoin(0, 1); err != iscsi.LoginSessionDoesNotExist {
			t.Errorf("a session that has ended is continued: %v", err)
		}
		g.wantCounted(map[string]uint64{"sessions_opened": 2, "sessions_failed": 1, "sessions_expired": 1, "sessions_continued": 0})
		g.close()
	}
}

func TestKeptSessionIsContinued(t *testing.T) {
	for _, cid := range []uint16{0, 1} { // the one that was lost, a new one
		g := newRig(t, 2, nil)
		h := g.newHost(0, func(c *initiator.Config) { c.Offers.HeaderDigest = iscsi.CRC32C }).open(1).ready()
		other := g.newHost(0, func(c *initiator.Config) { c.ISID[5] = 2 }).open(0).ready()
		h.good(reserve())
		before, tsih := g.server.ExpCmdSN(h.session.Config.ISID), h.session.TSIH()
		h.cut()
		g.Advance(retained / 2)
		h.session.Config.Offers.HeaderDigest = iscsi.None
		if err := h.rejoin(0, cid); err != nil || h.session.TSIH() != tsih {
			t.Fatalf("not continued: %v, TSIH %d", err, h.session.TSIH())
		}
		p := h.session.Params()
		if got := g.server.ExpCmdSN(h.session.Config.ISID); got != before || p.HasHeaderDigest() {
			t.Errorf("CmdSN %#x is expected, not %#x, header digest %v", got, before, p.HasHeaderDigest())
		}
		h.good(&initiator.Command{}) // no unit attention: the nexus is the same
		if c := other.do(writeOf(0, pattern(1, 1))); c.Status != scsi.StatusReservationConflict {
			t.Errorf("status %#x for another: the reservation has not survived", c.Status)
		}
		data := pattern(40, 9)
		h.good(writeOf(100, data))
		h.good(readOf(100, 40))
		g.Advance(2 * retained)
		g.wantStates("long after", "LOGGED_IN", "LOGGED_IN")
		g.wantCounted(map[string]uint64{"sessions_opened": 2, "sessions_failed": 1, "sessions_expired": 0, "sessions_continued": 1})
		g.close()
	}
}

// TestKeptSessionHearsWhatHappened: unit attentions of the time without a connection are told when it is continued.
func TestKeptSessionHearsWhatHappened(t *testing.T) {
	g := newRig(t, 2, nil)
	h := g.newHost(0, nil).open(1).ready()
	other := g.newHost(1, func(c *initiator.Config) { c.ISID[5] = 2 }).open(0).ready()
	h.cut()
	x := other.ask(iscsi.OpTaskManagement, func(p *iscsi.PDU) {
		p.SetImmediate(true)
		p.SetFunction(uint8(scsi.FunctionLogicalUnitReset))
		p.SetReferencedTaskTag(iscsi.ReservedTag)
	})
	if x.Answer.Response() != uint8(scsi.ResponseComplete) {
		t.Errorf("reset over a kept session: response %d", x.Answer.Response())
	}
	g.must(g.server.AddLUN("disk1", iscsi.LUNSpec{BdevName: "Malloc0", LUN: 3}))
	g.must(g.server.RemoveLUN("disk1", 3))
	if err := h.rejoin(1, 1); err != nil {
		t.Fatal(err)
	}
	told := map[[2]byte]bool{}
	for range 6 {
		if c := h.do(&initiator.Command{}); c.Status == scsi.StatusCheckCondition {
			told[[2]byte{c.Sense[12], c.Sense[13]}] = true
		}
	}
	if !told[[2]byte{0x29, 0x03}] || !told[[2]byte{0x3f, 0x0e}] || told[[2]byte{0x29, 0x00}] {
		t.Errorf("told of %v: a reset and a change of LUNs, and no power on, were to be told", told)
	}
	g.close()
}

func TestJoiningIsRefused(t *testing.T) {
	g := newRig(t, 2, nil)
	h := g.newHost(0, nil).open(1).ready()
	for _, c := range []struct {
		name string
		edit func(*initiator.Config)
		want iscsi.LoginStatus
	}{
		{"a further connection", func(c *initiator.Config) { c.CID = 7 }, iscsi.LoginTooManyConnections},
		{"an unknown TSIH", func(c *initiator.Config) { c.TSIH ^= 0x5555 }, iscsi.LoginSessionDoesNotExist},
		{"the TSIH of another's session", func(c *initiator.Config) { c.ISID[5] = 9 }, iscsi.LoginSessionDoesNotExist},
		{"the TSIH of another's session, and its CID", func(c *initiator.Config) { c.Offers.InitiatorName = "iqn.other"; c.CID = 0 }, iscsi.LoginSessionDoesNotExist},
	} {
		x := g.newHost(0, func(cfg *initiator.Config) { cfg.TSIH = h.session.TSIH(); c.edit(cfg) })
		x.start(0)
		g.Run()
		if x.login != c.want || !h.up {
			t.Errorf("%s: %v, not %v; the session is up: %v", c.name, x.login, c.want, h.up)
		}
	}
	h.cut()
	x := g.newHost(0, func(c *initiator.Config) { c.TSIH, c.ISID[5] = h.session.TSIH(), 9 })
	x.start(0)
	g.Run()
	if x.login != iscsi.LoginSessionDoesNotExist {
		t.Errorf("the TSIH of another's kept session: %v", x.login)
	}
	g.close()
}

// TestConnectionIsReinstated: a login with TSIH and CID of a connection that the target still believes in replaces it.
func TestConnectionIsReinstated(t *testing.T) {
	for _, retain := range []uint32{0, 20} {
		g := newRig(t, 2, func(o *iscsi.Options, _ *iscsi.TargetSpec) { o.DefaultTime2Retain = retain })
		h := g.newHost(0, nil).open(1).ready()
		h.good(reserve())
		next := g.newHost(1, func(c *initiator.Config) {
			c.TSIH = h.session.TSIH()
			c.CmdSN, _ = h.session.Window()
		}).open(0)
		g.wantStates("after the replacement", "LOGGED_IN")
		next.good(&initiator.Command{})
		if !h.ended || g.server.Running() != 1 {
			t.Errorf("the old connection has ended: %v; %d connections", h.ended, g.server.Running())
		}
		g.wantCounted(map[string]uint64{"sessions_opened": 1, "sessions_failed": 1, "sessions_continued": 1})
		g.close()
	}
}

// TestKeptSessionIsReinstated: a login with TSIH 0 makes a new nexus of a kept one.
func TestKeptSessionIsReinstated(t *testing.T) {
	g := newRig(t, 2, nil)
	h := g.newHost(0, nil).open(1).ready()
	h.good(reserve())
	h.cut()
	next := g.newHost(1, nil).open(0)
	if c := next.do(&initiator.Command{}); c.Status != scsi.StatusCheckCondition || c.Sense[12] != 0x29 {
		t.Errorf("the first command of the new nexus: status %#x, sense %x", c.Status, c.Sense[:c.SenseLen])
	}
	other := g.newHost(0, func(c *initiator.Config) { c.ISID[5] = 2 }).open(0).ready()
	other.good(writeOf(0, pattern(1, 1)))
	g.wantStates("afterwards", "LOGGED_IN", "LOGGED_IN")
	g.close()
}

// TestWhatIsNotKept: sessions that were logged out, that asked for no retention, or that the target has ended.
func TestWhatIsNotKept(t *testing.T) {
	for name, c := range map[string]struct {
		retain uint32
		end    func(*host)
	}{
		"logout":  {20, func(h *host) { h.ask(iscsi.OpLogout, func(p *iscsi.PDU) { p.SetImmediate(true) }) }},
		"no time": {0, (*host).cut},
		"cold reset": {20, func(h *host) {
			h.ask(iscsi.OpTaskManagement, func(p *iscsi.PDU) { p.SetImmediate(true); p.SetFunction(7) })
		}},
		"no grace":    {20, func(h *host) { h.g.must(h.g.server.RequestLogout("disk1", 0)); h.g.Advance(2 * iscsi.LogoutGrace) }},
		"no target":   {20, func(h *host) { h.g.must(h.g.server.DeleteTarget("disk1")) }},
		"kept before": {20, func(h *host) { h.cut(); h.g.must(h.g.server.DeleteTarget("disk1")) }},
	} {
		t.Run(name, func(t *testing.T) {
			g := newRig(t, 2, func(o *iscsi.Options, _ *iscsi.TargetSpec) { o.DefaultTime2Retain = c.retain })
			h := g.newHost(0, nil).open(1).ready()
			c.end(h)
			g.Run()
			if !h.ended {
				g.Advance(10 * time.Second)
			}
			g.wantStates("at the end")
			g.close()
		})
	}
}

// TestInitiatorDecidesHowLong: the smaller DefaultTime2Retain counts.
func TestInitiatorDecidesHowLong(t *testing.T) {
	g := newRig(t, 1, nil)
	h := g.newHost(0, func(c *initiator.Config) { c.Offers.DefaultTime2Retain = 3 }).open(0)
	h.cut()
	g.Advance(3*time.Second - 1)
	g.wantStates("before", "FAILED")
	g.Advance(1)
	g.wantStates("after")
	g.close()
}

// TestOldestKeptSessionGivesWay: kept sessions count, and the one that was lost first makes room for a login. Live ones never do.
func TestOldestKeptSessionGivesWay(t *testing.T) {
	g := newRig(t, 2, func(o *iscsi.Options, _ *iscsi.TargetSpec) { o.MaxSessions = 3 })
	host := func(isid byte) *host { return g.newHost(0, func(c *initiator.Config) { c.ISID[5] = isid }) }
	a, b, c := host(1).open(0), host(2).open(1), host(3).open(0)
	b.cut()
	a.cut()
	g.wantStates("with two lost", "FAILED", "FAILED", "LOGGED_IN")
	host(4).open(1)
	if err := b.rejoin(0, 1); err != iscsi.LoginSessionDoesNotExist {
		t.Errorf("the session that was lost first: %v", err)
	}
	if err := a.rejoin(0, 1); err != nil {
		t.Errorf("the session that was lost last: %v", err)
	}
	full := host(5)
	full.start(0)
	g.Run()
	if full.login != iscsi.LoginOutOfResources || !c.up {
		t.Errorf("a login beyond the bound: %v", full.login)
	}
	g.wantCounted(map[string]uint64{"sessions_displaced": 1})
	g.close()
}

// TestKeptSessionsEndWithTheServer: nobody waits for their time.
func TestKeptSessionsEndWithTheServer(t *testing.T) {
	g := newRig(t, 2, nil)
	g.newHost(0, nil).open(1).ready().cut()
	g.must(g.server.Close())
	g.wantStates("after the end")
	g.close()
}

// TestLossesAndReturnsInAnyOrder: connections are cut with commands in flight, and the initiators come back by TSIH, by reinstatement, from
// both sides at once. One session at most is there in the end, and nothing of the others.
func TestLossesAndReturnsInAnyOrder(t *testing.T) {
	continued := uint64(0)
	for seed := range rounds(300) {
		rng := rand.New(rand.NewPCG(seed, 8))
		g := newRig(t, 2, nil)
		h := g.newHost(rng.IntN(2), nil).open(rng.IntN(2)).ready()
		g.Seed(seed)
		g.on(h.r.ID(), func() {
			for i := range 20 {
				c := writeOf(i*8, pattern(1+rng.IntN(24), byte(i)))
				c.Done = func(*initiator.Command) {}
				h.session.Submit(c)
			}
		})
		steps := func() {
			for range rng.IntN(60) {
				g.Step(rng.IntN(2))
			}
		}
		steps()
		if rng.IntN(2) == 0 {
			g.on(h.r.ID(), h.session.Close)
			steps()
		}
		hosts := []*host{h}
		for i := range 1 + rng.IntN(3) {
			x := g.newHost(rng.IntN(2), func(c *initiator.Config) {
				if rng.IntN(3) > 0 {
					c.TSIH, c.CID = h.session.TSIH(), uint16(rng.IntN(2))
					c.CmdSN, _ = h.session.Window()
				}
			})
			x.session.Config.Strict = false // CmdSN may have gone on.
			x.start(i % 2)
			hosts = append(hosts, x)
			steps()
			if rng.IntN(3) == 0 {
				g.on(x.r.ID(), x.session.Close)
			}
			steps()
		}
		if rng.IntN(4) == 0 {
			g.must(g.server.DeleteTarget("disk1"))
		}
		g.Advance(time.Second)
		up := 0
		for _, x := range hosts {
			if x.up {
				up++
			}
		}
		if all := g.states(); len(all) > 1 || up > 1 || up == 1 && !slices.Equal(all, []string{"LOGGED_IN"}) {
			t.Fatalf("seed %d: %d are up at the initiators, the target has %v", seed, up, all)
		}
		g.Advance(retained + time.Second)
		if all := g.states(); len(all) != up {
			t.Fatalf("seed %d: after the time the target has %v, %d are up", seed, all, up)
		}
		continued += g.server.Counted("sessions_continued")
		g.close()
		g.Close()
	}
	if continued == 0 {
		t.Error("no session was continued at all")
	}
}

// TestLiveSessionIsContinued is the same over real sockets.
func TestLiveSessionIsContinued(t *testing.T) {
	l := newLive(t, 2)
	c := l.dial(1, nil)
	tsih := c.Session.TSIH()
	for i := range 5 {
		next, _ := c.Session.Window()
		c.Close()
		var err error
		for again := true; again; {
			c, err = initiator.Dial(l.ctx, l.client, l.portal, initiator.Config{
				Offers: initiator.Offers(rigInitiator, rigTarget), ISID: iscsi.ISID{0x80, 0, 0, 0, 0, 1}, TSIH: tsih, CID: uint16(i % 3), CmdSN: next, Strict: true,
			})
			// The target may not have seen yet that the old connection has ended.
			again = errors.Is(err, iscsi.LoginTooManyConnections)
		}
		if err != nil {
			t.Fatalf("round %d: %v", i, err)
		}
		a, err := c.Do(l.ctx, 0, make([]byte, 6), nil, 0)
		if err != nil || a.Status != scsi.StatusGood {
			t.Errorf("round %d: %+v, %v: the nexus is not the same", i, a, err)
		}
	}
	l.must(c.Logout(l.ctx))
}

func TestSessionsAreListed(t *testing.T) {
	g := newRPCRig(t)
	h := g.newHost(0, nil).open(1).ready()
	list := func(state, more string) string {
		return fmt.Sprintf(`[{"tsih":%d,"isid":"800000000001","cid":0,"state":%q,"initiator_name":%q,"target_node_name":"disk1","pg_tag":1,"thread_name":"reactor_1"%s}]`,
			h.session.TSIH(), state, rigInitiator, more)
	}
	g.call("iscsi_get_sessions", "null", list("LOGGED_IN", ""))
	h.cut()
	g.Advance(5 * time.Second)
	g.call("iscsi_get_sessions", "null", list("FAILED", `,"retained_ms":15000`))
	g.call("iscsi_get_connections", "null", `[]`)
	g.close()
}
