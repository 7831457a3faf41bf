package initiator

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"

	"pollux/iscsi"
	"pollux/reactor/reactortest"
	"pollux/reactor/sock"
)

func TestReadInTwoPieces(t *testing.T) {
	st := newStage(t, options{})
	c := st.submit("\x28", nil, 40)
	st.script(`
	-> Command F R EDTL=40 CmdSN=0xfffffffe
	  cdb 28000000000000000000000000000000
	<- Data-In TTT=0xffffffff ExpCmdSN=0xffffffff MaxCmdSN=0x20
	  data 11*32
	<- Data-In F S U StatSN=0 TTT=0xffffffff ExpCmdSN=0xffffffff MaxCmdSN=0x20 DataSN=1 BufferOffset=32 ResidualCount=4
	  data 22222222`)
	want := append(bytes.Repeat([]byte{0x11}, 32), 0x22, 0x22, 0x22, 0x22)
	if len(st.done) != 1 || c.Result != ResultAnswered || c.Received != 36 || c.Residual != 4 || !c.Underflow || !bytes.Equal(c.In[:36], want) {
		t.Errorf("%d done, %+v", len(st.done), c)
	}
}

func TestWriteWithImmediateUnsolicitedAndSolicitedData(t *testing.T) {
	st := newStage(t, options{target: func(p *iscsi.Params) {
		p.MaxRecvDataSegmentLength, p.FirstBurstLength, p.MaxBurstLength = 512, 1024, 1024
	}})
	var out []byte
	for i := byte(1); i <= 6; i++ {
		out = append(out, bytes.Repeat([]byte{i}, 512)...)
	}
	c := st.submit("\x2a", out, 0)
	st.script(`
	-> Command W EDTL=3072 CmdSN=0xfffffffe
	  cdb 2a000000000000000000000000000000
	  data 01*512
	-> Data-Out F TTT=0xffffffff BufferOffset=512
	  data 02*512
	<- R2T F TTT=0x1 ExpCmdSN=0xffffffff MaxCmdSN=0x20 BufferOffset=1024 Desired=1024
	-> Data-Out TTT=0x1 BufferOffset=1024
	  data 03*512
	-> Data-Out F TTT=0x1 DataSN=1 BufferOffset=1536
	  data 04*512
	<- R2T F TTT=0x2 ExpCmdSN=0xffffffff MaxCmdSN=0x20 R2TSN=1 BufferOffset=2048 Desired=600
	-> Data-Out TTT=0x2 BufferOffset=2048
	  data 05*512
	-> Data-Out F TTT=0x2 DataSN=1 BufferOffset=2560
	  data 06*88
	<- Response F StatSN=0 ExpCmdSN=0xffffffff MaxCmdSN=0x20 ExpDataSN=2`)
	if len(st.done) != 1 || c.Result != ResultAnswered || c.Status != 0 {
		t.Errorf("%d done, %+v", len(st.done), c)
	}
}

func TestBatchAndOneSendEach(t *testing.T) {
	for _, batch := range []bool{false, true} {
		st := newStage(t, options{config: func(c *Config) { c.Batch = batch }})
		var before, after sock.Stats
		st.call(func() {
			before = sock.StatsOf(st.w.Reactors[0])
			for range 4 {
				st.s.Submit(&Command{Discard: 512, Done: func(*Command) {}})
			}
		})
		st.call(func() { after = sock.StatsOf(st.w.Reactors[0]) })
		want := map[bool]uint64{false: 4, true: 1}[batch]
		if got := after.Sends - before.Sends; got != want {
			t.Errorf("batch %v: %d sends for 4 commands, want %d", batch, got, want)
		}
		for range 4 {
			if p := st.next(); p == nil || p.Opcode() != iscsi.OpSCSICommand {
				t.Fatal("a command is missing")
			}
		}
	}
}

