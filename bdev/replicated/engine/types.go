package engine

// Limits.
const (
	ReplicasMax = 16 // peers, local legs and trackers of one volume together
	NodesMax    = 32 // nodes are numbered from 0; masks of them have 32 bits
	PeersMax    = 15
	LegsMax     = 4
)

// Kind says what a replica row stands for.
type Kind uint8

// Kinds of rows.
const (
	KindNone    Kind = iota
	KindPeer         // another node, reached by messages
	KindLeg          // a local disk; its bitmap is used while it is stale
	KindTracker      // nobody: collects what changed since a mark
)

// Mode says when a write counts as replicated to a peer.
type Mode uint8

// Modes, with DRBD's letters and numbers.
const (
	ModeA Mode = iota + 1 // when it is handed to the link
	ModeB                 // when the peer has received it
	ModeC                 // when the peer has written it
)

// EventKind says what happened.
type EventKind uint8

// Events.
const (
	EvNone EventKind = iota
	EvTick           // time has passed; see Engine.Deadline

	// From the front end. ID names the request in the action that completes it.
	EvWrite
	EvRead
	EvFlush

	// From the local disks. ID is the one of the action.
	EvLegDone
	EvMetaDone

	// From the links.
	EvLinkUp // Flag: this side accepted the second connection and breaks ties
	EvLinkDown
	EvMessage

	// From the operator. ID names the command in ActReply.
	EvCommand
)

// Event is one input of Step.
type Event struct {
	Kind  EventKind
	Peer  int // replica row of the link
	Leg   int
	ID    uint64
	Off   uint64 // bytes
	Len   uint32 // bytes
	Op    WriteOp
	FUA   bool
	Flag  bool
	OK    bool
	Mask  uint16 // EvMetaDone: legs whose metadata write failed
	Sum   uint64 // EvLegDone of a digest read
	Data  any
	Msg   *Msg
	Cmd   Command
	Value uint64 // argument of the command
	Text  string
}

// WriteOp says what a write puts in place.
type WriteOp uint8

// Write operations. Unmap reaches the peers as zeroes that may be unmapped, so that replicas stay comparable.
const (
	OpData WriteOp = iota
	OpZeroes
	OpUnmap
)

// ActionKind says what the host has to do.
type ActionKind uint8

// Actions. The host performs them in the order in which Step returned them.
const (
	ActNone ActionKind = iota

	ActComplete // to the front end: request ID ended, OK or not; Mask are the peers that hold the write, bit 15 this node
	ActLegRead  // answered by EvLegDone with Data, or with Sum when Flag asks for the digest alone
	ActLegWrite
	ActLegFlush
	ActMetaSuper  // write the superblock to the legs of Mask, with FUA; answered by EvMetaDone
	ActMetaAL     // write an activity log transaction to the legs of Mask, with FUA
	ActMetaBitmap // write Page of slot Peer to the legs of Mask; Words alias the engine's bitmap: copy before the next Step
	ActSend       // put Msg on the link to Peer
	ActLinkStart  // start connecting to Peer, and keep trying
	ActLinkStop   // drop the connection to Peer; Flag: and stay away until told otherwise
	ActRelease    // Data given with a message or a read is not needed any more
	ActReply      // command ID ended with Err, Text
	ActNotify     // something an operator wants to know: Text, Peer
	ActSuspended  // I/O has been suspended and is drained (OK) or resumed (not OK)
)

// Action is one output of Step.
type Action struct {
	Kind  ActionKind
	Peer  int
	Leg   int
	ID    uint64
	Off   uint64
	Len   uint32
	Op    WriteOp
	FUA   bool
	Flag  bool
	OK    bool
	Mask  uint16
	Page  int
	Data  any
	Words []uint64
	Super *Super
	AL    []ALUpdate
	Msg   Msg
	Err   Err
	Text  string
}

// HostBit is this node's own bit in ActComplete's Mask.
const HostBit uint16 = 1 << 15

// MsgType is the type of a message between engines. The numbers are those of DRBD's packets where one corresponds.
type MsgType uint8

