package iscsi

import (
	"fmt"

	"pollux/rpc"
)

type tagParams struct {
	Tag int32 `json:"tag"`
}

type portalParams struct {
	Host string `json:"host"`
	Port number `json:"port,omitempty"`
}

type createPortalGroupParams struct {
	Tag     int32          `json:"tag"`
	Portals []portalParams `json:"portals"`
	Private bool           `json:"private,omitempty"`
	Wait    bool           `json:"wait,omitempty"`
}

// authParams are the members of all methods that set an authentication policy.
type authParams struct {
	DisableCHAP bool  `json:"disable_chap,omitempty"`
	RequireCHAP bool  `json:"require_chap,omitempty"`
	MutualCHAP  bool  `json:"mutual_chap,omitempty"`
	CHAPGroup   int32 `json:"chap_group,omitempty"`
}

func (p *authParams) policy() (authPolicy, error) {
	return newAuthPolicy(p.DisableCHAP, p.RequireCHAP, p.MutualCHAP, p.CHAPGroup)
}

type portalAuthParams struct {
	Tag int32 `json:"tag"`
	authParams
}

type portalGroupResult struct {
	Tag     int32    `json:"tag"`
	Portals []Portal `json:"portals"`
	Private bool     `json:"private"`
}

func portalGroupResultOf(g *PortalGroup) portalGroupResult {
	return portalGroupResult{g.Tag, g.Portals, g.Private}
}

type portalAuthResult struct {
	Tag         int32 `json:"tag"`
	DisableCHAP bool  `json:"disable_chap"`
	RequireCHAP bool  `json:"require_chap"`
	MutualCHAP  bool  `json:"mutual_chap"`
	CHAPGroup   int32 `json:"chap_group"`
}

func portalAuthOf(g *PortalGroup) portalAuthResult {
	return portalAuthResult{g.Tag, g.auth.Disable, g.auth.Require, g.auth.Mutual, g.auth.Group}
}

func (s *Server) registerPortals(r *rpc.Server) {
	do(r, rpc.Runtime, "iscsi_create_portal_group", s.rpcCreatePortalGroup, "add_portal_group")
	do(r, rpc.Runtime, "iscsi_start_portal_group", func(p tagParams) error { return s.StartPortalGroup(p.Tag) })
	do(r, rpc.Runtime, "iscsi_delete_portal_group", func(p tagParams) error { return s.DeletePortalGroup(p.Tag) }, "delete_portal_group")
	do(r, rpc.Runtime, "iscsi_portal_group_set_auth", s.rpcPortalAuth)
	list(r, "iscsi_get_portal_groups", func() ([]portalGroupResult, error) {
		return each(s.view.Load().portalGroups, portalGroupResultOf), nil
	}, "get_portal_groups")
}

// each makes a list of results, [] rather than null when it is empty.
func each[T, R any](list []*T, fn func(*T) R) []R {
	all := make([]R, 0, len(list))
	for _, v := range list {
		all = append(all, fn(v))
	}
	return all
}

func (s *Server) rpcCreatePortalGroup(p createPortalGroupParams) error {
	var portals []Portal
	for _, x := range p.Portals {
		portals = append(portals, Portal{x.Host, string(x.Port)})
	}
	g, err := NewPortalGroup(p.Tag, portals, p.Private)
	if err != nil {
		return err
	}
	return s.AddPortalGroup(g, p.Wait)
}

func (s *Server) rpcPortalAuth(p portalAuthParams) error {
	policy, err := p.policy()
	if err != nil {
		return err
	}
	return s.change(func(c *config) error {
		g := c.portalGroup(p.Tag)
		if g == nil {
			return fmt.Errorf("portal group %d does not exist", p.Tag)
		}
		copied := *g
		copied.auth = &policy
		c.portalGroups = replaced(c.portalGroups, g, &copied)
		return nil
	})
}

type initiatorGroupParams struct {
	Tag        int32    `json:"tag"`
	Initiators []string `json:"initiators"`
	Netmasks   []string `json:"netmasks"`
}

type initiatorEntriesParams struct {
	Tag        int32    `json:"tag"`
	Initiators []string `json:"initiators,omitempty"`
	Netmasks   []string `json:"netmasks,omitempty"`
}

func initiatorGroupResultOf(g *InitiatorGroup) initiatorGroupParams {
	return initiatorGroupParams{g.Tag, append([]string{}, g.Initiators...), append([]string{}, g.Netmasks...)}
}

