package bench

import (
	"encoding/binary"

	"pollux/iscsi/initiator"
	"pollux/reactor"
)

// mismatchesShown is how many mismatches a worker describes; the rest are counted.
const mismatchesShown = 5

// Limits of what may go wrong before a worker stops: a target that refuses everything must not be asked forever.
const errorsMax = 10000

// counts are what a worker has done.
type counts struct {
	histogram             Histogram
	reads, writes         uint64
	errors, retries, lost uint64
	mismatches, checked   uint64
	lastStatus, lastSense uint8
	lastReason            uint8
	shown                 []string
}

// slot is one command of a worker, and everything that goes with it.
type slot struct {
	command initiator.Command
	worker  *worker
	unit    uint64
	start   int64
	write   bool
	buf     []byte
}

// worker drives one connection. Data plane: it belongs to the reactor; the control plane reaches it through Call.
type worker struct {
	counts
	units
	id        int
	r         *reactor.Reactor
	session   *initiator.Session
	lun       uint64
	length    uint32
	readShare int
	verify    bool
	payload   []byte // what is written without --verify

	slots     []slot
	idle      []*slot
	quota     uint64 // commands still to begin
	going     bool
	final     bool // the last pass: read everything that was written
	nextFinal uint64
	dead      bool // the connection is lost for good
	whenQuiet func()
}

// begin puts all idle slots to work over a session that has logged in.
func (w *worker) begin(s *initiator.Session) {
	w.session, w.dead = s, false
	w.kick()
}

func (w *worker) kick() {
	list := w.idle
	w.idle = w.idle[:0]
	for _, s := range list {
		w.next(s)
	}
}

// next gives a slot its next command, or lays it aside.
func (w *worker) next(s *slot) {
	if !w.choose(s) {
		w.idle = append(w.idle, s)
		w.checkQuiet()
		return
	}
	s.start = w.r.Now()
	w.session.Submit(&s.command)
}

// checkQuiet tells the control plane, if it waits, that nothing is in flight and nothing more will be.
func (w *worker) checkQuiet() {
	over := w.dead || !w.going && !w.final || w.going && w.quota == 0 || w.final && w.nextFinal == w.count
	if w.whenQuiet == nil || len(w.idle) < len(w.slots) || !over {
		return
	}
	done := w.whenQuiet
	w.whenQuiet = nil
	done()
}

// choose decides what a slot does next; it is false when there is nothing to do.
func (w *worker) choose(s *slot) bool {
	if w.session == nil {
		return false
	}
	if w.final {
		return w.chooseFinal(s)
	}
	if !w.going || w.quota == 0 {
		return false
	}
	w.quota--
	s.unit = w.pick()
	s.write = w.readShare < 100 && w.chance() >= w.readShare && !w.mustRead(s.unit)
	w.prepare(s)
	return true
}

// chooseFinal goes through all units that were written.
func (w *worker) chooseFinal(s *slot) bool {
	for w.nextFinal < w.count {
		i := w.nextFinal
		w.nextFinal++
		if r := &w.records[i]; r.generation != 0 || r.pending != 0 {
			r.busy = true
			s.unit, s.write = i, false
			w.prepare(s)
			return true
		}
	}
	return false
}

// Operation codes of SBC-4.
const (
	opRead10  = 0x28
	opWrite10 = 0x2a
	opRead16  = 0x88
	opWrite16 = 0x8a
)

// prepare fills the command of a slot.
func (w *worker) prepare(s *slot) {
	c := &s.command
	lba := w.lba(s.unit)
	c.LUN, c.Attr = w.lun, 1 // SIMPLE
	c.Out, c.In, c.Discard = nil, nil, 0
	switch {
	case s.write && w.verify:
		w.stamp(s.unit, s.buf)
		c.Out = s.buf
	case s.write:
		c.Out = w.payload
	case w.verify:
		c.In = s.buf
	default:
		c.Discard = w.length
	}
	if lba+w.blocks <= 1<<32 && w.blocks <= 0xffff {
		c.CDB = [16]byte{opRead10}
		if s.write {
			c.CDB[0] = opWrite10
		}
		binary.BigEndian.PutUint32(c.CDB[2:], uint32(lba))
		binary.BigEndian.PutUint16(c.CDB[7:], uint16(w.blocks))
		return
	}
	c.CDB = [16]byte{opRead16}
	if s.write {
		c.CDB[0] = opWrite16
	}
	binary.BigEndian.PutUint64(c.CDB[2:], lba)
	binary.BigEndian.PutUint32(c.CDB[10:], uint32(w.blocks))
}

// done is the end of a slot's command.
func (s *slot) done(c *initiator.Command) {
	w := s.worker
	switch {
	case c.Result == initiator.ResultLost:
		w.losen(s)
	case c.Result == initiator.ResultAnswered && c.Response == 0 && c.Status == 0:
		w.good(s)
	case isTransient(c):
		w.retries++
		w.session.Submit(c)
		return
	default:
		w.fail(s)
	}
	w.next(s)
}

// isTransient: BUSY, TASK SET FULL, and unit attentions, which tell something that a load does not care for.
func isTransient(c *initiator.Command) bool {
	if c.Result != initiator.ResultAnswered || c.Response != 0 {
		return false
	}
	return c.Status == 0x08 || c.Status == 0x28 || c.Status == 0x02 && c.SenseLen > 2 && c.Sense[2]&0x0f == 6
}

func (w *worker) good(s *slot) {
	w.histogram.Add(uint64(w.r.Now() - s.start))
	if s.write {
		w.writes++
	} else {
		w.reads++
	}
	switch {
	case !w.verify:
	case s.write:
		w.written(s.unit, true)
	default:
		w.verifyRead(s)
	}
}

func (w *worker) verifyRead(s *slot) {
	w.checked++
	mismatch := w.check(s.unit, s.buf)
	if s.command.Received != w.length {
		mismatch = "a read is too short"
	}
	if mismatch == "" {
		return
	}
	w.mismatches++
	if len(w.shown) < mismatchesShown {
		w.shown = append(w.shown, mismatch)
	}
}

// losen ends a command whose connection is gone.
func (w *worker) losen(s *slot) {
	w.lost++
	w.session = nil
	if w.final {
		w.nextFinal = min(w.nextFinal, s.unit)
	}
	if s.write && w.verify {
		w.written(s.unit, false)
		return
	}
	w.release(s.unit)
}

// fail ends a command that the target refused.
func (w *worker) fail(s *slot) {
	c := &s.command
	w.errors++
	w.lastStatus, w.lastReason, w.lastSense = c.Status, uint8(c.Reason), 0
	if c.SenseLen > 2 {
		w.lastSense = c.Sense[2] & 0x0f
	}
	if w.errors >= errorsMax {
		w.quota = 0
	}
	if s.write && w.verify {
		w.written(s.unit, false)
		return
	}
	w.release(s.unit)
}
