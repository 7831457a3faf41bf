package iscsi

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
)

// redirect sends the logins that come to a target through a portal group to another address (RFC 7143 11.13.5, status 0101h). A
// balancer or a switch-over sets it, asks for a logout, and the initiators come back where they are wanted: a public portal group
// is what they know, and what they are sent to is a portal of another group, usually a private one, or of another machine.
type redirect struct {
	tag int32
	to  netip.AddrPort
}

// redirectOf is where a login through the portal group is sent, empty for nowhere. Only whoever may use the target is told.
func (t *Target) redirectOf(tag int32) string {
	if i := slices.IndexFunc(t.redirects, func(r redirect) bool { return r.tag == tag }); i >= 0 {
		return t.redirects[i].to.String()
	}
	return ""
}

// SetRedirect sends later logins to a target through a portal group elsewhere; neither host nor port lets them in again. Sessions that
// are open stay: RequestLogout asks them to go.
func (s *Server) SetRedirect(name string, tag int32, host, port string) error {
	return s.changeTarget(name, func(c *config, t *Target) error {
		if err := c.redirectable(t, tag); err != nil {
			return err
		}
		redirects := slices.DeleteFunc(slices.Clone(t.redirects), func(r redirect) bool { return r.tag == tag })
		if host != "" || port != "" {
			to, err := redirectAddress(host, port)
			if err != nil {
				return err
			}
			if slices.Contains(c.portalGroup(tag).addresses, to) {
				return fmt.Errorf("%s is a portal of portal group %d itself: choose one of another group", to, tag)
			}
			redirects = append(redirects, redirect{tag, to})
		}
		t.redirects = redirects
		return nil
	})
}

// redirectable refuses portal groups whose logins cannot be sent elsewhere: a private group is where they are sent.
func (c *config) redirectable(t *Target, tag int32) error {
	g := c.portalGroup(tag)
	switch {
	case g == nil:
		return fmt.Errorf("portal group %d does not exist", tag)
	case g.Private:
		return fmt.Errorf("portal group %d is private: redirect from a public one", tag)
	case !t.mapped(tag):
		return fmt.Errorf("portal group %d is not mapped to the target: see iscsi_target_node_add_pg_ig_maps", tag)
	}
	return nil
}

// redirectAddress reads an address to which initiators can connect.
func redirectAddress(host, port string) (netip.AddrPort, error) {
	if host == "" || port == "" {
		return netip.AddrPort{}, errors.New("redirect_host and redirect_port go together; without both the redirection ends")
	}
	to, err := Portal{host, port}.address()
	if err != nil {
		return netip.AddrPort{}, err
	}
	if to.Addr().IsUnspecified() || to.Addr().Zone() != "" || to.Port() == 0 {
		return netip.AddrPort{}, fmt.Errorf("%s is no address to which every initiator can connect", to)
	}
	return to, nil
}

// dropRedirects forgets the redirections of portal groups that are no longer mapped.
func (t *Target) dropRedirects() {
	t.redirects = slices.DeleteFunc(slices.Clone(t.redirects), func(r redirect) bool { return !t.mapped(r.tag) })
}

// mapped reports whether the target is reached through the portal group.
func (t *Target) mapped(tag int32) bool {
	return slices.ContainsFunc(t.Maps, func(m Map) bool { return m.PortalGroup == tag })
}

// params is the call that makes the redirection again.
func (r redirect) params(target string) redirectParams {
	return redirectParams{Name: target, Tag: r.tag, Host: r.to.Addr().String(), Port: number(strconv.Itoa(int(r.to.Port())))}
}
