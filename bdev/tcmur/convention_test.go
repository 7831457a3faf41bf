package tcmur

import (
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"pollux/bdev"
	"pollux/reactor"
)

// together starts n requests on two reactors in turn and wants all of them to succeed.
func (l *live) together(name string, n int, request func(c *client, i int) bdev.Request) {
	l.t.Helper()
	clients := []*client{l.open(0, name), l.open(1, name)}
	var started []<-chan *bdev.Request
	for i := range n {
		c := clients[i%2]
		started = append(started, c.start(request(c, i)))
	}
	for _, ended := range started {
		if q := clients[0].await(ended); q.Status != bdev.StatusOK {
			l.t.Errorf("%v at %d: %v", q.Op, q.LBA, q.Status)
		}
	}
}

// TestThreads: nr_threads is a promise: so many callouts at once, or as many as the parameter threads allows, and never more.
func TestThreads(t *testing.T) {
	for threads, cfg := range map[int]string{0: "crowd/3/3", 2: "crowd/2/2", 1: "crowd/1/1", 99: "crowd/3/3"} {
		t.Run(fmt.Sprint(threads), func(t *testing.T) {
			t.Parallel()
			l := newLive(t, reactor.ModeAdaptive)
			l.create(Options{Name: "disk", Cfg: cfg, Size: 1 << 20, Threads: threads})
			l.together("disk", 18, func(c *client, i int) bdev.Request { return c.write(uint64(8*i), 8, 1) })
		})
	}
}

// TestOverlaps: requests that overlap are never in the handler together, unless they read.
func TestOverlaps(t *testing.T) {
	for name, request := range map[string]func(c *client, i int) bdev.Request{
		"crowd/1/3": func(c *client, i int) bdev.Request {
			if i%3 == 0 {
				return c.read(4, 8)
			}
			return c.write(uint64(i), 8, 1)
		},
		"crowd/3/3": func(c *client, _ int) bdev.Request { return c.read(0, 8) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := newLive(t, reactor.ModeAdaptive)
			l.create(Options{Name: "disk", Cfg: name, Size: 1 << 20})
			l.together("disk", 12, request)
		})
	}
}

// TestLockAfterOpen: a handler with a lock has it taken after each open, and given back before a clean close, unless that is turned
// off. The test handler async serves nobody without.
func TestLockAfterOpen(t *testing.T) {
	l := newLive(t, reactor.ModeAdaptive)
	cfg := "async/" + filepath.Join(t.TempDir(), "disk")
	l.create(Options{Name: "unlocked", Cfg: cfg, Size: 4 << 20, NoLock: true})
	c := l.open(0, "unlocked")
	c.want(bdev.StatusHardwareError, c.write(0, 1, 1))
	if err := l.module.Delete("unlocked"); err != nil {
		t.Fatal(err)
	}
	s := l.create(Options{Name: "locked", Cfg: cfg, Size: 4 << 20})
	c = l.open(0, "locked")
	for i := range 3 {
		c.want(bdev.StatusOK, c.write(0, 1, 1))
		_ = syscall.Kill(s.d.helper.Load().cmd.Process.Pid, syscall.SIGKILL)
		waitFor(t, "restart", func() bool { return s.copyReport().Restarts == i+1 && s.copyReport().State == "up" })
	}
	c.want(bdev.StatusOK, c.write(0, 1, 1))
	if err := l.module.Delete("locked"); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "lines", func() bool { return strings.Count(l.logged.String(), "closed without a lock") == 2 })
	if strings.Contains(l.logged.String(), "closed under its lock") {
		t.Error("it was closed under its lock")
	}
}

// TestWriteCache: the device says of its write cache what the handler says.
func TestWriteCache(t *testing.T) {
	l := newLive(t, reactor.ModeAdaptive)
	for cfg, want := range map[string]bool{"file/" + filepath.Join(t.TempDir(), "disk"): true, "null/": false} {
		l.create(Options{Name: cfg, Cfg: cfg, Size: 1 << 20})
		dev, err := l.registry.Lookup(cfg)
		if err != nil || dev.Spec().WriteCache != want {
			t.Errorf("%s: write cache %v, %v", cfg, dev.Spec().WriteCache, err)
		}
	}
}

