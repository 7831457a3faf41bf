package iscsi_test

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"pollux/iscsi"
	"pollux/iscsi/iscsitest"
)

var update = flag.Bool("update", false, "rewrite testdata/login")

const (
	initiatorName = "iqn.2024-01.com.example:host"
	targetName    = "iqn.2024-01.com.example:disk"
	secret        = "initiator-secret"
	targetSecret  = "target-secret-too"
)

// newTarget is a target that knows one name and one initiator.
func newTarget(auth iscsi.TargetAuth) *iscsi.TargetLogin {
	l := &iscsi.TargetLogin{Admit: func(l *iscsi.TargetLogin) iscsi.LoginStatus {
		l.Keys.Own = iscsi.DefaultParams()
		l.Keys.Own.HeaderDigest, l.Keys.Own.DataDigest = "CRC32C,None", "CRC32C,None"
		l.Keys.Own.MaxRecvDataSegmentLength, l.Keys.Own.TargetPortalGroupTag = 65536, 3
		l.Auth = auth
		switch l.Keys.Result.TargetName {
		case targetName, "":
			return iscsi.LoginSuccess
		case "iqn.moved":
			l.Redirect = "192.0.2.1:3260,1"
			return iscsi.LoginMovedPermanently
		default:
			return iscsi.LoginNotFound
		}
	}}
	l.Start()
	return l
}

var anyone = iscsi.TargetAuth{AllowNone: true}

// known is a target that wants CHAP of one initiator.
func known() iscsi.TargetAuth {
	return iscsi.TargetAuth{AllowCHAP: true, Secret: func(name string) (iscsi.CHAPSecret, bool) {
		return iscsi.CHAPSecret{Secret: secret, TargetName: "disk", TargetSecret: targetSecret}, name == "host"
	}}
}

func newInitiator(auth iscsi.InitiatorAuth) *iscsi.InitiatorLogin {
	l := &iscsi.InitiatorLogin{Auth: auth, ISID: iscsi.ISID{0x40, 0, 1, 2, 3, 4}, CmdSN: 0xffffffe0, InitiatorTaskTag: 1}
	l.Keys.Own = iscsi.DefaultParams()
	l.Keys.Own.InitiatorName, l.Keys.Own.TargetName = initiatorName, targetName
	l.Keys.Own.HeaderDigest, l.Keys.Own.DataDigest = "CRC32C,None", "None"
	l.Keys.Own.MaxRecvDataSegmentLength = 262144
	l.Start()
	return l
}

// talk lets both machines log in and returns the transcript, and how each side ended.
func talk(t *testing.T, initiator *iscsi.InitiatorLogin, target *iscsi.TargetLogin, tamper func(round int, p *iscsi.PDU)) (transcript string, step iscsi.LoginStep, err error) {
	t.Helper()
	var b strings.Builder
	for round := range iscsi.LoginRoundsMax {
		var req, rsp iscsi.PDU
		req.Data = initiator.Request(&req.BHS, nil)
		if tamper != nil {
			tamper(round, &req)
		}
		b.WriteString("-> " + iscsitest.Print(&req))
		if fault := iscsi.Validate(&req.BHS, &iscsi.Limits{MaxRecvDataSegmentLength: iscsi.LoginDataSegmentMax}); fault != 0 {
			t.Fatalf("%v\n%s", fault, b.String())
		}
		var done iscsi.LoginStep
		rsp.Data, done = target.Handle(&req.BHS, req.Data, &rsp.BHS, nil)
		if done == iscsi.LoginDone {
			rsp.SetTSIH(77)
		}
		if rsp.DataSegmentLength() != len(rsp.Data) {
			t.Fatalf("DataSegmentLength is %d of %d", rsp.DataSegmentLength(), len(rsp.Data))
		}
		b.WriteString("<- " + iscsitest.Print(&rsp))
		step, err = initiator.Handle(&rsp.BHS, rsp.Data)
		if done == iscsi.LoginOver && step != iscsi.LoginOver || step == iscsi.LoginDone && done != iscsi.LoginDone {
			t.Fatalf("target is at step %d, initiator at %d\n%s", done, step, b.String())
		}
		if step != iscsi.LoginGoOn {
			return b.String(), step, err
		}
	}
	t.Fatalf("no end\n%s", b.String())
	return "", 0, nil
}

