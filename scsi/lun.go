package scsi

import (
	"sync/atomic"

	"pollux/bdev"
	"pollux/reactor"
)

// LUN is a logical unit: an open block device, the paths to it from every reactor, and the state that all nexuses share.
type LUN struct {
	device  *Device
	number  int
	options LUNOptions
	desc    *bdev.Desc
	home    *reactor.Reactor // owns state
	ident   identity
	ops     opSet     // what the backing can do
	size    uint32    // of a block
	most    uint64    // blocks of one transfer: MAXIMUM TRANSFER LENGTH
	ptpl    *ptplFile // nil: registrations do not persist through power loss

	state atomic.Pointer[state] // written on home, read on every reactor once per command
	paths []*path               // by reactor; the slice never changes

	// On home.
	changes changeQueue
	turns   []*turn // of ordered tasks: the first has its turn, or is about to
	holds   []hold  // of the turn that was granted last, by reactor
}

// state is what all nexuses share of a LUN, as an immutable snapshot: a change makes a new one.
type state struct {
	blocks       uint64 // capacity
	reservations reservations
	mode         modes
	stopped      bool // START STOP UNIT
	readOnly     bool // the device, or the desc, is
}

// path is a LUN on one reactor.
type path struct {
	lun     *LUN
	channel *bdev.Channel
	units   []*unit // of the nexuses on this reactor
	epoch   uint64  // of the last change this reactor has acknowledged
	turn    *turn   // of an ordered task, now
}

// detach takes u, which has drained, off the path.
func (p *path) detach(u *unit) {
	for i, o := range p.units {
		if o == u {
			p.units = append(p.units[:i], p.units[i+1:]...)
			return
		}
	}
}

// opSet is a set of bdev operations.
type opSet uint32

func ops(list ...bdev.Op) (s opSet) {
	for _, op := range list {
		s |= 1 << op
	}
	return s
}

func supportedOps(d *bdev.Device) (s opSet) {
	for op := range bdev.OpCount {
		if d.Supports(op) {
			s |= 1 << op
		}
	}
	return s
}

func (s opSet) has(want opSet) bool { return s&want == want }

func (l *LUN) blockSize() uint32 { return l.size }

func (l *LUN) spec() *bdev.Spec { return l.desc.Device().Spec() }
