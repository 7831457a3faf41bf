package initiator

import (
	"bytes"
	"strings"
	"testing"

	"pollux/iscsi"
	"pollux/iscsi/iscsitest"
	"pollux/reactor/iobuf"
	"pollux/reactor/reactortest"
)

// stage is a session on a simulated reactor; the test plays the target.
type stage struct {
	t       *testing.T
	w       *reactortest.World
	s       *Session
	far     *reactortest.Peer
	in      bytes.Buffer // sent by the initiator, not yet looked at
	digests bool
	login   error
	ended   []error
	done    []*Command
}

// options are what a stage may differ in.
type options struct {
	config func(*Config)
	target func(*iscsi.Params)
	maxSN  uint32 // MaxCmdSN of the login's end, relative to its CmdSN; 31 if zero
}

// newStage logs in.
func newStage(t *testing.T, o options) *stage {
	t.Helper()
	st := &stage{t: t, w: reactortest.New(t, 1), s: &Session{}}
	st.s.Config = Config{Offers: Offers("iqn.host", "iqn.disk"), ISID: iscsi.ISID{1}, CmdSN: 0xfffffffe, Batch: true, Strict: true, Depth: 4}
	if o.config != nil {
		o.config(&st.s.Config)
	}
	st.s.Events.LoggedIn = func(err error) { st.login = err }
	st.s.Events.Ended = func(err error) { st.ended = append(st.ended, err) }
	st.open(o)
	return st
}

func (st *stage) open(o options) {
	st.t.Helper()
	fd, far := st.w.Connect()
	st.far = far
	st.in.Reset()
	if err := st.w.Reactors[0].Call(func() { st.s.Open(st.w.Reactors[0], fd) }); err != nil {
		st.t.Fatal(err)
	}
	target := iscsi.TargetLogin{Admit: func(l *iscsi.TargetLogin) iscsi.LoginStatus {
		l.Auth.AllowNone = true
		l.Keys.Own = Offers("", "")
		l.Keys.Own.HeaderDigest, l.Keys.Own.DataDigest = "CRC32C,None", "CRC32C,None"
		if o.target != nil {
			o.target(&l.Keys.Own)
		}
		return iscsi.LoginSuccess
	}}
	target.Start()
	req := st.next()
	var rsp iscsi.PDU
	var step iscsi.LoginStep
	if rsp.Data, step = target.Handle(&req.BHS, req.Data, &rsp.BHS, nil); step != iscsi.LoginDone {
		st.t.Fatalf("login: step %d, %v", step, rsp.LoginStatus())
	}
	if o.maxSN == 0 {
		o.maxSN = 31
	}
	rsp.SetStatSN(0xffffffff)
	rsp.SetExpCmdSN(req.CmdSN())
	rsp.SetMaxCmdSN(req.CmdSN() + o.maxSN)
	rsp.SetTSIH(5)
	st.write(&rsp)
	st.digests = target.Keys.Result.HasDataDigest()
	if st.login != nil || st.s.TSIH() != 5 {
		st.t.Fatalf("login: %v, TSIH %d", st.login, st.s.TSIH())
	}
}

// next is the next PDU that the initiator has sent, nil for none.
func (st *stage) next() *iscsi.PDU {
	st.t.Helper()
	for {
		st.w.Run()
		b := st.far.Read()
		if len(b) == 0 {
			break
		}
		st.in.Write(b)
	}
	if st.in.Len() == 0 {
		return nil
	}
	p, err := iscsi.ReadPDU(&st.in, st.digests, st.digests, 1<<24)
	if err != nil {
		st.t.Fatal(err)
	}
	return p
}

func (st *stage) write(p *iscsi.PDU) {
	st.t.Helper()
	st.far.Write(p.Append(nil, st.digests, st.digests))
	st.w.Run()
}

// submit gives the session a command; out is copied to where it may be sent from.
func (st *stage) submit(cdb string, out []byte, in int) *Command {
	st.t.Helper()
	c := &Command{In: make([]byte, in)}
	copy(c.CDB[:], cdb)
	if len(out) > 0 {
		mem, err := iobuf.Map(len(out))
		if err != nil {
			st.t.Fatal(err)
		}
		st.t.Cleanup(func() { iobuf.Unmap(mem) })
		c.Out = mem[:copy(mem, out)]
	}
	st.run(c)
	return c
}

// run submits a command that the test has made.
func (st *stage) run(c *Command) {
	st.t.Helper()
	before := len(st.done)
	c.Done = func(c *Command) { st.done = append(st.done, c) }
	st.call(func() {
		st.s.Submit(c)
		if len(st.done) != before {
			st.t.Error("completed inside Submit")
		}
	})
}

func (st *stage) call(fn func()) {
	st.t.Helper()
	if err := st.w.Reactors[0].Call(fn); err != nil {
		st.t.Fatal(err)
	}
	st.w.Run()
}

// script plays a transcript: "-> " is a PDU that the initiator must send next, "<- " one that the target sends.
func (st *stage) script(text string) {
	st.t.Helper()
	for i, part := range splitPDUs(text) {
		p, err := iscsitest.Parse(part[3:])
		if err != nil {
			st.t.Fatal(err)
		}
		if part[:3] == "<- " {
			st.write(p)
			continue
		}
		got := st.next()
		if got == nil {
			st.t.Fatalf("part %d: nothing was sent, want\n%s", i, part)
		}
		if iscsitest.Print(got) != iscsitest.Print(p) {
			st.t.Fatalf("part %d: sent\n%swant\n%s", i, iscsitest.Print(got), iscsitest.Print(p))
		}
	}
	if got := st.next(); got != nil {
		st.t.Fatalf("sent besides\n%s", iscsitest.Print(got))
	}
}

// splitPDUs cuts a transcript before each arrow.
func splitPDUs(text string) (parts []string) {
	for line := range strings.Lines(strings.TrimSpace(text)) {
		line = strings.TrimLeft(line, "\t")
		if strings.HasPrefix(line, "-> ") || strings.HasPrefix(line, "<- ") {
			parts = append(parts, line)
		} else {
			parts[len(parts)-1] += line
		}
	}
	return parts
}
