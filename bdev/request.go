package bdev

// Op is what a request asks for.
type Op uint8

// Operations. Each has a row in the model device of package bdevtest.
const (
	OpRead            Op = iota // Data receives Blocks blocks from LBA
	OpWrite                     // Data is written to Blocks blocks at LBA
	OpFlush                     // every write completed before this was submitted is durable when it completes
	OpUnmap                     // Blocks blocks from LBA hold nothing any more and read as zeroes
	OpWriteZeroes               // Blocks blocks from LBA read as zeroes; FlagUnmap allows to free them
	OpCompare                   // Data equals the medium, or StatusMiscompare with Result = offset in bytes
	OpCompareAndWrite           // one instant: if Compare equals the medium, Data is written
	OpCopy                      // Blocks blocks from SrcLBA to LBA on the same device
	OpReset                     // everything in flight of this channel's device queue has ended when it completes
	OpAbort                     // Target is ended early if the module can; completes when Target has completed
	OpSeekData                  // Result = first LBA >= LBA that may hold data, or the device's size
	OpSeekHole                  // Result = first LBA >= LBA in a hole, or the device's size
	OpCount                     // the number of operations
)

// Flags modify an operation.
type Flags uint8

// Flags.
const (
	FlagFUA   Flags = 1 << iota // durable when complete (write, write zeroes, unmap, compare-and-write, copy)
	FlagUnmap                   // write zeroes may deallocate
)

// Status is how a request ended. It is closed: every value has a row in each translator's table.
type Status uint8

// Statuses.
const (
	StatusOK            Status = iota
	StatusAborted              // ended by OpAbort or OpReset; whether it took effect is unknown
	StatusNoMemory             // the module is out of resources; never seen by callers: the channel tries again
	StatusInvalid              // the request makes no sense (geometry of Data, for instance)
	StatusUnsupported          // the device cannot do this
	StatusOutOfRange           // beyond the end, or LBA + Blocks wraps
	StatusReadOnly             // a write through a read-only desc or to a read-only device
	StatusRemoved              // the device is being removed or gone
	StatusMiscompare           // Result is the offset in bytes of the first difference
	StatusNoSpace              // the medium is full
	StatusMediumError          // the medium failed to read or write
	StatusHardwareError        // the device failed altogether
	StatusNotReady             // temporarily not able to serve
	StatusConflict             // a reservation or fence of the device below refuses
	StatusCount
)

// Request is one operation on a device. Its owner makes it once, sets Done once, and reuses it. Between Submit and Done
// it belongs to the block layer and nothing of it may be touched; Data and Compare stay unchanged for as long.
// Data plane: it belongs to the reactor of the channel.
type Request struct {
	Op      Op
	Flags   Flags
	Status  Status
	LBA     uint64
	Blocks  uint64
	Data    [][]byte // pieces of whole memory, in order; the sum is Blocks blocks for operations that move data
	Compare [][]byte // OpCompareAndWrite: what the medium must hold
	SrcLBA  uint64   // OpCopy
	Result  uint64
	Target  *Request   // OpAbort
	Lock    *RangeLock // the lock this request works under, if any: it passes its own lock
	Done    func(*Request)

	// Driver belongs to the module between Queue.Submit and Complete: a pointer to its own context.
	Driver any

	channel *Channel   // while submitted, and afterwards the last one
	parent  *composite // of a part: the request it is a part of
	whole   *composite // what carries out a request that the module does not get as it is
	waiters *Request   // aborts that wait for the end of this request, linked by links[wait].next
	links   [linkKinds]link
	started int64 // Reactor.Now at Submit
	state   state
	paid    bool // for a limit of rates
	pending bool // a reset or an abort that the module has: its end is not the whole end
}

// state is where a request is.
type state uint8

const (
	stateIdle      state = iota // with its owner
	stateHeld                   // in lane.held: a range lock, a reset or a removal is in the way
	stateLocking                // its composite waits for a range lock
	stateThrottled              // in lane.throttled: there are no tokens for it
	stateParked                 // in lane.parked: there is no composite or no buffer for it
	stateRunning                // its composite works on it, or it is a reset or an abort that waits
	stateStarved                // in lane.starved: the module is out of resources
	stateModule                 // the module has it
	stateEnded                  // in lane.done: Done is called soon
)
