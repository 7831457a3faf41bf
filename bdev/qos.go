package bdev

import (
	"sync/atomic"
	"time"

	"pollux/reactor"
)

// RateLimits bound what all users of a device together may do; 0 is no limit. Compare-and-write counts as a write, compare as a
// read; everything else is not limited.
type RateLimits struct {
	IOs        uint64 // per second, reads and writes
	Bytes      uint64 // per second, reads and writes
	ReadBytes  uint64
	WriteBytes uint64
}

// qosSlice is how often tokens are filled up.
const qosSlice = time.Millisecond

// The buckets of tokens. A token is a thousandth of a request or of a byte, so that a limit per second is the tokens per slice.
const (
	bucketIOs = iota
	bucketBytes
	bucketReadBytes
	bucketWriteBytes
	buckets
)

const tokensPerUnit = int64(time.Second / qosSlice)

// qos is the tokens of a device. Every reactor takes from them and fills them up; a change of the limits makes another.
type qos struct {
	perSlice [buckets]int64 // 0: no limit
	left     [buckets]atomic.Int64
	filled   atomic.Int64 // Reactor.Now of the last filling up
}

func newQoS(l RateLimits, now int64) *qos {
	q := &qos{perSlice: [buckets]int64{int64(l.IOs), int64(l.Bytes), int64(l.ReadBytes), int64(l.WriteBytes)}}
	for i := range q.left {
		q.left[i].Store(q.perSlice[i])
	}
	q.filled.Store(now)
	return q
}

// fill adds the tokens of the slices that have gone by. Whoever comes first in a slice does it. Unused tokens are lost, so that
// there are no bursts; a debt is paid off first.
func (s *qos) fill(now int64) {
	last := s.filled.Load()
	slices := (now - last) / int64(qosSlice)
	if slices <= 0 || !s.filled.CompareAndSwap(last, last+slices*int64(qosSlice)) {
		return
	}
	for i := range s.left {
		add := min(slices, tokensPerUnit) * s.perSlice[i]
		if over := s.left[i].Add(add) - s.perSlice[i]; over > 0 {
			s.left[i].Add(-over)
		}
	}
}

// take pays for r if there are tokens of each kind that it needs. The last ones may be paid for more than they are worth: the
// next slices pay the rest.
func (s *qos) take(r *Request, bytes uint64, now int64) bool {
	s.fill(now)
	cost := [buckets]int64{bucketIOs: tokensPerUnit, bucketBytes: int64(bytes) * tokensPerUnit}
	if ops[r.Op].writes {
		cost[bucketWriteBytes] = cost[bucketBytes]
	} else {
		cost[bucketReadBytes] = cost[bucketBytes]
	}
	for i, c := range cost {
		if c > 0 && s.perSlice[i] > 0 && s.left[i].Load() <= 0 {
			return false
		}
	}
	for i, c := range cost {
		if c > 0 && s.perSlice[i] > 0 {
			s.left[i].Add(-c)
		}
	}
	return true
}

// isLimited reports whether op needs tokens.
func isLimited(op Op) bool { return ops[op].data }

// isThrottled puts r behind those that wait for tokens, unless it has paid or can pay.
func (l *lane) isThrottled(r *Request) bool {
	if l.qos == nil || r.paid || !isLimited(r.Op) {
		return false
	}
	if l.throttled.n == 0 && l.pay(r) {
		return false
	}
	r.state = stateThrottled
	l.throttled.push(r)
	if !l.qosTimer.Active() {
		l.qosTimer.Start(qosSlice)
	}
	return true
}

func (l *lane) pay(r *Request) bool {
	r.paid = l.qos.take(r, r.Blocks<<l.dev.shift, l.r.Now())
	return r.paid
}

// unthrottle starts those that can pay now, in order.
func (l *lane) unthrottle() {
	for l.throttled.n > 0 && (l.qos == nil || l.pay(l.throttled.head)) {
		r := l.throttled.pop()
		if !l.isHeld(r) {
			l.run(r)
		}
	}
	if l.throttled.n > 0 {
		l.qosTimer.Start(qosSlice)
	}
}

// SetRateLimits changes the limits, for what waits too. Control plane.
func (d *Device) SetRateLimits(limits RateLimits) error {
	d.resizing.Lock()
	defer d.resizing.Unlock()
	var s *qos
	if limits != (RateLimits{}) {
		s = newQoS(limits, int64(d.registry.ticks()))
	}
	d.rates.Store(&limits)
	return d.registry.group.Each(func(r *reactor.Reactor) { d.laneOf(r).setQoS(s) })
}

// RateLimits are the present ones. Control plane.
func (d *Device) RateLimits() RateLimits {
	if l := d.rates.Load(); l != nil {
		return *l
	}
	return RateLimits{}
}

// setQoS gives the lane other tokens, nil for none (on its reactor).
func (l *lane) setQoS(s *qos) {
	if l.qos != nil {
		l.gates--
	}
	if s != nil {
		l.gates++
	}
	l.qos = s
	l.unthrottle()
}
