package iscsi_test

import (
	"errors"
	"net/netip"
	"strings"
	"testing"

	"pollux/iscsi"
	"pollux/iscsi/initiator"
)

func TestInitiatorGroupMembers(t *testing.T) {
	for _, c := range []struct {
		initiators, netmasks string
		name, addr           string
		allowed, denied      bool
	}{
		{"ANY", "ANY", "iqn.a", "192.0.2.9", true, false},
		{"ALL", "ALL", "iqn.a", "2001:db8::1", true, false},
		{"iqn.a", "ANY", "iqn.a", "192.0.2.9", true, false},
		{"iqn.a", "ANY", "IQN.A", "192.0.2.9", true, false},
		{"iqn.a", "ANY", "iqn.ab", "192.0.2.9", false, false},
		{"!iqn.a ANY", "ANY", "iqn.a", "192.0.2.9", false, true},
		{"!iqn.a ANY", "ANY", "iqn.b", "192.0.2.9", true, false},
		{"ANY !iqn.a", "ANY", "iqn.a", "192.0.2.9", true, false}, // the first that matches decides
		{"!ANY", "ANY", "iqn.a", "192.0.2.9", false, true},
		{"ANY", "192.0.2.0/29", "iqn.a", "192.0.2.7", true, false},
		{"ANY", "192.0.2.0/29", "iqn.a", "192.0.2.8", false, false},
		{"ANY", "192.0.2.0/29", "iqn.a", "::ffff:192.0.2.7", true, false},
		{"ANY", "192.0.2.7", "iqn.a", "192.0.2.7", true, false},
		{"ANY", "[2001:db8::]/32", "iqn.a", "2001:db8:1::1", true, false},
		{"ANY", "2001:db8::/32", "iqn.a", "2001:db9::1", false, false},
		{"ANY", "fe80::/10", "iqn.a", "fe80::1%eth0", true, false},
		{"ANY", "0.0.0.0/0", "iqn.a", "2001:db8::1", false, false},
		{"", "ANY", "iqn.a", "192.0.2.9", false, false},
		{"ANY", "", "iqn.a", "192.0.2.9", false, false},
	} {
		g, err := iscsi.NewInitiatorGroup(1, strings.Fields(c.initiators), strings.Fields(c.netmasks))
		if err != nil {
			t.Errorf("%+v: %v", c, err)
			continue
		}
		allowed, denied := g.Judge(c.name, netip.MustParseAddr(c.addr))
		if allowed != c.allowed || denied != c.denied {
			t.Errorf("%+v: allowed %v, denied %v", c, allowed, denied)
		}
	}
}

func TestInitiatorGroupRefuses(t *testing.T) {
	for _, c := range []struct{ initiators, netmasks string }{
		{"iqn.a iqn.a", "ANY"},
		{"ANY ALL", "ANY"},
		{"ANY", "ANY ANY"},
		{"ANY", "192.0.2.1/33"},
		{"ANY", "192.0.2/24"},
		{"ANY", "here"},
		{"!", "ANY"},
		{strings.Repeat("x", iscsi.NameMax+1), "ANY"},
	} {
		if _, err := iscsi.NewInitiatorGroup(1, strings.Fields(c.initiators), strings.Fields(c.netmasks)); err == nil {
			t.Errorf("%+v is taken", c)
		}
	}
	for _, tag := range []int32{0, -1, iscsi.TagMax + 1} {
		if _, err := iscsi.NewInitiatorGroup(tag, nil, nil); err == nil {
			t.Errorf("tag %d is taken", tag)
		}
	}
}

// attempt tries to log in and returns what became of it.
func (g *rig) attempt(edit func(*initiator.Config)) error {
	h := g.newHost(0, edit)
	h.start(0)
	g.Run()
	if h.up {
		g.on(0, h.session.Close)
		g.Run()
		return nil
	}
	return h.login
}

func TestWhoDoesNotBelongStaysOutside(t *testing.T) {
	g := newRig(t, 1, nil)
	g.must(g.server.ChangeGroup(1, []string{"iqn.friend"}, []string{"192.0.2.2/32"}))
	named := func(name string) func(*initiator.Config) {
		return func(c *initiator.Config) { c.Offers.InitiatorName = name }
	}
	if err := g.attempt(named("iqn.friend")); err != nil {
		t.Errorf("friend: %v", err)
	}
	if err := g.attempt(named("iqn.stranger")); !errors.Is(err, iscsi.LoginAuthorizationFailure) {
		t.Errorf("stranger: %v", err)
	}
	g.must(g.server.ChangeGroup(1, []string{"iqn.friend"}, []string{"198.51.100.0/24"}))
	if err := g.attempt(named("iqn.friend")); !errors.Is(err, iscsi.LoginAuthorizationFailure) {
		t.Errorf("friend from elsewhere: %v", err)
	}
	if err := g.attempt(func(c *initiator.Config) { c.Offers.TargetName = "iqn.nothing" }); !errors.Is(err, iscsi.LoginNotFound) {
		t.Errorf("target that does not exist: %v", err)
	}
	g.close()
}

