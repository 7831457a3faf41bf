package uring

// Features is a set of what a kernel offers and what a user may mask off.
type Features uint32

// Each feature has a tested road for when it is missing.
const (
	FeatureDeferTaskrun Features = 1 << iota
	FeatureRecvMultishot
	FeatureAcceptMultishot
	FeatureBufferRing
	FeatureBufferRingInc
	FeatureNoSQArray
	FeatureRegisteredBuffers
	FeatureURing // io_uring as a whole
)

// SQE is struct io_uring_sqe: 64 bytes, shared with the kernel.
type SQE struct {
	Opcode   uint8
	Flags    uint8
	Ioprio   uint16
	Fd       int32
	Off      uint64
	Addr     uint64
	Len      uint32
	OpFlags  uint32
	UserData uint64
	BufIndex uint16 // or buffer group
	_        uint16
	FileIdx  int32
	Addr3    uint64
	_        uint64
}

// CQE is struct io_uring_cqe.
type CQE struct {
	UserData uint64
	Res      int32
	Flags    uint32
}
