package scsi

import (
	"encoding/binary"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"pollux/bdev"
	"pollux/bdev/malloc"
	"pollux/reactor"
)

// These tests run on real reactors, where the race detector sees what the stepped world cannot show.

// live is a target with two malloc LUNs on two reactors.
type live struct {
	t     *testing.T
	group *reactor.Group
	reg   *bdev.Registry
	dev   *Device
}

func newLive(t *testing.T) *live {
	l := &live{t: t}
	var err error
	quiet := slog.New(slog.DiscardHandler)
	l.group, err = reactor.Start(reactor.Config{Cores: []int{-1, -1}, Mode: reactor.ModeInterrupt, Log: quiet})
	if err != nil {
		t.Fatal(err)
	}
	l.reg = bdev.NewRegistry(l.group, quiet)
	disks := malloc.New(l.reg)
	for range 2 {
		_, err := disks.Create(malloc.Options{BlockSize: benchBlock, Blocks: benchBlocks})
		l.must(err)
	}
	l.dev, err = NewDevices(l.group, l.reg, slog.New(slog.DiscardHandler)).Create("iqn.test:live", DeviceOptions{})
	l.must(err)
	_, err = l.dev.AddLUN(0, "Malloc0", LUNOptions{})
	l.must(err)
	return l
}

func (l *live) must(err error) {
	l.t.Helper()
	if err != nil {
		l.t.Error(err)
	}
}

// close ends everything; whatever is left over would keep it from ending, or be counted.
func (l *live) close() {
	l.must(l.dev.Close())
	l.must(l.reg.Close())
	l.must(l.group.Each(func(r *reactor.Reactor) {
		if n := r.Buffers().Out(); n != 0 {
			l.t.Errorf("reactor %d: %d buffers are left", r.ID(), n)
		}
	}))
	l.group.Stop()
}

// client is a nexus whose commands follow one another on its reactor.
type client struct {
	l    *live
	r    *reactor.Reactor
	n    *Nexus
	id   int
	rng  *rand.Rand
	left int
	done chan struct{}
	task Task
	mem  []byte
	bad  error
	swap struct{ good, miscompare uint64 }
	tell func(*client) // what to do next, after a command has ended
}

func (l *live) open(id int) *client {
	c := &client{l: l, r: l.group.Reactors()[id%2], id: id, rng: rand.New(rand.NewPCG(uint64(id), 3)), mem: make([]byte, 8*benchBlock)}
	c.task.Finished = func(*Task) { c.tell(c) }
	c.reopen()
	return c
}

func (c *client) reopen() {
	name := fmt.Sprintf("iqn.test:client%d,i,0x1", c.id)
	c.l.must(c.r.Call(func() {
		c.n = c.l.dev.OpenNexus(c.r, PortID{Name: name, TransportID: testTransportID(name)}, PortID{Name: "iqn.test:live,t,0x1", RelativeID: 1})
	}))
}

// start lets the client run times commands; wait returns when they have ended.
func (c *client) start(times int, tell func(*client)) {
	c.left, c.tell, c.done = times, tell, make(chan struct{})
	c.l.must(c.r.Call(func() { tell(c) }))
}

func (c *client) wait() {
	<-c.done
	if c.bad != nil {
		c.l.t.Errorf("client %d: %v", c.id, c.bad)
	}
}

func (c *client) closeNexus() { c.l.must(c.r.Do(func(done func()) { c.n.Close(done) })) }

// run gives the nexus a command; false if it was refused.
func (c *client) run(lun int, cdb []byte, out, in int) bool {
	t := &c.task
	t.LUN, t.CDBLen, t.Attribute = EncodeLUN(lun), 16, AttributeSimple
	clear(t.CDB[:])
	copy(t.CDB[:], cdb)
	t.ExpectedOut, t.ExpectedIn = uint32(out), uint32(in)
	if !c.n.Prepare(t) {
		return false
	}
	t.DataOut, t.DataIn = [][]byte{c.mem[:min(t.DataOutLen, uint32(out))]}, [][]byte{c.mem[:min(t.DataInMax, uint32(in))]}
	c.n.Execute(t)
	return true
}

