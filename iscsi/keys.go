package iscsi

// TaskReportingRFC3720 is the one value of TaskReporting that needs nothing of us (RFC 7143 13.23): neither response fences
// nor FastAbort are offered.
const TaskReportingRFC3720 = "RFC3720"

// kind is how a key's value comes about (RFC 7143 6.2).
type kind uint8

const (
	kindText    kind = iota // declared text, at most max bytes
	kindDeclare             // a declared number
	kindMin                 // the smaller of both numbers
	kindMax                 // the larger of both numbers
	kindAnd                 // Yes if both say so
	kindOr                  // Yes if one says so
	kindList                // the first of the originator's list that the responder has
	kindRefuse              // obsolete keys with a prescribed answer
	kindElse                // belongs to authentication or discovery, never to this table's engine
)

// use says in which phase a key may appear, and who may send it.
type use uint16

const (
	useSecurity    use = 1 << iota // in SecurityNegotiation
	useOperational                 // in LoginOperationalNegotiation
	useFullFeature                 // in full feature phase
	useLeading                     // in the login of a session's first connection only (LO)
	useDiscovery                   // has a meaning in discovery sessions; otherwise the answer there is Irrelevant
	useInitiator                   // the initiator may send it
	useTarget                      // the target may send it
	useLater                       // RFC 7143 added it; targets that do not know it may end the login over it

	useLogin = useSecurity | useOperational
	useBoth  = useInitiator | useTarget
)

// key is a row of the table.
type key struct {
	name     string
	kind     kind
	use      use
	min, max uint32 // of numbers; max is the longest text of kindText
	number   func(*Params) *uint32
	flag     func(*Params) *bool
	text     func(*Params) *string
	answer   string // of kindRefuse
}

