package iscsi_test

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"pollux/iscsi"
	"pollux/iscsi/initiator"
)

// halfLogin is a first request that asks for a second.
func halfLogin() *iscsi.PDU {
	p := login(iscsi.StageOperational, iscsi.StageFullFeature, false, "InitiatorName="+rigInitiator+" SessionType=Normal TargetName="+rigTarget)
	return &p
}

// halfLogins are n connections from an address, a millisecond apart, that have begun to log in.
func (g *rig) halfLogins(from string, n int) (all []*peer) {
	g.From(netip.MustParseAddr(from))
	for range n {
		p := g.connect(0)
		p.send(halfLogin())
		g.Advance(time.Millisecond)
		p.receive()
		all = append(all, p)
	}
	return all
}

// there are those of all that have not been closed.
func there(all []*peer) (open []*peer) {
	for _, p := range all {
		if !p.gone() {
			open = append(open, p)
		}
	}
	return open
}

// TestPendingLoginsAreBounded: the oldest silent connection gives way, and where all have spoken the new one is refused.
func TestPendingLoginsAreBounded(t *testing.T) {
	g := newRig(t, 1, nil)
	var all []*peer
	for range iscsi.PendingLoginsMax {
		all = append(all, g.connect(0))
	}
	g.Run()
	if all[0].gone() {
		t.Fatal("the first is gone before the bound is passed")
	}
	all = append(all, g.connect(0))
	g.Run()
	if !all[0].gone() || all[1].gone() || all[iscsi.PendingLoginsMax].gone() {
		t.Error("beyond the bound it is not the oldest that is gone")
	}
	for _, p := range all[1:] {
		p.send(halfLogin())
	}
	g.Run()
	for _, p := range all {
		p.receive()
	}
	late := g.connect(0)
	g.Run()
	if !late.gone() || all[1].gone() {
		t.Error("a connection that has spoken gives way")
	}
	g.wantCounted(map[string]uint64{"connections_refused": 2})
	g.close()
}

// TestScannersKeepNobodyOut: connections that have said less than a header take all places of a reactor, one with each number of bytes that is
// less and the rest with one less; whoever logs in among them is let in, and they make room from the oldest on.
func TestScannersKeepNobodyOut(t *testing.T) {
	g := newRig(t, 1, nil)
	var all []*peer
	scan := func() {
		p := g.connect(0)
		p.far.Write([]byte("GET /index.html HTTP/1.1\r\nHost: storage.example.com\r\n")[:min(len(all), iscsi.BHSLength-1)])
		all = append(all, p)
	}
	for range iscsi.PendingLoginsMax {
		scan()
	}
	g.Run()
	for n := range 3 * iscsi.PendingLoginsMax {
		if n%16 == 0 {
			g.newHost(0, func(c *initiator.Config) { c.ISID[5] = byte(n / 16) }).open(0).ready()
		}
		scan()
		g.Run()
	}
	gone := 0
	for _, p := range all {
		if p.gone() {
			gone++
		}
	}
	if there := len(all) - gone; there > iscsi.PendingLoginsMax || there < iscsi.PendingLoginsMax-1 {
		t.Errorf("%d of %d are there", there, len(all))
	}
	if all[len(all)-1].gone() || !all[0].gone() {
		t.Error("it is not the oldest that are gone")
	}
	g.close()
}

// TestHalfLoginsGiveWay: connections that have begun to log in and say no more hold their places for LoginSilence, the one that has been silent for
// longest gives way first.
func TestHalfLoginsGiveWay(t *testing.T) {
	g := newRig(t, 1, nil)
	var all []*peer
	for range iscsi.PendingLoginsMax {
		p := g.connect(0)
		p.send(halfLogin())
		g.Advance(time.Millisecond)
		p.receive()
		all = append(all, p)
	}
	more := login(iscsi.StageOperational, iscsi.StageFullFeature, false, "")
	all[0].send(&more) // It goes on, though slowly.
	g.Run()
	all[0].receive()
	g.Advance(iscsi.LoginSilence - (iscsi.PendingLoginsMax-1)*time.Millisecond - 1)
	late := g.connect(0)
	g.Run()
	if !late.gone() || all[1].gone() {
		t.Error("one gives way before the time")
	}
	g.Advance(1)
	h := g.newHost(0, nil).open(0).ready()
	if all[0].gone() || !all[1].gone() || all[2].gone() {
		t.Errorf("it is not the one whose time is over that is gone: %v, %v, %v", all[0].gone(), all[1].gone(), all[2].gone())
	}
	g.Advance(10 * time.Millisecond)
	g.connect(0).send(halfLogin()) // The host's place is free again.
	g.Run()
	g.connect(0)
	g.Run()
	if all[0].gone() || !all[2].gone() || all[3].gone() {
		t.Errorf("it is not the one that was silent for longest that is gone: %v, %v, %v", all[0].gone(), all[2].gone(), all[3].gone())
	}
	h.ready()
	g.wantCounted(map[string]uint64{"connections_refused": 3})
	g.close()
}

