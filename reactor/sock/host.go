package sock

import (
	"pollux/reactor"
	"pollux/reactor/iobuf"
	"pollux/reactor/uring"
)

// Stats count what the connections of one reactor do and hold.
type Stats struct {
	Conns         int    // open or ending
	SendSets      int    // borrowed by sends in flight
	Sends         uint64 // sendmsg entries, resumed ones too
	ShortSends    uint64 // sends that had to be resumed
	BytesReceived uint64
	BytesSent     uint64
	AcceptErrors  uint64
	SendTimeouts  uint64
}

// host is what all connections of a reactor share.
type host struct {
	r         *reactor.Reactor
	multishot bool
	sets      []*sendSet
	owns      [][]byte
	mapped    [][]byte // all memory of sets and owns
	stats     Stats
}

// hostKey is the host's place in reactor.Local.
type hostKey struct{}

func hostOf(r *reactor.Reactor) *host {
	return r.Local(hostKey{}, func() any {
		h := &host{r: r, multishot: r.Features().Has(uring.FeatureRecvMultishot)}
		r.OnStop(h.free)
		return h
	}).(*host)
}

// StatsOf is a copy of r's counters (on r).
func StatsOf(r *reactor.Reactor) Stats { return hostOf(r).stats }

// carve maps count pieces of size bytes, which stay with the reactor until it ends.
func (h *host) carve(size, count int) [][]byte {
	mem, err := iobuf.Map(size * count)
	if err != nil {
		panic("sock: " + err.Error()) // Some 100 KiB: there is no going on without.
	}
	h.mapped = append(h.mapped, mem)
	pieces := make([][]byte, count)
	for i := range pieces {
		pieces[i] = mem[i*size : (i+1)*size : (i+1)*size]
	}
	return pieces
}

// free gives back what carve has mapped, when the reactor ends.
func (h *host) free() {
	for _, mem := range h.mapped {
		iobuf.Unmap(mem)
	}
	*h = host{r: h.r, multishot: h.multishot}
}

// takeOwn lends a receive buffer to a connection without a buffer ring.
func (h *host) takeOwn() []byte {
	const batch = 8
	if len(h.owns) == 0 {
		h.owns = h.carve(ownRecvSize, batch)
	}
	b := h.owns[len(h.owns)-1]
	h.owns = h.owns[:len(h.owns)-1]
	return b
}

func (h *host) putOwn(b []byte) { h.owns = append(h.owns, b) }

// takeSet lends a send set.
func (h *host) takeSet() *sendSet {
	const batch = 8
	if len(h.sets) == 0 {
		for _, mem := range h.carve(setSize, batch) {
			h.sets = append(h.sets, newSendSet(mem))
		}
	}
	s := h.sets[len(h.sets)-1]
	h.sets = h.sets[:len(h.sets)-1]
	h.stats.SendSets++
	return s
}

func (h *host) putSet(s *sendSet) {
	s.reset()
	h.sets = append(h.sets, s)
	h.stats.SendSets--
}
