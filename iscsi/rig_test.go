package iscsi_test

import (
	"bytes"
	"log/slog"
	"testing"

	"pollux/bdev"
	"pollux/bdev/malloc"
	"pollux/iscsi"
	"pollux/iscsi/initiator"
	"pollux/reactor"
	"pollux/reactor/reactortest"
	"pollux/scsi"
)

// The LUN of a rig.
const (
	rigBlockSize = 512
	rigBlocks    = 8192
	rigTarget    = "iqn.2016-06.io.spdk:disk1"
	rigInitiator = "iqn.2024-01.com.example:host"
)

// nearWrap is where all sequence numbers begin in these tests, so that each run sees them wrap.
const nearWrap = 0xffffffe0

// rig is a server with one malloc LUN over simulated reactors.
type rig struct {
	*reactortest.World
	t        testing.TB
	registry *bdev.Registry
	modules  *malloc.Module
	server   *iscsi.Server
}

func newRig(t testing.TB, reactors int, edit func(*iscsi.Options, *iscsi.TargetSpec)) *rig {
	t.Helper()
	w := reactortest.New(t, reactors)
	g := &rig{World: w, t: t, registry: bdev.NewRegistry(w.Group, slog.New(slog.DiscardHandler))}
	g.modules = malloc.New(g.registry)
	if _, err := g.modules.Create(malloc.Options{Name: "Malloc0", BlockSize: rigBlockSize, Blocks: rigBlocks}); err != nil {
		t.Fatal(err)
	}
	g.server = iscsi.NewServer(w.Group, scsi.NewDevices(w.Group, g.registry, slog.New(slog.DiscardHandler)), iscsi.Config{InitialStatSN: nearWrap})
	var o iscsi.Options
	o.SetDefaults()
	spec := iscsi.TargetSpec{Name: "disk1", Maps: []iscsi.Map{{PortalGroup: 1, InitiatorGroup: 1}}, LUNs: []iscsi.LUNSpec{{BdevName: "Malloc0", LUN: 0}}}
	if edit != nil {
		edit(&o, &spec)
	}
	portals, err := iscsi.NewPortalGroup(1, []iscsi.Portal{{Host: "192.0.2.1", Port: "3260"}}, false)
	g.must(err)
	initiators, err := iscsi.NewInitiatorGroup(1, []string{"ANY"}, []string{"ANY"})
	g.must(err)
	g.must(g.server.SetOptions(o))
	g.must(g.server.Start())
	g.must(g.server.AddPortalGroup(portals, true))
	g.must(g.server.PretendToListen(1))
	g.must(g.server.AddInitiatorGroup(initiators))
	g.must(g.server.AddTarget(&spec))
	return g
}

func (g *rig) must(err error) {
	g.t.Helper()
	if err != nil {
		g.t.Fatal(err)
	}
}

// close ends the server and requires that nothing is left of what went on.
func (g *rig) close() {
	g.t.Helper()
	g.must(g.server.Close())
	g.Run()
	if held := g.server.Held(); len(held) > 0 {
		g.t.Errorf("left after the end: %v", held)
	}
	if n := g.OpenDescriptors(); n != 0 {
		g.t.Errorf("%d descriptors are open after the end", n)
	}
	if n := g.InFlight(); n != 0 {
		g.t.Errorf("%d operations are in flight after the end", n)
	}
}

// peer is a far end that speaks PDU by PDU.
type peer struct {
	g   *rig
	far *reactortest.Peer
	in  []byte
}

// connect opens a connection that reactor id accepts.
func (g *rig) connect(id int) *peer {
	fd, far := g.Connect()
	g.on(id, func() { g.server.AcceptOn(id, fd, 1) })
	return &peer{g: g, far: far}
}

// on runs fn on a reactor.
func (g *rig) on(id int, fn func()) {
	g.t.Helper()
	g.must(g.Reactors[id].Call(fn))
}

// send lets a PDU arrive.
func (p *peer) send(pdu *iscsi.PDU) { p.far.Write(pdu.Append(nil, false, false)) }

// receive is all whole PDUs that have been sent to the peer.
func (p *peer) receive() (all []*iscsi.PDU) {
	p.g.t.Helper()
	p.in = append(p.in, p.far.Read()...)
	for {
		r := bytes.NewReader(p.in)
		pdu, err := iscsi.ReadPDU(r, false, false, 1<<24)
		if err != nil {
			return all
		}
		p.in = p.in[len(p.in)-r.Len():]
		all = append(all, pdu)
	}
}

// host is a session of the project's own initiator, which checks all that the target sends.
type host struct {
	g       *rig
	session *initiator.Session
	r       *reactor.Reactor
	login   error
	in, up  bool
	ended   bool
	reason  error
	nopIns  int
	asyncs  []iscsi.AsyncEvent
}