func TestCHAP(t *testing.T) {
	const secret, back = "secret-of-host", "secret-of-disk"
	one := iscsi.InitiatorAuth{Name: "host", Secret: secret}
	both := iscsi.InitiatorAuth{Name: "host", Secret: secret, TargetName: "disk", TargetSecret: back}
	wrong := iscsi.InitiatorAuth{Name: "host", Secret: "secret-of-thief"}
	for _, c := range []struct {
		name            string
		require, mutual bool
		auth            iscsi.InitiatorAuth
		ok              bool
	}{
		{"required and given", true, false, one, true},
		{"required and not given", true, false, iscsi.InitiatorAuth{}, false},
		{"required and None offered", true, false, iscsi.InitiatorAuth{Security: true}, false},
		{"wrong secret", true, false, wrong, false},
		{"unknown user", true, false, iscsi.InitiatorAuth{Name: "guest", Secret: secret}, false},
		{"optional and given", false, false, one, true},
		{"optional and wrong", false, false, wrong, false},
		{"optional and not given", false, false, iscsi.InitiatorAuth{}, true},
		{"mutual", true, true, both, true},
		{"mutual and asked one way", true, true, one, false},
		{"one way and asked mutually", true, false, both, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			g := newRig(t, 2, func(_ *iscsi.Options, s *iscsi.TargetSpec) { s.SetAuth(c.require, c.mutual, 7) })
			group, err := iscsi.NewAuthGroup(7, []iscsi.Secret{{User: "host", Secret: secret, MutualUser: "disk", MutualSecret: back}})
			g.must(err)
			g.must(g.server.AddAuthGroup(group))
			if err := g.attempt(func(k *initiator.Config) { k.Auth = c.auth }); (err == nil) != c.ok {
				t.Errorf("login: %v", err)
			}
			g.close()
		})
	}
}

func TestAuthGroupThatIsMissingKnowsNobody(t *testing.T) {
	g := newRig(t, 1, func(_ *iscsi.Options, s *iscsi.TargetSpec) { s.SetAuth(true, false, 7) })
	if err := g.attempt(func(k *initiator.Config) { k.Auth = iscsi.InitiatorAuth{Name: "host", Secret: "secret-of-host"} }); err == nil {
		t.Error("somebody came in")
	}
	g.close()
}

func TestAuthGroupRefuses(t *testing.T) {
	const good = "twelve bytes"
	for _, s := range []iscsi.Secret{
		{User: "", Secret: good},
		{User: "u", Secret: "short"},
		{User: "u", Secret: strings.Repeat("x", 256)},
		{User: "u", Secret: good, MutualUser: "m"},
		{User: "u", Secret: good, MutualSecret: "twelve other"},
		{User: "u", Secret: good, MutualUser: "m", MutualSecret: good},
		{User: "u", Secret: good, MutualUser: "m", MutualSecret: "short"},
	} {
		if _, err := iscsi.NewAuthGroup(1, []iscsi.Secret{s}); err == nil {
			t.Errorf("%+v is taken", s)
		}
	}
	if _, err := iscsi.NewAuthGroup(1, []iscsi.Secret{{User: "u", Secret: good}, {User: "u", Secret: good}}); err == nil {
		t.Error("a user is there twice")
	}
}

// TestCHAPIsNotAgreedOnWhereNobodyIsKnown: an initiator that would rather use CHAP gets in without where nothing is required.
func TestCHAPIsNotAgreedOnWhereNobodyIsKnown(t *testing.T) {
	g := newRig(t, 1, nil)
	p := g.connect(0)
	var q iscsi.PDU
	q.Clear(iscsi.OpLogin)
	q.SetImmediate(true)
	q.SetISID(iscsi.ISID{0x80, 0, 0, 0, 0, 9})
	for _, pair := range [][2]string{{"InitiatorName", rigInitiator}, {"TargetName", rigTarget}, {"AuthMethod", "CHAP,None"}} {
		q.Data = iscsi.AppendPair(q.Data, pair[0], pair[1])
	}
	p.send(&q)
	g.Run()
	if all := p.receive(); len(all) != 1 || !strings.Contains(string(all[0].Data), "AuthMethod=None") {
		t.Errorf("answered with %v", all)
	}
	p.far.Close()
	g.close()
}
