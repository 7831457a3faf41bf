package reactortest

import (
	"net/netip"
	"slices"
	"syscall"
	"time"

	"pollux/reactor/uring"
)

// kernel answers the ring of one reactor from the world's memory. Without a seed everything that can end ends at once
// and in order; with one, completions come late, in any order, in pieces.
type kernel struct {
	w        *World
	q        *uring.Ring
	features uring.Features
	bufs     map[uint16]*uring.BufRing
	fixed    map[int][]byte
	pending  []*operation
}

// operation is an entry that has been taken and has not completed for the last time.
type operation struct {
	e    uring.SQE
	k    *kernel
	done int    // bytes of a send that have left
	data []byte // what a send or write had to move when it was submitted
	over bool
}

// complete posts a completion; without more it is the last one.
func (o *operation) complete(res int32, flags uint32, more bool) {
	if more {
		flags |= uring.CQEMore
	} else {
		o.over = true
	}
	o.k.q.Post(uring.CQE{UserData: o.e.UserData, Res: res, Flags: flags})
}

func (o *operation) fail(errno syscall.Errno) { o.complete(-int32(errno), 0, false) }

// Enter takes what was submitted, and ends what can end.
func (k *kernel) Enter(q *uring.Ring, submit uint32, wait bool, _ time.Duration) (int, syscall.Errno) {
	if wait {
		panic("reactortest: a stepped reactor went to sleep")
	}
	for range submit {
		k.admit(*q.Take())
	}
	q.Flush()
	k.run()
	k.poke()
	return int(submit), 0
}

// admit puts an entry among the pending ones. A cancellation acts at once.
func (k *kernel) admit(e uring.SQE) {
	o := &operation{e: e, k: k}
	if e.Opcode == uring.OpAsyncCancel {
		k.cancel(o)
		return
	}
	o.data = k.w.snapshot(&e)
	k.pending = append(k.pending, o)
}

// run gives every pending operation its chance.
func (k *kernel) run() {
	todo := slices.Clone(k.pending)
	if k.w.rng != nil {
		k.w.rng.Shuffle(len(todo), func(i, j int) { todo[i], todo[j] = todo[j], todo[i] })
	}
	for _, o := range todo {
		if !o.over && k.w.canEnd(o) && !k.w.chance(4) {
			k.w.attempt(o)
		}
	}
	k.pending = slices.DeleteFunc(k.pending, func(o *operation) bool { return o.over })
}

// poke tells the reactor whether entering would bring something.
func (k *kernel) poke() bool {
	ready := slices.ContainsFunc(k.pending, k.w.canEnd)
	k.q.SetTaskrun(ready)
	return ready
}

// cancel ends what was submitted with the user data that o names. File operations that have begun go on, by chance.
func (k *kernel) cancel(o *operation) {
	found := int32(0)
	for _, p := range k.pending {
		if p.e.UserData != o.e.Addr || p.over || k.w.files[p.e.Fd] != nil && k.w.chance(2) {
			continue
		}
		found++
		if p.done > 0 {
			p.complete(int32(p.done), 0, false)
		} else {
			p.fail(syscall.ECANCELED)
		}
	}
	k.pending = slices.DeleteFunc(k.pending, func(p *operation) bool { return p.over })
	o.complete(found, 0, false)
}

// RegisterBuffers makes b known under its group.
func (k *kernel) RegisterBuffers(b *uring.BufRing) syscall.Errno {
	k.bufs[b.Group()] = b
	return 0
}

// SetFixed takes note; the simulated kernel reads and writes such a buffer like any other.
func (k *kernel) SetFixed(index int, mem []byte) syscall.Errno {
	k.fixed[index] = mem
	return 0
}

// Features are what the world was made with.
func (k *kernel) Features() uring.Features { return k.features }

// Adopt tells the ends of a simulated connection.
func (k *kernel) Adopt(fd int) (local, remote netip.AddrPort) {
	if s := k.w.sockets[int32(fd)]; s != nil {
		return s.local, s.remote
	}
	return local, remote
}

// Name tells the kernels apart.
func (k *kernel) Name() string { return "simulated" }

// Close forgets everything.
func (k *kernel) Close() { k.pending = nil }

// chance is true once in n times, with a seed; never without.
func (w *World) chance(n int) bool { return w.rng != nil && w.rng.IntN(n) == 0 }

