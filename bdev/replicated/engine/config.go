package engine

// RowConfig describes one replica other than this node's own disk.
type RowConfig struct {
	Node       int // the node behind a peer row
	Kind       Kind
	Mode       Mode
	AfterSB    [3]Policy // by the number of Primaries: none, one, two
	RRConflict Policy
	HistoryLen int  // 2 towards DRBD 8.4; 0 is HistoryLen
	NoFence    bool // the link carries no fencing epochs
	Csums      bool // resync asks by digest
	PullAhead  bool // with mode A: go Ahead instead of making writes wait
	Congestion uint32
}

// OnFailure says what becomes of I/O that cannot be served as promised.
type OnFailure uint8

// Choices of Config.OnNoData and Config.OnNoQuorum.
const (
	SuspendIO OnFailure = iota
	FailIO
)

// Config is fixed for the life of an engine.
type Config struct {
	Node        int
	Size        uint64 // bytes, used only when there is no metadata
	Capacity    uint64 // bytes that the smallest leg can hold
	BlockShift  uint8  // one bit stands for 1<<BlockShift bytes
	ExtentShift uint8  // one activity log slot stands for 1<<ExtentShift bytes
	ALSlots     int
	PageBits    int // bits of one bitmap page on disk, a multiple of 64
	MaxEpoch    uint32
	Legs        int // local disks; row LegRow+i is leg i
	LegRow      int
	Rows        [ReplicasMax]RowConfig
	MinAcks     int // copies a write needs before it is acknowledged, this node's included
	OnNoData    OnFailure
	OnNoQuorum  OnFailure
	NoFlush     bool // peers' barriers are answered without flushing (disk-flushes no)
	ResyncMax   uint32
	ResyncDepth int
	ResyncRate  uint64 // bytes a second; 0 is no limit
	Seed        uint64 // source of new generation UUIDs; must differ at every start
	Mutations   MutationSet
	Cover       *Coverage // counts what was reached; nil is none
}

const (
	defaultALSlots     = 1237
	defaultExtentShift = 22
	defaultBlockShift  = 12
	defaultPageBits    = 32256
	defaultMaxEpoch    = 2048
	defaultResyncDepth = 16
	defaultResyncMax   = 128 << 10
	queueMax           = 4096 // front end requests held back at once
)

func (c *Config) fill() {
	setDefault(&c.ALSlots, defaultALSlots)
	setDefault(&c.ExtentShift, defaultExtentShift)
	setDefault(&c.BlockShift, defaultBlockShift)
	setDefault(&c.PageBits, defaultPageBits)
	setDefault(&c.MaxEpoch, defaultMaxEpoch)
	setDefault(&c.ResyncDepth, defaultResyncDepth)
	setDefault(&c.ResyncMax, defaultResyncMax)
	setDefault(&c.MinAcks, 1)
	for i := range c.Rows {
		setDefault(&c.Rows[i].HistoryLen, HistoryLen)
		setDefault(&c.Rows[i].Mode, ModeC)
	}
}

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}