// TestResize: a device has another size once its handler has agreed, and no request is beyond what the handler knows.
func TestResize(t *testing.T) {
	l := newLive(t, reactor.ModeAdaptive)
	l.create(Options{Name: "disk", Cfg: "file/" + filepath.Join(t.TempDir(), "disk"), Size: 4 << 20})
	c := l.open(0, "disk")
	const block = 512
	for _, size := range []uint64{8 << 20, 2 << 20, 4 << 20} {
		if err := l.module.Resize("disk", size); err != nil {
			t.Fatal(err)
		}
		c.want(bdev.StatusOK, c.write(size/block-1, 1, 3))
		c.verify(size/block-1, 1, 3)
		c.want(bdev.StatusOutOfRange, c.write(size/block, 1, 3))
	}
	l.create(Options{Name: "fixed", Cfg: "null/", Size: 4 << 20})
	if err := l.module.Resize("fixed", 8<<20); !errors.Is(err, syscall.EOPNOTSUPP) {
		t.Errorf("a handler without reconfig: %v", err)
	}
	l.badFor("fenced", 0)
	for _, size := range []uint64{8 << 20, 2 << 20} {
		if err := l.module.Resize("bad", size); err == nil || !strings.Contains(err.Error(), "refuses") {
			t.Errorf("a handler that refuses: %v", err)
		}
		c = l.open(0, "bad")
		c.want(bdev.StatusOK, c.write(4<<20/block-1, 1, 3))
		c.want(bdev.StatusOutOfRange, c.write(4<<20/block, 1, 3))
	}
}

// TestSizeOfHandler: a handler that learns of another size tells it, and whoever uses the device hears of it.
func TestSizeOfHandler(t *testing.T) {
	l := newLive(t, reactor.ModeAdaptive)
	s := l.badFor("grow1", 0)
	var told atomic.Int32
	desc, err := l.registry.Open("bad", bdev.OpenOptions{Event: func(e bdev.Event) {
		if e == bdev.EventResize {
			told.Add(1)
		}
	}})
	if err != nil {
		t.Fatal(err)
	}
	defer desc.Close()
	c := l.open(0, "bad")
	defer c.close()
	c.want(bdev.StatusOutOfRange, c.write(8<<20/512-1, 1, 1))
	c.want(bdev.StatusOK, c.write(trigger, 1, 1))
	waitFor(t, "event", func() bool { return told.Load() == 1 })
	c.want(bdev.StatusOK, c.write(8<<20/512-1, 1, 1))
	c.want(bdev.StatusOutOfRange, c.write(8<<20/512, 1, 1))
	if blocks := s.dev.Blocks(); blocks != 8<<20/512 {
		t.Errorf("%d blocks", blocks)
	}
}

// TestCompareAndWriteIsNotRepeated: when a helper dies over a compare-and-write, nobody knows whether it was done, and it ends as
// aborted at once; others work.
func TestCompareAndWriteIsNotRepeated(t *testing.T) {
	l := newLive(t, reactor.ModeAdaptive)
	s := l.badFor("segv", 0)
	c := l.open(0, "bad")
	caw := func(lba uint64, compare, data byte) bdev.Request {
		return bdev.Request{Op: bdev.OpCompareAndWrite, LBA: lba, Blocks: 1, Compare: l.memory(1, compare), Data: l.memory(1, data)}
	}
	c.want(bdev.StatusOK, caw(3, 0, 5))
	c.want(bdev.StatusMiscompare, caw(3, 0, 6))
	c.want(bdev.StatusAborted, caw(trigger, 0, 5))
	c.want(bdev.StatusOK, caw(3, 5, 7))
	c.verify(3, 1, 7)
	if n := s.copyReport().Restarts; n != 1 {
		t.Errorf("%d restarts, want 1", n)
	}
}

