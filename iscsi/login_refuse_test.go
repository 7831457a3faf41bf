package iscsi_test

import (
	"strings"
	"testing"

	"pollux/iscsi"
)

// login is a Login Request with these bits and this text, pairs separated by blanks.
func login(csg, nsg iscsi.Stage, transit bool, text string) iscsi.PDU {
	var p iscsi.PDU
	p.Clear(iscsi.OpLogin)
	p.SetImmediate(true)
	p.SetCSG(csg)
	p.SetNSG(nsg)
	p.SetTransit(transit)
	if text != "" {
		p.Data = []byte(strings.ReplaceAll(text, " ", "\x00") + "\x00")
	}
	return p
}

const names = "InitiatorName=iqn.host SessionType=Normal TargetName=" + targetName

// TestTargetRefuses gives the target series of requests, the last of which must be refused.
func TestTargetRefuses(t *testing.T) {
	edit := func(p iscsi.PDU, f func(*iscsi.PDU)) iscsi.PDU { f(&p); return p }
	chap := func(more ...iscsi.PDU) []iscsi.PDU {
		return append([]iscsi.PDU{login(0, 1, true, names+" AuthMethod=CHAP"), login(0, 0, false, "CHAP_A=7")}, more...)
	}
	hex := strings.Repeat("00", 32)
	for _, c := range []struct {
		name string
		auth iscsi.TargetAuth
		pdus []iscsi.PDU
		want iscsi.LoginStatus
	}{
		{"no initiator name", anyone, []iscsi.PDU{login(1, 3, true, "SessionType=Discovery")}, iscsi.LoginMissingParameter},
		{"no text", anyone, []iscsi.PDU{login(1, 3, true, "")}, iscsi.LoginMissingParameter},
		{"name twice", anyone, []iscsi.PDU{login(1, 3, true, names+" InitiatorName=iqn.host")}, iscsi.LoginInitiatorError},
		{"name changed", anyone, []iscsi.PDU{login(0, 1, true, names+" AuthMethod=None"), login(1, 3, true, "InitiatorName=iqn.other")}, iscsi.LoginInitiatorError},
		{"name later", anyone, []iscsi.PDU{login(0, 0, false, "InitiatorName=iqn.a SessionType=Discovery"), login(0, 0, false, "TargetName=iqn.a")}, iscsi.LoginInitiatorError},
		{"broken text", anyone, []iscsi.PDU{edit(login(1, 3, true, names), func(p *iscsi.PDU) { p.Data = p.Data[:len(p.Data)-1] })}, iscsi.LoginInitiatorError},
		{"reserved stage", anyone, []iscsi.PDU{login(2, 3, true, names)}, iscsi.LoginInitiatorError},
		{"full feature as current stage", anyone, []iscsi.PDU{login(3, 3, true, names)}, iscsi.LoginInitiatorError},
		{"to the reserved stage", anyone, []iscsi.PDU{login(0, 2, true, names)}, iscsi.LoginInitiatorError},
		{"to the same stage", anyone, []iscsi.PDU{login(1, 1, true, names)}, iscsi.LoginInitiatorError},
		{"backwards", anyone, []iscsi.PDU{login(1, 0, false, names), login(0, 1, true, "")}, iscsi.LoginInitiatorError},
		{"stage skipped without transition", anyone, []iscsi.PDU{login(0, 0, false, names), login(1, 3, true, "")}, iscsi.LoginInitiatorError},
		{"key twice", anyone, []iscsi.PDU{login(1, 3, true, names+" MaxBurstLength=512 MaxBurstLength=512")}, iscsi.LoginInitiatorError},
		{"key again in the next request", anyone, []iscsi.PDU{login(1, 0, false, names+" MaxBurstLength=512"), login(1, 0, false, "MaxBurstLength=512")}, iscsi.LoginInitiatorError},
		{"operational key in security stage", anyone, []iscsi.PDU{login(0, 1, true, names+" MaxBurstLength=512")}, iscsi.LoginInitiatorError},
		{"AuthMethod in operational stage", anyone, []iscsi.PDU{login(1, 3, true, names+" AuthMethod=None")}, iscsi.LoginInitiatorError},
		{"AuthMethod twice", anyone, []iscsi.PDU{login(0, 0, false, names+" AuthMethod=None"), login(0, 0, false, "AuthMethod=None")}, iscsi.LoginInitiatorError},
		{"bursts that do not fit", anyone, []iscsi.PDU{login(1, 3, true, names+" FirstBurstLength=4096 MaxBurstLength=1024")}, iscsi.LoginInitiatorError},
		{"another ISID", anyone, []iscsi.PDU{login(1, 0, false, names), edit(login(1, 3, true, ""), func(p *iscsi.PDU) { p.SetISID(iscsi.ISID{1}) })}, iscsi.LoginInitiatorError},
		{"another TSIH", anyone, []iscsi.PDU{login(1, 0, false, names), edit(login(1, 3, true, ""), func(p *iscsi.PDU) { p.SetTSIH(1) })}, iscsi.LoginInitiatorError},
		{"another CID", anyone, []iscsi.PDU{login(1, 0, false, names), edit(login(1, 3, true, ""), func(p *iscsi.PDU) { p.SetCID(1) })}, iscsi.LoginInitiatorError},
		{"method unknown", known(), []iscsi.PDU{login(0, 1, true, names+" AuthMethod=KRB5,SRP")}, iscsi.LoginAuthenticationFailure},
		{"leaves security stage unasked", known(), []iscsi.PDU{login(0, 1, true, names)}, iscsi.LoginAuthenticationFailure},
		{"CHAP before AuthMethod", known(), []iscsi.PDU{login(0, 0, false, names+" CHAP_A=7")}, iscsi.LoginInitiatorError},
		{"no algorithm in common", known(), []iscsi.PDU{login(0, 0, false, names+" AuthMethod=CHAP"), login(0, 0, false, "CHAP_A=8")}, iscsi.LoginAuthenticationFailure},
		{"name without response", known(), chap(login(0, 1, true, "CHAP_N=host")), iscsi.LoginInitiatorError},
		{"challenge without identifier", known(), chap(login(0, 1, true, "CHAP_N=host CHAP_R=0x"+hex+" CHAP_C=0x01")), iscsi.LoginInitiatorError},
		{"response that is no binary", known(), chap(login(0, 1, true, "CHAP_N=host CHAP_R=hello")), iscsi.LoginAuthenticationFailure},
		{"wrong response", known(), chap(login(0, 1, true, "CHAP_N=host CHAP_R=0x"+hex)), iscsi.LoginAuthenticationFailure},
		{"algorithm twice", known(), chap(login(0, 0, false, "CHAP_A=7")), iscsi.LoginInitiatorError},
	} {
		target := newTarget(c.auth)
		for i, p := range c.pdus {
			var rsp iscsi.BHS
			_, step := target.Handle(&p.BHS, p.Data, &rsp, nil)
			last := i == len(c.pdus)-1
			if last != (step == iscsi.LoginOver) {
				t.Errorf("%s: request %d ends with step %d", c.name, i, step)
			}
			if last && (rsp.LoginStatus() != c.want || rsp.Transit() || rsp.DataSegmentLength() != 0) {
				t.Errorf("%s: %v, want %v", c.name, rsp.LoginStatus(), c.want)
			}
		}
	}
}

