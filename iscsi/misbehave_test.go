package iscsi_test

import (
	"slices"
	"testing"
	"time"

	"pollux/iscsi"
	"pollux/iscsi/iscsitest"
)

// TestMisbehaviour plays the table of what peers do wrong against a live server. A session beside them goes on.
func TestMisbehaviour(t *testing.T) {
	l := newLive(t, 2)
	stage := &iscsitest.Stage{
		Options: iscsitest.Options{
			Portal: l.portal, Target: rigTarget, ISID: iscsi.ISID{0x80, 0, 0, 9, 9, 9}, CmdSN: nearWrap, Timeout: 5 * time.Second,
		},
		Block: rigBlockSize,
	}
	honest := l.dial(1, nil)
	for _, c := range slices.Concat(iscsitest.BeforeLogin, iscsitest.InSession) {
		t.Run(c.Name, func(t *testing.T) {
			if err := c.Run(stage); err != nil {
				t.Error(err)
			}
			if _, err := honest.Ping(l.ctx, nil); err != nil {
				t.Fatalf("the honest session: %v", err)
			}
		})
	}
}

// TestLiveCutsByPeers: peers leave at chosen points, by RST, FIN and half close. newLive's end requires that nothing is left of them.
func TestLiveCutsByPeers(t *testing.T) {
	l := newLive(t, 2)
	stage := &iscsitest.Stage{
		Options: iscsitest.Options{
			Portal: l.portal, Target: rigTarget, ISID: iscsi.ISID{0x80, 0, 0, 9, 9, 9}, CmdSN: nearWrap, Timeout: 5 * time.Second,
		},
		Block: rigBlockSize,
	}
	honest := l.dial(1, nil)
	for range rounds(10) / 10 {
		for _, e := range iscsitest.Endings {
			half := stage.Options
			half.ISID[5]++ // A login that is cut may be done after the next one, and reinstate it.
			for _, c := range iscsitest.LoginCuts(half) {
				p, err := iscsitest.Connect(half)
				l.must(err)
				_ = c.Play(p, stage) // The target may have closed already.
				e.End(p)
			}
			for _, c := range iscsitest.Cuts() {
				p, err := iscsitest.LogInReady(stage.Options, 0)
				if err != nil {
					t.Fatalf("%s, %s: %v", c.Name, e.Name, err)
				}
				l.must(c.Play(p, stage))
				e.End(p)
				if _, err := honest.Ping(l.ctx, nil); err != nil {
					t.Fatalf("%s, %s: the honest session: %v", c.Name, e.Name, err)
				}
			}
		}
	}
}

// TestFloodOfConnections: many that never log in are bounded, and keep nobody out.
func TestFloodOfConnections(t *testing.T) {
	l := newLive(t, 1)
	honest := l.dial(1, nil)
	o := iscsitest.Options{Portal: l.portal, Target: rigTarget, Timeout: 5 * time.Second}
	stop, made := iscsitest.Flood(o, 2*iscsi.PendingLoginsMax, []byte{0x43})
	defer stop()
	if made < iscsi.PendingLoginsMax {
		t.Errorf("%d connections were made", made)
	}
	for i := range 10 {
		if _, err := honest.Ping(l.ctx, []byte("still here")); err != nil {
			t.Fatal(err)
		}
		l.dial(byte(20+i), nil)
	}
	// The kernel hands the flood over at its own pace: each ping lets the reactor go on.
	for range 1000 {
		if l.server.Counted("connections_refused") > 0 {
			return
		}
		if _, err := honest.Ping(l.ctx, []byte("and still")); err != nil {
			t.Fatal(err)
		}
	}
	t.Error("none was refused")
}
