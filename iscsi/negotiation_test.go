package iscsi

import (
	"fmt"
	"strings"
	"testing"
)

func newTarget(edit func(*Params)) *Negotiation {
	n := &Negotiation{Target: true, Leading: true, Own: DefaultParams()}
	n.Own.HeaderDigest, n.Own.DataDigest = "CRC32C,None", "CRC32C,None"
	n.Own.MaxBurstLength, n.Own.FirstBurstLength, n.Own.MaxOutstandingR2T = 1<<20, 65536, 4
	n.Own.InitialR2T = false
	if edit != nil {
		edit(&n.Own)
	}
	n.Start()
	return n
}

// TestAnswers has a line per rule: offer, the target's answer ("-" none, "!" refused).
func TestAnswers(t *testing.T) {
	for _, c := range []struct{ key, offer, answer string }{
		{"HeaderDigest", "None", "None"},
		{"HeaderDigest", "CRC32C", "CRC32C"},
		{"HeaderDigest", "None,CRC32C", "None"},
		{"HeaderDigest", "CRC32C,None", "CRC32C"},
		{"HeaderDigest", "Z-md5,CRC32C", "CRC32C"},
		{"HeaderDigest", "MD5", "Reject"},
		{"DataDigest", "CRC32C", "CRC32C"},
		{"MaxRecvDataSegmentLength", "262144", "-"},
		{"MaxRecvDataSegmentLength", "0x40000", "-"},
		{"MaxRecvDataSegmentLength", "511", "!"},
		{"MaxRecvDataSegmentLength", "16777216", "!"},
		{"MaxRecvDataSegmentLength", "4k", "!"},
		{"MaxRecvDataSegmentLength", "-512", "!"},
		{"MaxConnections", "8", "1"},
		{"MaxConnections", "0", "Reject"},
		{"InitialR2T", "No", "No"},
		{"InitialR2T", "Yes", "Yes"},
		{"InitialR2T", "yes", "Reject"},
		{"ImmediateData", "No", "No"},
		{"ImmediateData", "Yes", "Yes"},
		{"MaxBurstLength", "16776192", "1048576"},
		{"MaxBurstLength", "65536", "65536"},
		{"MaxBurstLength", "16777216", "Reject"},
		{"FirstBurstLength", "262144", "65536"},
		{"FirstBurstLength", "512", "512"},
		{"FirstBurstLength", "99999999999999999999", "Reject"},
		{"DefaultTime2Wait", "0", "2"},
		{"DefaultTime2Wait", "5", "5"},
		{"DefaultTime2Wait", "3601", "Reject"},
		{"DefaultTime2Retain", "0", "0"},
		{"DefaultTime2Retain", "60", "20"},
		{"MaxOutstandingR2T", "1", "1"},
		{"MaxOutstandingR2T", "16", "4"},
		{"DataPDUInOrder", "No", "Yes"},
		{"DataSequenceInOrder", "No", "Yes"},
		{"ErrorRecoveryLevel", "2", "0"},
		{"ErrorRecoveryLevel", "3", "Reject"},
		{"TaskReporting", "FastAbort,RFC3720", "RFC3720"},
		{"TaskReporting", "ResponseFence", "Reject"},
		{"iSCSIProtocolLevel", "2", "1"},
		{"IFMarker", "No", "No"},
		{"OFMarker", "Yes", "No"},
		{"IFMarkInt", "1~65535", "Reject"},
		{"OFMarkInt", "2048", "Reject"},
		{"X-com.example.speed", "11", "NotUnderstood"},
		{"Nonsense", "", "NotUnderstood"},
		{"Nonsense", "NotUnderstood", "!"},
		{"MaxBurstLength", "Reject", "!"},
		{"HeaderDigest", strings.Repeat("a", 256), "!"},
		{"SessionType", "Normal", "-"},
		{"InitiatorName", "", "!"},
		{"InitiatorName", strings.Repeat("i", NameMax+1), "!"},
		{"TargetPortalGroupTag", "1", "!"},
		{"TargetAddress", "10.0.0.1:3260,1", "!"}, // the target's alone
		{"SendTargets", "All", "!"},
		{"AuthMethod", "None", "!"},
		{"CHAP_A", "5", "!"},
	} {
		n := newTarget(nil)
		reply, ok := n.Take(Pair{c.key, c.offer}, StageOperational)
		got := reply
		switch {
		case !ok:
			got = "!"
		case reply == "":
			got = "-"
		}
		if got != c.answer {
			t.Errorf("%s=%s is answered with %s, want %s", c.key, c.offer, got, c.answer)
		}
	}
}

