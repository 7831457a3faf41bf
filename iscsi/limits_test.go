package iscsi_test

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"pollux/bdev/malloc"
	"pollux/iscsi"
	"pollux/iscsi/initiator"
	"pollux/reactor/iobuf"
	"pollux/scsi"
)

// limits says which test shows a limit of limits.go, at the bound and beyond it.
var limits = map[string]string{
	"SessionsMax":      "TestOptionsAtTheirBounds",
	"ConnectionsMax":   "TestSessionsOfAReactorAreBounded",
	"PendingLoginsMax": "TestPendingLoginsAreBounded",
	"LoginSilence":     "TestHalfLoginsGiveWay",
	"LoginTimeout":     "TestLoginTimeIsBounded",
	"LoginRoundsMax":   "TestLoginHasAnEnd",
	"SessionWait":      "TestLostSessionOfAHungDevice",
	"Time2WaitMax":     "TestOptionsAtTheirBounds",
	"Time2RetainMax":   "TestOptionsAtTheirBounds",
	"LogoutGrace":      "TestLogoutTimeIsBounded",
	"EndTimeout":       "TestDeletionOfAHungTarget",

	"AHSMax":              "TestStrangersAreToldByTheirFirstHeader",
	"LoginDataSegmentMax": "TestLongestLoginIsWaitedFor",
	"RecvDataSegmentMax":  "TestDataSegmentsAreBounded",
	"BurstMax":            "TestOffersBeyondTheBoundsAreCut",
	"PingMax":             "TestDataSegmentsAreBounded",
	"SendTargetsMax":      "TestListOfTargetsIsBounded",
	"NameMax":             "TestValuesAreBounded",
	"KeyMax":              "TestParseText",
	"ValueMax":            "TestValuesAreBounded",
	"LongValueMax":        "TestValuesAreBounded",
	"TextMax":             "TestTextBufferHasBounds",
	"TextPairsMax":        "TestParseText",
	"TextRoundsMax":       "TestTextBufferHasBounds",
	"CHAPChallengeMax":    "TestValuesAreBounded",
	"CHAPSecretMin":       "TestGroupsAtTheirBounds",
	"CHAPSecretMax":       "TestGroupsAtTheirBounds",
	"CHAPNameMax":         "TestGroupsAtTheirBounds",

	"QueueDepthMax":       "TestCommandsOfASessionAreBounded",
	"DiscoveryQueueDepth": "TestCommandsOfASessionAreBounded",
	"ImmediateMax":        "TestImmediateCommandsAreBounded",
	"ManagementMax":       "TestManagementIsBounded",
	"ManagementTimeout":   "TestManagementOfAHungDeviceIsRejected",
	"ControlMax":          "TestUnreadAnswersAreBounded",
	"R2TMax":              "TestOffersBeyondTheBoundsAreCut",
	"DataPiecesMax":       "TestLongestTransferFits",
	"DataOutTimeout":      "TestDataOutIsWaitedForSoLong",
	"QuarantineAfter":     "TestLostSessionOfAHungDevice",

	"PortalsPerGroup": "TestGroupsAtTheirBounds",
	"EntriesPerGroup": "TestGroupsAtTheirBounds",
	"MapsPerTarget":   "TestTargetsAtTheirBounds",
	"SecretsPerGroup": "TestGroupsAtTheirBounds",
	"LUNsPerTarget":   "TestTargetsAtTheirBounds",
	"TagMax":          "TestGroupsAtTheirBounds",
}

// TestEveryLimitIsTested: each exported constant of limits.go has its test, and that test exists.
func TestEveryLimitIsTested(t *testing.T) {
	tests := map[string]bool{}
	files, err := filepath.Glob("*_test.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range files {
		for _, d := range parse(t, name).Decls {
			if f, ok := d.(*ast.FuncDecl); ok {
				tests[f.Name.Name] = true
			}
		}
	}
	named := 0
	for _, d := range parse(t, "limits.go").Decls {
		g, ok := d.(*ast.GenDecl)
		if !ok || g.Tok != token.CONST {
			continue
		}
		for _, s := range g.Specs {
			name := s.(*ast.ValueSpec).Names[0].Name
			if !token.IsExported(name) {
				continue
			}
			named++
			if !tests[limits[name]] {
				t.Errorf("%s has no test: %q", name, limits[name])
			}
		}
	}
	if named != len(limits) {
		t.Errorf("limits.go has %d limits, the table %d", named, len(limits))
	}
}