// newHost makes a session that is not open; it lives on reactor id.
func (g *rig) newHost(id int, edit func(*initiator.Config)) *host {
	h := &host{g: g, r: g.Reactors[id]}
	cfg := initiator.Config{
		Offers: initiator.Offers(rigInitiator, rigTarget), ISID: iscsi.ISID{0x80, 0, 0, 0, 0, 1}, CmdSN: nearWrap, Strict: true, Batch: true,
	}
	if edit != nil {
		edit(&cfg)
	}
	h.session = &initiator.Session{Config: cfg, Events: initiator.Events{
		LoggedIn: func(err error) { h.in, h.up, h.login = true, err == nil, err },
		Ended:    func(err error) { h.ended, h.up, h.reason = true, false, err },
		NOPIn:    func(*iscsi.BHS) { h.nopIns++ },
		Async:    func(b *iscsi.BHS) { h.asyncs = append(h.asyncs, b.AsyncEvent()) },
	}}
	return h
}

// start opens the session over a new connection that reactor at accepts; nothing has happened yet.
func (h *host) start(at int) {
	target, far := h.g.ConnectBoth()
	h.in, h.up, h.ended, h.reason = false, false, false, nil
	h.g.on(at, func() { h.g.server.AcceptOn(at, target, 1) })
	h.g.on(h.r.ID(), func() { h.session.Open(h.r, far) })
}

// open starts the session and requires that it comes up.
func (h *host) open(at int) *host {
	h.g.t.Helper()
	h.start(at)
	h.g.Run()
	if !h.up {
		h.g.t.Fatalf("login: %v, ended: %v", h.login, h.reason)
	}
	return h
}

// do runs one command to its end.
func (h *host) do(c *initiator.Command) *initiator.Command {
	h.g.t.Helper()
	done := false
	c.Done = func(*initiator.Command) { done = true }
	h.g.on(h.r.ID(), func() { h.session.Submit(c) })
	h.g.Run()
	if !done {
		h.g.t.Fatalf("command %x has not ended; session: %v", c.CDB, h.reason)
	}
	return c
}

// good requires that a command has ended with GOOD.
func (h *host) good(c *initiator.Command) {
	h.g.t.Helper()
	if h.do(c); c.Result != initiator.ResultAnswered || c.Status != scsi.StatusGood {
		h.g.t.Fatalf("command %x: result %d, status %#x, sense %x; session: %v", c.CDB, c.Result, c.Status, c.Sense[:c.SenseLen], h.reason)
	}
}

// ready takes the unit attentions that a new nexus begins with.
func (h *host) ready() *host {
	h.g.t.Helper()
	for range 8 {
		if c := h.do(&initiator.Command{}); c.Status == scsi.StatusGood {
			return h
		}
	}
	h.g.t.Fatal("the LUN does not get ready")
	return nil
}

// ask runs one exchange to its end.
func (h *host) ask(op iscsi.Opcode, edit func(*iscsi.PDU)) *initiator.Exchange {
	h.g.t.Helper()
	done := false
	x := &initiator.Exchange{Done: func(*initiator.Exchange) { done = true }}
	x.Request.Clear(op)
	x.Request.SetFinal(true)
	x.Request.SetTargetTransferTag(iscsi.ReservedTag)
	edit(&x.Request)
	h.g.on(h.r.ID(), func() { h.session.Start(x) })
	h.g.Run()
	if !done {
		h.g.t.Fatalf("%v has not been answered; session: %v", op, h.reason)
	}
	return x
}

// rw is a READ(10) or WRITE(10).
func rw(op byte, lba, blocks int) *initiator.Command {
	c := &initiator.Command{}
	c.CDB[0] = op
	c.CDB[2], c.CDB[3], c.CDB[4], c.CDB[5] = byte(lba>>24), byte(lba>>16), byte(lba>>8), byte(lba)
	c.CDB[7], c.CDB[8] = byte(blocks>>8), byte(blocks)
	return c
}

// Operation codes.
const (
	opRead10  = 0x28
	opWrite10 = 0x2a
)

func writeOf(lba int, data []byte) *initiator.Command {
	c := rw(opWrite10, lba, len(data)/rigBlockSize)
	c.Out = data
	return c
}

func readOf(lba, blocks int) *initiator.Command {
	c := rw(opRead10, lba, blocks)
	c.In = make([]byte, blocks*rigBlockSize)
	return c
}

// pattern is n blocks that differ from one another and between seeds.
func pattern(blocks int, seed byte) []byte {
	b := make([]byte, blocks*rigBlockSize)
	for i := range b {
		b[i] = seed + byte(i) ^ byte(i/rigBlockSize)*31
	}
	return b
}
