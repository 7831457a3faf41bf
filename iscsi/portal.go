package iscsi

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"pollux/reactor"
	"pollux/reactor/sock"
)

// Portal is an address at which the target listens. Host and Port are kept as they were given; clients compare them.
type Portal struct {
	Host string `json:"host"`
	Port string `json:"port"`
}

// wildcards are SPDK's words for all addresses of the machine.
var wildcards = map[string]string{"*": "0.0.0.0", "[*]": "[::]"}

// address reads the portal: an IPv4 address, an IPv6 address in brackets or bare, or a wildcard, and a port, 3260 if it is empty. Names are
// not resolved, as in SPDK: what a name stands for may change, and SendTargets and redirections compare addresses.
func (p Portal) address() (netip.AddrPort, error) {
	host := p.Host
	if all, ok := wildcards[host]; ok {
		host = all
	}
	addr, err := netip.ParseAddr(strings.TrimSuffix(strings.TrimPrefix(host, "["), "]"))
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("host %q is not an IPv4 or IPv6 address: names are not resolved, give the address, or 0.0.0.0 or [::] for all of the machine", p.Host)
	}
	if p.Port == "" {
		return netip.AddrPortFrom(addr, 3260), nil
	}
	port, err := strconv.ParseUint(p.Port, 10, 16)
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("port %q is not a number between 0 and 65535", p.Port)
	}
	return netip.AddrPortFrom(addr, uint16(port)), nil
}

// PortalGroup is a set of portals with one target portal group tag. Control plane; what is in a configuration is immutable.
type PortalGroup struct {
	Tag     int32
	Portals []Portal
	Private bool // SendTargets does not tell of it

	auth      *authPolicy // for discovery at these portals; nil: the server's
	addresses []netip.AddrPort
	open      bool // it listens
	listeners []*sock.Listener
}

// NewPortalGroup checks the portals; it does not listen yet.
func NewPortalGroup(tag int32, portals []Portal, private bool) (*PortalGroup, error) {
	g := &PortalGroup{Tag: tag, Portals: slices.Clone(portals), Private: private}
	if err := checkTag(tag); err != nil {
		return nil, fmt.Errorf("portal group %d: %w", tag, err)
	}
	if len(portals) == 0 || len(portals) > PortalsPerGroup {
		return nil, fmt.Errorf("portal group %d: %d portals, not 1 to %d", tag, len(portals), PortalsPerGroup)
	}
	for _, p := range portals {
		addr, err := p.address()
		if err != nil {
			return nil, fmt.Errorf("portal group %d: %w", tag, err)
		}
		if slices.Contains(g.addresses, addr) && addr.Port() != 0 {
			return nil, fmt.Errorf("portal group %d: portal %s is there twice", tag, addr)
		}
		g.addresses = append(g.addresses, addr)
	}
	return g, nil
}

// started reports whether the group listens.
func (g *PortalGroup) started() bool { return g.open }

// start listens at all portals, or at none, and returns a copy of the group that does.
func (g *PortalGroup) start(s *Server) (*PortalGroup, error) {
	open := *g
	open.open, open.listeners = true, nil
	open.addresses = slices.Clone(g.addresses)
	for i, addr := range g.addresses {
		portal := &portalEnd{server: s, tag: g.Tag}
		listeners, err := sock.ListenAll(s.group, addr, portal.accept)
		if err != nil {
			open.stop()
			return nil, fmt.Errorf("portal group %d: %w", g.Tag, err)
		}
		open.listeners = append(open.listeners, listeners...)
		open.addresses[i] = listeners[0].Addr()
	}
	return &open, nil
}

// stop closes the listeners and returns when nothing can be accepted any more.
func (g *PortalGroup) stop() {
	for _, l := range g.listeners {
		l.Close()
	}
}

// portalEnd is what a listener knows of its portal.
type portalEnd struct {
	server *Server
	tag    int32
}

// accept takes a new connection (on r).
func (p *portalEnd) accept(r *reactor.Reactor, fd int) { p.server.locals[r.ID()].accept(fd, p.tag) }

// targetAddress is a portal as SendTargets prints it to a connection that came in at local: a wildcard address becomes the address
// that the initiator used (RFC 7143 appendix C: "host:port,tag", IPv6 in brackets).
func targetAddress(portal, local netip.AddrPort, tag int32) string {
	addr := portal.Addr()
	if addr.IsUnspecified() {
		addr = local.Addr().Unmap()
	}
	return net.JoinHostPort(addr.WithZone("").String(), strconv.Itoa(int(portal.Port()))) + "," + strconv.Itoa(int(tag))
}
