package tcmur

import (
	"bytes"
	"math/rand/v2"
	"testing"

	"pollux/bdev"
)

// shadow is a load on a device through two reactors, with a copy of what must be there.
type shadow struct {
	t       testing.TB
	clients []*client
	shadow  []byte
	rng     *rand.Rand
}

func (l *live) newShadow(name string, size uint64) *shadow {
	return &shadow{
		t: l.t, clients: []*client{l.open(0, name), l.open(1, name)}, shadow: make([]byte, size), rng: rand.New(rand.NewPCG(3, 4)),
	}
}

func (s *shadow) blocks() uint64 { return uint64(len(s.shadow)) / 512 }

// writes has n writes in flight, which do not overlap, while something happens.
func (s *shadow) writes(n uint64, then func()) {
	s.t.Helper()
	k := s.clients[0]
	part := s.blocks() / n
	var started []<-chan *bdev.Request
	for i := range n {
		blocks := 1 + s.rng.Uint64N(64)
		q := k.write(i*part+s.rng.Uint64N(part-blocks+1), blocks, byte(s.rng.Uint32()))
		copy(s.shadow[q.LBA*512:], q.Data[0])
		started = append(started, k.start(q))
	}
	then()
	for _, ended := range started {
		if q := k.await(ended); q.Status != bdev.StatusOK {
			s.t.Fatalf("%v at %d: %v", q.Op, q.LBA, q.Status)
		}
	}
}

// rewrite writes everything once more, for handlers whose acknowledged writes may be lost with their helper.
func (s *shadow) rewrite() {
	s.t.Helper()
	const blocks = 256
	mem := s.clients[0].l.memory(blocks, 0)
	for lba := uint64(0); lba < s.blocks(); lba += blocks {
		copy(mem[0], s.shadow[lba*512:])
		s.clients[0].want(bdev.StatusOK, bdev.Request{Op: bdev.OpWrite, LBA: lba, Blocks: blocks, Data: mem})
	}
}

// operate does n random operations, each of which has ended before the next.
func (s *shadow) operate(n int) {
	s.t.Helper()
	mem := s.clients[0].l.memory(256, 0)[0]
	for i := range n {
		k := s.clients[i%2]
		q := bdev.Request{Blocks: 1 + s.rng.Uint64N(256)}
		q.LBA = s.rng.Uint64N(s.blocks() - q.Blocks + 1)
		part := s.shadow[q.LBA*512:][:q.Blocks*512]
		q.Data = [][]byte{mem[:q.Blocks*512]}
		switch s.rng.IntN(8) {
		case 0, 1, 2:
			k.want(bdev.StatusOK, with(q, bdev.OpRead))
			if !bytes.Equal(q.Data[0], part) {
				s.t.Fatalf("operation %d: blocks %d+%d read otherwise than they were written", i, q.LBA, q.Blocks)
			}
		case 3:
			k.want(bdev.StatusOK, with(q, bdev.OpUnmap))
			clear(part)
		case 4:
			k.want(bdev.StatusOK, with(q, bdev.OpWriteZeroes))
			clear(part)
		case 5:
			s.compareAndWrite(k, q.LBA)
		default:
			for j := range q.Data[0] {
				q.Data[0][j] = byte(s.rng.Uint32())
			}
			copy(part, q.Data[0])
			k.want(bdev.StatusOK, with(q, bdev.OpWrite))
		}
	}
}

// compareAndWrite does one that succeeds, then one that differs at byte 100.
func (s *shadow) compareAndWrite(k *client, lba uint64) {
	s.t.Helper()
	part := s.shadow[lba*512:][:512]
	q := bdev.Request{Op: bdev.OpCompareAndWrite, LBA: lba, Blocks: 1, Data: k.l.memory(1, 0xab), Compare: [][]byte{bytes.Clone(part)}}
	k.want(bdev.StatusOK, q)
	copy(part, q.Data[0])
	q.Compare = [][]byte{bytes.Clone(part)}
	q.Compare[0][100] ^= 1
	if r := k.want(bdev.StatusMiscompare, q); r.Result != 100 {
		s.t.Fatalf("a difference at byte 100 is reported at %d", r.Result)
	}
}
