package iscsi_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
	"time"

	"pollux/iscsi"
	"pollux/iscsi/initiator"
	"pollux/scsi"
)

// rounds is how many seeds a test of interleavings tries: few by default, POLLUX_ROUNDS in long runs.
func rounds(few int) uint64 {
	if n, err := strconv.Atoi(os.Getenv("POLLUX_ROUNDS")); err == nil {
		return uint64(n)
	}
	if testing.Short() {
		return uint64(few / 10)
	}
	return uint64(few)
}

// worker keeps a host busy in a region of its own: it writes, reads back, and complains of what it did not write.
type worker struct {
	*host
	rng      *rand.Rand
	lun      uint64
	base     int // first block of the region
	model    []byte
	known    []bool // blocks whose content is known
	busy     int
	answered int
	failed   string
}

const regionBlocks = 256

// load submits n commands on disjoint ranges.
func (w *worker) load(n int) {
	w.g.on(w.r.ID(), func() {
		if w.ended {
			return
		}
		for i := range n {
			at := i * regionBlocks / n
			blocks := 1 + w.rng.IntN(max(1, regionBlocks/n))
			if w.rng.IntN(2) == 0 {
				w.write(at, blocks)
			} else {
				w.read(at, blocks)
			}
		}
	})
}

func (w *worker) write(at, blocks int) {
	data := pattern(blocks, byte(w.rng.Uint32()))
	c := writeOf(w.base+at, data)
	c.LUN = w.lun
	w.busy++
	for i := range blocks {
		w.known[at+i] = false
	}
	c.Done = func(c *initiator.Command) {
		w.busy--
		if c.Result == initiator.ResultAnswered && c.Status == scsi.StatusGood {
			w.answered++
			copy(w.model[at*rigBlockSize:], data)
			for i := range blocks {
				w.known[at+i] = true
			}
		}
	}
	w.session.Submit(c)
}

func (w *worker) read(at, blocks int) {
	c := readOf(w.base+at, blocks)
	c.LUN = w.lun
	w.busy++
	c.Done = func(c *initiator.Command) {
		w.busy--
		if c.Result != initiator.ResultAnswered || c.Status != scsi.StatusGood {
			return
		}
		w.answered++
		for i := range blocks {
			got, want := c.In[i*rigBlockSize:][:rigBlockSize], w.model[(at+i)*rigBlockSize:][:rigBlockSize]
			if w.known[at+i] && !bytes.Equal(got, want) {
				w.failed = fmt.Sprintf("block %d holds %x..., not %x...", w.base+at+i, got[:8], want[:8])
			}
		}
	}
	w.session.Submit(c)
}

// cutRig is a rig with a fast LUN 0 and a slow LUN 1, and workers on both.
type cutRig struct {
	*rig
	rng     *rand.Rand
	slow    *slowDisk
	workers []*worker
}

const slowLUN = 1 << 48

func newCutRig(t *testing.T, seed uint64) *cutRig {
	rng := rand.New(rand.NewPCG(seed, 2))
	g := &cutRig{rig: newRig(t, 1+rng.IntN(2), nil), rng: rng}
	g.slow = g.addSlowDisk("Slow0", seed)
	g.must(g.server.AddLUN("disk1", iscsi.LUNSpec{BdevName: "Slow0", LUN: 1}))
	g.Seed(seed)
	kinds := []string{"plain", "digests", "R2T alone", "small segments"}
	for i := range 2 + rng.IntN(2) {
		h := g.newHost(rng.IntN(len(g.Reactors)), func(c *initiator.Config) {
			sessionKinds[kinds[rng.IntN(len(kinds))]](c)
			c.ISID[5] = byte(10 + i)
		})
		h.open(rng.IntN(len(g.Reactors))).ready()
		w := &worker{
			host: h, rng: rng, base: i * regionBlocks, lun: uint64(rng.IntN(2)) * slowLUN,
			model: make([]byte, regionBlocks*rigBlockSize), known: make([]bool, regionBlocks),
		}
		for range 3 {
			h.do(&initiator.Command{LUN: slowLUN}) // takes its unit attentions
		}
		g.workers = append(g.workers, w)
	}
	return g
}

// stir lets a while go by.
func (g *cutRig) stir() {
	for range g.rng.IntN(60) {
		g.Step(g.rng.IntN(len(g.Reactors)))
	}
	if g.rng.IntN(3) == 0 {
		g.Advance(time.Duration(g.rng.Int64N(int64(2 * time.Millisecond))))
	}
}

