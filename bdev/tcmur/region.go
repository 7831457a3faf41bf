package tcmur

import (
	"fmt"
	"os"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The bounds of a helper's rings.
const (
	// ringDepth is how many requests one reactor has in the helper at once; more wait in the generic layer.
	ringDepth = 128
	// slotBytes is the memory of one of them: a compare-and-write carries its length twice.
	slotBytes = 2 * transferMax
	// transferMax is the largest request, in bytes.
	transferMax = 256 << 10
	// ringsMax is how many reactors can have a ring.
	ringsMax = 256
)

// The layout of helper/region.h, in words shared with another process. TestRegionLayout compares the offsets.
const (
	regionMagic = 0x31554d4354584c50
	regionPage  = 4096
)

type regionHeader struct {
	magic      uint64
	rings      uint32
	depth      uint32
	slotBytes  uint32
	ringStride uint32
	dataOff    uint64
	bytes      uint64
	_          [256 - 40]byte
	wakeSeq    atomic.Uint32 // reactors add to it, workers of the helper wait on it
	_          [60]byte
	sleepers   atomic.Uint32 // workers write it, reactors read it: is anybody to be woken?
	_          [60]byte
}

type sqe struct {
	slot, gen, op, data uint32
	off, len            uint64
	_                   [4]uint64
}

type cqe struct {
	slot, gen, status, _ uint32
	info, _              uint64
}

type ringHeader struct {
	sqTail atomic.Uint32 // the reactor writes, the helper reads
	_      [60]byte
	cqTail atomic.Uint32 // the helper writes, the reactor reads
	_      [60]byte
	armed  atomic.Uint32 // the reactor writes 1 before it sleeps, the helper 0 when it wakes it
	_      [60]byte
}

// region is the memory that the target shares with one helper process, in a memfd that neither can resize: whoever
// truncates a mapped file kills everybody who has it mapped. The helper may write anything anywhere in it at any time.
type region struct {
	fd    *os.File // until the helper has it
	mem   []byte
	rings []ring
}

func ringStride() int {
	n := int(unsafe.Sizeof(ringHeader{})) + ringDepth*int(unsafe.Sizeof(sqe{})+unsafe.Sizeof(cqe{})+4)
	return (n + regionPage - 1) &^ (regionPage - 1)
}

// newRegion makes the memory for a number of rings. Only the pages that are used take memory.
func newRegion(rings int) (*region, error) {
	if rings > ringsMax {
		return nil, fmt.Errorf("%d reactors, and a helper serves %d at most", rings, ringsMax)
	}
	size := regionPage + rings*(ringStride()+ringDepth*slotBytes)
	fd, err := sealedMemory(size)
	if err != nil {
		return nil, err
	}
	mem, err := unix.Mmap(int(fd.Fd()), 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		_ = fd.Close()
		return nil, fmt.Errorf("map %d bytes: %w", size, err)
	}
	g := &region{fd: fd, mem: mem}
	h := g.header()
	h.rings, h.depth, h.slotBytes, h.ringStride = uint32(rings), ringDepth, slotBytes, uint32(ringStride())
	h.dataOff, h.bytes, h.magic = uint64(regionPage+rings*ringStride()), uint64(size), regionMagic
	for i := range rings {
		g.rings = append(g.rings, g.ring(i, rings))
	}
	return g, nil
}

func sealedMemory(size int) (*os.File, error) {
	fd, err := unix.MemfdCreate("pollux-tcmur", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err != nil {
		return nil, fmt.Errorf("memfd_create: %w", err)
	}
	f := os.NewFile(uintptr(fd), "pollux-tcmur")
	if err := f.Truncate(int64(size)); err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("memfd of %d bytes: %w", size, err)
	}
	if _, err := unix.FcntlInt(f.Fd(), unix.F_ADD_SEALS, unix.F_SEAL_SHRINK|unix.F_SEAL_GROW|unix.F_SEAL_SEAL); err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("seal the memfd: %w", err)
	}
	return f, nil
}

// release gives the memory back; no reactor may use a ring of it any more.
func (g *region) release() {
	if g.fd != nil {
		_ = g.fd.Close()
		g.fd = nil
	}
	if g.mem != nil {
		_ = unix.Munmap(g.mem)
		g.mem, g.rings = nil, nil
	}
}

// header is sound because mem is mapped from a page boundary and larger than the header, and a region outlives its users.
func (g *region) header() *regionHeader {
	return (*regionHeader)(unsafe.Pointer(unsafe.SliceData(g.mem)))
}

// ring finds the parts of ring i; newRegion made mem large enough for all of them, and every part begins at a multiple of its
// alignment, since ringStride and the sizes before it are.
func (g *region) ring(i, rings int) ring {
	at := g.mem[regionPage+i*ringStride():][:ringStride()]
	shared := (*ringHeader)(unsafe.Pointer(unsafe.SliceData(at)))
	at = at[unsafe.Sizeof(ringHeader{}):]
	sq := unsafe.Slice((*sqe)(unsafe.Pointer(unsafe.SliceData(at))), ringDepth)
	at = at[ringDepth*unsafe.Sizeof(sqe{}):]
	cq := unsafe.Slice((*cqe)(unsafe.Pointer(unsafe.SliceData(at))), ringDepth)
	at = at[ringDepth*unsafe.Sizeof(cqe{}):]
	running := unsafe.Slice((*uint32)(unsafe.Pointer(unsafe.SliceData(at))), ringDepth)
	data := g.mem[regionPage+rings*ringStride()+i*ringDepth*slotBytes:][:ringDepth*slotBytes]
	return ring{region: g.header(), shared: shared, sq: sq, cq: cq, running: running, data: data}
}
