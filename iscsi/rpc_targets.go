package iscsi

import (
	"context"
	"fmt"
	"slices"

	"pollux/reactor"
	"pollux/rpc"
)

type lunParams struct {
	BdevName string `json:"bdev_name,omitempty"`
	LUN      *int32 `json:"lun_id"`
	PTPLFile string `json:"ptpl_file,omitempty"`
}

// spec is the LUN that was asked for.
func (p lunParams) spec() LUNSpec {
	return LUNSpec{BdevName: p.BdevName, LUN: lunNumber(p.LUN), PTPLFile: p.PTPLFile}
}

type createTargetParams struct {
	Name         string      `json:"name"`
	Alias        string      `json:"alias_name"`
	Maps         []Map       `json:"pg_ig_maps"`
	LUNs         []lunParams `json:"luns"`
	QueueDepth   int32       `json:"queue_depth"`
	HeaderDigest bool        `json:"header_digest,omitempty"`
	DataDigest   bool        `json:"data_digest,omitempty"`
	authParams
}

type targetNameParams struct {
	Name string `json:"name"`
}

type targetMapsParams struct {
	Name string `json:"name"`
	Maps []Map  `json:"pg_ig_maps"`
}

type targetAuthParams struct {
	Name string `json:"name"`
	authParams
}

type addLUNParams struct {
	Name     string `json:"name"`
	BdevName string `json:"bdev_name"`
	LUN      *int32 `json:"lun_id"`
	PTPLFile string `json:"ptpl_file,omitempty"`
}

type removeLUNParams struct {
	Name string `json:"name"`
	LUN  int32  `json:"lun_id"`
}

type logoutParams struct {
	Name string `json:"name"`
	Tag  int32  `json:"pg_tag,omitempty"`
}

type redirectParams struct {
	Name string `json:"name"`
	Tag  int32  `json:"pg_tag"`
	Host string `json:"redirect_host,omitempty"`
	Port number `json:"redirect_port,omitempty"`
}

type targetResult struct {
	Name         string    `json:"name"`
	Alias        string    `json:"alias_name,omitempty"`
	Maps         []Map     `json:"pg_ig_maps"`
	LUNs         []LUNSpec `json:"luns"`
	QueueDepth   uint32    `json:"queue_depth"`
	DisableCHAP  bool      `json:"disable_chap"`
	RequireCHAP  bool      `json:"require_chap"`
	MutualCHAP   bool      `json:"mutual_chap"`
	CHAPGroup    int32     `json:"chap_group"`
	HeaderDigest bool      `json:"header_digest"`
	DataDigest   bool      `json:"data_digest"`
}

func targetResultOf(t *Target) targetResult {
	luns := []LUNSpec{}
	for _, l := range t.node.device.LUNs() {
		luns = append(luns, LUNSpec{l.BdevName, int32(l.Number), l.PTPLFile})
	}
	return targetResult{
		Name: t.Name, Alias: t.Alias, Maps: append([]Map{}, t.Maps...), LUNs: luns, QueueDepth: t.QueueDepth,
		DisableCHAP: t.auth.Disable, RequireCHAP: t.auth.Require, MutualCHAP: t.auth.Mutual, CHAPGroup: t.auth.Group,
		HeaderDigest: t.HeaderDigest, DataDigest: t.DataDigest,
	}
}

func (s *Server) registerTargets(r *rpc.Server) {
	do(r, rpc.Runtime, "iscsi_create_target_node", s.rpcCreateTarget, "construct_target_node")
	rpc.Handle(r, rpc.Runtime, "iscsi_delete_target_node", func(_ context.Context, p targetNameParams) (rpc.None, error) {
		return rpc.None{}, noTarget(s.DeleteTarget(p.Name))
	}, "delete_target_node").DecodeError(rpc.CodeInvalidParams, "Invalid parameters")
	do(r, rpc.Runtime, "iscsi_target_node_add_lun", func(p addLUNParams) error {
		return s.AddLUN(p.Name, lunParams{p.BdevName, p.LUN, p.PTPLFile}.spec())
	}, "target_node_add_lun")
	do(r, rpc.Runtime, "iscsi_target_node_remove_lun", func(p removeLUNParams) error {
		return unanswered(s.RemoveLUN(p.Name, int(p.LUN)))
	})
	do(r, rpc.Runtime, "iscsi_target_node_add_pg_ig_maps", s.rpcAddMaps, "add_pg_ig_maps")
	do(r, rpc.Runtime, "iscsi_target_node_remove_pg_ig_maps", s.rpcRemoveMaps, "delete_pg_ig_maps")
	do(r, rpc.Runtime, "iscsi_target_node_set_auth", s.rpcTargetAuth, "set_iscsi_target_node_auth")
	do(r, rpc.Runtime, "iscsi_target_node_request_logout", func(p logoutParams) error { return s.RequestLogout(p.Name, p.Tag) })
	rpc.Handle(r, rpc.Runtime, "iscsi_target_node_set_redirect", s.rpcRedirect).DecodeError(rpc.CodeInvalidParams, "Invalid parameters")
	list(r, "iscsi_get_target_nodes", func() ([]targetResult, error) {
		return each(s.view.Load().targets, targetResultOf), nil
	}, "get_target_nodes")
}