// newHelper is a helper without a device: the test is the target's side of its ring.
func newHelper(t *testing.T, subtype string, size uint64) *helper {
	t.Helper()
	config := build(t)
	p, err := newPipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.close)
	h, err := startHelper(t.Context(), launch{
		program: config.Helper, handler: filepath.Join(config.Dirs[0], "handler_"+subtype+".so"), cfg: subtype + "/", name: "test",
		size: size, blockSize: 512, abi: "auto", timeout: time.Minute, pipes: []pipe{p}, logs: newLogPump(slog.New(slog.DiscardHandler)),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		h.kill()
		h.region.release()
	})
	return h
}

// TestEntriesAreChecked: the helper shows a handler nothing that is not within the device and its memory, whatever is in the ring.
func TestEntriesAreChecked(t *testing.T) {
	const size, refused = 64 << 20, 14 // TCMU_STS_RANGE
	h := newHelper(t, "null", size)
	r := &h.region.rings[0]
	for i, c := range []struct {
		op       uint32
		data     int
		off, len uint64
		want     int32
	}{
		{opRead, 512, size - 512, 512, stsOK},
		{opWrite, slotBytes, 0, slotBytes, stsOK},
		{opFlush, 0, 0, 0, stsNotHandled},
		{opUnmap, 0, 0, size, stsNotHandled},
		{opCAW, 1024, size - 512, 512, stsNotHandled},
		{opWriteSame, 512, 0, size, stsNotHandled},
		{opRead, 512, size, 512, refused},
		{opRead, 1024, size - 512, 1024, refused},
		{opWrite, 512, 1 << 63, 512, refused},
		{opWrite, 512, 1<<64 - 512, 512, refused},
		{opWrite, 512, 512, 1<<64 - 512, refused},
		{opRead, 0, 0, 0, refused},
		{opRead, 512, 1, 512, refused},
		{opRead, 511, 0, 511, refused},
		{opRead, 512, 0, 1024, refused},
		{opRead, slotBytes + 512, 0, slotBytes + 512, refused},
		{opUnmap, 512, 0, 512, refused},
		{opUnmap, 0, 0, size + 512, refused},
		{opCAW, 512, 0, 512, refused},
		{opCAW, 1024, size, 512, refused},
		{opWriteSame, 1024, 0, 1024, refused},
		{opWriteSame, 512, 512, size, refused},
		{opFlush, 512, 0, 0, refused},
		{0, 512, 0, 512, refused},
		{opCAW + 1, 512, 0, 512, refused},
		{1<<32 - 1, 512, 0, 512, refused},
	} {
		r.push(i, 7, c.op, c.data, c.off, c.len)
		r.wake(1)
		waitFor(t, "completion", func() bool { n, _ := r.ready(); return n == 1 })
		if got := r.take(); got.slot != uint32(i) || got.gen != 7 || got.status != c.want {
			t.Errorf("operation %d, %d bytes, %d+%d: %+v, want status %d", c.op, c.data, c.off, c.len, got, c.want)
		}
	}
}

// TestDamagedSubmissions: a helper whose submission ring cannot be believed ends.
func TestDamagedSubmissions(t *testing.T) {
	for name, harm := range map[string]func(r *ring){
		"slot":  func(r *ring) { r.push(ringDepth, 1, opRead, 512, 0, 512) },
		"count": func(r *ring) { r.sqTail += ringDepth; r.push(0, 1, opRead, 512, 0, 512) },
	} {
		t.Run(name, func(t *testing.T) {
			h := newHelper(t, "null", 1<<20)
			harm(&h.region.rings[0])
			h.region.rings[0].wake(1)
			if said := <-h.events; !strings.Contains(said, "the submission ring is damaged") {
				t.Errorf("it says %q", said)
			}
			<-h.exited
		})
	}
}