var random = regexp.MustCompile(`(CHAP_[IRC])=(0x[0-9a-f]+|[0-9]+)`)

// golden compares with testdata/login/name.txt; what is drawn at random is only counted.
func golden(t *testing.T, name, transcript string) {
	t.Helper()
	transcript = random.ReplaceAllStringFunc(transcript, func(s string) string {
		key, value, _ := strings.Cut(s, "=")
		if key == "CHAP_I" {
			return "CHAP_I=(random)"
		}
		return fmt.Sprintf("%s=(%d random bytes)", key, len(value)/2-1)
	})
	path := filepath.Join("testdata", "login", name+".txt")
	if *update {
		if err := os.WriteFile(path, []byte(transcript), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil || string(want) != transcript {
		t.Errorf("%s differs (%v):\n%s", path, err, transcript)
	}
}

func TestLogins(t *testing.T) {
	host := iscsi.InitiatorAuth{Name: "host", Secret: secret}
	mutual := iscsi.InitiatorAuth{Name: "host", Secret: secret, TargetName: "disk", TargetSecret: targetSecret}
	needMutual := known()
	needMutual.NeedMutual = true
	for _, c := range []struct {
		name   string
		auth   iscsi.TargetAuth
		from   iscsi.InitiatorAuth
		edit   func(*iscsi.InitiatorLogin)
		tamper func(int, *iscsi.PDU)
		err    error
	}{
		{name: "none", auth: anyone},
		{name: "none-with-security-stage", auth: anyone, from: iscsi.InitiatorAuth{Security: true}},
		{name: "chap", auth: known(), from: host},
		{name: "chap-mutual", auth: needMutual, from: mutual},
		{name: "discovery", auth: anyone, edit: func(l *iscsi.InitiatorLogin) {
			l.Keys.Own.SessionType, l.Keys.Own.TargetName = iscsi.SessionDiscovery, ""
		}},
		{name: "second-connection", auth: anyone, edit: func(l *iscsi.InitiatorLogin) { l.TSIH = 77 }},
		{name: "secret-wrong", auth: known(), from: iscsi.InitiatorAuth{Name: "host", Secret: "something else"}, err: iscsi.LoginAuthenticationFailure},
		{name: "name-unknown", auth: known(), from: iscsi.InitiatorAuth{Name: "guest", Secret: secret}, err: iscsi.LoginAuthenticationFailure},
		{name: "chap-skipped", auth: known(), err: iscsi.LoginAuthenticationFailure},
		{name: "chap-not-offered", auth: known(), from: iscsi.InitiatorAuth{Security: true}, err: iscsi.LoginAuthenticationFailure},
		{name: "chap-not-known", auth: anyone, from: host, err: iscsi.LoginAuthenticationFailure},
		{name: "mutual-not-asked", auth: needMutual, from: host, err: iscsi.LoginAuthenticationFailure},
		{name: "target-secret-wrong", auth: known(), from: iscsi.InitiatorAuth{Name: "host", Secret: secret, TargetSecret: "not the target's"}, err: iscsi.ErrLoginTarget},
		{name: "target-name-wrong", auth: known(), from: iscsi.InitiatorAuth{Name: "host", Secret: secret, TargetName: "x", TargetSecret: targetSecret}, err: iscsi.ErrLoginTarget},
		{name: "target-unknown", auth: anyone, edit: func(l *iscsi.InitiatorLogin) { l.Keys.Own.TargetName = "iqn.nobody" }, err: iscsi.LoginNotFound},
		{name: "target-moved", auth: anyone, edit: func(l *iscsi.InitiatorLogin) { l.Keys.Own.TargetName = "iqn.moved" }, err: iscsi.LoginMovedPermanently},
		{name: "target-missing", auth: anyone, edit: func(l *iscsi.InitiatorLogin) { l.Keys.Own.TargetName = "" }, err: iscsi.LoginMissingParameter},
		{name: "session-type-unknown", auth: anyone, edit: func(l *iscsi.InitiatorLogin) { l.Keys.Own.SessionType = "Strange" }, err: iscsi.LoginSessionTypeNotSupported},
		{name: "version", auth: anyone, tamper: func(_ int, p *iscsi.PDU) { p.SetVersionMin(1); p.SetVersionMax(1) }, err: iscsi.LoginUnsupportedVersion},
	} {
		t.Run(c.name, func(t *testing.T) {
			initiator, target := newInitiator(c.from), newTarget(c.auth)
			if c.edit != nil {
				c.edit(initiator)
				initiator.Start()
			}
			transcript, step, err := talk(t, initiator, target, c.tamper)
			golden(t, c.name, transcript)
			if err != c.err || (step == iscsi.LoginDone) != (c.err == nil) {
				t.Errorf("step %d, %v, want %v\n%s", step, err, c.err, transcript)
			}
			if c.err == nil {
				checkAgreed(t, initiator, target, c.from.Name)
			}
		})
	}
}

func checkAgreed(t *testing.T, initiator *iscsi.InitiatorLogin, target *iscsi.TargetLogin, user string) {
	t.Helper()
	i, r := initiator.Keys.Result, target.Keys.Result
	if initiator.TSIH != 77 || target.User() != user || target.CmdSN != 0xffffffe0 {
		t.Errorf("TSIH %d, user %q, CmdSN %#x", initiator.TSIH, target.User(), target.CmdSN)
	}
	if i.HasHeaderDigest() != r.HasHeaderDigest() || i.HasDataDigest() || !r.HasHeaderDigest() {
		t.Errorf("digests: initiator %s %s, target %s %s", i.HeaderDigest, i.DataDigest, r.HeaderDigest, r.DataDigest)
	}
	if i.MaxSendDataSegmentLength != 65536 || r.MaxSendDataSegmentLength != 262144 || r.InitiatorName != initiatorName {
		t.Errorf("initiator has %+v, target %+v", i, r)
	}
}

func TestTextThatGoesOn(t *testing.T) {
	initiator, target := newInitiator(iscsi.InitiatorAuth{}), newTarget(anyone)
	var req, rsp iscsi.BHS
	text := initiator.Request(&req, nil)
	whole := req
	for len(text) > 50 {
		req.SetTransit(false)
		req.SetContinue(true)
		answer, step := target.Handle(&req, text[:50], &rsp, nil)
		if step != iscsi.LoginGoOn || len(answer) != 0 || rsp.Transit() || rsp.Continue() || rsp.LoginStatus() != 0 {
			t.Fatalf("step %d, answer %q, %x", step, answer, rsp)
		}
		text = text[50:]
	}
	if _, step := target.Handle(&whole, text, &rsp, nil); step != iscsi.LoginDone {
		t.Errorf("step %d, %v", step, rsp.LoginStatus())
	}
}

func TestCutAnswerOfTheTarget(t *testing.T) {
	initiator, target := newInitiator(iscsi.InitiatorAuth{}), newTarget(anyone)
	var req, rsp iscsi.BHS
	text := initiator.Request(&req, nil)
	answer, _ := target.Handle(&req, text, &rsp, nil)
	first := rsp
	first.SetTransit(false)
	first.SetNSG(0)
	first.SetContinue(true)
	if step, err := initiator.Handle(&first, answer[:30]); step != iscsi.LoginGoOn || err != nil {
		t.Fatalf("step %d, %v", step, err)
	}
	if text = initiator.Request(&req, nil); len(text) != 0 || req.Transit() {
		t.Fatalf("asks for the rest with %q", text)
	}
	rsp.SetTransit(false)
	rsp.SetNSG(0)
	if step, err := initiator.Handle(&rsp, answer[30:]); step != iscsi.LoginGoOn || err != nil {
		t.Fatalf("step %d, %v", step, err)
	}
	if initiator.Request(&req, nil); !req.Transit() || req.NSG() != iscsi.StageFullFeature {
		t.Error("does not ask for full feature phase again")
	}
}
