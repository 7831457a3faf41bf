package iscsi

// Params are the operational parameters of a connection and its session, under the names of RFC 7143 13. The same type says
// what one side wants (Negotiation.Own) and what both have agreed on (Negotiation.Result).
type Params struct {
	InitiatorName, InitiatorAlias          string
	TargetName, TargetAlias, TargetAddress string
	TargetPortalGroupTag                   uint32
	SessionType                            string // SessionNormal or SessionDiscovery

	// HeaderDigest and DataDigest are lists in order of preference in Own ("CRC32C,None") and one value in Result.
	HeaderDigest, DataDigest string
	TaskReporting            string

	MaxRecvDataSegmentLength uint32 // what we declare; each direction has its own
	MaxSendDataSegmentLength uint32 // what the peer declared, in Result only
	MaxConnections           uint32
	MaxBurstLength           uint32
	FirstBurstLength         uint32
	DefaultTime2Wait         uint32 // seconds
	DefaultTime2Retain       uint32 // seconds
	MaxOutstandingR2T        uint32
	ErrorRecoveryLevel       uint32
	ISCSIProtocolLevel       uint32

	InitialR2T, ImmediateData, DataPDUInOrder, DataSequenceInOrder bool
}

// Session types (RFC 7143 13.21).
const (
	SessionNormal    = "Normal"
	SessionDiscovery = "Discovery"
)

// CRC32C is the only digest beside None (RFC 7143 13.1).
const CRC32C = "CRC32C"

// DefaultParams are the values that hold for keys which nobody negotiates.
func DefaultParams() Params {
	return Params{
		SessionType:              SessionNormal,
		HeaderDigest:             None,
		DataDigest:               None,
		TaskReporting:            TaskReportingRFC3720,
		MaxRecvDataSegmentLength: LoginDataSegmentMax,
		MaxSendDataSegmentLength: LoginDataSegmentMax,
		MaxConnections:           1,
		MaxBurstLength:           262144,
		FirstBurstLength:         65536,
		DefaultTime2Wait:         2,
		DefaultTime2Retain:       20,
		MaxOutstandingR2T:        1,
		ErrorRecoveryLevel:       0,
		ISCSIProtocolLevel:       1,
		InitialR2T:               true,
		ImmediateData:            true,
		DataPDUInOrder:           true,
		DataSequenceInOrder:      true,
	}
}

// Reconnect takes over what a later connection of the session has agreed on for itself: all else was settled by the first login.
func (p *Params) Reconnect(of *Params) {
	p.HeaderDigest, p.DataDigest = of.HeaderDigest, of.DataDigest
	p.MaxRecvDataSegmentLength, p.MaxSendDataSegmentLength = of.MaxRecvDataSegmentLength, of.MaxSendDataSegmentLength
}

// Discovery reports whether the session is a discovery session.
func (p *Params) Discovery() bool { return p.SessionType == SessionDiscovery }

// HasHeaderDigest reports whether header digests were agreed on (in Result).
func (p *Params) HasHeaderDigest() bool { return p.HeaderDigest == CRC32C }

// HasDataDigest reports whether data digests were agreed on (in Result).
func (p *Params) HasDataDigest() bool { return p.DataDigest == CRC32C }