// TestNamesSaidAgain: libiscsi says its names in each stage.
func TestNamesSaidAgain(t *testing.T) {
	target := newTarget(anyone)
	var rsp iscsi.BHS
	for _, p := range []iscsi.PDU{login(0, 1, true, names+" AuthMethod=None"), login(1, 3, true, names)} {
		if _, step := target.Handle(&p.BHS, p.Data, &rsp, nil); step == iscsi.LoginOver {
			t.Fatalf("refused: %v", rsp.LoginStatus())
		}
	}
	if rsp.NSG() != iscsi.StageFullFeature || !rsp.Transit() {
		t.Errorf("not in full feature phase: %x", rsp)
	}
}

func TestLeavingCHAPEarlyIsNotGranted(t *testing.T) {
	target := newTarget(known())
	for _, p := range []iscsi.PDU{login(0, 1, true, names+" AuthMethod=CHAP"), login(0, 3, true, "CHAP_A=7"), login(0, 1, true, "")} {
		var rsp iscsi.BHS
		if _, step := target.Handle(&p.BHS, p.Data, &rsp, nil); step != iscsi.LoginGoOn || rsp.Transit() || rsp.NSG() != 0 {
			t.Errorf("step %d, %x", step, rsp)
		}
	}
	p := login(1, 3, true, "")
	var rsp iscsi.BHS
	if _, step := target.Handle(&p.BHS, p.Data, &rsp, nil); step != iscsi.LoginOver {
		t.Error("the operational stage was entered without proof")
	}
}

// TestReflection plays the target's own challenge back (RFC 7143 9.2.1).
func TestReflection(t *testing.T) {
	target := newTarget(known())
	var challenge, identifier string
	for _, p := range []iscsi.PDU{login(0, 1, true, names+" AuthMethod=CHAP"), login(0, 0, false, "CHAP_A=7")} {
		var rsp iscsi.BHS
		text, _ := target.Handle(&p.BHS, p.Data, &rsp, nil)
		pairs, _ := iscsi.ParseText(text)
		for _, pair := range pairs {
			switch pair.Key {
			case "CHAP_C":
				challenge = pair.Value
			case "CHAP_I":
				identifier = pair.Value
			}
		}
	}
	c, _ := iscsi.ParseBinary(challenge, iscsi.CHAPChallengeMax)
	var id int
	for _, d := range identifier {
		id = id*10 + int(d-'0')
	}
	right := iscsi.FormatBinary(iscsi.CHAPResponse(iscsi.CHAPSHA256, uint8(id), secret, c))
	p := login(0, 1, true, "CHAP_N=host CHAP_R="+right+" CHAP_I="+identifier+" CHAP_C="+challenge)
	var rsp iscsi.BHS
	if text, step := target.Handle(&p.BHS, p.Data, &rsp, nil); step != iscsi.LoginOver || rsp.LoginStatus() != iscsi.LoginAuthenticationFailure || len(text) != 0 {
		t.Errorf("step %d, %v, %q", step, rsp.LoginStatus(), text)
	}
}

