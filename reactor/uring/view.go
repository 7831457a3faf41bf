package uring

import "unsafe"

// Iovec is struct iovec.
type Iovec struct {
	Base uint64
	Len  uint64
}

// Set makes v describe b.
func (v *Iovec) Set(b []byte) { v.Base, v.Len = Addr(b), uint64(len(b)) }

// Msghdr is struct msghdr of a 64-bit machine.
type Msghdr struct {
	Name       uint64
	Namelen    uint32
	_          uint32
	Iov        uint64
	Iovlen     uint64
	Control    uint64
	Controllen uint64
	Flags      int32
	_          uint32
}

// Sizes of the structs above, for who lays them out in a block of off-heap memory.
const (
	IovecSize  = int(unsafe.Sizeof(Iovec{}))
	MsghdrSize = int(unsafe.Sizeof(Msghdr{}))
)

// SetIov makes m describe iov, which lies off-heap.
func (m *Msghdr) SetIov(iov []Iovec) { m.Iov, m.Iovlen = iovecAddr(iov), uint64(len(iov)) }

// addr is where m lies. Sound because m lies off-heap, or in a heap object that its pool keeps alive; heap objects
// do not move.
func (m *Msghdr) addr() uint64 { return uint64(uintptr(unsafe.Pointer(m))) }

// Addr is the address of b as the kernel takes it. The caller keeps b alive; heap objects do not move.
func Addr(b []byte) uint64 { return uint64(uintptr(unsafe.Pointer(unsafe.SliceData(b)))) }

func iovecAddr(iov []Iovec) uint64 {
	return uint64(uintptr(unsafe.Pointer(unsafe.SliceData(iov))))
}

// MsghdrAt views the start of mem, which must be aligned to 8 bytes, as a msghdr.
func MsghdrAt(mem []byte) *Msghdr {
	_ = mem[MsghdrSize-1] // Sound: the struct fits, holds no pointers, and keeps mem alive.
	return (*Msghdr)(unsafe.Pointer(unsafe.SliceData(mem)))
}

// IovecsAt views mem, which must be aligned to 8 bytes, as iovecs.
func IovecsAt(mem []byte) []Iovec {
	return unsafe.Slice((*Iovec)(unsafe.Pointer(unsafe.SliceData(mem))), len(mem)/IovecSize)
}

// Bytes views n bytes at addr, which somebody else keeps alive: a software kernel's way to what an entry names.
func Bytes(addr uint64, n int) []byte {
	// Sound as long as the submitter holds its memory until the completion, which is the contract of every entry.
	return unsafe.Slice(*(**byte)(unsafe.Pointer(&addr)), n)
}

// Iovecs views n iovecs at addr, as Bytes does.
func Iovecs(addr uint64, n int) []Iovec {
	return unsafe.Slice(*(**Iovec)(unsafe.Pointer(&addr)), n)
}

// MsghdrOf views the msghdr at addr, as Bytes does.
func MsghdrOf(addr uint64) *Msghdr { return *(**Msghdr)(unsafe.Pointer(&addr)) }
