package iscsi

import (
	"encoding/hex"
	"time"
)

// sessionResult is a session in iscsi_get_sessions, a method of ours. State is that of RFC 7143 8.3: LOGGED_IN with a connection, FAILED
// without one.
type sessionResult struct {
	TSIH          uint16 `json:"tsih"`
	ISID          string `json:"isid"`
	CID           uint16 `json:"cid"` // of its connection, or of the one that is lost
	State         string `json:"state"`
	InitiatorName string `json:"initiator_name"`
	TargetName    string `json:"target_node_name"` // empty for discovery
	PortalGroup   int32  `json:"pg_tag"`
	ThreadName    string `json:"thread_name"`
	RetainedMs    int64  `json:"retained_ms,omitempty"` // of a failed one: how long it is still kept
}

// rpcSessions lists all sessions, in the order of their logins.
func (s *Server) rpcSessions() ([]sessionResult, error) {
	all := []sessionResult{}
	base := s.view.Load().options.NodeBase
	err := s.home.r.Call(func() {
		for _, x := range s.home.all {
			r := sessionResult{
				TSIH: x.tsih, ISID: hex.EncodeToString(x.key.isid[:]), CID: x.kept.cid, State: "LOGGED_IN", InitiatorName: x.key.initiator,
				TargetName: shortName(x.key.target, base), PortalGroup: x.key.portalGroup, ThreadName: threadName(x.local.r),
			}
			if x.kept.failed {
				r.State, r.RetainedMs = "FAILED", int64(x.kept.remaining(s.home.r.Now())/time.Millisecond)
			}
			all = append(all, r)
		}
	})
	return all, err
}