// TestLoginThatIsDecidedAboutStays: a login that waits for us is not silent.
func TestLoginThatIsDecidedAboutStays(t *testing.T) {
	g := newHungRig(t, 1)
	h, _ := g.hang(1, 1)
	h.cut()
	h.startAgain(0, 1) // The device has a write of its session.
	g.Run()
	for range iscsi.PendingLoginsMax {
		g.connect(0).send(halfLogin())
		g.Run()
	}
	g.Advance(iscsi.LoginSilence)
	g.connect(0)
	g.Run()
	g.letGo()
	if !h.up {
		t.Errorf("the login has not been let in when the device had answered: %v", h.login)
	}
	g.close()
}

// TestFloodingAddressKeepsNobodyOut: one address renews half logins in all places before any of them is idle. Hosts at other addresses log in
// all the time, each at the cost of the login that the flooding address has said least to lately; its own further connections are refused.
func TestFloodingAddressKeepsNobodyOut(t *testing.T) {
	g := newRig(t, 1, nil)
	flood := g.halfLogins("198.51.100.1", iscsi.PendingLoginsMax)
	more := login(iscsi.StageOperational, iscsi.StageFullFeature, false, "")
	for round := range byte(8) {
		g.Advance(iscsi.LoginSilence / 2)
		for _, p := range flood {
			p.send(&more)
			g.Advance(time.Millisecond)
			p.receive()
		}
		if own := g.halfLogins("198.51.100.1", 1); !own[0].gone() || len(there(flood)) != iscsi.PendingLoginsMax {
			t.Fatalf("round %d: the flooding address has made room for itself", round)
		}
		g.From(netip.AddrFrom4([4]byte{192, 0, 2, 100 + round}))
		g.newHost(0, func(c *initiator.Config) { c.ISID[5] = round }).open(0).ready()
		if !flood[0].gone() || len(there(flood)) != iscsi.PendingLoginsMax-1 {
			t.Fatalf("round %d: it is not the flood's longest silent that is gone", round)
		}
		flood = append(flood[1:], g.halfLogins("198.51.100.1", 1)...)
	}
	g.wantCounted(map[string]uint64{"connections_refused": 16, "sessions_opened": 8, "login_timeouts": 0})
	g.close()
}

// TestNewcomerIsWaitedFor: who has got in against a flood is not pushed out by it before its first request has come.
func TestNewcomerIsWaitedFor(t *testing.T) {
	g := newRig(t, 1, nil)
	flood := g.halfLogins("198.51.100.1", iscsi.PendingLoginsMax)
	g.From(netip.MustParseAddr("192.0.2.100"))
	late := g.connect(0)
	g.Run()
	for _, p := range g.halfLogins("198.51.100.1", 3) {
		if !p.gone() {
			t.Error("the flooding address has taken another place")
		}
	}
	late.send(halfLogin())
	g.Run()
	if late.gone() || len(late.receive()) != 1 || len(there(flood)) != iscsi.PendingLoginsMax-1 {
		t.Errorf("the newcomer is gone: %v; %d of the flood are there", late.gone(), len(there(flood)))
	}
	g.close()
}

// TestAddressesShareThePlaces: two addresses that have half of the places each take none from one another; a third gets as many as
// they keep.
func TestAddressesShareThePlaces(t *testing.T) {
	g := newRig(t, 1, nil)
	a := g.halfLogins("198.51.100.1", iscsi.PendingLoginsMax/2)
	b := g.halfLogins("198.51.100.2", iscsi.PendingLoginsMax/2)
	for _, from := range []string{"198.51.100.1", "198.51.100.2"} {
		if late := g.halfLogins(from, 1); !late[0].gone() {
			t.Errorf("%s has taken a place from its equal", from)
		}
	}
	c := g.halfLogins("198.51.100.3", 1)
	if c[0].gone() || !a[0].gone() || len(there(a)) != len(a)-1 || len(there(b)) != len(b) {
		t.Errorf("the third is gone: %v; it is not the longest silent of the two that is: %d and %d are there", c[0].gone(), len(there(a)), len(there(b)))
	}
	if late := g.halfLogins("198.51.100.1", 1); !late[0].gone() {
		t.Error("the first has taken a place from one that would have no more than itself")
	}
	c = append(c, g.halfLogins("198.51.100.3", iscsi.PendingLoginsMax/2)...)
	if len(there(a)) != 85 || len(there(b)) != 86 || len(there(c)) != 85 {
		t.Errorf("%d, %d and %d of 256 are there", len(there(a)), len(there(b)), len(there(c)))
	}
	if b[len(b)-86-1].gone() == b[len(b)-86].gone() {
		t.Error("it is not the longest silent that are gone")
	}
	g.close()
}