// Messages.
const (
	MsgData        MsgType = 0x00
	MsgDataReply   MsgType = 0x01
	MsgRSReply     MsgType = 0x02
	MsgBarrier     MsgType = 0x03
	MsgBitmap      MsgType = 0x04
	MsgDataRequest MsgType = 0x08
	MsgRSRequest   MsgType = 0x09
	MsgHello       MsgType = 0x0b // P_PROTOCOL, P_SIZES, P_UUIDS and the first P_STATE in one
	MsgUUIDs       MsgType = 0x0c
	MsgState       MsgType = 0x0e
	MsgSyncUUID    MsgType = 0x0f
	MsgStateReq    MsgType = 0x12
	MsgRecvAck     MsgType = 0x15
	MsgWriteAck    MsgType = 0x16
	MsgRSWriteAck  MsgType = 0x17
	MsgNegAck      MsgType = 0x19
	MsgNegReply    MsgType = 0x1a
	MsgNegRSReply  MsgType = 0x1b
	MsgBarrierAck  MsgType = 0x1c
	MsgStateReply  MsgType = 0x1d
	MsgOVRequest   MsgType = 0x1e
	MsgOVReply     MsgType = 0x1f
	MsgOVResult    MsgType = 0x20
	MsgCsumRequest MsgType = 0x21
	MsgRSInSync    MsgType = 0x22
	MsgOutOfSync   MsgType = 0x28
	MsgSyncDone    MsgType = 0x80 // follows all acknowledgements of the resync; DRBD says it by a ping and P_STATE
	MsgUUIDsAck    MsgType = 0x81 // the generation of a MsgUUIDs is stored
	MsgFenced      MsgType = 0x82 // a higher fencing epoch than the sender's is in force
	MsgPeerOOS     MsgType = 0x83 // a third node missed this range
	MsgVerifyDone  MsgType = 0x84
	MsgInvalidate  MsgType = 0x85 // set all bits; Count says which side becomes the source
	MsgStartResync MsgType = 0x86 // exchange bitmaps now; Count says which side becomes the source
	MsgSettled     MsgType = 0x87 // the Primary: all replicas have confirmed the epochs up to this one
	MsgInSync      MsgType = 0x88 // node Count and the receiver hold the same, of generation UUID; Block asks for an answer
	MsgInSyncAck   MsgType = 0x89 // the receiver of MsgInSync has noted it
)

// Meta reports whether a message travels on the second connection, where acknowledgements do not queue behind data.
func (t MsgType) Meta() bool {
	switch t {
	case MsgRecvAck, MsgWriteAck, MsgRSWriteAck, MsgNegAck, MsgNegReply, MsgNegRSReply, MsgBarrierAck,
		MsgStateReply, MsgOVResult, MsgRSInSync, MsgSyncDone, MsgUUIDsAck, MsgFenced:
		return true
	default:
		return false
	}
}

// Flags of MsgData.
const (
	FlagFUA       uint16 = 1 << iota
	FlagRecvAck          // answer MsgRecvAck on receipt
	FlagWriteAck         // answer MsgWriteAck when written
	FlagSetInSync        // the write makes its blocks equal: answer MsgRSWriteAck
)

// Msg is one message between engines.
type Msg struct {
	Type  MsgType
	Op    WriteOp
	Flags uint16
	Block uint64 // chosen by the asking side, echoed
	Off   uint64
	Len   uint32
	Epoch uint32
	Count uint32
	Fence uint64 // fencing epoch of the sender; 0 on links that have none
	UUID  uint64
	Data  any
	Words []uint64 // a bitmap; in MsgUUIDs and its answer former generations in use, see ancestors.go
	State PeerState
	Hello *Hello
	Doubt Doubt
}

// Doubt names the nodes towards which a row of the sender has one of these flags. Bit n is node n. Origins says, for each of
// them, whose doubt it is.
type Doubt struct {
	Crashed, Open, Weak uint32
	Origins             [NodesMax]Origin
}

// Origin is the node with whose data a doubt has come, and a mask of those from which it came, by one resync or several. Where the
// doubt is a node's own, there are none.
type Origin struct {
	Node uint8
	Way  uint32
}

