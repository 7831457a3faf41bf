package reactortest

import (
	"syscall"

	"golang.org/x/sys/unix"

	"pollux/reactor/uring"
)

// sectorSize is the largest part of a write that a power failure keeps or loses whole, in bytes.
const sectorSize = 512

// change is bytes that the file has and its medium may not have yet.
type change struct {
	off  int
	data []byte
}

// Record makes the file one with a volatile cache from now on: what is not synced may be lost by PowerLoss.
func (f *File) Record() {
	f.recording = true
	f.synced = append([]byte(nil), f.Data...)
	f.unsynced = nil
}

// changed notes that n bytes at off are new; with durable they are on the medium already.
func (f *File) changed(off, n int, durable bool) {
	if !f.recording {
		return
	}
	c := change{off, append([]byte(nil), f.Data[off:off+n]...)}
	if durable {
		f.overtake(c)
		f.settle(c)
		return
	}
	f.unsynced = append(f.unsynced, c)
}

// overtake has older changes of the same bytes bring the newer ones: a cache that still holds them cannot undo what is durable.
func (f *File) overtake(c change) {
	for _, old := range f.unsynced {
		from, to := max(old.off, c.off), min(old.off+len(old.data), c.off+len(c.data))
		if from < to {
			copy(old.data[from-old.off:to-old.off], c.data[from-c.off:])
		}
	}
}

// settle brings a change to the medium.
func (f *File) settle(c change) {
	if grow := c.off + len(c.data) - len(f.synced); grow > 0 {
		f.synced = append(f.synced, make([]byte, grow)...)
	}
	copy(f.synced[c.off:], c.data)
}

// fsync brings everything to the medium. When it fails, what was to be synced counts as synced and is not: the next fsync
// does not try again, as Linux does it.
func (f *File) fsync(e *uring.SQE) syscall.Errno {
	errno := f.fault(e)
	if errno == 0 {
		f.Syncs++
		for _, c := range f.unsynced {
			f.settle(c)
		}
		f.settleSize()
		if !f.recording {
			f.synced = append([]byte(nil), f.Data...)
		}
	}
	f.unsynced = nil
	return errno
}

// settleSize brings the file's size to the medium; without it a file that a test has made longer is as short as before.
func (f *File) settleSize() {
	if !f.recording {
		return
	}
	n := min(len(f.synced), len(f.Data))
	f.synced = append(f.synced[:n], make([]byte, len(f.Data)-n)...)
}

// Sync is the fsync of somebody who does not use the ring.
func (f *File) Sync() error {
	if errno := f.fsync(&uring.SQE{Opcode: uring.OpFsync}); errno != 0 {
		return errno
	}
	return nil
}

// fault asks the test whether an operation is to fail.
func (f *File) fault(e *uring.SQE) syscall.Errno {
	if f.Fault == nil {
		return 0
	}
	return f.Fault(e)
}

// isDurable reports whether a write is to be on the medium when it completes.
func isDurable(e *uring.SQE) bool { return e.OpFlags&unix.RWF_DSYNC != 0 }

// PowerLoss takes the power away from a file that records: each change since the last sync is kept, lost or torn between
// sectors, and of those that overlap any may win.
func (w *World) PowerLoss(f *File) {
	w.rng.Shuffle(len(f.unsynced), func(i, j int) { f.unsynced[i], f.unsynced[j] = f.unsynced[j], f.unsynced[i] })
	for _, c := range f.unsynced {
		switch w.rng.IntN(3) {
		case 0: // Lost.
		case 1:
			f.settle(c)
		default:
			w.tear(f, c)
		}
	}
	f.Data = append([]byte(nil), f.synced...)
	f.unsynced = nil
}

// tear keeps some sectors of a change.
func (w *World) tear(f *File, c change) {
	for at := 0; at < len(c.data); {
		n := min(sectorSize-(c.off+at)%sectorSize, len(c.data)-at)
		if w.rng.IntN(2) == 0 {
			f.settle(change{c.off + at, c.data[at : at+n]})
		}
		at += n
	}
}
