package engine

import "fmt"

// Engine is one volume on one node. It belongs to whoever calls Step, one call at a time.
type Engine struct {
	cfg   Config
	now   int64
	out   []Action
	rand  uint64
	super Super
	role  Role
	disk  Disk
	open  bool // Primary and not about to leave it

	peers     [ReplicasMax]peer
	peerCount int
	bits      [ReplicasMax]*bitmap
	legs      [LegsMax]leg
	al        *activityLog
	lock      intervalLock

	ops     []*op
	freeOps []int

	// Writes of the front end, in the order in which they went out, until every peer has them durably.
	logHead, logTail *op
	logLen           int
	epoch            uint32
	epochWrites      uint32

	held       opQueue // admitted by nothing yet
	parked     opQueue // hold their range, and extents unless they are stalled; wait for a state change
	flushes    []*op   // of the front end, under way
	noSource   []*op   // reads that found no replica with good data
	granted    []*op   // scratch
	saidEpoch  uint32  // the newest epoch that the peers know to be settled
	rotating   int     // new generations on their way to durable storage: nothing is acknowledged meanwhile
	lossWait   uint16  // peers that have yet to store that this Primary lost its disk
	leftOut    uint16  // peers without which a Primary whose own data is not good has started a generation
	exposed    uint64  // generation that a Primary without good data has shown to its front end
	takenOver  uint64  // generation that came here with the data of a source: any peer may have it
	readErrors uint64
	repairs    int // under way
	repaired   uint64
	legVerify  legVerify
	moved      bool // a link has changed its state since settle last looked
	fencedLoss bool // and this disk holds writes that must not be kept
	fencedOut  bool // a higher fencing epoch is in force: nothing is acknowledged any more

	suspended     bool
	suspendUntil  int64
	suspendToldOK bool

	meta metaQueue
	cmd  command
	todo []func()
}

// leg is one local disk.
type leg struct {
	state    legState
	exclude  bool // not read from
	reads    int
	since    []uint64 // bits cleared by the rebuild since its last flush
	rebuild  *op
	cursor   uint64
	finished bool
	wake     int64 // when a rebuild that could not read is tried again
}

type legState uint8

const (
	legNone legState = iota
	legUp
	legCatchUp // written, not read: a rebuild is copying what it missed
	legStale   // missed writes and is not being written
)

// Loaded is what the metadata of the legs said at start, after meta has chosen the best leg.
type Loaded struct {
	Super   Super
	Hot     []ALUpdate            // the activity log's slots, as far as all legs in sync have the same there
	Bitmaps [ReplicasMax][]uint64 // nil: all ones
	Up      uint16                // legs that are in sync
	Stale   uint16                // legs that are here but missed writes
	HotToo  []uint32              // extents that only some legs' activity logs have
	Rewrite uint16                // rows whose bitmap is damaged on a leg, or not the same on all legs in sync
	HotAll  bool                  // the activity log cannot be read: everything counts as hot
	Missing bool                  // a leg that should be in sync is not here
}

// New starts an engine. A nil Loaded means a node without disk. The actions that open the volume are appended to out;
// no other event may be stepped before these are performed.
func New(now int64, cfg Config, md *Loaded, out []Action) (*Engine, []Action) {
	cfg.fill()
	e := &Engine{cfg: cfg, now: now, out: out, rand: cfg.Seed, role: Secondary, epoch: 1}
	e.super.Current = JustCreated
	e.super.Size = cfg.Size
	e.al = newActivityLog(cfg.ALSlots)
	for i := range e.peers {
		e.peers[i].init(i, cfg.Rows[i])
		e.peers[i].doubtOrigin = e.ownDoubt()
		if e.isPeer(i) {
			e.peerCount++
		}
	}
	if md != nil {
		e.attach(md)
	} else {
		e.sizeBitmaps()
	}
	e.settle()
	return e, e.take()
}

func (e *Engine) take() []Action {
	out := e.out
	e.out = nil
	return out
}

// Step takes one event and appends what has to be done about it to out.
func (e *Engine) Step(now int64, ev *Event, out []Action) []Action {
	e.now, e.out = now, out
	switch ev.Kind {
	case EvWrite:
		e.onWrite(ev)
	case EvRead:
		e.onRead(ev)
	case EvFlush:
		e.onFlush(ev)
	case EvLegDone:
		e.onLegDone(ev)
	case EvMetaDone:
		e.onMetaDone(ev)
	case EvLinkUp:
		e.onLinkUp(&e.peers[ev.Peer], ev.Flag)
	case EvLinkDown:
		e.linkLost(&e.peers[ev.Peer], NetworkFailure)
	case EvMessage:
		e.onMessage(&e.peers[ev.Peer], ev.Msg)
	case EvCommand:
		e.onCommand(ev)
	case EvTick, EvNone:
		e.onTick()
	}
	e.settle()
	return e.take()
}

// settle does what has become possible, until nothing more is.
func (e *Engine) settle() {
	for {
		e.moved = false
		for len(e.todo) > 0 {
			f := e.todo[0]
			e.todo = e.todo[1:]
			f()
		}
		e.runMeta()
		e.runParked()
		e.runHeld()
		e.runLinks()
		e.runRebuilds()
		e.runLegVerify()
		e.runSyncs()
		e.runCommand()
		e.tellSettled()
		e.checkSuspended()
		if len(e.todo) == 0 && !e.moved && (e.meta.current != nil || len(e.meta.jobs) == 0) && !e.mayAdmit() {
			return
		}
	}
}