// PeerState is what P_STATE says of its sender.
type PeerState struct {
	Role Role
	Disk Disk
	Conn Conn
	Hold bool // the sender wants the resync paused
}

// Hello is all that the two sides of a link tell each other before they compare generations.
type Hello struct {
	Mode          Mode
	AfterSB       [3]Policy
	RRConflict    Policy
	DiscardMyData bool
	DryRun        bool
	Size          uint64 // current size; 0 without metadata
	Capacity      uint64 // what the local disks could hold; 0 when diskless
	GI            GI
	Crashed       bool  // was Primary and ended without saying so, as far as this peer is concerned
	Open          bool  // lost a Primary some of whose writes the peer may not have
	Weak          bool  // ended without saying so as a Secondary: it may have lost writes that the peer has
	Doubt         Doubt // towards everybody; the three before are that towards the peer
	Partial       bool  // was taking over the data of the peer, and has not come to the end of it
	Target        bool  // is taking over the data of another node
	Follows       bool  // another node is Primary and sends it its writes
	Dirty         uint64
	Shown         uint64 // generation of the lost source whose data this Primary without good data has shown; 0 is none
	Fence         uint64
	State         PeerState
}

// Policy is what to do about a conflict of generations.
type Policy uint8

// Policies of after-sb-0pri, after-sb-1pri, after-sb-2pri and rr-conflict.
const (
	PolicyDisconnect Policy = iota
	DiscardYoungerPrimary
	DiscardOlderPrimary
	DiscardZeroChanges
	DiscardLeastChanges
	DiscardLocal
	DiscardRemote
	Consensus
	ViolentlyAs0p
	DiscardSecondary
	CallPriLost
	Violently
)

var policyNames = [...]string{
	"disconnect", "discard-younger-primary", "discard-older-primary", "discard-zero-changes",
	"discard-least-changes", "discard-local", "discard-remote", "consensus", "violently-as0p",
	"discard-secondary", "call-pri-lost-after-sb", "violently",
}

func (p Policy) String() string { return policyNames[p] }

// Command is what an operator asks for.
type Command uint8

// Commands.
const (
	CmdConnect        Command = iota + 1 // Flag: discard my data
	CmdDisconnect                        //
	CmdPrimary                           // Flag: force; Value: fencing epoch, 0 is none
	CmdSecondary                         //
	CmdInvalidate                        // local data
	CmdInvalidatePeer                    //
	CmdOutdate                           //
	CmdDetach                            // stop using the local disks
	CmdVerify                            // Value: VerifyRepair
	CmdVerifyStop                        // Peer: row; none is the verify of the legs
	CmdPauseSync                         //
	CmdResumeSync                        //
	CmdResize                            // Value: bytes; Flag: assume clean
	CmdNewGeneration                     // Flag: clear the bitmap of Peer: the replicas are known to be equal
	CmdSuspendIO                         // Value: ns until I/O resumes by itself
	CmdResumeIO                          //
	CmdTrackerReset                      // Peer: row of the tracker
	CmdLegAdd                            // Leg: its disk is here again; Flag: another disk is in its place, which has nothing yet
	CmdLegRemove                         //
	CmdReadExclude                       // Leg, Flag
	CmdFence                             // Value: fencing epoch in force
	CmdVerifyLegs                        // compare the local legs; Value: VerifyRepair; Leg: the one that is right
)

// VerifyRepair says what happens to blocks that verify found different.
type VerifyRepair uint64

// Repair choices.
const (
	RepairNone VerifyRepair = iota
	RepairFromLocal
	RepairFromPeer
	RepairByMajority // of the legs: what more than half of them hold
	RepairFromLeg    // of the legs: the one that the command names
)

// Err is the outcome of a command.
type Err uint8

// Outcomes.
const (
	OK Err = iota
	ErrState
	ErrPeerPrimary
	ErrNoGoodData
	ErrFenced
	ErrBusy
	ErrConcurrent
	ErrNotConnected
	ErrRange
	ErrIO
	ErrLost
)