func (s *Server) rpcCreateTarget(p createTargetParams) error {
	policy, err := p.policy()
	if err != nil {
		return err
	}
	spec := &TargetSpec{
		Name: p.Name, Alias: p.Alias, Maps: p.Maps, QueueDepth: p.QueueDepth,
		HeaderDigest: p.HeaderDigest, DataDigest: p.DataDigest, Auth: policy,
	}
	for _, l := range p.LUNs {
		spec.LUNs = append(spec.LUNs, l.spec())
	}
	return s.AddTarget(spec)
}

// lunNumber is a LUN that was asked for, or -1 for the lowest free one.
func lunNumber(n *int32) int32 {
	if n == nil {
		return -1
	}
	return *n
}

func (s *Server) rpcAddMaps(p targetMapsParams) error {
	return s.changeTarget(p.Name, func(c *config, t *Target) error {
		t.Maps = slices.Concat(t.Maps, p.Maps)
		return c.checkMaps(t.Maps)
	})
}

func (s *Server) rpcRemoveMaps(p targetMapsParams) error {
	return s.changeTarget(p.Name, func(_ *config, t *Target) error {
		for _, m := range p.Maps {
			if !slices.Contains(t.Maps, m) {
				return fmt.Errorf("portal group %d and initiator group %d are not mapped", m.PortalGroup, m.InitiatorGroup)
			}
		}
		t.Maps = slices.DeleteFunc(slices.Clone(t.Maps), func(m Map) bool { return slices.Contains(p.Maps, m) })
		t.dropRedirects()
		return nil
	})
}

func (s *Server) rpcTargetAuth(p targetAuthParams) error {
	policy, err := p.policy()
	if err != nil {
		return err
	}
	return s.changeTarget(p.Name, func(_ *config, t *Target) error {
		t.auth = policy
		return nil
	})
}

// rpcRedirect answers in SPDK's words, and says the cause behind them.
func (s *Server) rpcRedirect(_ context.Context, p redirectParams) (rpc.None, error) {
	if _, err := s.device(p.Name); err != nil {
		return rpc.None{}, rpc.Errorf(rpc.CodeInvalidParams, "Target %s is not found", p.Name)
	}
	if err := s.SetRedirect(p.Name, p.Tag, p.Host, string(p.Port)); err != nil {
		return rpc.None{}, rpc.Errorf(rpc.CodeInvalidParams, "Failed to redirect target %s, (-22): Invalid argument: %s", p.Name, err)
	}
	return rpc.None{}, nil
}

type connectionResult struct {
	ID            int    `json:"id"`
	CID           uint16 `json:"cid"`
	TSIH          uint16 `json:"tsih"`
	State         string `json:"state"`
	LoginPhase    string `json:"login_phase"`
	InitiatorAddr string `json:"initiator_addr"`
	TargetAddr    string `json:"target_addr"`
	TargetName    string `json:"target_node_name"`
	ThreadName    string `json:"thread_name"`
	InitiatorName string `json:"initiator_name"`
}

type statsResult struct {
	Invalid int    `json:"invalid"` // in login
	Running int    `json:"running"`
	Exiting int    `json:"exiting"`
	Exited  uint64 `json:"exited"`
}

func (s *Server) registerState(r *rpc.Server) {
	list(r, "iscsi_get_connections", s.rpcConnections, "get_iscsi_connections")
	list(r, "iscsi_get_sessions", s.rpcSessions)
	list(r, "iscsi_get_stats", s.rpcStats)
	list(r, "iscsi_get_counters", func() (Counters, error) { return s.Counters(), nil })
	list(r, "iscsi_get_usage", s.Usage)
}

// rpcConnections lists logins and full-feature connections, reactor by reactor.
func (s *Server) rpcConnections() ([]connectionResult, error) {
	all := []connectionResult{}
	base := s.view.Load().options.NodeBase
	err := s.each(func(l *local) {
		for _, c := range l.logins {
			all = append(all, connectionResult{
				TSIH: 0xffff, State: "invalid", LoginPhase: "security_negotiation_phase",
				InitiatorAddr: c.sock.RemoteAddr().Addr().Unmap().String(), TargetAddr: c.sock.LocalAddr().Addr().Unmap().String(),
				ThreadName: threadName(l.r),
			})
		}
		for _, c := range l.conns {
			all = append(all, c.describe(base))
		}
	})
	for i := range all {
		all[i].ID = i
	}
	return all, err
}

func (c *conn) describe(base string) connectionResult {
	s := c.session
	state := "running"
	if c.state != connRunning {
		state = "exiting"
	}
	return connectionResult{
		CID: c.cid, TSIH: s.tsih, State: state, LoginPhase: "full_feature_phase",
		InitiatorAddr: c.sock.RemoteAddr().Addr().Unmap().String(), TargetAddr: c.sock.LocalAddr().Addr().Unmap().String(),
		TargetName: shortName(s.key.target, base), ThreadName: threadName(c.local.r), InitiatorName: s.key.initiator,
	}
}

func threadName(r *reactor.Reactor) string { return fmt.Sprintf("reactor_%d", r.ID()) }

func (s *Server) rpcStats() (statsResult, error) {
	var sum statsResult
	err := s.each(func(l *local) {
		sum.Invalid += len(l.logins)
		sum.Exited += l.exited
		for _, c := range l.conns {
			if c.state == connRunning {
				sum.Running++
			} else {
				sum.Exiting++
			}
		}
	})
	return sum, err
}