func TestWindowHoldsCommandsBack(t *testing.T) {
	st := newStage(t, options{maxSN: 1})
	for range 3 {
		st.submit("\x00", nil, 0)
	}
	st.script(`
	-> Command F CmdSN=0xfffffffe
	  cdb 00000000000000000000000000000000
	-> Command F ITT=0x1 CmdSN=0xffffffff
	  cdb 00000000000000000000000000000000
	<- NOP-In F ITT=0xffffffff TTT=0xffffffff ExpCmdSN=0xfffffffe MaxCmdSN=0xfffffff0
	<- NOP-In F ITT=0xffffffff TTT=0xffffffff ExpCmdSN=0xfffffffe MaxCmdSN=0
	-> Command F ITT=0x2 CmdSN=0
	  cdb 00000000000000000000000000000000`)
	if next, last := st.s.Window(); next != 1 || last != 0 {
		t.Errorf("window is %#x to %#x", next, last)
	}
}

func TestImmediateCommandPassesTheWindow(t *testing.T) {
	st := newStage(t, options{maxSN: 0xffffffff}) // MaxCmdSN = CmdSN - 1: closed
	st.run(&Command{Immediate: true})
	st.script(`
	-> Command I F CmdSN=0xfffffffe
	  cdb 00000000000000000000000000000000
	<- Response F StatSN=0 ExpCmdSN=0xfffffffe MaxCmdSN=0xfffffffd`)
	if len(st.done) != 1 {
		t.Error("not answered")
	}
}

func TestDepthHoldsCommandsBack(t *testing.T) {
	st := newStage(t, options{})
	for range 5 {
		st.submit("\x00", nil, 0)
	}
	for range 4 {
		st.next()
	}
	st.script(`
	<- Response F ITT=0x2 StatSN=0 ExpCmdSN=0x2 MaxCmdSN=0x20
	-> Command F ITT=0x10002 CmdSN=0x2 ExpStatSN=0x1
	  cdb 00000000000000000000000000000000`)
}

func TestCheckConditionWithSense(t *testing.T) {
	st := newStage(t, options{})
	c := st.submit("\xff", nil, 255)
	st.next()
	st.script(`
	<- Response F U Status=0x2 StatSN=0 ExpCmdSN=0xffffffff MaxCmdSN=0x20 ResidualCount=255
	  data 0004700005000000`)
	if c.Status != 2 || c.SenseLen != 4 || !bytes.Equal(c.Sense[:4], []byte{0x70, 0, 5, 0}) || c.Residual != 255 {
		t.Errorf("%+v", c)
	}
}

func TestLongCDB(t *testing.T) {
	st := newStage(t, options{})
	st.run(&Command{LongCDB: []byte{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16}, CDB: [16]byte{0x7f}})
	st.script(`
	-> Command F CmdSN=0xfffffffe
	  cdb 7f000000000000000000000000000000
	  ahs 001101000102030405060708090a0b0c0d0e0f10`)
}

func TestDigests(t *testing.T) {
	st := newStage(t, options{config: func(c *Config) { c.Offers.HeaderDigest, c.Offers.DataDigest = iscsi.CRC32C, iscsi.CRC32C }})
	c := st.submit("\x2a", []byte("12345"), 0)
	st.script(`
	-> Command F W EDTL=5 CmdSN=0xfffffffe
	  cdb 2a000000000000000000000000000000
	  data 3132333435
	<- Response F StatSN=0 ExpCmdSN=0xffffffff MaxCmdSN=0x20`)
	if c.Result != ResultAnswered || len(st.done) != 1 {
		t.Errorf("%+v", c)
	}
	st.submit("\x28", nil, 4)
	st.next()
	var p iscsi.PDU
	p.Clear(iscsi.OpDataIn)
	p.SetFinal(true)
	p.SetDataSN(iscsi.FirstSN())
	p.SetInitiatorTaskTag(0x10000)
	p.Data = []byte("1234")
	b := p.Append(nil, true, true)
	b[len(b)-1] ^= 1
	st.far.Write(b)
	st.w.Run()
	if len(st.ended) != 1 || !errors.Is(st.ended[0], iscsi.FaultDataDigest) || st.done[1].Result != ResultLost {
		t.Errorf("ended with %v", st.ended)
	}
}