func (s *Server) registerInitiators(r *rpc.Server) {
	do(r, rpc.Runtime, "iscsi_create_initiator_group", s.rpcCreateInitiatorGroup, "add_initiator_group")
	do(r, rpc.Runtime, "iscsi_initiator_group_add_initiators", func(p initiatorEntriesParams) error {
		return s.changeInitiators(p.Tag, func(g *InitiatorGroup) (*InitiatorGroup, error) { return g.with(p.Initiators, p.Netmasks) })
	}, "add_initiators_to_initiator_group")
	do(r, rpc.Runtime, "iscsi_initiator_group_remove_initiators", func(p initiatorEntriesParams) error {
		return s.changeInitiators(p.Tag, func(g *InitiatorGroup) (*InitiatorGroup, error) { return g.without(p.Initiators, p.Netmasks) })
	}, "delete_initiators_from_initiator_group")
	do(r, rpc.Runtime, "iscsi_delete_initiator_group", s.rpcDeleteInitiatorGroup, "delete_initiator_group")
	list(r, "iscsi_get_initiator_groups", func() ([]initiatorGroupParams, error) {
		return each(s.view.Load().initiatorGroups, initiatorGroupResultOf), nil
	}, "get_initiator_groups")
}

func (s *Server) rpcCreateInitiatorGroup(p initiatorGroupParams) error {
	g, err := NewInitiatorGroup(p.Tag, p.Initiators, p.Netmasks)
	if err != nil {
		return err
	}
	return s.AddInitiatorGroup(g)
}

func (s *Server) changeInitiators(tag int32, make func(*InitiatorGroup) (*InitiatorGroup, error)) error {
	return s.change(func(c *config) error {
		g := c.initiatorGroup(tag)
		if g == nil {
			return fmt.Errorf("initiator group %d does not exist", tag)
		}
		changed, err := make(g)
		if err != nil {
			return err
		}
		c.initiatorGroups = replaced(c.initiatorGroups, g, changed)
		return nil
	})
}

// rpcDeleteInitiatorGroup also takes the group out of all maps. Sessions that were let in stay.
func (s *Server) rpcDeleteInitiatorGroup(p tagParams) error {
	return s.change(func(c *config) error {
		g := c.initiatorGroup(p.Tag)
		if g == nil {
			return fmt.Errorf("initiator group %d does not exist", p.Tag)
		}
		c.initiatorGroups = replaced(c.initiatorGroups, g, nil)
		c.dropMaps(func(m Map) bool { return m.InitiatorGroup == p.Tag })
		return nil
	})
}

type createAuthGroupParams struct {
	Tag     int32    `json:"tag"`
	Secrets []Secret `json:"secrets,omitempty"`
}

type addSecretParams struct {
	Tag int32 `json:"tag"`
	Secret
}

type removeSecretParams struct {
	Tag  int32  `json:"tag"`
	User string `json:"user"`
}

type authGroupResult struct {
	Tag     int32    `json:"tag"`
	Secrets []Secret `json:"secrets"`
}

func authGroupResultOf(g *AuthGroup) authGroupResult {
	return authGroupResult{g.Tag, append([]Secret{}, g.Secrets...)}
}

func (s *Server) registerAuth(r *rpc.Server) {
	do(r, rpc.Runtime, "iscsi_create_auth_group", s.rpcCreateAuthGroup, "add_iscsi_auth_group")
	do(r, rpc.Runtime, "iscsi_delete_auth_group", func(p tagParams) error {
		return s.changeAuth(p.Tag, func(*AuthGroup) (*AuthGroup, error) { return nil, nil })
	}, "delete_iscsi_auth_group")
	do(r, rpc.Runtime, "iscsi_auth_group_add_secret", func(p addSecretParams) error {
		return s.changeAuth(p.Tag, func(g *AuthGroup) (*AuthGroup, error) { return g.with(p.Secret) })
	}, "add_secret_to_iscsi_auth_group")
	do(r, rpc.Runtime, "iscsi_auth_group_remove_secret", func(p removeSecretParams) error {
		return s.changeAuth(p.Tag, func(g *AuthGroup) (*AuthGroup, error) { return g.without(p.User) })
	}, "delete_secret_from_iscsi_auth_group")
	do(r, rpc.Runtime, "iscsi_set_discovery_auth", s.rpcDiscoveryAuth, "set_iscsi_discovery_auth")
	list(r, "iscsi_get_auth_groups", func() ([]authGroupResult, error) {
		return each(s.view.Load().authGroups, authGroupResultOf), nil
	}, "get_iscsi_auth_groups")
}

func (s *Server) rpcCreateAuthGroup(p createAuthGroupParams) error {
	g, err := NewAuthGroup(p.Tag, p.Secrets)
	if err != nil {
		return err
	}
	return s.AddAuthGroup(g)
}

func (s *Server) changeAuth(tag int32, make func(*AuthGroup) (*AuthGroup, error)) error {
	return s.change(func(c *config) error {
		g := c.authGroup(tag)
		if g == nil {
			return rpc.InvalidParams("Could not find auth group (%d)", tag)
		}
		changed, err := make(g)
		if err != nil {
			return err
		}
		c.authGroups = replaced(c.authGroups, g, changed)
		return nil
	})
}

func (s *Server) rpcDiscoveryAuth(p authParams) error {
	policy, err := p.policy()
	if err != nil {
		return err
	}
	return s.change(func(c *config) error {
		c.discovery = policy
		return nil
	})
}
