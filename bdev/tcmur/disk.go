package tcmur

import (
	"sync/atomic"
	"time"

	"pollux/bdev"
	"pollux/reactor"
)

// The states of a disk, as reactors see it.
const (
	stateDown    = iota // no helper, another is on its way: requests are held
	stateUp             // helper is set, and takes requests
	stateOffline        // there will be no helper until somebody asks for one: requests fail
)

// Reasons that reactors give the supervisor to look after the helper; bits.
const (
	kickDamaged = 1 << iota // the ring holds what cannot be
	kickHang                // a request takes too long
	kickLock                // the handler has lost its lock
)

// leavingPatience is how long a request may take once the device is being deleted or the target ends; then its helper is killed.
// It is shorter than what iSCSI gives initiators to log out, so that they have the answer. Afterwards handlers have stopPatience to
// close.
const leavingPatience = 2 * time.Second

// opSet is what a handler has callouts for.
type opSet struct {
	write, flush, unmap, writeSame, caw, lock, reconfig bool
}

// disk is one device: the bdev layer's Backend. What is not atomic is fixed before it is registered, but for queues.
type disk struct {
	name       string
	shift      uint8
	ops        opSet
	unmapUnit  uint64 // bytes, 0 for any
	writeCache bool
	timeout    time.Duration
	pipes      []pipe   // by reactor ID
	queues     []*queue // by reactor ID, each its reactor's

	open      atomic.Int32           // queues; reactors write it
	state     atomic.Uint32          // the supervisor writes it, reactors read it
	helper    atomic.Pointer[helper] // likewise; set before stateUp
	leaving   atomic.Bool            // the device is being deleted, or the target ends
	unflushed atomic.Bool            // writes have ended since the last flush; reactors write it, the supervisor reads it

	kicks  atomic.Uint32 // reasons, by reactors; the supervisor takes them
	kicked chan struct{}
	probed chan struct{} // a suspect has ended

	supervisor *supervisor
}

func newDisk(name string, reactors int) (*disk, error) {
	d := &disk{
		name: name, queues: make([]*queue, reactors),
		kicked: make(chan struct{}, 1), probed: make(chan struct{}, 1),
	}
	for range reactors {
		p, err := newPipe()
		if err != nil {
			d.closePipes()
			return nil, err
		}
		d.pipes = append(d.pipes, p)
	}
	return d, nil
}

func (d *disk) closePipes() {
	for _, p := range d.pipes {
		p.close()
	}
}

// OpenQueue makes the path from r.
func (d *disk) OpenQueue(r *reactor.Reactor) (bdev.Queue, error) {
	q := newQueue(d, r)
	d.queues[r.ID()] = q
	d.open.Add(1)
	if d.state.Load() == stateUp {
		q.attach(&d.helper.Load().region.rings[r.ID()], false)
	}
	return q, nil
}

// Supports: what the handler has callouts for. The rest is made of reads and writes.
func (d *disk) Supports(op bdev.Op) bool {
	switch op {
	case bdev.OpRead, bdev.OpAbort, bdev.OpReset:
		return true
	case bdev.OpWrite:
		return d.ops.write
	case bdev.OpFlush:
		return d.ops.flush
	case bdev.OpUnmap:
		return d.ops.unmap && d.ops.write
	case bdev.OpWriteZeroes:
		return d.ops.writeSame
	case bdev.OpCompareAndWrite:
		return d.ops.caw
	default:
		return false
	}
}

// Destroy ends the helper, with a clean close of the handler if it can be had. While the target ends, handlers close beside one
// another, and it is Module.close that waits for them.
func (d *disk) Destroy() error {
	m := d.supervisor.module
	if m.life.Err() == nil {
		d.supervisor.end()
		return nil
	}
	m.closing.Go(d.supervisor.end)
	return nil
}

func (d *disk) isOffline() bool { return d.state.Load() == stateOffline }

func (d *disk) offlineStatus() bdev.Status {
	if d.leaving.Load() {
		return bdev.StatusRemoved
	}
	return bdev.StatusNotReady
}

// patience is how long a request may take in the helper.
func (d *disk) patience() time.Duration {
	if d.leaving.Load() {
		return min(d.timeout, leavingPatience)
	}
	return d.timeout
}

// note remembers that there is something which a flush would make durable.
func (d *disk) note(req *bdev.Request) {
	switch req.Op {
	case bdev.OpWrite, bdev.OpWriteZeroes, bdev.OpUnmap, bdev.OpCompareAndWrite:
		if d.writeCache && !d.unflushed.Load() {
			d.unflushed.Store(true)
		}
	default:
	}
}

// kick has the supervisor look, without waiting for it (any reactor).
func (d *disk) kick(why uint32) {
	d.kicks.Or(why)
	select {
	case d.kicked <- struct{}{}:
	default:
	}
}

// tellProbed reports that the suspect has ended, without waiting (any reactor).
func (d *disk) tellProbed() {
	select {
	case d.probed <- struct{}{}:
	default:
	}
}
