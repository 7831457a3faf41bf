package target

import (
	"strings"
	"testing"
	"time"
)

// TestServersServe starts every kind of server there is a driver for, and asks each for its targets.
func TestServersServe(t *testing.T) {
	for _, kind := range []Kind{Pollux, Tgt, Gotgt} {
		t.Run(string(kind), func(t *testing.T) {
			s := Start(t, OneLUN(kind, LUN{Backing: Malloc, Size: 16 << 20}))
			out := Run(t, time.Minute, "iscsi-ls", s.PortalURL("disk"))
			if !strings.Contains(out, IQN("disk")) {
				t.Fatalf("iscsi-ls does not list %s:\n%s", IQN("disk"), out)
			}
			if _, err := s.CPUTime(); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestServerComesBack stops and kills a server and finds its data again on the same portal.
func TestServerComesBack(t *testing.T) {
	for _, cfg := range UnderTest(t) {
		t.Run(cfg.String(), func(t *testing.T) {
			cfg.Nodes = []Node{{Name: "disk", LUNs: []LUN{{Backing: AIO, Size: 16 << 20, BlockSize: 4096}}}}
			s := Start(t, cfg)
			for _, end := range []func() error{s.Stop, s.Kill} {
				if err := end(); err != nil {
					t.Fatal(err)
				}
				if s.Running() || s.portalAnswers() == nil {
					t.Fatal("the server is still there")
				}
				if err := s.Start(); err != nil {
					t.Fatal(err)
				}
				out := Run(t, time.Minute, "iscsi-readcapacity16", s.URL("disk", 0))
				if !strings.Contains(out, "4096") {
					t.Fatalf("capacity after a restart:\n%s", out)
				}
			}
		})
	}
}

func TestConfigIsChecked(t *testing.T) {
	for name, cfg := range map[string]Config{
		"no node":      {Kind: Tgt},
		"half a block": OneLUN(Tgt, LUN{Backing: AIO, Size: 1000}),
		"no backing":   OneLUN(Tgt, LUN{Size: 512}),
		"no driver":    OneLUN("else", LUN{Backing: AIO, Size: 512}),
	} {
		if s, err := Launch(cfg); err == nil {
			s.Close()
			t.Errorf("%s: a server was launched", name)
		}
	}
}