func TestResultsOfBothSidesAgree(t *testing.T) {
	target := newTarget(func(p *Params) { p.MaxRecvDataSegmentLength = 131072; p.ImmediateData = false })
	initiator := &Negotiation{Leading: true, Own: DefaultParams()}
	initiator.Own.HeaderDigest, initiator.Own.DataDigest = "CRC32C", "None,CRC32C"
	initiator.Own.MaxRecvDataSegmentLength, initiator.Own.MaxBurstLength = 262144, 524288
	initiator.Own.InitialR2T, initiator.Own.MaxOutstandingR2T = false, 2
	initiator.Start()
	exchange(t, initiator, target, initiator.Offer(nil))
	exchange(t, target, initiator, target.Declare(nil))
	if initiator.Pending() || target.Pending() || !initiator.Consistent() || !target.Consistent() || !target.Acceptable() {
		t.Error("something is left open")
	}
	i, r := initiator.Result, target.Result
	if i.MaxSendDataSegmentLength != 131072 || r.MaxSendDataSegmentLength != 262144 || i.MaxRecvDataSegmentLength != 262144 {
		t.Errorf("segment lengths: initiator sends %d, target %d", i.MaxSendDataSegmentLength, r.MaxSendDataSegmentLength)
	}
	i.MaxSendDataSegmentLength, r.MaxSendDataSegmentLength = r.MaxRecvDataSegmentLength, i.MaxRecvDataSegmentLength
	i.MaxRecvDataSegmentLength = r.MaxRecvDataSegmentLength
	r.MaxSendDataSegmentLength = i.MaxSendDataSegmentLength
	if i != r {
		t.Errorf("initiator has %+v\ntarget has %+v", i, r)
	}
	if !i.HasHeaderDigest() || i.HasDataDigest() || i.ImmediateData || i.InitialR2T || i.MaxBurstLength != 524288 || i.MaxOutstandingR2T != 2 {
		t.Errorf("agreed on %+v", i)
	}
}

// exchange gives from's text to to, and to's answers back.
func exchange(t *testing.T, from, to *Negotiation, text []byte) {
	t.Helper()
	pairs, ok := ParseText(text)
	if !ok {
		t.Fatalf("bad text %q", text)
	}
	for _, p := range pairs {
		reply, ok := to.Take(p, StageOperational)
		if !ok {
			t.Fatalf("%v is refused", p)
		}
		if reply != "" {
			if _, ok := from.Take(Pair{p.Key, reply}, StageOperational); !ok {
				t.Fatalf("the answer %s to %v is refused", reply, p)
			}
		}
	}
}

func TestRepeatedKeyIsRefused(t *testing.T) {
	for i := range keys {
		k := &keys[i]
		if k.kind == kindElse || k.use&useInitiator == 0 || !k.use.allows(StageOperational) {
			continue
		}
		n := newTarget(nil)
		p := Pair{k.name, "1024"}
		n.Take(p, StageOperational)
		if _, ok := n.Take(p, StageOperational); ok {
			t.Errorf("%s is taken twice", k.name)
		}
	}
}

func TestKeysHaveTheirStage(t *testing.T) {
	for i := range keys {
		k := &keys[i]
		if k.kind == kindElse || k.use&useInitiator == 0 {
			continue
		}
		p := Pair{k.name, "1024"}
		if _, ok := newTarget(nil).Take(p, StageSecurity); ok != k.use.allows(StageSecurity) {
			t.Errorf("%s in SecurityNegotiation: %v", k.name, ok)
		}
		reply, ok := newTarget(nil).Take(p, StageFullFeature)
		if want := map[bool]string{true: "", false: Reject}[k.use.allows(StageFullFeature)]; !ok || reply != want {
			t.Errorf("%s in full feature phase: %q, %v", k.name, reply, ok)
		}
	}
}