// cuts are the ways in which the first worker's connection, or more, comes to its end.
var cuts = []struct {
	name string
	cut  func(*cutRig)
}{
	{"closed by the initiator", func(g *cutRig) { g.on(g.workers[0].r.ID(), g.workers[0].session.Close) }},
	{"reinstated", func(g *cutRig) {
		h := g.newHost(0, func(c *initiator.Config) { c.ISID = g.workers[0].session.Config.ISID })
		h.start(g.rng.IntN(len(g.Reactors)))
	}},
	{"reinstated from both ends", func(g *cutRig) {
		for i := range 2 {
			h := g.newHost(i%len(g.Reactors), func(c *initiator.Config) { c.ISID = g.workers[0].session.Config.ISID })
			h.start(i % len(g.Reactors))
		}
	}},
	{"logical unit reset", func(g *cutRig) { g.manage(1, scsi.FunctionLogicalUnitReset, slowLUN) }},
	{"abort task set", func(g *cutRig) { g.manage(0, scsi.FunctionAbortTaskSet, 0) }},
	{"clear task set", func(g *cutRig) { g.manage(1, scsi.FunctionClearTaskSet, 0) }},
	{"target warm reset", func(g *cutRig) { g.manage(1, scsi.FunctionTargetWarmReset, 0) }},
	{"target deleted", func(g *cutRig) { g.must(g.server.DeleteTarget("disk1")) }},
	{"LUN removed", func(g *cutRig) { g.must(g.server.RemoveLUN("disk1", 1)) }},
	{"bdev deleted", func(g *cutRig) { g.must(g.registry.Unregister("Slow0")) }},
	{"logout", func(g *cutRig) {
		x := &initiator.Exchange{Done: func(*initiator.Exchange) {}}
		x.Request.Clear(iscsi.OpLogout)
		x.Request.SetFinal(true)
		g.on(g.workers[0].r.ID(), func() { g.workers[0].session.Start(x) })
	}},
	{"reset by the peer", func(g *cutRig) { g.rawPeer().Reset() }},
	{"ended by the peer", func(g *cutRig) { g.rawPeer().Close() }},
	{"half closed by the peer", func(g *cutRig) { g.rawPeer().CloseWrite() }},
	{"vanished", func(g *cutRig) { g.rawPeer() }},
}

// manage sends a task management function from a worker's session, and does not wait.
func (g *cutRig) manage(worker int, function scsi.Function, lun uint64) {
	x := &initiator.Exchange{Done: func(*initiator.Exchange) {}}
	x.Request.Clear(iscsi.OpTaskManagement)
	x.Request.SetFinal(true)
	x.Request.SetImmediate(true)
	x.Request.SetFunction(uint8(function))
	x.Request.SetLUN(lun)
	x.Request.SetReferencedTaskTag(iscsi.ReservedTag)
	g.on(g.workers[worker].r.ID(), func() { g.workers[worker].session.Start(x) })
}

// TestConnectionIsCut cuts connections at any moment, in every way, and requires that nothing is left of them and that those
// beside them notice nothing.
func TestConnectionIsCut(t *testing.T) {
	for seed := range rounds(10 * len(cuts)) {
		c := cuts[seed%uint64(len(cuts))]
		ok := t.Run(fmt.Sprintf("seed %d %s", seed, c.name), func(t *testing.T) {
			g := newCutRig(t, seed)
			for _, w := range g.workers {
				w.load(1 + g.rng.IntN(40))
			}
			g.stir()
			c.cut(g)
			g.stir()
			for _, w := range g.workers[1:] {
				w.load(4)
			}
			g.Advance(15 * time.Minute)
			for i, w := range g.workers {
				if w.failed != "" {
					t.Errorf("worker %d: %s", i, w.failed)
				}
			}
			g.close()
			for i, w := range g.workers {
				if w.busy > 0 {
					t.Errorf("worker %d: %d commands never ended (%v)", i, w.busy, w.reason)
				}
			}
			if g.slow.queues > 2 {
				t.Errorf("%d queues of the slow disk", g.slow.queues)
			}
			g.Close()
		})
		if !ok {
			return
		}
	}
}

// cutsPerWorld is how many connections one world of TestManyCuts sees end: 2,000 rounds are 100,000 cuts.
const cutsPerWorld = 50

// TestManyCuts lets sessions come and be cut, one after the other and some at once, in the same world: what one leaves behind the
// next would find.
func TestManyCuts(t *testing.T) {
	for seed := range rounds(40) {
		ok := t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) {
			g := newCutRig(t, seed)
			for range cutsPerWorld {
				g.cutOne()
			}
			g.Advance(15 * time.Minute)
			for i, w := range g.workers {
				if w.failed != "" || !w.up {
					t.Errorf("worker %d is up: %v (%v) %s", i, w.up, w.reason, w.failed)
				}
			}
			g.close()
			g.Close()
		})
		if !ok {
			return
		}
	}
}

// cutOne lets one session come, and cuts it, or leaves it to be reinstated by a later one.
func (g *cutRig) cutOne() {
	if g.rng.IntN(4) == 0 {
		peer := g.rawPeer()
		[]func(){peer.Reset, peer.Close, peer.CloseWrite}[g.rng.IntN(3)]()
		return
	}
	h := g.newHost(g.rng.IntN(len(g.Reactors)), func(c *initiator.Config) { c.ISID[5] = byte(100 + g.rng.IntN(3)) })
	h.start(g.rng.IntN(len(g.Reactors)))
	g.stir()
	if !h.up {
		if g.rng.IntN(2) == 0 {
			g.on(h.r.ID(), h.closeIfOpen)
		}
		return
	}
	w := &worker{
		host: h, rng: g.rng, base: 5 * regionBlocks, lun: uint64(g.rng.IntN(2)) * slowLUN,
		model: make([]byte, regionBlocks*rigBlockSize), known: make([]bool, regionBlocks),
	}
	w.load(1 + g.rng.IntN(20))
	g.workers[0].load(2)
	g.stir()
	if g.rng.IntN(3) > 0 {
		g.on(h.r.ID(), h.closeIfOpen)
	}
}

// closeIfOpen ends the session if it has not ended.
func (h *host) closeIfOpen() {
	if !h.ended {
		h.session.Close()
	}
}
