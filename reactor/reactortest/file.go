package reactortest

import (
	"syscall"

	"golang.org/x/sys/unix"

	"pollux/reactor/uring"
)

// File is a simulated file. Data is its content; a test may look at it and change it between steps.
type File struct {
	Data  []byte
	Syncs int // fsync operations that have ended well
	// Fault, if not nil, is asked before every write, sync and allocation whether it fails, and how.
	Fault func(*uring.SQE) syscall.Errno

	synced    []byte
	recording bool
	unsynced  []change // while recording: what is not synced, in order
}

// Synced is the content at the last fsync, nil before the first: what a power failure is sure to leave.
func (f *File) Synced() []byte { return f.synced }

// Open makes a file and a descriptor for it.
func (w *World) Open(data []byte) (fd int, f *File) {
	f = &File{Data: data}
	n := w.descriptor()
	w.files[n] = f
	return int(n), f
}

// attemptFile tries an operation on a file.
func (w *World) attemptFile(o *operation, f *File) {
	switch o.e.Opcode {
	case uring.OpRead, uring.OpReadFixed:
		o.complete(int32(w.readFile(f, int(o.e.Off), uring.Bytes(o.e.Addr, int(o.e.Len)))), 0, false)
	case uring.OpReadv:
		off, total := int(o.e.Off), 0
		for _, v := range uring.Iovecs(o.e.Addr, int(o.e.Len)) {
			n := w.readFile(f, off+total, uring.Bytes(v.Base, int(v.Len)))
			total += n
			if n < int(v.Len) {
				break
			}
		}
		o.complete(int32(total), 0, false)
	case uring.OpWrite, uring.OpWriteFixed, uring.OpWritev:
		w.unchanged(o)
		o.complete(w.writeFile(f, &o.e, o.data), 0, false)
	case uring.OpFsync:
		o.complete(-int32(f.fsync(&o.e)), 0, false)
	case uring.OpFallocate:
		o.complete(f.fallocate(&o.e), 0, false)
	default:
		o.fail(syscall.EOPNOTSUPP)
	}
}

// readFile reads as pread does: short at the end of the file, and by chance.
func (w *World) readFile(f *File, off int, to []byte) int {
	if off >= len(f.Data) {
		return 0
	}
	n := min(len(to), len(f.Data)-off)
	if n > 1 && w.chance(16) {
		n = 1 + w.rng.IntN(n-1)
	}
	return copy(to[:n], f.Data[off:])
}

// writeFile writes as pwrite does: the file grows, and by chance the write is short.
func (w *World) writeFile(f *File, e *uring.SQE, from []byte) int32 {
	if errno := f.fault(e); errno != 0 {
		return -int32(errno)
	}
	off, n := int(e.Off), len(from)
	if n > 1 && w.chance(16) {
		n = 1 + w.rng.IntN(n-1)
	}
	f.grow(off + n)
	copy(f.Data[off:], from[:n])
	f.changed(off, n, isDurable(e))
	return int32(n)
}

func (f *File) grow(size int) {
	if size > len(f.Data) {
		f.Data = append(f.Data, make([]byte, size-len(f.Data))...)
	}
}

// fallocate allocates, zeroes or punches, which all end in zeroes or nothing here.
func (f *File) fallocate(e *uring.SQE) int32 {
	if errno := f.fault(e); errno != 0 {
		return -int32(errno)
	}
	mode, off, length := e.Len, int(e.Off), int(e.Addr)
	if mode&unix.FALLOC_FL_KEEP_SIZE == 0 {
		f.grow(off + length)
	}
	if mode&(unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_ZERO_RANGE) != 0 && off < len(f.Data) {
		end := min(off+length, len(f.Data))
		clear(f.Data[off:end])
		f.changed(off, end-off, false)
	}
	return 0
}