// mayAdmit reports that requests wait although nothing keeps them any more.
func (e *Engine) mayAdmit() bool {
	return e.held.len() > 0 && e.gateOf(e.held.first()) != gateWait ||
		e.parked.len() > 0 && e.lock.mayGoOut(e.parked.first()) && e.gateOf(e.parked.first()) != gateWait
}

// later runs f when the current event has been dealt with.
func (e *Engine) later(f func()) { e.todo = append(e.todo, f) }

func (e *Engine) emit(a Action) { e.out = append(e.out, a) }

func (e *Engine) notify(row int, format string, args ...any) {
	e.emit(Action{Kind: ActNotify, Peer: row, Text: fmt.Sprintf(format, args...)})
}

// newUUID returns a generation that nobody has seen.
func (e *Engine) newUUID() uint64 {
	for {
		e.rand += 0x9e3779b97f4a7c15
		z := e.rand
		z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
		z = (z ^ z>>27) * 0x94d049bb133111eb
		z ^= z >> 31
		if z &= uuidMask; z > JustCreated {
			return z
		}
	}
}

// Deadline is the time at which the engine wants a tick, or 0 for never.
func (e *Engine) Deadline() int64 {
	first := int64(0)
	sooner := func(t int64) {
		if t != 0 && (first == 0 || t < first) {
			first = t
		}
	}
	if !e.mutated(MutNoSuspendDeadline) {
		sooner(e.suspendUntil)
	}
	if !e.cmd.critical {
		sooner(e.cmd.deadline) // else it can only be waited for
	}
	for i := range e.peers {
		sooner(e.peers[i].wake)
	}
	for i := range e.legs {
		sooner(e.legs[i].wake)
	}
	return first
}

func (e *Engine) onTick() {
	if e.suspendUntil != 0 && e.now >= e.suspendUntil && !e.mutated(MutNoSuspendDeadline) {
		e.notify(-1, "suspended I/O resumed at its deadline")
		e.resumeIO()
	}
	for i := range e.peers {
		if p := &e.peers[i]; p.wake != 0 && e.now >= p.wake {
			p.wake = 0
		}
	}
	for i := range e.legs {
		if l := &e.legs[i]; l.wake != 0 && e.now >= l.wake {
			l.wake = 0
		}
	}
}

func (e *Engine) onMetaDone(ev *Event) { e.metaDone(ev.Mask) }

// blocksTouched is the range of blocks of which at least a part is in the range of bytes.
func (e *Engine) blocksTouched(off uint64, n uint32) (lo, hi uint64) {
	s := e.cfg.BlockShift
	return off >> s, (off + uint64(n) + 1<<s - 1) >> s
}

// blocksCovered is the range of blocks that are wholly in the range of bytes; the last one of the volume may be short.
func (e *Engine) blocksCovered(off uint64, n uint32) (lo, hi uint64) {
	s := e.cfg.BlockShift
	lo, hi = (off+1<<s-1)>>s, (off+uint64(n))>>s
	if off+uint64(n) == e.super.Size {
		hi = (e.super.Size + 1<<s - 1) >> s
	}
	return lo, max(lo, hi)
}

func (e *Engine) extents(o *op) (lo, hi uint32) { return e.extentsOf(o.off, o.len) }

func (e *Engine) extentsOf(off uint64, n uint32) (lo, hi uint32) {
	s := e.cfg.ExtentShift
	return uint32(off >> s), uint32((off + uint64(n) - 1) >> s)
}

// markMissed notes that a replica lacks a range.
func (e *Engine) markMissed(row int, off uint64, n uint32) {
	if e.bits[row] == nil || e.mutated(MutNoBitOnMissed) {
		return
	}
	lo, hi := e.blocksTouched(off, n)
	e.bits[row].set(lo, hi)
}

// markTrackers notes a change for those who look at what has changed.
func (e *Engine) markTrackers(o *op) {
	for row := range e.bits {
		if e.isTracker(row) && !e.mutated(MutNoTrackerBits) {
			e.markMissed(row, o.off, o.len)
		}
	}
}

func (e *Engine) markInSync(row int, off uint64, n uint32) {
	if e.bits[row] != nil {
		lo, hi := e.blocksCovered(off, n)
		e.bits[row].clear(lo, hi)
	}
}

func (e *Engine) blocks() uint64 {
	return (e.super.Size + 1<<e.cfg.BlockShift - 1) >> e.cfg.BlockShift
}

// isPeer, isTracker and legRow classify rows.
func (e *Engine) isPeer(row int) bool    { return e.cfg.Rows[row].Kind == KindPeer }
func (e *Engine) isTracker(row int) bool { return e.cfg.Rows[row].Kind == KindTracker }
func (e *Engine) legRow(n int) int       { return e.cfg.LegRow + n }

// hasBitmap reports a row that collects changes: peers, trackers, and legs if there is more than one.
func (e *Engine) hasBitmap(row int) bool {
	switch e.cfg.Rows[row].Kind {
	case KindPeer, KindTracker:
		return true
	case KindLeg:
		return e.cfg.Legs > 1
	default:
		return false
	}
}

func (e *Engine) sizeBitmaps() {
	for row := range e.bits {
		switch {
		case !e.hasBitmap(row):
		case e.bits[row] == nil:
			e.bits[row] = newBitmap(e.blocks(), e.cfg.PageBits)
		default:
			e.bits[row].resize(e.blocks())
		}
	}
}

// goodDisk reports that this node may answer reads from its own legs where blocks are in sync.
func (e *Engine) goodDisk() bool { return e.disk == UpToDate || e.disk == Consistent }

// hasDisk reports that writes go to local legs.
func (e *Engine) hasDisk() bool { return e.disk >= Inconsistent && e.attachedLegs() != 0 }