var errNames = [...]string{
	"ok", "not in this state", "the peer is Primary", "no good data", "a higher fencing epoch is in force",
	"busy", "a concurrent state change won", "not connected", "out of range", "metadata could not be written",
	"the link was lost",
}

func (e Err) String() string { return errNames[e] }

// Super flags.
const (
	SuperConsistent uint32 = 1 << iota // the data is that of one moment
	SuperUpToDate                      // and was up to date when last known
	SuperPrimary                       // this node is or crashed as Primary
	SuperClean                         // the activity log is empty
	SuperFullSync                      // bitmaps are to be taken as all ones
	SuperLegMissing                    // a leg is missing that may have newer data than what is here
)

// Row flags.
const (
	RowCrashed  uint16 = 1 << iota // this node crashed as Primary and the peer has not been resynced since
	RowOutdated                    // the peer is known to be outdated
	RowFullSync                    // its bitmap counts as all ones
	RowStale                       // a leg that missed writes
	RowTracker
	RowOpen   // this node lost a Primary some of whose writes the peer may not have
	RowWeak   // this node crashed as a Secondary and may lack writes that the peer has
	RowSource // this node, Inconsistent, is taking over the peer's data; Bitmap is the generation that it was before
	RowEnding // the peer may end, unheard, the resync that Bitmap names: then it has the generation of this node
)

// rowDoubt is what makes two nodes of the same generation differ.
const rowDoubt = RowCrashed | RowOpen | RowWeak

// Row is what the metadata keeps of one replica.
type Row struct {
	Bitmap uint64 // generation since which changes are collected; for a leg its generation when it fell behind
	Flags  uint16
}

// Super is the durable state of a volume on this node, as the engine sees it.
type Super struct {
	Seq     uint64 // grows with every write of the superblock
	Current uint64
	History [HistoryLen]uint64
	Flags   uint32
	Size    uint64
	Fence   uint64
	LegPast [8]uint64 // former ones
	LegGen  uint64    // generation of the set of legs that are in sync
	Rows    [ReplicasMax]Row
}

// GI returns the generation identifier towards the replica of a row.
func (s *Super) GI(row int) GI {
	return GI{Current: s.Current, Bitmap: s.Rows[row].Bitmap, History: s.History}
}

// ALUpdate says that a slot of the activity log now holds an extent.
type ALUpdate struct {
	Slot   uint16
	Extent uint32
}

// ALFree marks a slot that holds no extent.
const ALFree uint32 = 1<<32 - 1

var msgNames = map[MsgType]string{
	MsgData: "Data", MsgDataReply: "DataReply", MsgRSReply: "RSReply", MsgBarrier: "Barrier", MsgBitmap: "Bitmap",
	MsgDataRequest: "DataRequest", MsgRSRequest: "RSRequest", MsgHello: "Hello", MsgUUIDs: "UUIDs",
	MsgState: "State", MsgSyncUUID: "SyncUUID", MsgStateReq: "StateReq", MsgRecvAck: "RecvAck", MsgWriteAck: "WriteAck",
	MsgRSWriteAck: "RSWriteAck", MsgNegAck: "NegAck", MsgNegReply: "NegReply", MsgNegRSReply: "NegRSReply",
	MsgBarrierAck: "BarrierAck", MsgStateReply: "StateReply", MsgOVRequest: "OVRequest", MsgOVReply: "OVReply",
	MsgOVResult: "OVResult", MsgCsumRequest: "CsumRequest", MsgRSInSync: "RSInSync", MsgOutOfSync: "OutOfSync",
	MsgSyncDone: "SyncDone", MsgUUIDsAck: "UUIDsAck", MsgFenced: "Fenced", MsgPeerOOS: "PeerOOS",
	MsgVerifyDone: "VerifyDone", MsgInvalidate: "Invalidate", MsgStartResync: "StartResync", MsgSettled: "Settled",
	MsgInSync: "InSync", MsgInSyncAck: "InSyncAck",
}

func (t MsgType) String() string { return msgNames[t] }