// anything runs commands by chance until the count is used up.
func anything(c *client) {
	for c.left > 0 {
		c.left--
		if c.anyCommand() {
			return
		}
	}
	close(c.done)
}

func (c *client) anyCommand() bool {
	key := uint64(c.id + 1)
	lba := uint32(c.rng.IntN(100))
	lun := c.rng.IntN(2)
	switch c.rng.IntN(12) {
	case 0:
		return c.out(outRegisterIgnore, 0, key)
	case 1:
		return c.out(outReserve, key, 0)
	case 2:
		return c.out(outRelease, key, 0)
	case 3:
		return c.out(outPreemptAbort, key, uint64(c.rng.IntN(4)+1))
	case 4:
		return c.run(lun, cdbSwap(uint64(lba), 1), 2*benchBlock, 0)
	case 5:
		return c.run(lun, cdb16(0x8b, 0, uint64(lba), 4), 4*benchBlock, 0)
	case 6:
		return c.run(lun, []byte{0xa0, 0, 0, 0, 0, 0, 0, 0, 0, 64, 0, 0}, 0, 64)
	case 7:
		return c.run(0, []byte{0x16, 0, 0, 0, 0, 0}, 0, 0) || c.run(0, []byte{0x17, 0, 0, 0, 0, 0}, 0, 0)
	case 8, 9:
		return c.run(lun, cdb10(0x2a, 0, lba, 8), 8*benchBlock, 0)
	default:
		return c.run(lun, cdb10(0x28, 0, lba, 8), 0, 8*benchBlock)
	}
}

func (c *client) out(action byte, key, actionKey uint64) bool {
	copy(c.mem, outList(key, actionKey))
	return c.run(0, cdbOut(action, 5, 24), 24, 0)
}

// TestLiveAnything lets four nexuses on two reactors do anything, while LUNs come and go, functions abort and nexuses close.
func TestLiveAnything(t *testing.T) {
	l := newLive(t)
	const rounds, commands = 20, gateRounds / 2
	var all []*client
	for i := range 4 {
		all = append(all, l.open(i))
	}
	for round := range rounds {
		for _, c := range all {
			c.start(commands, anything)
		}
		var wg sync.WaitGroup
		wg.Go(func() {
			_, err := l.dev.AddLUN(1, "Malloc1", LUNOptions{})
			l.must(err)
			_ = l.dev.LUNs()
			l.must(l.dev.RemoveLUN(1))
		})
		wg.Go(func() { l.manage(all[round%4], Function(round%7+1)) })
		wg.Wait()
		for _, c := range all {
			c.wait()
		}
		c := all[round%3]
		c.closeNexus()
		c.reopen()
	}
	for _, c := range all {
		c.closeNexus()
	}
	l.close()
}

func (l *live) manage(c *client, f Function) {
	l.must(c.r.Do(func(done func()) {
		m := &Management{Function: f, Done: func(*Management) { done() }}
		c.n.Manage(m)
	}))
}

// counting reads the block and swaps in the next number, over and over.
func counting(c *client) {
	t := &c.task
	switch {
	case t.Status == StatusCheckCondition && t.Sense[2]&0xf == KeyUnitAttention:
	case t.CDB[0] == 0x28 && t.DataInLen == benchBlock:
		c.swapNext()
		return
	case t.CDB[0] == 0x89 && t.Status == StatusGood:
		c.swap.good++
	case t.CDB[0] == 0x89 && t.Status == StatusCheckCondition && t.Sense[2]&0xf == KeyMiscompare:
		c.swap.miscompare++
	case t.CDB[0] != 0:
		c.bad = fmt.Errorf("%#x: status %#x, sense % x", t.CDB[0], t.Status, t.Sense[:t.SenseLen])
	}
	if c.left == 0 || c.bad != nil {
		close(c.done)
		return
	}
	c.left--
	for !c.run(0, cdb10(0x28, 0, 7, 1), 0, benchBlock) {
	}
}