// TestLoginThatIsDecidedAboutCounts: it counts for its address, and another of the address gives way in its stead, if there is one.
func TestLoginThatIsDecidedAboutCounts(t *testing.T) {
	g := newHungRig(t, 1)
	h, _ := g.hang(1, 1) // From 192.0.2.2.
	h.cut()
	h.startAgain(0, 1) // The device has a write of its session.
	g.Run()
	second := g.halfLogins("192.0.2.2", 1)
	for i := range iscsi.PendingLoginsMax - 2 {
		g.halfLogins(fmt.Sprint("198.51.100.", i), 1)
	}
	first := g.halfLogins("203.0.113.1", 1)
	if first[0].gone() || !second[0].gone() {
		t.Errorf("the newcomer is gone: %v, the second login of an address: %v", first[0].gone(), second[0].gone())
	}
	if late := g.halfLogins("203.0.113.2", 1); !late[0].gone() {
		t.Error("one that has no more than the newcomer has given way")
	}
	for range 4 {
		g.halfLogins("192.0.2.2", 1) // Its own: it stays for them as well.
	}
	g.letGo()
	if !h.up {
		t.Errorf("the login has not been let in when the device had answered: %v", h.login)
	}
	g.close()
}

// TestWhatIsOneAddress: at the bound a newcomer is let in that does not come from where all others come from.
func TestWhatIsOneAddress(t *testing.T) {
	for name, c := range map[string]struct {
		flood string // with the number of the connection
		late  string
		in    bool
	}{
		"one IPv4 address":             {"198.51.100.1", "198.51.100.1", false},
		"its neighbour":                {"198.51.100.1", "198.51.100.2", true},
		"as many as there are places":  {"198.51.100.%d", "203.0.113.1", false},
		"IPv4 in IPv6 clothes":         {"::ffff:198.51.100.1", "198.51.100.1", false},
		"its neighbour in the same":    {"198.51.100.1", "::ffff:198.51.100.2", true},
		"64 bits of IPv6":              {"2001:db8:0:1::%x", "2001:db8:0:1:ffff:ffff:ffff:ffff", false},
		"the network beside it":        {"2001:db8:0:1::%x", "2001:db8:0:2::1", true},
		"as many as there are, of 64":  {"2001:db8:0:%x::1", "2001:db8:1::1", false},
		"IPv4 beside 64 bits of zeros": {"::%x:1", "0.0.0.1", true},
	} {
		t.Run(name, func(t *testing.T) {
			g := newRig(t, 1, nil)
			for i := range iscsi.PendingLoginsMax {
				from := c.flood
				if strings.Contains(from, "%") {
					from = fmt.Sprintf(from, i)
				}
				g.halfLogins(from, 1)
			}
			if late := g.halfLogins(c.late, 1); late[0].gone() == c.in {
				t.Errorf("the newcomer is gone: %v", late[0].gone())
			}
			g.close()
		})
	}
}

// TestScannersEverywhereKeepNobodyOut: scanners at as many addresses as there are places give way, the oldest first, to a host that has no
// more logins than each of them.
func TestScannersEverywhereKeepNobodyOut(t *testing.T) {
	g := newRig(t, 1, nil)
	var all []*peer
	for i := range iscsi.PendingLoginsMax {
		g.From(netip.AddrFrom4([4]byte{198, 51, 100, byte(i)}))
		all = append(all, g.connect(0))
		g.Advance(time.Millisecond)
	}
	g.From(netip.MustParseAddr("192.0.2.100"))
	g.newHost(0, nil).open(0).ready()
	if !all[0].gone() || len(there(all)) != len(all)-1 {
		t.Errorf("it is not the oldest that is gone: %d of %d are there", len(there(all)), len(all))
	}
	g.close()
}
