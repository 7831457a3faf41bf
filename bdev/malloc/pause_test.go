//go:build invariants

package malloc

import (
	"testing"

	"pollux/bdev"
	"pollux/bdev/bdevtest"
)

// half is a scenario in which reactor 1 does something while reactor 0 is half way through a block.
type half struct {
	*bdevtest.Env
	a, b *bdevtest.Client
	d    *disk
}

func newHalf(t testing.TB) *half {
	e := bdevtest.NewEnv(t, 2)
	newDisks(e, 4096, 64)
	h := &half{Env: e, a: e.Open(0, "Malloc0", bdev.OpenOptions{Write: true}), b: e.Open(1, "Malloc0", bdev.OpenOptions{Write: true})}
	h.d = h.a.Desc.Device().Spec().Backend.(*disk)
	return h
}

func (h *half) block(v byte) [][]byte {
	b := h.Memory(4096)
	for i := range b {
		b[i] = v
	}
	return [][]byte{b}
}

// while does q on reactor 0, and half way other on reactor 1, and returns when both have ended.
func (h *half) while(q, other bdev.Request) (o, p *bdevtest.Op) {
	h.d.pause = func() {
		if p == nil {
			p = h.b.Start(other)
		}
	}
	o = h.a.Do(q)
	h.d.pause = nil
	if p == nil {
		h.T.Fatal("the copy was not interrupted")
	}
	h.Wait(p)
	return o, p
}

func (h *half) uniform(b [][]byte) {
	for _, v := range b[0] {
		if v != b[0][0] {
			h.T.Fatalf("a block holds %#x and %#x", b[0][0], v)
		}
	}
}

// scenarios are what may happen half way.
var scenarios = map[string]func(testing.TB){
	"a read sees all of a write or nothing": func(t testing.TB) {
		h := newHalf(t)
		got := h.block(0x11)
		h.while(bdev.Request{Op: bdev.OpWrite, LBA: 5, Blocks: 1, Data: h.block(0xaa)},
			bdev.Request{Op: bdev.OpRead, LBA: 5, Blocks: 1, Data: got})
		h.uniform(got)
	},
	"a read that is overtaken sees one write": func(t testing.TB) {
		h := newHalf(t)
		got := h.block(0x11)
		h.while(bdev.Request{Op: bdev.OpRead, LBA: 5, Blocks: 1, Data: got},
			bdev.Request{Op: bdev.OpWrite, LBA: 5, Blocks: 1, Data: h.block(0xbb)})
		h.uniform(got)
	},
	"two writes do not mix": func(t testing.TB) {
		h := newHalf(t)
		got := h.block(0x11)
		h.while(bdev.Request{Op: bdev.OpWrite, LBA: 5, Blocks: 1, Data: h.block(0xaa)},
			bdev.Request{Op: bdev.OpWrite, LBA: 5, Blocks: 1, Data: h.block(0xbb)})
		h.Want(h.a.Do(bdev.Request{Op: bdev.OpRead, LBA: 5, Blocks: 1, Data: got}), bdev.StatusOK)
		h.uniform(got)
	},
	"unmap and a write do not mix": func(t testing.TB) {
		h := newHalf(t)
		got := h.block(0x11)
		h.Want(h.a.Do(bdev.Request{Op: bdev.OpWrite, LBA: 5, Blocks: 1, Data: h.block(0xcc)}), bdev.StatusOK)
		h.while(bdev.Request{Op: bdev.OpWrite, LBA: 5, Blocks: 1, Data: h.block(0xaa)}, bdev.Request{Op: bdev.OpUnmap, LBA: 5, Blocks: 1})
		h.Want(h.a.Do(bdev.Request{Op: bdev.OpRead, LBA: 5, Blocks: 1, Data: got}), bdev.StatusOK)
		h.uniform(got)
		if got[0][0] != 0 {
			h.T.Fatalf("an unmapped block holds %#x", got[0][0])
		}
	},
	"one of two compare-and-writes of one value fails": func(t testing.TB) {
		h := newHalf(t)
		zero := h.block(0)
		o, p := h.while(bdev.Request{Op: bdev.OpCompareAndWrite, LBA: 5, Blocks: 1, Compare: zero, Data: h.block(1)},
			bdev.Request{Op: bdev.OpCompareAndWrite, LBA: 5, Blocks: 1, Compare: zero, Data: h.block(2)})
		h.Want(o, bdev.StatusOK)
		h.Want(p, bdev.StatusMiscompare)
	},
}

func TestHalfWay(t *testing.T) {
	for name, scenario := range scenarios {
		t.Run(name, func(t *testing.T) { scenario(t) })
	}
}

// TestHalfWayNotices: without the sequence words, or without the exclusion of writers, the scenarios fail.
func TestHalfWayNotices(t *testing.T) {
	for _, c := range []struct {
		name     string
		mutation bdev.Mutation
		scenario string
	}{
		{"stripe-without-sequence", bdev.MutateStripeNoSequence, "a read sees all of a write or nothing"},
		{"stripe-without-sequence, reader first", bdev.MutateStripeNoSequence, "a read that is overtaken sees one write"},
		{"stripe-without-exclusion", bdev.MutateStripeNoExclusion, "two writes do not mix"},
		{"stripe-without-exclusion, unmap", bdev.MutateStripeNoExclusion, "unmap and a write do not mix"},
		{"stripe-without-exclusion, compare", bdev.MutateStripeNoExclusion, "one of two compare-and-writes of one value fails"},
	} {
		t.Run(c.name, func(t *testing.T) {
			defer bdev.Mutate(c.mutation)()
			failure := bdevtest.Failure(t, scenarios[c.scenario])
			if failure == "" {
				t.Error("not noticed")
			}
			t.Log(failure)
		})
	}
}

// TestContractNotices: unmap that keeps the data fails the contract.
func TestContractNotices(t *testing.T) {
	bdevtest.Notices(t, bdev.MutateUnmapKeeps, bdevtest.Suite{Make: newDisks})
}