// TestEarlyAnswerWaitsForTheSend: a write that is refused while its data is still in a send must not give its memory back.
func TestEarlyAnswerWaitsForTheSend(t *testing.T) {
	st := newStage(t, options{})
	st.far.SetWindow(0)
	st.submit("\x2a", make([]byte, 8192), 0)
	st.w.Run()
	st.script(`<- Response F Status=0x2 StatSN=0 ExpCmdSN=0xffffffff MaxCmdSN=0x20`)
	if len(st.done) != 0 {
		t.Fatal("completed while the send was in flight")
	}
	st.far.SetWindow(reactortest.DefaultWindow)
	if p := st.next(); p == nil || len(p.Data) != 8192 {
		t.Fatal("the command did not leave")
	}
	st.w.Run()
	if len(st.done) != 1 || st.done[0].Status != 2 {
		t.Errorf("%d done", len(st.done))
	}
}

func TestNOPInIsAnswered(t *testing.T) {
	st := newStage(t, options{})
	pings := 0
	st.s.Events.NOPIn = func(*iscsi.BHS) { pings++ }
	st.script(`
	<- NOP-In F ITT=0xffffffff TTT=0x77 LUN=0x1000000000000 ExpCmdSN=0xfffffffe MaxCmdSN=0x20
	-> NOP-Out I F LUN=0x1000000000000 ITT=0xffffffff TTT=0x77 CmdSN=0xfffffffe
	<- NOP-In F ITT=0xffffffff TTT=0xffffffff ExpCmdSN=0xfffffffe MaxCmdSN=0x20`)
	if pings != 1 {
		t.Errorf("%d pings", pings)
	}
}

func TestTextGoesOn(t *testing.T) {
	st := newStage(t, options{})
	x := &Exchange{Request: newRequest(iscsi.OpText, true), Done: func(*Exchange) {}}
	x.Request.Data = iscsi.AppendPair(nil, "SendTargets", "All")
	st.call(func() { st.s.Start(x) })
	st.script(`
	-> Text I F TTT=0xffffffff CmdSN=0xfffffffe
	  SendTargets=All
	<- TextResponse C TTT=0x9 StatSN=0 ExpCmdSN=0xfffffffe MaxCmdSN=0x20
	  TargetName=iqn.a
	-> Text I F TTT=0x9 CmdSN=0xfffffffe ExpStatSN=0x1
	<- TextResponse F TTT=0xffffffff StatSN=0x1 ExpCmdSN=0xfffffffe MaxCmdSN=0x20
	  TargetAddress=192.0.2.1:3260,1`)
	list, err := parseTargets(x.Answer.Data)
	if err != nil || len(list) != 1 || list[0].Name != "iqn.a" || list[0].Addresses[0] != "192.0.2.1:3260,1" {
		t.Errorf("%v, %v", list, err)
	}
}

func TestReject(t *testing.T) {
	st := newStage(t, options{})
	unknown := 0
	st.s.Events.Rejected = func(*iscsi.BHS) { unknown++ }
	c := st.submit("\x00", nil, 0)
	bad := st.next()
	var p iscsi.PDU
	p.Clear(iscsi.OpReject)
	p.SetFinal(true)
	p.SetInitiatorTaskTag(iscsi.ReservedTag)
	p.SetReason(iscsi.RejectTaskInProgress)
	p.SetExpCmdSN(0xffffffff)
	p.SetMaxCmdSN(0x20)
	p.Data = bad.BHS[:]
	st.write(&p)
	if len(st.done) != 1 || c.Result != ResultRejected || c.Reason != iscsi.RejectTaskInProgress {
		t.Errorf("%+v", c)
	}
	p.SetStatSN(1)
	st.write(&p)
	if unknown != 1 || len(st.done) != 1 {
		t.Errorf("%d rejects of nothing, %d done", unknown, len(st.done))
	}
}