// canEnd reports whether o would complete, at least in part, if it were tried.
func (w *World) canEnd(o *operation) bool {
	s := w.sockets[o.e.Fd]
	switch {
	case s == nil:
		return true
	case o.e.Opcode == uring.OpRecv:
		return s.readable()
	case o.e.Opcode == uring.OpSendmsg:
		return s.writable()
	}
	return true
}

// attempt tries o.
func (w *World) attempt(o *operation) {
	if errno := w.injected(&o.e); errno != 0 {
		o.fail(errno)
		return
	}
	if op := o.e.Opcode; op == uring.OpReadFixed || op == uring.OpWriteFixed {
		w.checkFixed(o)
	}
	socket, file := w.sockets[o.e.Fd], w.files[o.e.Fd]
	switch {
	case o.e.Opcode == uring.OpNop:
		o.complete(0, 0, false)
	case o.e.Opcode == uring.OpClose:
		w.closeFd(o)
	case socket != nil:
		w.attemptSocket(o, socket)
	case file != nil:
		w.attemptFile(o, file)
	default:
		o.fail(syscall.EBADF)
	}
}

// checkFixed asserts that a registered buffer contains what the entry names.
func (w *World) checkFixed(o *operation) {
	mem := o.k.fixed[int(o.e.BufIndex)]
	first, size := uring.Addr(mem), uint64(len(mem))
	if o.e.Addr < first || o.e.Addr+uint64(o.e.Len) > first+size {
		w.t.Errorf("reactortest: operation %d outside of registered buffer %d", o.e.Opcode, o.e.BufIndex)
	}
}

// closeFd closes the descriptor of o, with which nothing may be in flight any more.
func (w *World) closeFd(o *operation) {
	for _, k := range w.kernels {
		for _, p := range k.pending {
			if p != o && p.e.Fd == o.e.Fd && !p.over {
				w.t.Errorf("reactortest: descriptor %d closed while operation %d was in flight", p.e.Fd, p.e.Opcode)
			}
		}
	}
	s := w.sockets[o.e.Fd]
	if s == nil && w.files[o.e.Fd] == nil {
		o.fail(syscall.EBADF)
		return
	}
	if s != nil {
		s.close()
	}
	delete(w.sockets, o.e.Fd)
	delete(w.files, o.e.Fd)
	o.complete(0, 0, false)
}

// Fail is asked before an operation is tried; a number other than 0 ends the operation with that error. op is one of
// uring's operations.
func (w *World) Fail(fn func(op uint8, fd int) syscall.Errno) { w.fail = fn }

func (w *World) injected(e *uring.SQE) syscall.Errno {
	if w.fail == nil {
		return 0
	}
	return w.fail(e.Opcode, int(e.Fd))
}

// Exhausted is how many receives have found no buffer.
func (w *World) Exhausted() int { return w.exhausted }

// OpenDescriptors is how many simulated sockets and files have not been closed.
func (w *World) OpenDescriptors() int { return len(w.sockets) + len(w.files) }

// InFlight is how many operations have not completed for the last time, on all reactors.
func (w *World) InFlight() int {
	n := 0
	for _, k := range w.kernels {
		n += len(k.pending)
	}
	return n
}

// gather copies the pieces of iov.
func gather(iov []uring.Iovec) []byte {
	var b []byte
	for _, v := range iov {
		b = append(b, uring.Bytes(v.Base, int(v.Len))...)
	}
	return b
}

// snapshot is a copy of what e is about to move out of the submitter's memory.
func (w *World) snapshot(e *uring.SQE) []byte {
	switch e.Opcode {
	case uring.OpSendmsg:
		m := uring.MsghdrOf(e.Addr)
		return gather(uring.Iovecs(m.Iov, int(m.Iovlen)))
	case uring.OpWritev:
		return gather(uring.Iovecs(e.Addr, int(e.Len)))
	case uring.OpWrite, uring.OpWriteFixed:
		return slices.Clone(uring.Bytes(e.Addr, int(e.Len)))
	}
	return nil
}

// unchanged asserts that the submitter has kept its hands off memory that was in flight.
func (w *World) unchanged(o *operation) {
	if !slices.Equal(o.data, w.snapshot(&o.e)) {
		w.t.Errorf("reactortest: memory of operation %d on descriptor %d was changed in flight", o.e.Opcode, o.e.Fd)
	}
}
