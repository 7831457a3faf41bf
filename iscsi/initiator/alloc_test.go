package initiator

import (
	"context"
	"net"
	"runtime"
	"testing"
	"time"

	"pollux/iscsi"
	"pollux/reactor"
	"pollux/reactor/iobuf"
	"pollux/reactor/sock"
)

// echoTarget answers each command at once: reads with zeroes, writes when their data is there. It allocates nothing per command.
type echoTarget struct {
	conn    sock.Conn
	decoder iscsi.Decoder
	login   iscsi.TargetLogin
	text    []byte
	out     []byte // of the login
	zeroes  []byte
	answers ring[iscsi.BHS]
	statSN  uint32
	expSN   uint32
	full    bool
}

func (e *echoTarget) Received(b []byte)  { e.decoder.Feed(b, (*echoSink)(e)) }
func (e *echoTarget) Closed(sock.Reason) {}

func (e *echoTarget) Fill() {
	if len(e.out) > 0 {
		copy(e.conn.Header(len(e.out)), e.out)
		e.out = nil
		return
	}
	for e.answers.size > 0 && e.conn.Room(iscsi.BHSLength, 1) {
		h := e.answers.first()
		copy(e.conn.Header(iscsi.BHSLength), h[:])
		e.conn.Attach(e.zeroes[:h.DataSegmentLength()])
		e.answers.drop()
	}
}

type echoSink echoTarget

func (k *echoSink) Header(*iscsi.BHS, []byte) bool { return true }
func (k *echoSink) Broken(iscsi.Fault)             {}

func (k *echoSink) Data(p []byte) {
	if !k.full {
		k.text = append(k.text, p...)
	}
}

func (k *echoSink) End(h *iscsi.BHS, _ iscsi.Fault) bool {
	e := (*echoTarget)(k)
	if !k.full {
		e.logIn(h)
		return true
	}
	k.expSN++
	var a iscsi.BHS
	if h.Read() {
		a.Clear(iscsi.OpDataIn)
		a.SetDataSN(iscsi.FirstSN())
		a.SetStatusBit(true)
		a.SetDataSegmentLength(int(h.ExpectedDataTransferLength()))
		a.SetTargetTransferTag(iscsi.ReservedTag)
	} else {
		a.Clear(iscsi.OpSCSIResponse)
	}
	a.SetFinal(true)
	a.SetInitiatorTaskTag(h.InitiatorTaskTag())
	a.SetStatSN(k.statSN)
	a.SetExpCmdSN(k.expSN)
	a.SetMaxCmdSN(k.expSN + 200)
	k.statSN++
	k.answers.push(a)
	k.conn.Dirty()
	return true
}

func (e *echoTarget) logIn(h *iscsi.BHS) {
	var rsp iscsi.PDU
	var step iscsi.LoginStep
	rsp.Data, step = e.login.Handle(h, e.text, &rsp.BHS, nil)
	e.expSN = h.CmdSN()
	rsp.SetExpCmdSN(e.expSN)
	rsp.SetMaxCmdSN(e.expSN + 200)
	rsp.SetStatSN(e.statSN)
	e.statSN++
	e.out = rsp.Append(nil, false, false)
	e.full = step == iscsi.LoginDone
	e.conn.Dirty()
}

// loopback is two ends of a connection as descriptors.
func loopback(t testing.TB) (a, b int) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	here, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	there, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	if a, err = sock.TakeOver(here); err != nil {
		t.Fatal(err)
	}
	if b, err = sock.TakeOver(there); err != nil {
		t.Fatal(err)
	}
	return a, b
}

// echo logs in to an echoTarget on the same reactor.
func echo(t testing.TB, cfg Config) (*Client, *echoTarget) {
	t.Helper()
	g, err := reactor.Start(reactor.Config{Cores: []int{-1}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(g.Stop)
	r := g.Reactors()[0]
	e := &echoTarget{login: iscsi.TargetLogin{Admit: func(l *iscsi.TargetLogin) iscsi.LoginStatus {
		l.Auth.AllowNone = true
		l.Keys.Own = Offers("", "")
		return iscsi.LoginSuccess
	}}}
	e.login.Start()
	e.answers.init(1024)
	if e.zeroes, err = iobuf.Map(1 << 20); err != nil {
		t.Fatal(err)
	}
	a, b := loopback(t)
	if err := r.Call(func() { e.conn.Open(r, b, e) }); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	t.Cleanup(cancel)
	c, err := Open(ctx, r, a, cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c, e
}

// loop keeps commands in flight until n have completed.
type loop struct {
	s        *Session
	commands []Command
	left     int
	flying   int
	end      func()
}

func newLoop(s *Session, depth int, edit func(*Command, int)) *loop {
	l := &loop{s: s, commands: make([]Command, depth)}
	for i := range l.commands {
		edit(&l.commands[i], i)
		l.commands[i].Done = l.done
	}
	return l
}

func (l *loop) begin(n int, end func()) {
	l.left, l.end = n, end
	for i := range l.commands {
		l.next(&l.commands[i])
	}
}

func (l *loop) next(c *Command) {
	if l.left > 0 {
		l.left--
		l.flying++
		l.s.Submit(c)
	}
}

func (l *loop) done(c *Command) {
	l.flying--
	if c.Result != ResultAnswered {
		l.left = 0
	}
	l.next(c)
	if l.flying == 0 {
		l.end()
	}
}

func TestCommandsAllocateNothing(t *testing.T) {
	for _, batch := range []bool{false, true} {
		c, e := echo(t, Config{Offers: Offers("iqn.a", "iqn.b"), Batch: batch, Strict: true, CmdSN: 0xfffffff0})
		out, err := iobuf.Map(4096)
		if err != nil {
			t.Fatal(err)
		}
		in := make([]byte, 4096)
		l := newLoop(c.Session, 32, func(c *Command, i int) {
			switch i % 3 {
			case 0:
				c.Discard = 4096
			case 1:
				c.In = in
			default:
				c.Out = out
			}
		})
		run := func(n int) {
			if err := c.Reactor.Do(func(done func()) { l.begin(n, done) }); err != nil {
				t.Fatal(err)
			}
		}
		run(1000)
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		const n = 20000
		run(n)
		runtime.ReadMemStats(&after)
		if got := after.Mallocs - before.Mallocs; got > n/100 {
			t.Errorf("batch %v: %d allocations for %d commands", batch, got, n)
		}
		if want := uint32(0xfffffff0); e.expSN-want != n+1000 {
			t.Errorf("batch %v: the target has seen %d commands", batch, e.expSN-want)
		}
	}
}

// BenchmarkRead is the cost of both ends on one reactor.
func BenchmarkRead(b *testing.B) {
	for _, batch := range []bool{false, true} {
		b.Run(map[bool]string{false: "each", true: "batch"}[batch], func(b *testing.B) {
			c, _ := echo(b, Config{Offers: Offers("iqn.a", "iqn.b"), Batch: batch})
			l := newLoop(c.Session, 32, func(c *Command, _ int) { c.Discard = 4096 })
			b.ReportAllocs()
			b.ResetTimer()
			if err := c.Reactor.Do(func(done func()) { l.begin(b.N, done) }); err != nil {
				b.Fatal(err)
			}
		})
	}
}