func parse(t *testing.T, name string) *ast.File {
	t.Helper()
	f, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func TestOptionsAtTheirBounds(t *testing.T) {
	for name, edit := range map[string]func(o *iscsi.Options, beyond uint32){
		"max_sessions":        func(o *iscsi.Options, beyond uint32) { o.MaxSessions = iscsi.SessionsMax + beyond },
		"max_queue_depth":     func(o *iscsi.Options, beyond uint32) { o.MaxQueueDepth = iscsi.QueueDepthMax + beyond },
		"default_time2wait":   func(o *iscsi.Options, beyond uint32) { o.DefaultTime2Wait = iscsi.Time2WaitMax + beyond },
		"default_time2retain": func(o *iscsi.Options, beyond uint32) { o.DefaultTime2Retain = iscsi.Time2RetainMax + beyond },
	} {
		for beyond := range uint32(2) {
			var o iscsi.Options
			o.SetDefaults()
			edit(&o, beyond)
			if err := o.Validate(); (err == nil) != (beyond == 0) || err != nil && !strings.Contains(err.Error(), name) {
				t.Errorf("%s, %d beyond its bound: %v", name, beyond, err)
			}
		}
	}
}

func TestSessionsOfAReactorAreBounded(t *testing.T) {
	for beyond := range 2 {
		g := newRig(t, 1, nil)
		g.server.PretendSessions(0, iscsi.ConnectionsMax-1+beyond)
		h := g.newHost(0, nil)
		h.start(0)
		g.Run()
		if h.up != (beyond == 0) || beyond == 1 && h.login != iscsi.LoginOutOfResources {
			t.Errorf("%d beyond: %v", beyond, h.login)
		}
		g.server.PretendSessions(0, -(iscsi.ConnectionsMax - 1 + beyond))
		g.close()
	}
}

func TestLoginTimeIsBounded(t *testing.T) {
	g := newRig(t, 1, nil)
	silent, slow := g.connect(0), g.connect(0)
	var h iscsi.BHS
	h.Clear(iscsi.OpLogin)
	for _, b := range h[:15] { // a byte a second
		slow.far.Write([]byte{b})
		g.Advance(iscsi.LoginTimeout/15 - time.Millisecond)
	}
	if silent.gone() || slow.gone() {
		t.Error("gone before the time")
	}
	g.Advance(15 * time.Millisecond)
	if !silent.gone() || !slow.gone() {
		t.Error("there after the time")
	}
	g.wantCounted(map[string]uint64{"login_timeouts": 2})
	g.close()
}

func TestLogoutTimeIsBounded(t *testing.T) {
	g := newRig(t, 1, nil)
	h := g.newHost(0, nil).open(0)
	g.must(g.server.RequestLogout("disk1", 0))
	g.Advance(iscsi.LogoutGrace - time.Millisecond)
	if !h.up {
		t.Error("ended before the time")
	}
	g.Advance(time.Millisecond)
	if h.up {
		t.Error("there after the time")
	}
	g.close()
}

// TestDataSegmentsAreBounded: what the target has declared it takes, and of a ping it returns so much; one byte more ends the connection.
func TestDataSegmentsAreBounded(t *testing.T) {
	g := newRig(t, 1, nil)
	p := g.connect(0)
	rsp := enter(p, func(q *iscsi.PDU) { q.Data = iscsi.AppendPair(q.Data, "MaxRecvDataSegmentLength", "262144") })
	pairs, _ := iscsi.ParseText(rsp.Data)
	if !slices.Contains(pairs, iscsi.Pair{Key: "MaxRecvDataSegmentLength", Value: fmt.Sprint(iscsi.RecvDataSegmentMax)}) {
		t.Errorf("declared in %v", pairs)
	}
	next := rsp.ExpCmdSN()
	for _, n := range []int{iscsi.PingMax, iscsi.PingMax + 1, iscsi.RecvDataSegmentMax, iscsi.RecvDataSegmentMax + 1} {
		ping := iscsi.PDU{Data: bytes.Repeat([]byte("p"), n)}
		ping.Clear(iscsi.OpNOPOut)
		ping.SetFinal(true)
		ping.SetInitiatorTaskTag(7)
		ping.SetTargetTransferTag(iscsi.ReservedTag)
		ping.SetCmdSN(next)
		next++
		p.send(&ping)
		g.Run()
		all := p.receive()
		if n <= iscsi.RecvDataSegmentMax && (len(all) != 1 || len(all[0].Data) != min(n, iscsi.PingMax)) {
			t.Errorf("%d bytes are answered by %v", n, all)
		}
		if n > iscsi.RecvDataSegmentMax && (len(all) != 0 || !p.gone()) {
			t.Errorf("%d bytes are answered by %v, gone %v", n, all, p.gone())
		}
	}
	if n := g.server.Counters().Faults["data_segment_longer_than_maxrecvdatasegmentlength"]; n != 1 {
		t.Errorf("counted %d", n)
	}
	g.close()
}

func TestOffersBeyondTheBoundsAreCut(t *testing.T) {
	for _, c := range []struct{ burst, r2t uint32 }{{iscsi.BurstMax, iscsi.R2TMax}, {1<<24 - 1, iscsi.R2TMax + 1}} {
		g := newRig(t, 1, nil)
		h := g.newHost(0, func(cfg *initiator.Config) { cfg.Offers.MaxBurstLength, cfg.Offers.MaxOutstandingR2T = c.burst, c.r2t }).open(0)
		if p := h.session.Params(); p.MaxBurstLength != iscsi.BurstMax || p.MaxOutstandingR2T != iscsi.R2TMax {
			t.Errorf("%+v: agreed on %d and %d", c, p.MaxBurstLength, p.MaxOutstandingR2T)
		}
		g.close()
	}
}

// TestListOfTargetsIsBounded: targets that do not fit are left out whole.
func TestListOfTargetsIsBounded(t *testing.T) {
	g := newRig(t, 1, nil)
	var portals []iscsi.Portal
	for i := range iscsi.PortalsPerGroup {
		portals = append(portals, iscsi.Portal{Host: "192.0.2.9", Port: fmt.Sprint(10000 + i)})
	}
	group, err := iscsi.NewPortalGroup(2, portals, false)
	g.must(err)
	g.must(g.server.AddPortalGroup(group, true))
	g.must(g.server.PretendToListen(2))
	g.must(g.server.AddMap("disk1", iscsi.Map{PortalGroup: 2, InitiatorGroup: 1}))
	more := 0
	list := func() (targets, length int) {
		h := g.newHost(0, func(c *initiator.Config) { c.Offers.SessionType, c.Offers.TargetName = iscsi.SessionDiscovery, "" }).open(0)
		x := h.ask(iscsi.OpText, func(p *iscsi.PDU) { p.SetImmediate(true); p.Data = iscsi.AppendPair(nil, "SendTargets", "All") })
		text := string(x.Answer.Data)
		if n := strings.Count(text, "TargetAddress="); n != strings.Count(text, "TargetName=")*(iscsi.PortalsPerGroup+1) {
			t.Errorf("%d addresses: a target is there in part", n)
		}
		return strings.Count(text, "TargetName="), len(text)
	}
	add := func(n int) {
		for range n {
			more++
			g.must(g.server.AddTarget(&iscsi.TargetSpec{
				Name: fmt.Sprint("more", more), LUNs: []iscsi.LUNSpec{{BdevName: "Malloc0"}},
				Maps: []iscsi.Map{{PortalGroup: 1, InitiatorGroup: 1}, {PortalGroup: 2, InitiatorGroup: 1}},
			}))
		}
	}
	add(9)
	if targets, length := list(); targets != 10 {
		t.Errorf("%d targets of 10, in %d bytes", targets, length)
	}
	add(50)
	if targets, length := list(); length > iscsi.SendTargetsMax || length < iscsi.SendTargetsMax-2*64*iscsi.PortalsPerGroup || targets >= 60 {
		t.Errorf("%d targets of 60, in %d bytes", targets, length)
	}
	g.close()
}

// TestCommandsOfASessionAreBounded: the window is as wide as was configured, commands without their data fill it, and what comes beyond it
// is ignored.
func TestCommandsOfASessionAreBounded(t *testing.T) {
	const depth = 4
	g := newRig(t, 1, func(o *iscsi.Options, _ *iscsi.TargetSpec) { o.MaxQueueDepth = depth })
	p := g.connect(0)
	rsp := enter(p, nil)
	settleAttentions(p)
	first := rsp.ExpCmdSN() + 4
	for i := range uint32(depth + 1) {
		p.send(waiting(100+i, first+i, false))
		g.Run()
	}
	var last *iscsi.PDU
	for _, pdu := range p.receive() {
		last = pdu
	}
	if width := rsp.MaxCmdSN() - rsp.ExpCmdSN() + 1; width != depth || last == nil || last.MaxCmdSN() != first+depth-1 || last.ExpCmdSN() != first+depth {
		t.Errorf("window of %d; afterwards %v", width, last)
	}
	g.wantCounted(map[string]uint64{"commands_outside_window": 1})

	p = g.connect(0)
	rsp = enter(p, func(q *iscsi.PDU) { q.Data = []byte("InitiatorName=" + rigInitiator + "\x00SessionType=Discovery\x00") })
	if rsp.MaxCmdSN()-rsp.ExpCmdSN()+1 != iscsi.DiscoveryQueueDepth {
		t.Errorf("window of a discovery session: %d", rsp.MaxCmdSN()-rsp.ExpCmdSN()+1)
	}
	g.close()
}

// waiting is a write that waits for its data.
func waiting(itt, cmdSN uint32, immediate bool) *iscsi.PDU {
	var w iscsi.PDU
	w.Clear(iscsi.OpSCSICommand)
	w.SetFinal(true)
	w.SetWrite(true)
	w.SetImmediate(immediate)
	w.SetCDB(rw(opWrite10, 0, 8).CDB[:])
	w.SetLUN(0)
	w.SetExpectedDataTransferLength(8 * rigBlockSize)
	w.SetInitiatorTaskTag(itt)
	w.SetCmdSN(cmdSN)
	return &w
}

func TestImmediateCommandsAreBounded(t *testing.T) {
	g := newRig(t, 1, nil)
	p := g.connect(0)
	rsp := enter(p, nil)
	settleAttentions(p)
	next := rsp.ExpCmdSN() + 4
	for i := range uint32(iscsi.ImmediateMax) {
		p.send(waiting(100+i, next, true))
	}
	g.Run()
	for _, pdu := range p.receive() {
		if pdu.Opcode() != iscsi.OpR2T {
			t.Fatalf("within the bound: %v", pdu.Opcode())
		}
	}
	p.send(waiting(99, next, true))
	g.Run()
	if all := p.receive(); len(all) != 1 || all[0].Opcode() != iscsi.OpReject || all[0].Reason() != iscsi.RejectTooManyImmediate {
		t.Errorf("beyond the bound: %v", all)
	}
	g.wantCounted(map[string]uint64{"too_many_immediate": 1})
	p.far.Close()
	g.close()
}

// TestUnreadAnswersAreBounded: pings that arrive together, before the first answer can leave.
func TestUnreadAnswersAreBounded(t *testing.T) {
	for beyond := range 2 {
		g := newRig(t, 1, nil)
		p := g.connect(0)
		rsp := enter(p, nil)
		var burst []byte
		for i := range uint32(iscsi.ControlMax + beyond) {
			var ping iscsi.PDU
			ping.Clear(iscsi.OpNOPOut)
			ping.SetFinal(true)
			ping.SetImmediate(true)
			ping.SetInitiatorTaskTag(100 + i)
			ping.SetTargetTransferTag(iscsi.ReservedTag)
			ping.SetCmdSN(rsp.ExpCmdSN())
			burst = ping.Append(burst, false, false)
		}
		p.far.Write(burst)
		g.Run()
		if n := len(p.receive()); p.gone() != (beyond == 1) || beyond == 0 && n != iscsi.ControlMax {
			t.Errorf("%d beyond: %d answers, gone %v", beyond, n, p.gone())
		}
		g.wantCounted(map[string]uint64{"unread_answers": uint64(beyond)})
		p.far.Close()
		g.close()
	}
}

// TestLongestTransferFits: a command of MaxTransferBytes moves, and package scsi refuses a longer one before it needs memory.
func TestLongestTransferFits(t *testing.T) {
	if scsi.MaxTransferBytes > (iscsi.DataPiecesMax-1)*iobuf.MaxSize || scsi.MaxTransferBytes != rigBlocks*rigBlockSize {
		t.Fatalf("%d buffers for %d bytes, and a LUN of %d", iscsi.DataPiecesMax-1, scsi.MaxTransferBytes, rigBlocks*rigBlockSize)
	}
	l := newLive(t, 1)
	r := readOf(0, rigBlocks)
	l.must(l.dial(1, nil).Submit(l.ctx, r))
	if r.Status != scsi.StatusGood || r.Received != scsi.MaxTransferBytes {
		t.Errorf("status %#x, %d bytes", r.Status, r.Received)
	}

	g := newRig(t, 1, nil)
	_, err := g.modules.Create(malloc.Options{Name: "Large", BlockSize: rigBlockSize, Blocks: 2 * rigBlocks})
	g.must(err)
	g.must(g.server.AddLUN("disk1", iscsi.LUNSpec{BdevName: "Large", LUN: 2}))
	h := g.newHost(0, nil).open(0).ready()
	var c *initiator.Command
	for range 4 { // unit attentions first
		c = readOf(0, rigBlocks+1)
		c.LUN = 2 << 48
		h.do(c)
	}
	if c.Status != scsi.StatusCheckCondition || c.Sense[2]&0xf != 5 {
		t.Errorf("a longer one: status %#x, sense %x", c.Status, c.Sense[:c.SenseLen])
	}
	g.close()
}

// TestDataOutIsWaitedForSoLong: a peer that is there but never sends its data is given up by the next tick after the time.
func TestDataOutIsWaitedForSoLong(t *testing.T) {
	g := newRig(t, 1, nil)
	p := g.connect(0)
	rsp := enter(p, nil)
	settleAttentions(p)
	p.send(waiting(100, rsp.ExpCmdSN()+4, false))
	g.Run()
	const step = 10 * time.Second
	pass := func(d time.Duration) {
		for range int(d / step) {
			var ping iscsi.PDU
			ping.Clear(iscsi.OpNOPOut)
			ping.SetFinal(true)
			ping.SetImmediate(true)
			ping.SetInitiatorTaskTag(iscsi.ReservedTag)
			ping.SetTargetTransferTag(iscsi.ReservedTag)
			p.send(&ping)
			g.Advance(step)
		}
	}
	pass(iscsi.DataOutTimeout)
	if p.receive(); p.gone() {
		t.Error("given up within the time")
	}
	pass(iscsi.DataOutTimeout)
	if !p.gone() {
		t.Error("not given up")
	}
	g.wantCounted(map[string]uint64{"data_out_timeouts": 1, "nop_timeouts": 0})
	g.close()
}

func TestGroupsAtTheirBounds(t *testing.T) {
	var portals []iscsi.Portal
	for i := range iscsi.PortalsPerGroup + 1 {
		portals = append(portals, iscsi.Portal{Host: "127.0.0.1", Port: fmt.Sprint(1000 + i)})
	}
	var initiators, netmasks []string
	for i := range iscsi.EntriesPerGroup + 1 {
		initiators = append(initiators, fmt.Sprintf("iqn.%d", i))
		netmasks = append(netmasks, fmt.Sprintf("10.0.%d.%d", i>>8, i&255))
	}
	var secrets []iscsi.Secret
	for i := range iscsi.SecretsPerGroup + 1 {
		secrets = append(secrets, iscsi.Secret{User: fmt.Sprint("u", i), Secret: "123456789012"})
	}
	secret := func(user, secret int) error {
		_, err := iscsi.NewAuthGroup(1, []iscsi.Secret{{User: strings.Repeat("u", user), Secret: strings.Repeat("s", secret)}})
		return err
	}
	_, tag := iscsi.NewPortalGroup(iscsi.TagMax, portals[:1], false)
	_, tagBeyond := iscsi.NewPortalGroup(iscsi.TagMax+1, portals[:1], false)
	_, portalsAt := iscsi.NewPortalGroup(1, portals[:iscsi.PortalsPerGroup], false)
	_, portalsBeyond := iscsi.NewPortalGroup(1, portals, false)
	_, namesAt := iscsi.NewInitiatorGroup(1, initiators[:iscsi.EntriesPerGroup], nil)
	_, namesBeyond := iscsi.NewInitiatorGroup(1, initiators, nil)
	_, masksAt := iscsi.NewInitiatorGroup(1, nil, netmasks[:iscsi.EntriesPerGroup])
	_, masksBeyond := iscsi.NewInitiatorGroup(1, nil, netmasks)
	_, secretsAt := iscsi.NewAuthGroup(1, secrets[:iscsi.SecretsPerGroup])
	_, secretsBeyond := iscsi.NewAuthGroup(1, secrets)
	for name, c := range map[string]struct{ at, beyond error }{
		"TagMax":                    {tag, tagBeyond},
		"PortalsPerGroup":           {portalsAt, portalsBeyond},
		"EntriesPerGroup, names":    {namesAt, namesBeyond},
		"EntriesPerGroup, netmasks": {masksAt, masksBeyond},
		"SecretsPerGroup":           {secretsAt, secretsBeyond},
		"CHAPNameMax":               {secret(iscsi.CHAPNameMax, iscsi.CHAPSecretMin), secret(iscsi.CHAPNameMax+1, iscsi.CHAPSecretMin)},
		"CHAPSecretMin":             {secret(1, iscsi.CHAPSecretMin), secret(1, iscsi.CHAPSecretMin-1)},
		"CHAPSecretMax":             {secret(1, iscsi.CHAPSecretMax), secret(1, iscsi.CHAPSecretMax+1)},
	} {
		if c.at != nil || c.beyond == nil {
			t.Errorf("%s: at the bound %v, beyond it %v", name, c.at, c.beyond)
		}
	}
}

func TestTargetsAtTheirBounds(t *testing.T) {
	g := newRig(t, 1, nil)
	const groups = 16 // squared: MapsPerTarget
	var maps []iscsi.Map
	for i := range int32(groups) {
		portals, err := iscsi.NewPortalGroup(10+i, []iscsi.Portal{{Host: "192.0.2.3", Port: fmt.Sprint(4000 + i)}}, false)
		g.must(err)
		g.must(g.server.AddPortalGroup(portals, true))
		initiators, err := iscsi.NewInitiatorGroup(10+i, []string{"ANY"}, []string{"ANY"})
		g.must(err)
		g.must(g.server.AddInitiatorGroup(initiators))
		for j := range int32(groups) {
			maps = append(maps, iscsi.Map{PortalGroup: 10 + i, InitiatorGroup: 10 + j})
		}
	}
	var luns []iscsi.LUNSpec
	for i := range int32(iscsi.LUNsPerTarget + 1) {
		luns = append(luns, iscsi.LUNSpec{BdevName: "Malloc0", LUN: i})
	}
	for name, c := range map[string]struct {
		maps []iscsi.Map
		luns []iscsi.LUNSpec
		ok   bool
	}{
		"maps at the bound": {maps[:iscsi.MapsPerTarget], luns[:1], true},
		"maps beyond":       {append(maps[:iscsi.MapsPerTarget:iscsi.MapsPerTarget], iscsi.Map{PortalGroup: 1, InitiatorGroup: 1}), luns[:1], false},
		"luns at the bound": {maps[:1], luns[:iscsi.LUNsPerTarget], true},
		"luns beyond":       {maps[:1], luns, false},
	} {
		err := g.server.AddTarget(&iscsi.TargetSpec{Name: strings.ReplaceAll(name, " ", "-"), Maps: c.maps, LUNs: c.luns})
		if (err == nil) != c.ok {
			t.Errorf("%s: %v", name, err)
		}
	}
	g.close()
}

func TestValuesAreBounded(t *testing.T) {
	for beyond := range 2 {
		n := iscsi.Negotiation{Own: iscsi.DefaultParams(), Target: true, Leading: true}
		n.Start()
		value := strings.Repeat("v", iscsi.ValueMax+beyond)
		if _, ok := n.Take(iscsi.Pair{Key: "InitiatorAlias", Value: value}, iscsi.StageOperational); ok != (beyond == 0) {
			t.Errorf("a value of %d bytes is taken: %v", len(value), ok)
		}
		name := iscsi.Pair{Key: "InitiatorName", Value: strings.Repeat("n", iscsi.NameMax+beyond)}
		if _, ok := n.Take(name, iscsi.StageOperational); ok != (beyond == 0) {
			t.Errorf("a name of %d bytes is taken: %v", len(name.Value), ok)
		}
		challenge := iscsi.FormatBinary(make([]byte, iscsi.CHAPChallengeMax+beyond))
		if _, ok := iscsi.ParseBinary(challenge, iscsi.CHAPChallengeMax); ok != (beyond == 0) {
			t.Errorf("a challenge of %d bytes is taken: %v", iscsi.CHAPChallengeMax+beyond, ok)
		}
		long := "K=" + strings.Repeat("v", iscsi.LongValueMax+beyond) + "\x00"
		if _, _, ok := iscsi.NextPair(long); ok != (beyond == 0) {
			t.Errorf("a long value of %d bytes is one: %v", iscsi.LongValueMax+beyond, ok)
		}
	}
}
