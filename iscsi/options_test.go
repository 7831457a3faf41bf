package iscsi_test

import (
	"testing"

	"pollux/iscsi"
)

func TestOptionsThatCannotBeKeptAreRefused(t *testing.T) {
	for name, edit := range map[string]func(*iscsi.Options){
		"no sessions":          func(o *iscsi.Options) { o.MaxSessions = 0 },
		"too many sessions":    func(o *iscsi.Options) { o.MaxSessions = iscsi.SessionsMax + 1 },
		"no connections":       func(o *iscsi.Options) { o.MaxConnectionsPerSession = 0 },
		"no queue":             func(o *iscsi.Options) { o.MaxQueueDepth = 0 },
		"too long a queue":     func(o *iscsi.Options) { o.MaxQueueDepth = iscsi.QueueDepthMax + 1 },
		"long wait":            func(o *iscsi.Options) { o.DefaultTime2Wait = 3601 },
		"small first burst":    func(o *iscsi.Options) { o.FirstBurstLength = 511 },
		"recovery":             func(o *iscsi.Options) { o.ErrorRecoveryLevel = 1 },
		"negative NOP timeout": func(o *iscsi.Options) { o.NOPTimeout = -1 },
		"bad node base":        func(o *iscsi.Options) { o.NodeBase = "somewhere" },
		"bad letters":          func(o *iscsi.Options) { o.NodeBase = "iqn.2016-06.io spdk" },
		"CHAP both ways":       func(o *iscsi.Options) { o.DisableCHAP, o.RequireCHAP = true, true },
		"mutual without CHAP":  func(o *iscsi.Options) { o.MutualCHAP = true },
		"negative group":       func(o *iscsi.Options) { o.CHAPGroup = -1 },
		"auth file":            func(o *iscsi.Options) { o.AuthFile = "/etc/auth.conf" },
		"duplicate ISIDs":      func(o *iscsi.Options) { o.AllowDuplicatedISID = true },
		"no R2T":               func(o *iscsi.Options) { o.MaxR2TPerConnection = 0 },
	} {
		var o iscsi.Options
		o.SetDefaults()
		if err := o.Validate(); err != nil {
			t.Fatalf("defaults: %v", err)
		}
		if edit(&o); o.Validate() == nil {
			t.Errorf("%s: taken", name)
		}
	}
}

func TestPortalsThatMakeNoSenseAreRefused(t *testing.T) {
	for name, portals := range map[string][]iscsi.Portal{
		"none":         {},
		"no address":   {{Host: "", Port: "3260"}},
		"a name":       {{Host: "localhost", Port: "3260"}},
		"a high port":  {{Host: "127.0.0.1", Port: "65536"}},
		"a word":       {{Host: "127.0.0.1", Port: "iscsi"}},
		"one repeated": {{Host: "127.0.0.1", Port: "3260"}, {Host: "127.0.0.1", Port: ""}},
	} {
		if _, err := iscsi.NewPortalGroup(1, portals, false); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
	for _, host := range []string{"127.0.0.1", "[::1]", "::1", "0.0.0.0", "[::]", "*", "[*]"} {
		if _, err := iscsi.NewPortalGroup(1, []iscsi.Portal{{Host: host, Port: "3260"}}, false); err != nil {
			t.Errorf("%s: %v", host, err)
		}
	}
}
