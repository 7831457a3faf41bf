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
