package iscsi

import (
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"

	"pollux/bdev"
	"pollux/scsi"
)

// Map lets an initiator group use a target through a portal group.
type Map struct {
	PortalGroup    int32 `json:"pg_tag"`
	InitiatorGroup int32 `json:"ig_tag"`
}

// LUNSpec puts a block device at a LUN number; a negative number is the lowest free one.
type LUNSpec struct {
	BdevName string `json:"bdev_name"`
	LUN      int32  `json:"lun_id"`
	PTPLFile string `json:"ptpl_file,omitempty"` // where registrations persist through power loss; empty: they do not
}

func (l *LUNSpec) options() scsi.LUNOptions { return scsi.LUNOptions{PTPLFile: l.PTPLFile} }

// Target is an iSCSI target node. Control plane; what is in a configuration is immutable, and all copies share the node.
type Target struct {
	Name         string
	Alias        string
	Maps         []Map
	QueueDepth   uint32 // commands that one session may have unfinished
	HeaderDigest bool   // insisted on
	DataDigest   bool   // insisted on

	auth      authPolicy
	redirects []redirect // at most one per portal group
	node      *node
}

// node is the part of a target that lives: its SCSI device.
type node struct {
	device    *scsi.Device
	gone      atomic.Bool                    // the target is being deleted; written by the control plane, read where sessions are opened
	histogram atomic.Pointer[bdev.Histogram] // written by the control plane, read once per command; nil: nothing is counted
}

// TargetSpec is what iscsi_create_target_node says.
type TargetSpec struct {
	Name, Alias              string
	Maps                     []Map
	LUNs                     []LUNSpec
	QueueDepth               int32
	HeaderDigest, DataDigest bool
	Auth                     authPolicy
}

// fullName completes a short target name with the node base.
func fullName(name, base string) string {
	if checkName(name) == nil {
		return name
	}
	return base + ":" + name
}

// targetOf checks the specification against the configuration; the SCSI device comes later.
func targetOf(c *config, s *TargetSpec) (*Target, error) {
	t := &Target{
		Name: fullName(s.Name, c.options.NodeBase), Alias: s.Alias, Maps: slices.Clone(s.Maps), auth: s.Auth,
		HeaderDigest: s.HeaderDigest, DataDigest: s.DataDigest, QueueDepth: uint32(s.QueueDepth),
	}
	if s.QueueDepth <= 0 || t.QueueDepth > c.options.MaxQueueDepth {
		t.QueueDepth = c.options.MaxQueueDepth
	}
	switch err := checkName(t.Name); {
	case s.Name == "":
		return nil, fmt.Errorf("the name is empty")
	case err != nil:
		return nil, err
	case c.target(t.Name) != nil:
		return nil, fmt.Errorf("target node %s already exists", t.Name)
	case len(s.Alias) > ValueMax:
		return nil, fmt.Errorf("alias_name has %d bytes, more than %d", len(s.Alias), ValueMax)
	case len(s.LUNs) == 0 || len(s.LUNs) > LUNsPerTarget:
		return nil, fmt.Errorf("%d luns, not 1 to %d", len(s.LUNs), LUNsPerTarget)
	}
	if err := c.checkMaps(s.Maps); err != nil {
		return nil, err
	}
	return t, nil
}

// require makes what the target insists on part of what we want of a login.
func (t *Target) require(own *Params) {
	own.TargetAlias = t.Alias
	if t.HeaderDigest {
		own.HeaderDigest = CRC32C
	}
	if t.DataDigest {
		own.DataDigest = CRC32C
	}
}

// ownParams is what we want of every login (RFC 7143 13).
func (c *config) ownParams() Params {
	p := DefaultParams()
	p.HeaderDigest, p.DataDigest = digestPreference, digestPreference
	p.MaxRecvDataSegmentLength = RecvDataSegmentMax
	p.MaxConnections = 1
	p.MaxBurstLength = BurstMax
	p.FirstBurstLength = min(c.options.FirstBurstLength, BurstMax)
	p.DefaultTime2Wait, p.DefaultTime2Retain = c.options.DefaultTime2Wait, c.options.DefaultTime2Retain
	p.MaxOutstandingR2T = min(R2TMax, c.options.MaxR2TPerConnection)
	p.ErrorRecoveryLevel = 0
	p.InitialR2T = false
	p.ImmediateData = c.options.ImmediateData
	p.DataPDUInOrder, p.DataSequenceInOrder = true, true
	return p
}

// digestPreference: the initiator's preference decides, since it is the first of its list that counts.
const digestPreference = None + "," + CRC32C

// targetAuth turns a policy into what the login machine asks. An auth group that does not exist knows nobody: where CHAP is
// not required it is not offered then, so that an initiator that has a secret for a target can discover without one.
func (c *config) targetAuth(p authPolicy) TargetAuth {
	group := c.authGroup(p.Group)
	return TargetAuth{
		AllowNone: !p.Require, AllowCHAP: p.Require || !p.Disable && group != nil, NeedMutual: p.Mutual,
		Secret: func(name string) (CHAPSecret, bool) {
			if group == nil {
				return CHAPSecret{}, false
			}
			s := group.find(name)
			if s == nil {
				return CHAPSecret{}, false
			}
			return CHAPSecret{Secret: s.Secret, TargetName: s.MutualUser, TargetSecret: s.MutualSecret}, true
		},
	}
}

func (s *session) queueDepth() uint32 {
	if s.target == nil {
		return DiscoveryQueueDepth
	}
	return s.target.QueueDepth
}

// ports are the relative identifiers of the target's ports, one for each portal group.
func (t *Target) ports() (all []uint16) {
	for _, m := range t.Maps {
		if port := uint16(m.PortalGroup); !slices.Contains(all, port) {
			all = append(all, port)
		}
	}
	return all
}

// initiatorPort and targetPort name the ends of the nexus.
func (s *session) initiatorPort() scsi.PortID {
	isid := "0x" + hex.EncodeToString(s.key.isid[:])
	return scsi.PortID{
		Name:        s.key.initiator + ",i," + isid,
		TransportID: transportID(s.key.initiator + ",i," + isid),
	}
}

func (s *session) targetPort() scsi.PortID {
	tag := fmt.Sprintf("%s,t,0x%04x", s.key.target, s.key.portalGroup)
	return scsi.PortID{Name: tag, TransportID: transportID(tag), RelativeID: uint16(s.key.portalGroup)}
}

// transportID is the iSCSI TransportID of an initiator port (SPC-5 7.6.4.6): protocol 5h, format 01b, the name ended by a NUL and padded.
func transportID(name string) string {
	const smallest = 20
	n := len(name) + 1
	n = max((n+3)&^3, smallest)
	b := make([]byte, 4+n)
	b[0], b[2], b[3] = 0x45, byte(n>>8), byte(n)
	copy(b[4:], name)
	return string(b)
}

// shortName is the target's name without the node base, as iscsi_get_connections shows it.
func shortName(name, base string) string { return strings.TrimPrefix(name, base+":") }