// keys is THE table of text keys (RFC 7143 13, 12): a new one is a row here. The order is that of our offers.
var keys = [...]key{
	{name: "InitiatorName", kind: kindText, use: useLogin | useInitiator | useDiscovery, max: NameMax, text: func(p *Params) *string { return &p.InitiatorName }},
	{name: "InitiatorAlias", kind: kindText, use: useLogin | useFullFeature | useInitiator | useDiscovery, max: ValueMax, text: func(p *Params) *string { return &p.InitiatorAlias }},
	{name: "SessionType", kind: kindText, use: useLogin | useInitiator | useDiscovery | useLeading, max: ValueMax, text: func(p *Params) *string { return &p.SessionType }},
	{name: "TargetName", kind: kindText, use: useLogin | useInitiator | useDiscovery, max: NameMax, text: func(p *Params) *string { return &p.TargetName }},
	{name: "TargetAlias", kind: kindText, use: useLogin | useFullFeature | useTarget | useDiscovery, max: ValueMax, text: func(p *Params) *string { return &p.TargetAlias }},
	{name: "TargetAddress", kind: kindText, use: useLogin | useFullFeature | useTarget | useDiscovery, max: ValueMax, text: func(p *Params) *string { return &p.TargetAddress }},
	{name: "TargetPortalGroupTag", kind: kindDeclare, use: useLogin | useTarget | useDiscovery, max: 65535, number: func(p *Params) *uint32 { return &p.TargetPortalGroupTag }},

	{name: "HeaderDigest", kind: kindList, use: useOperational | useBoth | useDiscovery, text: func(p *Params) *string { return &p.HeaderDigest }},
	{name: "DataDigest", kind: kindList, use: useOperational | useBoth | useDiscovery, text: func(p *Params) *string { return &p.DataDigest }},
	{name: "MaxRecvDataSegmentLength", kind: kindDeclare, use: useOperational | useFullFeature | useBoth | useDiscovery, min: 512, max: 1<<24 - 1, number: func(p *Params) *uint32 { return &p.MaxRecvDataSegmentLength }},
	{name: "MaxConnections", kind: kindMin, use: useOperational | useBoth | useLeading, min: 1, max: 65535, number: func(p *Params) *uint32 { return &p.MaxConnections }},
	{name: "InitialR2T", kind: kindOr, use: useOperational | useBoth | useLeading, flag: func(p *Params) *bool { return &p.InitialR2T }},
	{name: "ImmediateData", kind: kindAnd, use: useOperational | useBoth | useLeading, flag: func(p *Params) *bool { return &p.ImmediateData }},
	{name: "MaxBurstLength", kind: kindMin, use: useOperational | useBoth | useLeading, min: 512, max: 1<<24 - 1, number: func(p *Params) *uint32 { return &p.MaxBurstLength }},
	{name: "FirstBurstLength", kind: kindMin, use: useOperational | useBoth | useLeading, min: 512, max: 1<<24 - 1, number: func(p *Params) *uint32 { return &p.FirstBurstLength }},
	{name: "DefaultTime2Wait", kind: kindMax, use: useOperational | useBoth | useLeading | useDiscovery, max: Time2WaitMax, number: func(p *Params) *uint32 { return &p.DefaultTime2Wait }},
	{name: "DefaultTime2Retain", kind: kindMin, use: useOperational | useBoth | useLeading | useDiscovery, max: Time2RetainMax, number: func(p *Params) *uint32 { return &p.DefaultTime2Retain }},
	{name: "MaxOutstandingR2T", kind: kindMin, use: useOperational | useBoth | useLeading, min: 1, max: 65535, number: func(p *Params) *uint32 { return &p.MaxOutstandingR2T }},
	{name: "DataPDUInOrder", kind: kindOr, use: useOperational | useBoth | useLeading, flag: func(p *Params) *bool { return &p.DataPDUInOrder }},
	{name: "DataSequenceInOrder", kind: kindOr, use: useOperational | useBoth | useLeading, flag: func(p *Params) *bool { return &p.DataSequenceInOrder }},
	{name: "ErrorRecoveryLevel", kind: kindMin, use: useOperational | useBoth | useLeading | useDiscovery, max: 2, number: func(p *Params) *uint32 { return &p.ErrorRecoveryLevel }},
	{name: "TaskReporting", kind: kindList, use: useOperational | useBoth | useLeading | useLater, text: func(p *Params) *string { return &p.TaskReporting }},
	{name: "iSCSIProtocolLevel", kind: kindMin, use: useOperational | useBoth | useLeading | useLater, max: 31, number: func(p *Params) *uint32 { return &p.ISCSIProtocolLevel }},

	// RFC 7143 13.25: obsolete, and never to be answered with NotUnderstood.
	{name: "IFMarker", kind: kindRefuse, use: useOperational | useBoth | useDiscovery, answer: "No"},
	{name: "OFMarker", kind: kindRefuse, use: useOperational | useBoth | useDiscovery, answer: "No"},
	{name: "IFMarkInt", kind: kindRefuse, use: useOperational | useBoth | useDiscovery, answer: Reject},
	{name: "OFMarkInt", kind: kindRefuse, use: useOperational | useBoth | useDiscovery, answer: Reject},

	{name: "SendTargets", kind: kindElse, use: useFullFeature | useInitiator | useDiscovery},
	{name: "AuthMethod", kind: kindElse, use: useSecurity | useBoth | useDiscovery},
	{name: "CHAP_A", kind: kindElse, use: useSecurity | useBoth | useDiscovery},
	{name: "CHAP_I", kind: kindElse, use: useSecurity | useBoth | useDiscovery},
	{name: "CHAP_C", kind: kindElse, use: useSecurity | useBoth | useDiscovery},
	{name: "CHAP_N", kind: kindElse, use: useSecurity | useBoth | useDiscovery},
	{name: "CHAP_R", kind: kindElse, use: useSecurity | useBoth | useDiscovery},
}

// keyIndex finds a row by name.
var keyIndex = func() map[string]int {
	m := make(map[string]int, len(keys))
	for i := range keys {
		m[keys[i].name] = i
	}
	return m
}()

// allows reports whether a key may be sent in a stage.
func (u use) allows(s Stage) bool {
	switch s {
	case StageSecurity:
		return u&useSecurity != 0
	case StageOperational:
		return u&useOperational != 0
	default:
		return u&useFullFeature != 0
	}
}
