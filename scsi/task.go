package scsi

import "pollux/bdev"

// Limits of a command.
const (
	// CDBMax is the longest CDB accepted, in bytes (variable-length CDBs of SBC-4 have 32).
	CDBMax = 32
	// MaxTransferBytes is the most data one command moves; VPD page B0h says so.
	MaxTransferBytes = 4 << 20
	// SenseMax is the longest sense data produced, in bytes.
	SenseMax = 64
)

// Direction of a command's data, seen from the initiator.
type Direction uint8

// Directions.
const (
	DirNone Direction = iota
	DirIn             // to the initiator
	DirOut            // from the initiator
)

// Attribute is a task attribute (SAM-5 8.9).
type Attribute uint8

// Task attributes, with the codes of RFC 7143 11.3.1.
const (
	AttributeUntagged Attribute = iota
	AttributeSimple
	AttributeOrdered
	AttributeHeadOfQueue
	AttributeACA
)

// Task is one command. The transport embeds it in its own task, pools it, and binds Finished once; from Prepare until Finished (or
// Cancel) the nexus knows it, and between Execute and Finished it belongs to this package. Data plane: the nexus's reactor.
type Task struct {
	bdev.Request // the I/O that a simple command becomes

	// Set by the transport before Prepare.
	LUN       uint64 // the eight bytes of the LUN field, big-endian
	CDB       [CDBMax]byte
	CDBLen    int
	Attribute Attribute
	Tag       uint64 // the transport's name of the task, unique in the nexus (ABORT TASK finds it by this)
	// The transport's expectation: what the initiator says it will send or take, in bytes.
	ExpectedOut, ExpectedIn uint32

	// Set by Prepare, also when it refuses.
	Direction  Direction
	DataOutLen uint32 // bytes that the command needs from the initiator; the transport gathers min(this, ExpectedOut)
	DataInMax  uint32 // bytes that the command may return; memory for min(this, ExpectedIn) must be in DataIn at Execute

	// Set by the transport before Execute: pieces of off-heap memory, whole blocks per piece where the command moves blocks. Only the
	// last piece may end within a block, and only when the expectation does.
	DataOut, DataIn [][]byte

	// The answer, valid at Finished, or when Prepare has refused.
	Status    byte // SAM-5 5.3.1: StatusGood, ...
	Sense     [SenseMax]byte
	SenseLen  int
	DataInLen uint32 // bytes of DataIn that hold data
	// DataInTotal and DataOutLen let the transport compute residuals: the bytes the command would have moved.
	DataInTotal uint32
	// NoResponse: the task was aborted in a way that forbids a SCSI response (SAM-5 5.6): the transport only gives it back.
	NoResponse bool

	// Finished is called once for each task that was given to Execute, and by Nexus.Close for those that were not.
	Finished func(*Task)

	progress // what this package remembers of the task
}

// SCSI status codes (SAM-5 table 31) returned in Task.Status.
const (
	StatusGood                = 0x00
	StatusCheckCondition      = 0x02
	StatusConditionMet        = 0x04
	StatusBusy                = 0x08
	StatusReservationConflict = 0x18
	StatusTaskSetFull         = 0x28
	StatusACAActive           = 0x30
	StatusTaskAborted         = 0x40
)

// PortID names an end of a nexus: TransportID or name of SPC-5 7.6.4 in binary form, comparable by its text.
type PortID struct {
	Name        string // iSCSI: "iqn...,i,0x<ISID>" or "iqn...,t,0x<tag>"
	TransportID string // the binary TransportID (SPC-5 7.6.4.6), as PERSISTENT RESERVE IN reports it
	RelativeID  uint16 // target ports: relative target port identifier
}
