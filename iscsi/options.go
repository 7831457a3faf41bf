package iscsi

import (
	"fmt"
	"log/slog"
)

// Options are the parameters of iscsi_set_options, with SPDK's names, defaults and bounds. They are set before the server starts
// and never change afterwards, but for the discovery authentication. Of no effect are max_connections_per_session (a session has
// one connection), max_large_datain_per_connection, and the sizes of pools (--max-data-memory bounds all memory at once).
type Options struct {
	AuthFile                    string `json:"auth_file,omitempty"`
	NodeBase                    string `json:"node_base,omitempty"`
	MaxSessions                 uint32 `json:"max_sessions,omitempty"`
	MaxConnectionsPerSession    uint32 `json:"max_connections_per_session,omitempty"`
	MaxQueueDepth               uint32 `json:"max_queue_depth,omitempty"`
	DefaultTime2Wait            uint32 `json:"default_time2wait,omitempty"`
	DefaultTime2Retain          uint32 `json:"default_time2retain,omitempty"`
	FirstBurstLength            uint32 `json:"first_burst_length,omitempty"`
	ImmediateData               bool   `json:"immediate_data,omitempty"`
	AllowDuplicatedISID         bool   `json:"allow_duplicated_isid,omitempty"`
	ErrorRecoveryLevel          uint32 `json:"error_recovery_level,omitempty"`
	NOPTimeout                  int32  `json:"nop_timeout,omitempty"`     // seconds
	NOPInInterval               int32  `json:"nop_in_interval,omitempty"` // seconds; 0: no NOP-In is sent
	DisableCHAP                 bool   `json:"disable_chap,omitempty"`
	RequireCHAP                 bool   `json:"require_chap,omitempty"`
	MutualCHAP                  bool   `json:"mutual_chap,omitempty"`
	CHAPGroup                   int32  `json:"chap_group,omitempty"`
	MaxLargeDatainPerConnection uint32 `json:"max_large_datain_per_connection,omitempty"`
	MaxR2TPerConnection         uint32 `json:"max_r2t_per_connection,omitempty"`
	PDUPoolSize                 uint32 `json:"pdu_pool_size,omitempty"`
	ImmediateDataPoolSize       uint32 `json:"immediate_data_pool_size,omitempty"`
	DataOutPoolSize             uint32 `json:"data_out_pool_size,omitempty"`
	// InitialStatSN is ours: where the StatSN of each connection begins, 0 for 1. Tests set it next to 2^32, to see it wrap.
	InitialStatSN uint32 `json:"initial_stat_sn,omitempty"`
}

// SetDefaults fills in what SPDK starts with.
func (o *Options) SetDefaults() {
	*o = Options{
		NodeBase:    "iqn.2016-06.io.spdk",
		MaxSessions: 128, MaxConnectionsPerSession: 2, MaxQueueDepth: 64,
		DefaultTime2Wait: 2, DefaultTime2Retain: 20,
		FirstBurstLength: 8192, ImmediateData: true,
		NOPTimeout: 60, NOPInInterval: 30,
		MaxLargeDatainPerConnection: 64, MaxR2TPerConnection: 4,
		PDUPoolSize: 36864, ImmediateDataPoolSize: 16384, DataOutPoolSize: 2048,
	}
}

// Validate refuses what cannot be kept.
func (o *Options) Validate() error {
	switch {
	case o.MaxSessions == 0 || o.MaxSessions > SessionsMax:
		return fmt.Errorf("max_sessions %d is not between 1 and %d", o.MaxSessions, SessionsMax)
	case o.MaxConnectionsPerSession == 0 || o.MaxConnectionsPerSession > 65535:
		return fmt.Errorf("max_connections_per_session %d is not between 1 and 65535", o.MaxConnectionsPerSession)
	case o.MaxQueueDepth == 0 || o.MaxQueueDepth > QueueDepthMax:
		return fmt.Errorf("max_queue_depth %d is not between 1 and %d", o.MaxQueueDepth, QueueDepthMax)
	case o.DefaultTime2Wait > Time2WaitMax || o.DefaultTime2Retain > Time2RetainMax:
		return fmt.Errorf("default_time2wait %d exceeds %d, or default_time2retain %d exceeds %d", o.DefaultTime2Wait, Time2WaitMax, o.DefaultTime2Retain, Time2RetainMax)
	case o.FirstBurstLength < 512 || o.FirstBurstLength > 1<<24-1:
		return fmt.Errorf("first_burst_length %d is not between 512 and 16777215", o.FirstBurstLength)
	case o.ErrorRecoveryLevel > 0:
		return fmt.Errorf("error_recovery_level %d: only level 0 is supported", o.ErrorRecoveryLevel)
	case o.AuthFile != "":
		return fmt.Errorf("auth_file is not read: use iscsi_create_auth_group")
	case o.AllowDuplicatedISID:
		return fmt.Errorf("allow_duplicated_isid: a second login with the same ISID is a session reinstatement (RFC 7143 6.3.5)")
	case o.MaxR2TPerConnection == 0:
		return fmt.Errorf("max_r2t_per_connection is 0")
	case o.NOPTimeout < 0 || o.NOPInInterval < 0:
		return fmt.Errorf("nop_timeout %d or nop_in_interval %d is negative", o.NOPTimeout, o.NOPInInterval)
	}
	if err := checkName(o.NodeBase); err != nil {
		return fmt.Errorf("node_base: %w", err)
	}
	_, err := o.discoveryAuth()
	return err
}

func (o *Options) discoveryAuth() (authPolicy, error) {
	return newAuthPolicy(o.DisableCHAP, o.RequireCHAP, o.MutualCHAP, o.CHAPGroup)
}

// Config is what the composition root gives a server.
type Config struct {
	Log *slog.Logger // nil: nothing is logged
	// InitialStatSN is the default of the option of that name.
	InitialStatSN uint32
	// Coalesce lets busy connections hold answers back for some microseconds, so that one send carries several (sock.Conn.HoldOutput).
	Coalesce bool
}
