package interop

import (
	"fmt"
	"strings"
	"sync"
	"testing"

	"pollux/test/target"
)

var smallLUN = target.LUN{Backing: target.Malloc, Size: 1 << 20}

// TestWrongSecretIsRefused makes sure that the runs with CHAP mean something.
func TestWrongSecretIsRefused(t *testing.T) {
	for _, cfg := range target.UnderTest(t) {
		t.Run(cfg.String(), func(t *testing.T) {
			right := &target.CHAP{User: "alice", Secret: "alices-secret-1"}
			cfg.Nodes = []target.Node{{Name: "disk", LUNs: []target.LUN{smallLUN}, CHAP: right}}
			srv := target.Start(t, cfg)
			target.Run(t, limit, "iscsi-inq", srv.URL("disk", 0))
			for _, wrong := range []string{"alice%alices-secret-2@", "eve%alices-secret-1@", ""} {
				url := fmt.Sprintf("iscsi://%s%s/%s/%d", wrong, srv.Portal(), target.IQN("disk"), srv.LUN(0))
				mustRefuse(t, "iscsi-inq", url)
			}
		})
	}
}

// TestInitiatorsByName: a node that is for one initiator is neither shown to others nor lets them in.
func TestInitiatorsByName(t *testing.T) {
	const friend, stranger = "iqn.2026-01.test:friend", "iqn.2026-01.test:stranger"
	for _, cfg := range target.UnderTest(t) {
		t.Run(cfg.String(), func(t *testing.T) {
			cfg.Nodes = []target.Node{
				{Name: "private", LUNs: []target.LUN{smallLUN}, Initiators: []string{friend}},
				{Name: "public", LUNs: []target.LUN{smallLUN}},
			}
			srv := target.Start(t, cfg)
			target.Run(t, limit, "iscsi-inq", "-i", friend, srv.URL("private", 0))
			mustSay(t, target.Run(t, limit, "iscsi-ls", "-i", friend, srv.PortalURL("")), target.IQN("private"), target.IQN("public"))
			mustRefuse(t, "iscsi-inq", "-i", stranger, srv.URL("private", 0))
			target.Run(t, limit, "iscsi-inq", "-i", stranger, srv.URL("public", 0))
			if out := target.Run(t, limit, "iscsi-ls", "-i", stranger, srv.PortalURL("")); strings.Contains(out, target.IQN("private")) {
				t.Errorf("discovery shows a stranger what it may not use:\n%s", out)
			}
		})
	}
}

func TestIPv6(t *testing.T) {
	for _, cfg := range target.UnderTest(t) {
		t.Run(cfg.String(), func(t *testing.T) {
			cfg.Host = "::1"
			cfg.Nodes = []target.Node{{Name: "disk", LUNs: []target.LUN{smallLUN}}}
			srv := target.Start(t, cfg)
			mustSay(t, target.Run(t, limit, "iscsi-ls", srv.PortalURL("disk")), target.IQN("disk"), srv.Portal())
			mustSay(t, target.Run(t, limit, "iscsi-inq", srv.URL("disk", 0)), "DIRECT_ACCESS")
		})
	}
}

// TestManyLUNsManyInitiators: each of many LUNs is found and answers, many initiators at a time.
func TestManyLUNsManyInitiators(t *testing.T) {
	const luns, initiators = 32, 16
	for _, cfg := range target.UnderTest(t) {
		t.Run(cfg.String(), func(t *testing.T) {
			node := target.Node{Name: "disk"}
			for range luns {
				node.LUNs = append(node.LUNs, smallLUN)
			}
			cfg.Nodes = []target.Node{node}
			srv := target.Start(t, cfg)
			listed := target.Run(t, limit, "iscsi-ls", "--show-luns", srv.PortalURL("disk"))
			for i := range luns {
				mustSay(t, listed, fmt.Sprintf("Lun:%d ", srv.LUN(i)))
			}
			var all sync.WaitGroup
			for n := range initiators {
				all.Go(func() {
					for i := n; i < luns; i += initiators {
						out, err := target.TryRun(t, limit, "iscsi-inq", "-i", fmt.Sprintf("iqn.2026-01.test:i%d", n), srv.URL("disk", i))
						if err != nil {
							t.Errorf("initiator %d, LUN %d: %v\n%s", n, i, err, out)
						}
					}
				})
			}
			all.Wait()
		})
	}
}

func mustRefuse(t *testing.T, name string, args ...string) {
	t.Helper()
	if out, err := target.TryRun(t, limit, name, args...); err == nil {
		t.Errorf("%s %s was let in:\n%s", name, strings.Join(args, " "), out)
	}
}
