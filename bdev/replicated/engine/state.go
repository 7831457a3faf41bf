package engine

// Role is a node's role for one volume.
type Role uint8

// Roles, with DRBD's numbers.
const (
	RoleUnknown Role = iota
	Primary
	Secondary
)

// Disk is the state of a replica's data.
type Disk uint8

// Disk states, with DRBD's numbers and order: a higher state is better data.
const (
	Diskless Disk = iota
	Attaching
	Failed
	Negotiating
	Inconsistent
	Outdated
	DUnknown
	Consistent
	UpToDate
)

// Conn is the state of the link to one peer.
type Conn uint8

// Link states, with DRBD's numbers and order, which the rules compare.
const (
	StandAlone Conn = iota
	Disconnecting
	Unconnected
	Timeout
	BrokenPipe
	NetworkFailure
	ProtocolError
	TearDown
	WFConnection
	WFReportParams
	Connected
	StartingSyncS
	StartingSyncT
	WFBitMapS
	WFBitMapT
	WFSyncUUID
	SyncSource
	SyncTarget
	VerifyS
	VerifyT
	PausedSyncS
	PausedSyncT
	Ahead
	Behind
	connMax
)

var roleNames = [...]string{"Unknown", "Primary", "Secondary"}

var diskNames = [...]string{
	"Diskless", "Attaching", "Failed", "Negotiating", "Inconsistent",
	"Outdated", "DUnknown", "Consistent", "UpToDate",
}

var connNames = [...]string{
	"StandAlone", "Disconnecting", "Unconnected", "Timeout", "BrokenPipe", "NetworkFailure",
	"ProtocolError", "TearDown", "WFConnection", "WFReportParams", "Connected", "StartingSyncS",
	"StartingSyncT", "WFBitMapS", "WFBitMapT", "WFSyncUUID", "SyncSource", "SyncTarget",
	"VerifyS", "VerifyT", "PausedSyncS", "PausedSyncT", "Ahead", "Behind",
}

func (r Role) String() string { return roleNames[r] }
func (d Disk) String() string { return diskNames[d] }
func (c Conn) String() string { return connNames[c] }

// diskRange is an inclusive range of disk states.
type diskRange struct{ lo, hi Disk }

// anyDisk leaves a disk state as it is.
var anyDisk = diskRange{Diskless, UpToDate}

// clampRow says which disk states a link state admits on this side and on the peer's.
type clampRow struct {
	conn         Conn
	mine, peers  diskRange
	raiseToUpper bool // Consistent and Outdated become UpToDate: the handshake found no difference
}

// clampTable holds the rules by link state. States that it does not name admit every disk state.
// A diskless side is never raised: clamp leaves Diskless to Negotiating alone.
var clampTable = []clampRow{
	{conn: Connected, mine: anyDisk, peers: anyDisk, raiseToUpper: true},
	{conn: StartingSyncT, mine: diskRange{Inconsistent, Outdated}, peers: diskRange{UpToDate, UpToDate}},
	{conn: WFBitMapT, mine: diskRange{Inconsistent, Outdated}, peers: diskRange{UpToDate, UpToDate}},
	{conn: WFSyncUUID, mine: diskRange{Inconsistent, Outdated}, peers: diskRange{UpToDate, UpToDate}},
	{conn: PausedSyncT, mine: diskRange{Inconsistent, Outdated}, peers: diskRange{UpToDate, UpToDate}},
	{conn: Behind, mine: diskRange{Inconsistent, Outdated}, peers: diskRange{UpToDate, UpToDate}},
	{conn: StartingSyncS, mine: diskRange{UpToDate, UpToDate}, peers: diskRange{Inconsistent, Consistent}},
	{conn: WFBitMapS, mine: diskRange{UpToDate, UpToDate}, peers: diskRange{Inconsistent, Consistent}},
	{conn: PausedSyncS, mine: diskRange{UpToDate, UpToDate}, peers: diskRange{Inconsistent, Consistent}},
	{conn: Ahead, mine: diskRange{UpToDate, UpToDate}, peers: diskRange{Inconsistent, Consistent}},
	{conn: SyncTarget, mine: diskRange{Inconsistent, Inconsistent}, peers: diskRange{UpToDate, UpToDate}},
	{conn: SyncSource, mine: diskRange{UpToDate, UpToDate}, peers: diskRange{Inconsistent, Inconsistent}},
	{conn: VerifyS, mine: diskRange{UpToDate, UpToDate}, peers: diskRange{UpToDate, UpToDate}},
	{conn: VerifyT, mine: diskRange{UpToDate, UpToDate}, peers: diskRange{UpToDate, UpToDate}},
}

// clampIndex finds the row of a link state; -1 is no row.
var clampIndex = func() (index [connMax]int8) {
	for i := range index {
		index[i] = -1
	}
	for i, row := range clampTable {
		index[row.conn] = int8(i)
	}
	return index
}()

// Clamp returns the disk states of both sides as the link state allows them.
func Clamp(c Conn, mine, peers Disk) (Disk, Disk) {
	i := clampIndex[c]
	if i < 0 {
		return mine, peers
	}
	row := &clampTable[i]
	if row.raiseToUpper {
		return raise(mine, peers), raise(peers, mine)
	}
	return row.mine.clamp(mine), row.peers.clamp(peers)
}

func (r diskRange) clamp(d Disk) Disk {
	switch {
	case d < Inconsistent:
		return d
	case d < r.lo:
		return r.lo
	case d > r.hi:
		return r.hi
	}
	return d
}

// raise lifts data that was only Consistent or Outdated when the other side, if it has data, agrees.
func raise(d, other Disk) Disk {
	if (d == Consistent || d == Outdated) && (other < Inconsistent || other >= Outdated) {
		if d == Outdated && other < Inconsistent {
			return d // a diskless peer proves nothing about outdated data
		}
		return UpToDate
	}
	return d
}