func TestLostConnectionEndsEverythingOnce(t *testing.T) {
	for name, cut := range map[string]func(*stage){
		"reset": func(st *stage) { st.far.Reset() },
		"end":   func(st *stage) { st.far.Close() },
		"close": func(st *stage) { st.call(st.s.Close) },
	} {
		t.Run(name, func(t *testing.T) {
			st := newStage(t, options{maxSN: 1})
			st.submit("\x28", nil, 512)
			st.submit("\x2a", make([]byte, 512), 0)
			st.submit("\x00", nil, 0) // beyond the window
			x := &Exchange{Request: newRequest(iscsi.OpNOPOut, true)}
			pings := 0
			x.Done = func(x *Exchange) { pings++ }
			st.call(func() { st.s.Start(x) })
			cut(st)
			st.w.Run()
			if len(st.done) != 3 || pings != 1 || x.Result != ResultLost || len(st.ended) != 1 {
				t.Fatalf("%d done, %d pings, ended %v", len(st.done), pings, st.ended)
			}
			for _, c := range st.done {
				if c.Result != ResultLost {
					t.Errorf("result %d", c.Result)
				}
			}
			if (st.ended[0] == nil) != (name == "close") {
				t.Errorf("ended with %v", st.ended[0])
			}
			st.open(options{}) // the same object, again
			st.submit("\x00", nil, 0)
			if p := st.next(); p == nil || p.CmdSN() != 0xfffffffe {
				t.Error("a session that was opened again does not work")
			}
		})
	}
}

func TestLoginRefused(t *testing.T) {
	st := &stage{t: t, w: reactortest.New(t, 1), s: &Session{}}
	st.s.Config = Config{Offers: Offers("iqn.host", "iqn.disk")}
	st.s.Events.LoggedIn = func(err error) { st.login = err }
	st.s.Events.Ended = func(err error) { st.ended = append(st.ended, err) }
	fd, far := st.w.Connect()
	st.far = far
	st.call(func() { st.s.Open(st.w.Reactors[0], fd) })
	st.next()
	st.script(`<- LoginResponse CSG=1 Status=0x203`)
	if !errors.Is(st.login, iscsi.LoginNotFound) || len(st.ended) != 1 || !errors.Is(st.ended[0], iscsi.LoginNotFound) {
		t.Errorf("login %v, ended %v", st.login, st.ended)
	}
}

func TestViolationsEndTheSession(t *testing.T) {
	const numbers = " ExpCmdSN=0xffffffff MaxCmdSN=0x20"
	for _, c := range []struct{ name, pdu, want string }{
		{"StatSN", "Response F StatSN=0x7" + numbers, "StatSN"},
		{"unknown task", "Response F ITT=0x9 StatSN=0" + numbers, "unknown task"},
		{"ExpCmdSN from the future", "Response F U ResidualCount=64 StatSN=0 ExpCmdSN=0x5 MaxCmdSN=0x20", "ExpCmdSN"},
		{"Data-In for nobody", "Data-In F ITT=0x9" + numbers + "\n  data 00", "unknown task"},
		{"Data-In too long", "Data-In F" + numbers + "\n  data 00*65", "Data-In of 65 bytes"},
		{"Data-In with a gap", "Data-In F BufferOffset=4" + numbers + "\n  data 00", fmt.Sprintf("DataSN %d at 4", iscsi.FirstSN())},
		{"DataSN", "Data-In F DataSN=1" + numbers + "\n  data 00", fmt.Sprintf("DataSN %d", iscsi.FirstSN()+1)},
		{"good without data", "Response F StatSN=0" + numbers, "0 of 64 bytes"},
		{"wrong residual", "Response F U StatSN=0 ResidualCount=1" + numbers, "residual 1"},
		{"both residuals", "Response F O U StatSN=0 ResidualCount=64" + numbers, "overflow and underflow"},
		{"R2T for a read", "R2T F TTT=0x1 Desired=64" + numbers, "R2T for 64 bytes"},
		{"R2T for nobody", "R2T F ITT=0x9 TTT=0x1 Desired=64" + numbers, "unknown task"},
		{"answer to nothing", "TextResponse F ITT=0x0 StatSN=0" + numbers, "unknown task"},
		{"login again", "LoginResponse T", "Login"},
		{"of the other direction", "Command F", "direction"},
	} {
		t.Run(c.name, func(t *testing.T) {
			st := newStage(t, options{})
			st.submit("\x28", nil, 64)
			st.next()
			st.script("<- " + c.pdu)
			if len(st.ended) != 1 || !errors.Is(st.ended[0], ErrProtocol) || !strings.Contains(st.ended[0].Error(), c.want) {
				t.Errorf("ended with %v, want %q", st.ended, c.want)
			}
			if len(st.done) != 1 {
				t.Errorf("%d done", len(st.done))
			}
		})
	}
}
