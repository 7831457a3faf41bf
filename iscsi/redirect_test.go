package iscsi_test

import (
	"encoding/json"
	"fmt"
	"net"
	"strings"
	"testing"

	"pollux/iscsi"
	"pollux/iscsi/initiator"
)

// TestRedirectionIsTold: a login through the redirected portal group is sent elsewhere, one through another group is let in, and an
// initiator that may not use the target learns nothing.
func TestRedirectionIsTold(t *testing.T) {
	g := newRig(t, 1, nil)
	g.must(g.server.SetRedirect("disk1", 1, "2001:db8::7", "3261"))
	p := g.connect(0)
	p.far.Write(loginTo(rigTarget).Append(nil, false, false))
	g.Run()
	all := p.receive()
	if len(all) != 1 || all[0].LoginStatus() != iscsi.LoginMovedTemporarily || string(all[0].Data) != "TargetAddress=[2001:db8::7]:3261\x00" || !p.gone() {
		t.Errorf("answered by %v, gone %v", all, p.gone())
	}
	if n, refused := g.server.Counted("logins_redirected"), g.server.Counted("logins_refused"); n != 1 || refused != 0 {
		t.Errorf("counted %d redirections and %d refusals", n, refused)
	}
	g.must(g.server.ChangeGroup(1, []string{"iqn.somebody.else"}, []string{"ANY"}))
	p = g.connect(0)
	p.far.Write(loginTo(rigTarget).Append(nil, false, false))
	g.Run()
	if all := p.receive(); len(all) != 1 || all[0].LoginStatus() != iscsi.LoginAuthorizationFailure || len(all[0].Data) != 0 {
		t.Errorf("a stranger is answered by %v", all)
	}
	g.must(g.server.ChangeGroup(1, []string{"ANY"}, []string{"ANY"}))
	g.must(g.server.SetRedirect("disk1", 1, "", ""))
	g.newHost(0, nil).open(0).ready()
	g.close()
}

// loginTo is a login in one request.
func loginTo(target string) *iscsi.PDU {
	p := login(iscsi.StageOperational, iscsi.StageFullFeature, true, "InitiatorName="+rigInitiator+" SessionType=Normal TargetName="+target)
	return &p
}

// TestOpenSessionsStayWhenRedirected: until they are asked to log out.
func TestOpenSessionsStayWhenRedirected(t *testing.T) {
	g := newRig(t, 2, nil)
	h := g.newHost(0, nil).open(1).ready()
	g.must(g.server.SetRedirect("disk1", 1, "192.0.2.7", "3260"))
	h.ready()
	g.must(g.server.RequestLogout("disk1", 1))
	g.Run()
	if len(h.asyncs) != 1 || h.asyncs[0] != iscsi.AsyncRequestLogout {
		t.Errorf("asynchronous events %v", h.asyncs)
	}
	g.Advance(2 * iscsi.LogoutGrace)
	h.start(1)
	g.Run()
	if h.up || h.session.Redirect() != "192.0.2.7:3260" {
		t.Errorf("up %v, redirected to %q", h.up, h.session.Redirect())
	}
	g.close()
}

func TestRedirectionByCalls(t *testing.T) {
	g := newRPCRig(t)
	const method, failed = "iscsi_target_node_set_redirect", "-32602 Failed to redirect target disk1, (-22): Invalid argument: "
	g.call("iscsi_create_portal_group", `{"tag":3,"portals":[{"host":"127.0.0.1","port":"3263"}],"wait":true,"private":true}`, "true")
	g.call("iscsi_create_portal_group", `{"tag":4,"portals":[{"host":"127.0.0.1","port":"3264"}],"wait":true}`, "true")
	g.call(method, `{"name":"disk7","pg_tag":1}`, "-32602 Target disk7 is not found")
	for params, cause := range map[string]string{
		`"pg_tag":9,"redirect_host":"127.0.0.1","redirect_port":"3263"`:       "portal group 9 does not exist",
		`"pg_tag":3,"redirect_host":"127.0.0.1","redirect_port":"3263"`:       "portal group 3 is private: redirect from a public one",
		`"pg_tag":4,"redirect_host":"127.0.0.1","redirect_port":"3263"`:       "portal group 4 is not mapped to the target: see iscsi_target_node_add_pg_ig_maps",
		`"pg_tag":1,"redirect_host":"127.0.0.1"`:                              "redirect_host and redirect_port go together; without both the redirection ends",
		`"pg_tag":1,"redirect_port":"3263"`:                                   "redirect_host and redirect_port go together; without both the redirection ends",
		`"pg_tag":1,"redirect_host":"192.0.2.1","redirect_port":"3260"`:       "192.0.2.1:3260 is a portal of portal group 1 itself: choose one of another group",
		`"pg_tag":1,"redirect_host":"0.0.0.0","redirect_port":"3263"`:         "0.0.0.0:3263 is no address to which every initiator can connect",
		`"pg_tag":1,"redirect_host":"127.0.0.1","redirect_port":"0"`:          "127.0.0.1:0 is no address to which every initiator can connect",
		`"pg_tag":1,"redirect_host":"fe80::1%eth0","redirect_port":"3263"`:    "[fe80::1%eth0]:3263 is no address to which every initiator can connect",
		`"pg_tag":1,"redirect_host":"storage.example","redirect_port":"3263"`: `host "storage.example" is not an IPv4 or IPv6 address: names are not resolved, give the address, or 0.0.0.0 or [::] for all of the machine`,
	} {
		g.call(method, `{"name":"disk1",`+params+`}`, failed+cause)
	}
	g.call(method, `{"name":"disk1","pg_tag":1,"redirect_host":"127.0.0.1","redirect_port":3263}`, "true")
	g.call(method, `{"name":"disk1","pg_tag":1,"redirect_host":"[::1]","redirect_port":"3263"}`, "true")
	if got := g.saved("iscsi_target_node_set_redirect"); got != `{"name":"iqn.2016-06.io.spdk:disk1","pg_tag":1,"redirect_host":"::1","redirect_port":"3263"}` {
		t.Errorf("saved as %s", got)
	}
	g.call("iscsi_target_node_add_pg_ig_maps", `{"name":"disk1","pg_ig_maps":[{"pg_tag":4,"ig_tag":1}]}`, "true")
	g.call("iscsi_target_node_remove_pg_ig_maps", `{"name":"disk1","pg_ig_maps":[{"pg_tag":1,"ig_tag":1}]}`, "true")
	if got := g.saved("iscsi_target_node_set_redirect"); got != "" {
		t.Errorf("without its map it is still saved as %s", got)
	}
	g.close()
}