func (c *client) swapNext() {
	old := binary.BigEndian.Uint64(c.mem)
	for i := 0; i < benchBlock; i += 8 {
		if binary.BigEndian.Uint64(c.mem[i:]) != old {
			c.bad = fmt.Errorf("a torn block: %d and %d", old, binary.BigEndian.Uint64(c.mem[i:]))
		}
		binary.BigEndian.PutUint64(c.mem[benchBlock+i:], old+1)
	}
	if !c.run(0, cdbSwap(7, 1), 2*benchBlock, 0) {
		panic("COMPARE AND WRITE was refused")
	}
}

// TestLiveCounter is TestGateCounter on real reactors and a malloc disk.
func TestLiveCounter(t *testing.T) {
	l := newLive(t)
	all := []*client{l.open(0), l.open(1)}
	for _, c := range all {
		c.start(gateSwaps/2, counting)
	}
	sum, fails := uint64(0), uint64(0)
	for _, c := range all {
		c.wait()
		sum, fails = sum+c.swap.good, fails+c.swap.miscompare
	}
	c := all[0]
	got := make(chan uint64, 1)
	c.start(1, func(c *client) {
		if c.left > 0 {
			c.left--
			c.run(0, cdb10(0x28, 0, 7, 1), 0, benchBlock)
			return
		}
		got <- binary.BigEndian.Uint64(c.mem)
		close(c.done)
	})
	c.wait()
	if n := <-got; n != sum || sum+fails != gateSwaps {
		t.Errorf("the block says %d after %d successes and %d miscompares of %d", n, sum, fails, gateSwaps)
	}
	for _, c := range all {
		c.closeNexus()
	}
	l.close()
}

// TestLiveFencing is TestGateFencing's PREEMPT AND ABORT and LOGICAL UNIT RESET on real reactors: a write that was issued before the
// fence must not reach the device after the answer.
func TestLiveFencing(t *testing.T) {
	l := newLive(t)
	var forbidden atomic.Uint64 // stamps below this one, once the fence has answered
	var late atomic.Uint64
	d := &disk{size: benchBlock, ops: diskOps, data: make([]byte, benchBlocks*benchBlock)}
	d.delay = func() time.Duration { return 20 * time.Microsecond }
	d.hook = func(q *bdev.Request) {
		if q.Op == bdev.OpWrite && binary.BigEndian.Uint64(q.Data[0]) < forbidden.Load() {
			late.Add(1)
		}
	}
	_, err := l.reg.Register(bdev.Spec{Name: "Slow", BlockSize: benchBlock, Blocks: benchBlocks, Backend: d})
	l.must(err)
	_, err = l.dev.AddLUN(1, "Slow", LUNOptions{})
	l.must(err)

	a, w := l.open(0), l.open(1)
	var stamp atomic.Uint64
	writing := func(c *client) {
		for c.left > 0 {
			c.left--
			binary.BigEndian.PutUint64(c.mem, stamp.Add(1))
			if c.run(1, cdb10(0x2a, 0, uint32(c.left%100), 1), benchBlock, 0) {
				return
			}
		}
		close(c.done)
	}
	for round := range gateRounds {
		w.start(5, writing)
		before := stamp.Load() + 1
		m := &Management{Function: FunctionLogicalUnitReset, LUN: EncodeLUN(1)}
		if round%2 == 0 {
			m.Function = FunctionClearTaskSet
		}
		l.must(a.r.Do(func(done func()) {
			m.Done = func(*Management) {
				forbidden.Store(before)
				done()
			}
			a.n.Manage(m)
		}))
		w.wait()
	}
	if late.Load() > 0 {
		t.Errorf("%d writes came too late", late.Load())
	}
	for _, c := range []*client{a, w} {
		c.closeNexus()
	}
	l.close()
}