func TestLoginHasAnEnd(t *testing.T) {
	target := newTarget(anyone)
	p := login(1, 0, false, names)
	for round := range iscsi.LoginRoundsMax + 1 {
		var rsp iscsi.BHS
		_, step := target.Handle(&p.BHS, p.Data, &rsp, nil)
		if (step == iscsi.LoginOver) != (round == iscsi.LoginRoundsMax) {
			t.Fatalf("round %d ends with step %d", round, step)
		}
		p = login(1, 0, false, "")
	}
	target = newTarget(anyone)
	p = login(1, 0, false, "")
	p.SetContinue(true)
	p.Data = make([]byte, 5000)
	for round := range 2 {
		var rsp iscsi.BHS
		if _, step := target.Handle(&p.BHS, p.Data, &rsp, nil); (step == iscsi.LoginOver) != (round == 1) {
			t.Errorf("text of %d bytes: step %d", (round+1)*5000, step)
		}
	}
}

func TestInitiatorRefuses(t *testing.T) {
	for name, edit := range map[string]func(*iscsi.PDU){
		"another PDU":         func(p *iscsi.PDU) { p.SetOpcode(iscsi.OpNOPIn) },
		"another version":     func(p *iscsi.PDU) { p.SetVersionActive(1) },
		"another ISID":        func(p *iscsi.PDU) { p.SetISID(iscsi.ISID{9}) },
		"another stage":       func(p *iscsi.PDU) { p.SetCSG(0) },
		"another transition":  func(p *iscsi.PDU) { p.SetNSG(1) },
		"broken text":         func(p *iscsi.PDU) { p.Data = []byte("A") },
		"answers missing":     func(p *iscsi.PDU) { p.Data = nil },
		"a key of ours":       func(p *iscsi.PDU) { p.Data = iscsi.AppendPair(p.Data, "InitiatorName", "iqn.x") },
		"an answer again":     func(p *iscsi.PDU) { p.Data = iscsi.AppendPair(p.Data, "HeaderDigest", "CRC32C") },
		"an offer at the end": func(p *iscsi.PDU) { p.Data = iscsi.AppendPair(p.Data, "X-key", "1") },
	} {
		initiator, target := newInitiator(iscsi.InitiatorAuth{}), newTarget(anyone)
		var req, rsp iscsi.PDU
		req.Data = initiator.Request(&req.BHS, nil)
		rsp.Data, _ = target.Handle(&req.BHS, req.Data, &rsp.BHS, nil)
		edit(&rsp)
		if step, err := initiator.Handle(&rsp.BHS, rsp.Data); step != iscsi.LoginOver || err == nil {
			t.Errorf("%s: step %d, %v", name, step, err)
		}
	}
}

func FuzzLogin(f *testing.F) {
	for _, auth := range []iscsi.InitiatorAuth{{}, {Security: true}, {Name: "host", Secret: secret, TargetSecret: targetSecret}} {
		initiator, target := newInitiator(auth), newTarget(known())
		var stream []byte
		for range 5 {
			var req, rsp iscsi.PDU
			req.Data = initiator.Request(&req.BHS, nil)
			stream = req.Append(stream, false, false)
			rsp.Data, _ = target.Handle(&req.BHS, req.Data, &rsp.BHS, nil)
			if step, _ := initiator.Handle(&rsp.BHS, rsp.Data); step != iscsi.LoginGoOn {
				break
			}
		}
		f.Add(stream, true)
		f.Add(stream, false)
	}
	f.Fuzz(func(t *testing.T, stream []byte, open bool) {
		auth := known()
		auth.AllowNone = open
		target, initiator := newTarget(auth), newInitiator(iscsi.InitiatorAuth{Name: "host", Secret: secret})
		for r := strings.NewReader(string(stream)); ; {
			p, err := iscsi.ReadPDU(r, false, false, iscsi.LoginDataSegmentMax)
			if err != nil {
				return
			}
			p.SetOpcode(iscsi.OpLoginResponse)
			_, _ = initiator.Handle(&p.BHS, p.Data)
			p.SetOpcode(iscsi.OpLogin)
			var rsp iscsi.BHS
			text, step := target.Handle(&p.BHS, p.Data, &rsp, nil)
			if len(text) > iscsi.TextMax || len(text) != rsp.DataSegmentLength() {
				t.Fatalf("text of %d bytes", len(text))
			}
			if step == iscsi.LoginDone && target.User() == "" && !open {
				t.Fatal("in without proof")
			}
			if step != iscsi.LoginGoOn {
				return
			}
		}
	})
}