// saved are the parameters with which a method is saved, in all calls of it.
func (g *rpcRig) saved(method string) string {
	g.t.Helper()
	config, err := g.rpc.SaveConfig(g.t.Context())
	g.must(err)
	var all []string
	for _, s := range config.Subsystems {
		for _, e := range s.Config {
			if e.Method == method {
				b, err := json.Marshal(e.Params)
				g.must(err)
				all = append(all, string(b))
			}
		}
	}
	return strings.Join(all, " ")
}

// TestRedirectionIsFollowed: the initiator logs in where it is sent, and gives up when it is sent in circles.
func TestRedirectionIsFollowed(t *testing.T) {
	l := newLive(t, 1)
	to := l.listen(2, "127.0.0.1", true)
	host, port, err := net.SplitHostPort(to)
	l.must(err)
	l.must(l.server.AddMap("disk1", iscsi.Map{PortalGroup: 2, InitiatorGroup: 1}))
	l.must(l.server.SetRedirect("disk1", 1, host, port))
	c := l.dial(1, nil)
	if targets, err := c.SendTargets(l.ctx, ""); err != nil || len(targets) != 1 || targets[0].Addresses[len(targets[0].Addresses)-1] != to+",2" {
		t.Errorf("after the redirection the session sees %v, %v", targets, err)
	}
	l.must(c.Logout(l.ctx))

	circle := l.listen(3, "127.0.0.1", false)
	l.must(l.server.AddMap("disk1", iscsi.Map{PortalGroup: 3, InitiatorGroup: 1}))
	host, port, err = net.SplitHostPort(circle)
	l.must(err)
	l.must(l.server.SetRedirect("disk1", 1, host, port))
	host, port, err = net.SplitHostPort(l.portal)
	l.must(err)
	l.must(l.server.SetRedirect("disk1", 3, host, port))
	before := l.server.Counted("logins_redirected")
	_, err = initiator.Dial(l.ctx, l.client, l.portal, initiator.Config{Offers: initiator.Offers(rigInitiator, rigTarget)})
	if n := l.server.Counted("logins_redirected") - before; err == nil || n != initiator.RedirectsMax+1 {
		t.Errorf("sent in circles %d times: %v", n, err)
	}
}

// listen adds a portal group with one portal, and returns its address.
func (l *live) listen(tag int32, host string, private bool) string {
	l.t.Helper()
	g, err := iscsi.NewPortalGroup(tag, []iscsi.Portal{{Host: host, Port: "0"}}, private)
	l.must(err)
	l.must(l.server.AddPortalGroup(g, false))
	return l.server.Portals(tag)[0].String()
}

// TestWildcardPortalsTellTheAddressInUse: SendTargets answers with the address that the initiator has connected to.
func TestWildcardPortalsTellTheAddressInUse(t *testing.T) {
	l := newLive(t, 1)
	for i, c := range []struct{ listen, connect string }{
		{"0.0.0.0", "127.0.0.1"}, {"0.0.0.0", "127.0.0.2"}, {"*", "127.0.0.1"}, {"[::]", "127.0.0.1"}, {"[*]", "127.0.0.3"}, {"[::]", "::1"},
	} {
		tag := int32(10 + i)
		_, port, err := net.SplitHostPort(l.listen(tag, c.listen, false))
		l.must(err)
		probe, err := net.Listen("tcp", net.JoinHostPort(c.connect, "0"))
		if err != nil {
			t.Logf("%s: %v", c.connect, err)
			continue
		}
		l.must(probe.Close())
		l.must(l.server.ChangeGroup(1, []string{"ANY"}, []string{"ANY"}))
		l.must(l.server.AddMap("disk1", iscsi.Map{PortalGroup: tag, InitiatorGroup: 1}))
		portal := net.JoinHostPort(c.connect, port)
		targets, err := initiator.Discover(l.ctx, l.client, portal, initiator.Config{Offers: initiator.Offers(rigInitiator, "")})
		if err != nil || len(targets) != 1 || !strings.Contains(strings.Join(targets[0].Addresses, " "), fmt.Sprintf("%s,%d", portal, tag)) {
			t.Errorf("listening at %s and connected to %s: %v, %v", c.listen, portal, targets, err)
		}
	}
}