func TestSegmentLengthChangesInFullFeaturePhase(t *testing.T) {
	n := newTarget(nil)
	n.Take(Pair{"MaxRecvDataSegmentLength", "4096"}, StageOperational)
	for _, v := range []uint32{8192, 1024} {
		if _, ok := n.Take(Pair{"MaxRecvDataSegmentLength", fmt.Sprint(v)}, StageFullFeature); !ok || n.Result.MaxSendDataSegmentLength != v {
			t.Errorf("after %d it is %d, %v", v, n.Result.MaxSendDataSegmentLength, ok)
		}
	}
}

func TestDiscoveryAndSecondConnection(t *testing.T) {
	n := newTarget(nil)
	n.Take(Pair{"SessionType", SessionDiscovery}, StageOperational)
	for key, want := range map[string]string{"MaxBurstLength": Irrelevant, "ImmediateData": Irrelevant, "HeaderDigest": None, "DefaultTime2Wait": "2"} {
		if reply, ok := n.Take(Pair{key, map[string]string{"HeaderDigest": None, "DefaultTime2Wait": "1"}[key] + map[string]string{"MaxBurstLength": "512", "ImmediateData": "Yes"}[key]}, StageOperational); !ok || reply != want {
			t.Errorf("discovery: %s is answered with %q, %v", key, reply, ok)
		}
	}
	n = newTarget(nil)
	n.Leading = false
	if reply, ok := n.Take(Pair{"MaxBurstLength", "512"}, StageOperational); !ok || reply != Reject {
		t.Errorf("second connection: %q, %v", reply, ok)
	}
	if reply, ok := n.Take(Pair{"HeaderDigest", "CRC32C"}, StageOperational); !ok || reply != CRC32C {
		t.Errorf("second connection: %q, %v", reply, ok)
	}
}

func TestTargetOffersWhatItCannotDoWithout(t *testing.T) {
	n := newTarget(func(p *Params) {
		p.HeaderDigest, p.FirstBurstLength, p.ImmediateData = CRC32C, 8192, false
	})
	if n.Acceptable() {
		t.Error("the defaults are acceptable")
	}
	n.Take(Pair{"FirstBurstLength", "16384"}, StageOperational)
	text := string(n.Declare(nil))
	if text != "HeaderDigest=CRC32C\x00MaxRecvDataSegmentLength=8192\x00ImmediateData=No\x00" {
		t.Errorf("declares %q", text)
	}
	if !n.Pending() {
		t.Error("nothing is pending")
	}
	for _, p := range []Pair{{"HeaderDigest", "CRC32C"}, {"ImmediateData", "No"}} {
		if reply, ok := n.Take(p, StageOperational); !ok || reply != "" {
			t.Errorf("%v: %q, %v", p, reply, ok)
		}
	}
	if n.Pending() || !n.Acceptable() || !n.Result.HasHeaderDigest() || n.Result.ImmediateData || n.Result.FirstBurstLength != 8192 {
		t.Errorf("agreed on %+v", n.Result)
	}
}

func TestWrongAnswersAreRefused(t *testing.T) {
	for _, p := range []Pair{
		{"HeaderDigest", "CRC32C"},
		{"MaxBurstLength", "300000"},
		{"DefaultTime2Wait", "1"},
		{"ImmediateData", "Yes"},
		{"InitialR2T", "No"},
		{"MaxConnections", "none"},
		{"ImmediateData", "NotUnderstood"},
		{"MaxOutstandingR2T", ""},
	} {
		n := &Negotiation{Leading: true, Own: DefaultParams()}
		n.Own.ImmediateData = false
		n.Start()
		n.Offer(nil)
		if _, ok := n.Take(p, StageOperational); ok {
			t.Errorf("%v is taken for an answer", p)
		}
	}
}

func TestBurstLengthsFit(t *testing.T) {
	n := newTarget(nil)
	n.Take(Pair{"MaxBurstLength", "4096"}, StageOperational)
	if !n.Consistent() || n.Result.FirstBurstLength != 4096 {
		t.Errorf("the default FirstBurstLength became %d", n.Result.FirstBurstLength)
	}
	n.Take(Pair{"FirstBurstLength", "8192"}, StageOperational)
	if n.Consistent() {
		t.Error("FirstBurstLength beyond MaxBurstLength was agreed on")
	}
}
