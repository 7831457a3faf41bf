package bdevtest

import (
	"math/rand/v2"

	"pollux/bdev"
)

// The shape of the random test.
const (
	randomBlocks  = 700
	randomLongest = 90 // blocks of one request
	randomDepth   = 8  // requests in flight
)

// testRandom does operations by chance from both reactors, several in flight that do not touch one another, and compares
// every answer with the model's.
func testRandom(r *run) {
	_, clients := r.open(randomBlocks)
	t := &randomTest{run: r, rng: rand.New(rand.NewPCG(r.seed, 1)), clients: clients}
	t.model = Model{BlockSize: uint64(r.blockSize), Data: make([]byte, randomBlocks*int(r.blockSize))}
	for range randomDepth {
		t.free = append(t.free, newSlot(r))
	}
	for range r.rounds(600) {
		for len(t.free) == 0 || t.rng.IntN(4) == 0 && len(t.busy) > 0 {
			t.finish()
		}
		t.start()
	}
	for len(t.busy) > 0 {
		t.finish()
	}
	for lba := uint64(0); lba < randomBlocks; lba += 50 {
		s := t.free[0]
		data := [][]byte{s.data[:50*int(r.blockSize)]}
		r.Want(clients[0].Do(bdev.Request{Op: bdev.OpRead, LBA: lba, Blocks: 50, Data: data}), bdev.StatusOK)
		if at := bdev.Difference(data[0], t.model.at(lba, 50)); at >= 0 {
			r.T.Fatalf("at the end block %d differs", lba+uint64(at)/uint64(r.blockSize))
		}
	}
}

type randomTest struct {
	*run
	rng        *rand.Rand
	clients    [2]*Client
	model      Model
	free, busy []*slot
}

// slot is the memory of one request in flight.
type slot struct {
	op            *Op
	data, compare []byte
}

func newSlot(r *run) *slot {
	n := randomLongest * int(r.blockSize)
	return &slot{data: r.Memory(n), compare: r.Memory(n)}
}

var randomOps = []bdev.Op{
	bdev.OpRead, bdev.OpRead, bdev.OpWrite, bdev.OpWrite, bdev.OpWrite, bdev.OpFlush, bdev.OpUnmap, bdev.OpWriteZeroes,
	bdev.OpCompare, bdev.OpCompareAndWrite, bdev.OpCompareAndWrite, bdev.OpCopy,
}

// start submits one operation that nothing in flight touches.
func (t *randomTest) start() {
	op := randomOps[t.rng.IntN(len(randomOps))]
	if !t.clients[0].Desc.Device().Supports(op) {
		return
	}
	q := bdev.Request{Op: op, Flags: bdev.Flags(t.rng.IntN(4))}
	if op != bdev.OpFlush {
		q.Blocks = 1 + t.rng.Uint64N(randomLongest)
		q.LBA = t.rng.Uint64N(randomBlocks - q.Blocks + 1)
		q.SrcLBA = t.rng.Uint64N(randomBlocks - q.Blocks + 1)
	}
	if t.isBusy(&q) {
		return
	}
	s := t.free[len(t.free)-1]
	t.free = t.free[:len(t.free)-1]
	t.fill(s, &q)
	s.op = t.clients[t.rng.IntN(2)].Start(q)
	t.busy = append(t.busy, s)
}

// isBusy reports whether anything in flight touches what q would.
func (t *randomTest) isBusy(q *bdev.Request) bool {
	for _, s := range t.busy {
		o := &s.op.Request
		if touch(q.LBA, o.LBA, q, o) || touch(q.SrcLBA, o.LBA, q, o) || touch(q.LBA, o.SrcLBA, q, o) {
			return true
		}
	}
	return false
}

func touch(a, b uint64, q, o *bdev.Request) bool { return a < b+o.Blocks && b < a+q.Blocks }

// fill gives q its data; comparisons mostly expect what the model has.
func (t *randomTest) fill(s *slot, q *bdev.Request) {
	n := q.Blocks * t.model.BlockSize
	have := t.model.at(q.LBA, q.Blocks)
	switch q.Op {
	case bdev.OpRead, bdev.OpWrite:
		t.noise(s.data[:n])
		q.Data = t.pieces(s.data[:n])
	case bdev.OpCompare:
		copy(s.data, have)
		t.spoil(s.data[:n])
		q.Data = t.pieces(s.data[:n])
	case bdev.OpCompareAndWrite:
		t.noise(s.data[:n])
		copy(s.compare, have)
		t.spoil(s.compare[:n])
		q.Data, q.Compare = t.pieces(s.data[:n]), t.pieces(s.compare[:n])
	default:
	}
}

func (t *randomTest) noise(b []byte) {
	v := byte(t.rng.Uint32())
	for i := range b {
		b[i] = v + byte(i>>3)
	}
}

// spoil changes a byte, sometimes.
func (t *randomTest) spoil(b []byte) {
	if t.rng.IntN(3) == 0 {
		b[t.rng.IntN(len(b))] ^= 1
	}
}

// pieces cuts b at multiples of 512 bytes.
func (t *randomTest) pieces(b []byte) (p [][]byte) {
	for len(b) > 0 {
		n := min(len(b), 512*(1+t.rng.IntN(64)))
		p = append(p, b[:n:n])
		b = b[n:]
	}
	return p
}

// finish waits for one request and compares.
func (t *randomTest) finish() {
	i := t.rng.IntN(len(t.busy))
	s := t.busy[i]
	t.Wait(s.op)
	t.busy = append(t.busy[:i], t.busy[i+1:]...)
	t.free = append(t.free, s)
	got := s.op.Request
	want := bdev.Request{Op: got.Op, LBA: got.LBA, SrcLBA: got.SrcLBA, Blocks: got.Blocks, Data: got.Data, Compare: got.Compare}
	if got.Op == bdev.OpRead {
		want.Data = [][]byte{s.compare[:got.Blocks*t.model.BlockSize]}
	}
	status := t.model.Do(&want)
	t.Want(s.op, status)
	if status == bdev.StatusMiscompare && got.Result != want.Result {
		t.T.Fatalf("%v: difference at %d, want %d", got.Op, got.Result, want.Result)
	}
	if got.Op == bdev.OpRead {
		if at := bdev.Difference(s.data[:len(want.Data[0])], want.Data[0]); at >= 0 {
			t.T.Fatalf("read %d+%d differs at byte %d", got.LBA, got.Blocks, at)
		}
	}
}
