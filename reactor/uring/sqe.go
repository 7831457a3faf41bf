package uring

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

// Operations (enum io_uring_op).
const (
	OpNop         = 0
	OpReadv       = 1
	OpWritev      = 2
	OpFsync       = 3
	OpReadFixed   = 4
	OpWriteFixed  = 5
	OpPollAdd     = 6
	OpSendmsg     = 9
	OpAccept      = 13
	OpAsyncCancel = 14
	OpFallocate   = 17
	OpClose       = 19
	OpRead        = 22
	OpWrite       = 23
	OpRecv        = 27
	OpShutdown    = 34
	OpSocket      = 45 // since 5.19, as multishot accept and provided-buffer rings
	OpSendZC      = 47 // since 6.0, as multishot receive
)

// Flags of an entry, of its operation, and of a completion.
const (
	SQEAsync        = 1 << 4
	SQEBufferSelect = 1 << 5

	AcceptMultishot = 1 << 0 // Ioprio of OpAccept
	RecvMultishot   = 1 << 1 // Ioprio of OpRecv

	CancelAll      = 1 << 0 // OpFlags of OpAsyncCancel
	CancelFd       = 1 << 1
	CancelUserData = 1 << 4

	FsyncDatasync = 1 << 0 // OpFlags of OpFsync

	CQEBuffer  = 1 << 0 // the upper 16 bits name a provided buffer
	CQEMore    = 1 << 1 // the operation goes on
	CQEBufMore = 1 << 4 // the buffer is not used up

	cqeBufferShift = 16
)

// clear makes e the empty entry; an entry of the ring holds what it held the last time round.
func (e *SQE) clear() { *e = SQE{} }

// Accept prepares e to accept on the listening socket fd. With multi it goes on until cancelled.
func (e *SQE) Accept(fd int, flags uint32, multi bool) {
	e.Opcode, e.Fd, e.OpFlags = OpAccept, int32(fd), flags
	if multi {
		e.Ioprio = AcceptMultishot
	}
}

// RecvSelect prepares e to receive into buffers of the group. With multi it goes on until cancelled or out of buffers.
func (e *SQE) RecvSelect(fd int, group uint16, multi bool) {
	e.Opcode, e.Flags, e.Fd, e.BufIndex = OpRecv, SQEBufferSelect, int32(fd), group
	if multi {
		e.Ioprio = RecvMultishot
	}
}

// Recv prepares e to receive into b, which stays where it is until the completion.
func (e *SQE) Recv(fd int, b []byte) {
	e.Opcode, e.Fd, e.Addr, e.Len = OpRecv, int32(fd), Addr(b), uint32(len(b))
}

// Sendmsg prepares e to send what m describes.
func (e *SQE) Sendmsg(fd int, m *Msghdr, flags uint32) {
	e.Opcode, e.Fd, e.Addr, e.Len, e.OpFlags = OpSendmsg, int32(fd), m.addr(), 1, flags
}

// Shutdown prepares e to end one or both directions of a socket.
func (e *SQE) Shutdown(fd, how int) { e.Opcode, e.Fd, e.Len = OpShutdown, int32(fd), uint32(how) }

// Close prepares e to close fd.
func (e *SQE) Close(fd int) { e.Opcode, e.Fd = OpClose, int32(fd) }

// PollAdd prepares e to complete once when one of events (POLLIN and so on) holds for fd.
func (e *SQE) PollAdd(fd int, events uint32) {
	e.Opcode, e.Fd, e.OpFlags = OpPollAdd, int32(fd), events
}

// CancelByUserData prepares e to cancel everything that was submitted with user data ud.
func (e *SQE) CancelByUserData(ud uint64) {
	e.Opcode, e.Fd, e.Addr, e.OpFlags = OpAsyncCancel, -1, ud, CancelAll
}

// Read prepares e to read from fd at off into b.
func (e *SQE) Read(fd int, b []byte, off int64) {
	e.Opcode, e.Fd, e.Addr, e.Len, e.Off = OpRead, int32(fd), Addr(b), uint32(len(b)), uint64(off)
}

// Write prepares e to write b to fd at off.
func (e *SQE) Write(fd int, b []byte, off int64) {
	e.Opcode, e.Fd, e.Addr, e.Len, e.Off = OpWrite, int32(fd), Addr(b), uint32(len(b)), uint64(off)
}

// Readv and Writev prepare e to move the pieces of iov, which stay unchanged until the completion; flags are RWF_ flags.
// One piece alone becomes a Read or Write, which may be made Fixed.
func (e *SQE) Readv(fd int, iov []Iovec, off int64, flags uint32) {
	e.vector(OpReadv, OpRead, fd, iov, off, flags)
}

// Writev is Readv in the other direction.
func (e *SQE) Writev(fd int, iov []Iovec, off int64, flags uint32) {
	e.vector(OpWritev, OpWrite, fd, iov, off, flags)
}

func (e *SQE) vector(many, one uint8, fd int, iov []Iovec, off int64, flags uint32) {
	e.Opcode, e.Fd, e.Addr, e.Len = many, int32(fd), iovecAddr(iov), uint32(len(iov))
	if len(iov) == 1 {
		e.Opcode, e.Addr, e.Len = one, iov[0].Base, uint32(iov[0].Len)
	}
	e.Off, e.OpFlags = uint64(off), flags
}

// Fixed makes a Read or Write use registered buffer index, which must contain the bytes.
func (e *SQE) Fixed(index uint16) {
	switch e.Opcode {
	case OpRead:
		e.Opcode = OpReadFixed
	case OpWrite:
		e.Opcode = OpWriteFixed
	default:
		panic("uring: Fixed of an entry that neither reads nor writes")
	}
	e.BufIndex = index
}

// Fsync prepares e to make the data of fd durable; with dataOnly without the times.
func (e *SQE) Fsync(fd int, dataOnly bool) {
	e.Opcode, e.Fd = OpFsync, int32(fd)
	if dataOnly {
		e.OpFlags = FsyncDatasync
	}
}

// Fallocate prepares e for fallocate(fd, mode, off, length).
func (e *SQE) Fallocate(fd int, mode uint32, off, length int64) {
	e.Opcode, e.Fd, e.Len, e.Off, e.Addr = OpFallocate, int32(fd), mode, uint64(off), uint64(length)
}
