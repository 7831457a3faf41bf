package iscsi

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// config is everything that the control plane has set up. It is immutable: a change makes a new one under the server's lock and
// publishes it by one atomic pointer, which logins and SendTargets read once.
type config struct {
	options         Options
	discovery       authPolicy
	portalGroups    []*PortalGroup
	initiatorGroups []*InitiatorGroup
	authGroups      []*AuthGroup
	targets         []*Target // in the order of creation
}

func (c *config) portalGroup(tag int32) *PortalGroup {
	return find(c.portalGroups, func(g *PortalGroup) bool { return g.Tag == tag })
}

func (c *config) initiatorGroup(tag int32) *InitiatorGroup {
	return find(c.initiatorGroups, func(g *InitiatorGroup) bool { return g.Tag == tag })
}

func (c *config) authGroup(tag int32) *AuthGroup {
	return find(c.authGroups, func(g *AuthGroup) bool { return g.Tag == tag })
}

func (c *config) target(name string) *Target {
	return find(c.targets, func(t *Target) bool { return strings.EqualFold(t.Name, name) })
}

func find[T any](list []*T, is func(*T) bool) *T {
	if i := slices.IndexFunc(list, is); i >= 0 {
		return list[i]
	}
	return nil
}

// replaced returns list with old exchanged for new; old == nil appends, new == nil removes.
func replaced[T any](list []*T, old, new *T) []*T {
	list = slices.Clone(list)
	i := slices.Index(list, old)
	switch {
	case old == nil || i < 0:
		return append(list, new)
	case new == nil:
		return slices.Delete(list, i, i+1)
	default:
		list[i] = new
		return list
	}
}

// allows reports whether the initiator may see and use t through the portal group. The maps are asked in order; the first group
// that says yes or no decides.
func (c *config) allows(t *Target, portalGroup int32, initiator string, addr netip.Addr) bool {
	for _, m := range t.Maps {
		if m.PortalGroup != portalGroup {
			continue
		}
		g := c.initiatorGroup(m.InitiatorGroup)
		if g == nil {
			continue
		}
		switch g.judge(initiator, addr) {
		case verdictAllow:
			return true
		case verdictDeny:
			return false
		case verdictNone:
		}
	}
	return false
}

// discoveryAuth is what a discovery session at the portal group has to prove.
func (c *config) discoveryAuth(portalGroup int32) authPolicy {
	if g := c.portalGroup(portalGroup); g != nil && g.auth != nil {
		return *g.auth
	}
	return c.discovery
}

// checkMaps refuses maps of a target that name unknown groups or repeat themselves.
func (c *config) checkMaps(maps []Map) error {
	if len(maps) == 0 || len(maps) > MapsPerTarget {
		return fmt.Errorf("%d pg_ig_maps, not 1 to %d", len(maps), MapsPerTarget)
	}
	for i, m := range maps {
		switch {
		case c.portalGroup(m.PortalGroup) == nil:
			return fmt.Errorf("portal group %d does not exist", m.PortalGroup)
		case c.initiatorGroup(m.InitiatorGroup) == nil:
			return fmt.Errorf("initiator group %d does not exist", m.InitiatorGroup)
		case slices.Contains(maps[:i], m):
			return fmt.Errorf("portal group %d and initiator group %d are mapped twice", m.PortalGroup, m.InitiatorGroup)
		}
	}
	return nil
}
