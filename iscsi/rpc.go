package iscsi

import (
	"context"
	"errors"
	"strconv"
	"syscall"

	"pollux/rpc"
	"pollux/scsi"
)

// invalid is the answer to everything that is wrong with an iscsi_* call: SPDK's text, then the cause.
func invalid(err error) error {
	if err == nil {
		return nil
	}
	if _, ok := errors.AsType[*rpc.Error](err); ok {
		return err
	}
	return rpc.InvalidParams("%s", err)
}

// noTarget is the answer of iscsi_delete_target_node to a name that is not there.
func noTarget(err error) error {
	if errors.Is(err, ErrNoTarget) {
		return rpc.Errno(syscall.ENOENT, "")
	}
	return unanswered(err)
}

// unanswered is the answer of what takes things away when a block device has not answered in time: EBUSY, and what keeps it.
func unanswered(err error) error {
	if errors.Is(err, scsi.ErrUnanswered) {
		return rpc.Errno(syscall.EBUSY, "%s", err)
	}
	return invalid(err)
}

// do registers a method that changes something and answers true.
func do[P any](r *rpc.Server, states rpc.State, name string, fn func(P) error, aliases ...string) {
	rpc.Handle(r, states, name, func(_ context.Context, p P) (rpc.None, error) {
		return rpc.None{}, invalid(fn(p))
	}, aliases...).DecodeError(rpc.CodeInvalidParams, "Invalid parameters")
}

// list registers a method without parameters.
func list[R any](r *rpc.Server, name string, fn func() (R, error), aliases ...string) {
	rpc.Handle(r, rpc.Runtime, name, func(context.Context, rpc.None) (R, error) { return fn() }, aliases...).
		DecodeError(rpc.CodeInvalidParams, name+" requires no parameters")
}

// RegisterRPC adds all iscsi_* methods and the configuration writers of the subsystems iscsi and scsi. Old names stay valid.
func (s *Server) RegisterRPC(r *rpc.Server) {
	do(r, rpc.Startup, "iscsi_set_options", s.SetOptions, "set_iscsi_options")
	list(r, "iscsi_get_options", func() (optionsResult, error) { return optionsResult(s.view.Load().options), nil }, "get_iscsi_global_params")
	s.registerPortals(r)
	s.registerInitiators(r)
	s.registerAuth(r)
	s.registerTargets(r)
	s.registerState(r)
	s.registerHistogram(r)
	r.Subsystem("scsi", []string{"bdev"}, nil)
	r.Subsystem("iscsi", []string{"scsi"}, s.writeConfig)
}

// optionsResult is Options with every member present.
type optionsResult struct {
	AuthFile                    string `json:"auth_file,omitempty"`
	NodeBase                    string `json:"node_base"`
	MaxSessions                 uint32 `json:"max_sessions"`
	MaxConnectionsPerSession    uint32 `json:"max_connections_per_session"`
	MaxQueueDepth               uint32 `json:"max_queue_depth"`
	DefaultTime2Wait            uint32 `json:"default_time2wait"`
	DefaultTime2Retain          uint32 `json:"default_time2retain"`
	FirstBurstLength            uint32 `json:"first_burst_length"`
	ImmediateData               bool   `json:"immediate_data"`
	AllowDuplicatedISID         bool   `json:"allow_duplicated_isid"`
	ErrorRecoveryLevel          uint32 `json:"error_recovery_level"`
	NOPTimeout                  int32  `json:"nop_timeout"`
	NOPInInterval               int32  `json:"nop_in_interval"`
	DisableCHAP                 bool   `json:"disable_chap"`
	RequireCHAP                 bool   `json:"require_chap"`
	MutualCHAP                  bool   `json:"mutual_chap"`
	CHAPGroup                   int32  `json:"chap_group"`
	MaxLargeDatainPerConnection uint32 `json:"max_large_datain_per_connection"`
	MaxR2TPerConnection         uint32 `json:"max_r2t_per_connection"`
	PDUPoolSize                 uint32 `json:"pdu_pool_size"`
	ImmediateDataPoolSize       uint32 `json:"immediate_data_pool_size"`
	DataOutPoolSize             uint32 `json:"data_out_pool_size"`
	InitialStatSN               uint32 `json:"initial_stat_sn,omitempty"`
}

// savedOptions are the options with the discovery authentication that holds now.
func (c *config) savedOptions() optionsResult {
	o := optionsResult(c.options)
	o.DisableCHAP, o.RequireCHAP, o.MutualCHAP, o.CHAPGroup = c.discovery.Disable, c.discovery.Require, c.discovery.Mutual, c.discovery.Group
	return o
}

// writeConfig returns the calls that make what is there now, in the order in which they can be made again.
func (s *Server) writeConfig(context.Context) ([]rpc.ConfigEntry, error) {
	c := s.view.Load()
	entries := []rpc.ConfigEntry{{Method: "iscsi_set_options", Params: c.savedOptions()}}
	for _, g := range c.portalGroups {
		entries = append(entries, rpc.ConfigEntry{Method: "iscsi_create_portal_group", Params: portalGroupResultOf(g)})
	}
	for _, g := range c.initiatorGroups {
		entries = append(entries, rpc.ConfigEntry{Method: "iscsi_create_initiator_group", Params: initiatorGroupResultOf(g)})
	}
	for _, t := range c.targets {
		if t.node.gone.Load() {
			continue
		}
		entries = append(entries, rpc.ConfigEntry{Method: "iscsi_create_target_node", Params: targetResultOf(t)})
		for _, to := range t.redirects {
			entries = append(entries, rpc.ConfigEntry{Method: "iscsi_target_node_set_redirect", Params: to.params(t.Name)})
		}
	}
	for _, g := range c.authGroups {
		entries = append(entries, rpc.ConfigEntry{Method: "iscsi_create_auth_group", Params: authGroupResultOf(g)})
	}
	for _, g := range c.portalGroups {
		if g.auth != nil {
			entries = append(entries, rpc.ConfigEntry{Method: "iscsi_portal_group_set_auth", Params: portalAuthOf(g)})
		}
	}
	return entries, nil
}

// number is an integer that clients write as a string or as a number.
type number string

// UnmarshalJSON takes 3260 and "3260".
func (n *number) UnmarshalJSON(b []byte) error {
	text := string(b)
	if unquoted, err := strconv.Unquote(text); err == nil {
		text = unquoted
	}
	*n = number(text)
	return nil
}
