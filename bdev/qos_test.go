package bdev_test

import (
	"testing"
	"time"

	"pollux/bdev"
	"pollux/bdev/bdevtest"
)

// TestRateLimits: two reactors together do what the limits allow, and what is not limited is not slowed down.
func TestRateLimits(t *testing.T) {
	for _, c := range []struct {
		name   string
		limits bdev.RateLimits
		op     bdev.Op
		want   time.Duration // for 100 requests of 4 KiB
	}{
		{"requests", bdev.RateLimits{IOs: 100}, bdev.OpRead, time.Second},
		{"few requests", bdev.RateLimits{IOs: 1}, bdev.OpWrite, 100 * time.Second},
		{"bytes", bdev.RateLimits{Bytes: 4096 * 1000}, bdev.OpWrite, 100 * time.Millisecond},
		{"bytes read", bdev.RateLimits{ReadBytes: 4096 * 10, IOs: 1000}, bdev.OpRead, 10 * time.Second},
		{"bytes written do not limit reads", bdev.RateLimits{WriteBytes: 1}, bdev.OpRead, 0},
		{"unmap is not limited", bdev.RateLimits{IOs: 1, Bytes: 1}, bdev.OpUnmap, 0},
		{"no limit", bdev.RateLimits{}, bdev.OpRead, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			e := bdevtest.NewEnv(t, 2)
			d := (&bdevtest.Disk{Native: bdevtest.Everything()}).Register(e, "d", 4096, 64)
			clients := []*bdevtest.Client{e.Open(0, "d", bdev.OpenOptions{Write: true}), e.Open(1, "d", bdev.OpenOptions{Write: true})}
			if err := d.SetRateLimits(c.limits); err != nil {
				t.Fatal(err)
			}
			begin := e.World.Nanos()
			var ops []*bdevtest.Op
			for i := range 100 {
				ops = append(ops, clients[i%2].Start(bdev.Request{Op: c.op, Blocks: 1, Data: [][]byte{make([]byte, 4096)}}))
			}
			for _, o := range ops {
				e.Wait(o)
				e.Want(o, bdev.StatusOK)
			}
			took := time.Duration(e.World.Nanos() - begin)
			if took < c.want*9/10 || took > c.want*11/10 {
				t.Errorf("took %v, want about %v", took, c.want)
			}
			if err := e.Registry.Close(); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// TestThrottledRequestsEnd: what waits for tokens can be aborted, reset and removed, and goes on when the limit is lifted.
func TestThrottledRequestsEnd(t *testing.T) {
	e := bdevtest.NewEnv(t, 1)
	d := (&bdevtest.Disk{Native: bdevtest.Only(bdev.OpRead)}).Register(e, "d", 512, 64)
	c := e.Open(0, "d", bdev.OpenOptions{})
	throttle := func() *bdevtest.Op {
		t.Helper()
		if err := d.SetRateLimits(bdev.RateLimits{Bytes: 1}); err != nil {
			t.Fatal(err)
		}
		read := bdev.Request{Op: bdev.OpRead, Blocks: 1, Data: [][]byte{make([]byte, 512)}}
		e.Want(c.Do(read), bdev.StatusOK) // It takes the tokens of the next minutes.
		o := c.Start(read)
		e.World.Run()
		if o.Ended != 0 {
			t.Fatal("not throttled")
		}
		return o
	}
	o := throttle()
	e.Want(c.Do(bdev.Request{Op: bdev.OpAbort, Target: &o.Request}), bdev.StatusOK)
	e.Want(o, bdev.StatusAborted)
	o = throttle()
	e.Want(c.Do(bdev.Request{Op: bdev.OpReset}), bdev.StatusOK)
	e.Want(o, bdev.StatusAborted)
	o = throttle()
	if err := d.SetRateLimits(bdev.RateLimits{}); err != nil {
		t.Fatal(err)
	}
	e.Wait(o)
	e.Want(o, bdev.StatusOK)
	o = throttle()
	if err := e.Registry.Unregister("d"); err != nil {
		t.Fatal(err)
	}
	e.Want(o, bdev.StatusRemoved)
}
