package scsi

import (
	"pollux/bdev"
	"pollux/reactor"
)

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

// Task is one command. The transport embeds it in its own task, pools it, and binds Done and Bind once; between Execute and Done it
// belongs to this package. Data plane: the nexus's reactor.
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

	// Set by Prepare.
	Direction  Direction
	DataOutLen uint32 // bytes that the command needs from the initiator; the transport gathers min(this, ExpectedOut)
	DataInMax  uint32 // bytes that the command may return; memory for min(this, ExpectedIn) must be in DataIn at Execute

	// Set by the transport before Execute: pieces of off-heap memory, whole blocks per piece where the command moves blocks.
	DataOut, DataIn [][]byte

	// The answer, valid at Done.
	Status    byte // SAM-5 5.3.1: StatusGood, ...
	Sense     [SenseMax]byte
	SenseLen  int
	DataInLen uint32 // bytes of DataIn that hold data
	// DataOutUsed and DataInTotal let the transport compute residuals: the bytes the command would have moved.
	DataInTotal uint32

	Finished func(*Task)

	nexus *Nexus
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

// Device is a SCSI target device. Control plane makes it; its LUN table is read by reactors as a snapshot.
type Device struct{ name string }

// Nexus is an I_T nexus with all its LUNs, on one reactor.
type Nexus struct{ r *reactor.Reactor }

// OpenNexus makes the nexus on r; Close drains it. (on r)
func (d *Device) OpenNexus(r *reactor.Reactor, initiator, target PortID) *Nexus { panic("api") }

// Prepare decodes. It returns false when the command has been refused: then Execute is not needed, the transport discards data-out, and
// the answer is in t as at Done.
func (n *Nexus) Prepare(t *Task) bool { panic("api") }

// Execute runs t; t.Finished is called once, not within this call.
func (n *Nexus) Execute(t *Task) { panic("api") }

// Function is a task management function (SAM-5 7).
type Function uint8

// Task management functions, with the codes of RFC 7143 11.5.1.
const (
	FunctionAbortTask        Function = 1
	FunctionAbortTaskSet     Function = 2
	FunctionClearACA         Function = 3
	FunctionClearTaskSet     Function = 4
	FunctionLogicalUnitReset Function = 5
	FunctionTargetWarmReset  Function = 6
	FunctionTargetColdReset  Function = 7
	FunctionQueryTask        Function = 9
)

// Response of a task management function (RFC 7143 11.6.1).
type Response uint8

// Responses.
const (
	ResponseComplete     Response = 0
	ResponseNoTask       Response = 1
	ResponseNoLUN        Response = 2
	ResponseNotSupported Response = 5
	ResponseRejected     Response = 255
)

// Management is one task management request. Owned and pooled by the transport.
type Management struct {
	Function Function
	LUN      uint64
	Tag      uint64 // of the task, for ABORT TASK and QUERY TASK
	Response Response
	Done     func(*Management)
}

// Manage starts m. When Done is called no task that it affects can reach a device any more, on any reactor; tasks it ended have
// finished (with StatusTaskAborted, and their Finished called) before.
func (n *Nexus) Manage(m *Management) { panic("api") }

// Close ends all tasks (Finished is called for each), drains, closes the channels, and calls closed on the reactor.
func (n *Nexus) Close(closed func()) { panic("api") }
