package delay

import (
	"testing"
	"time"

	"pollux/bdev"
	"pollux/bdev/bdevtest"
)

func over(e *bdevtest.Env, blockSize uint32, blocks uint64, l Latencies) string {
	(&bdevtest.Disk{Native: bdevtest.Everything()}).Register(e, "base", blockSize, blocks)
	if err := New(e.Registry).Create("slow", "base", l, [16]byte{}); err != nil {
		e.T.Fatal(err)
	}
	return "slow"
}

func TestContract(t *testing.T) {
	for name, l := range map[string]Latencies{
		"no latency": {},
		"latency":    {100 * time.Microsecond, time.Millisecond, 200 * time.Microsecond, 2 * time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			bdevtest.Run(t, bdevtest.Suite{Make: func(e *bdevtest.Env, blockSize uint32, blocks uint64) string {
				return over(e, blockSize, blocks, l)
			}})
		})
	}
}

// TestLatency: reads and writes take what they are to take, and the hundredth takes the percentile.
func TestLatency(t *testing.T) {
	e := bdevtest.NewEnv(t, 1)
	c := e.Open(0, over(e, 512, 64, Latencies{AvgRead: time.Millisecond, P99Read: time.Second, AvgWrite: time.Minute, P99Write: time.Minute}),
		bdev.OpenOptions{Write: true})
	data := [][]byte{e.Memory(512)}
	took := func(op bdev.Op) time.Duration {
		begin := e.World.Nanos()
		e.Want(c.Do(bdev.Request{Op: op, Blocks: 1, Data: data}), bdev.StatusOK)
		return time.Duration(e.World.Nanos() - begin)
	}
	for i := 1; i <= 200; i++ {
		want := time.Millisecond
		if i%100 == 0 {
			want = time.Second
		}
		if got := took(bdev.OpRead); got != want {
			t.Fatalf("read %d took %v, want %v", i, got, want)
		}
	}
	if got := took(bdev.OpWrite); got != time.Minute {
		t.Fatalf("a write took %v", got)
	}
	if err := New(e.Registry).Update("slow", AvgWrite, time.Hour); err != nil {
		t.Fatal(err)
	}
	if got := took(bdev.OpFlush); got != time.Hour {
		t.Fatalf("a flush took %v", got)
	}
}

// TestAbortedWriteIsNeverDone: what is aborted or reset while it waits does not reach the base.
func TestAbortedWriteIsNeverDone(t *testing.T) {
	e := bdevtest.NewEnv(t, 1)
	c := e.Open(0, over(e, 512, 64, Latencies{AvgWrite: time.Minute, P99Write: time.Minute}), bdev.OpenOptions{Write: true})
	data := [][]byte{e.Memory(512)}
	data[0][0] = 1
	begin := e.World.Nanos()
	first := c.Start(bdev.Request{Op: bdev.OpWrite, LBA: 1, Blocks: 1, Data: data})
	second := c.Start(bdev.Request{Op: bdev.OpWrite, LBA: 2, Blocks: 1, Data: data})
	e.Want(c.Do(bdev.Request{Op: bdev.OpAbort, Target: &first.Request}), bdev.StatusOK)
	e.Want(first, bdev.StatusAborted)
	e.Want(c.Do(bdev.Request{Op: bdev.OpReset}), bdev.StatusOK)
	e.Want(second, bdev.StatusAborted)
	if e.World.Nanos() != begin {
		t.Fatal("the abort and the reset waited for the latency")
	}
	e.World.Advance(time.Hour)
	zero, got := e.Memory(64*512), e.Memory(64*512)
	e.Want(c.Do(bdev.Request{Op: bdev.OpRead, Blocks: 64, Data: [][]byte{got}}), bdev.StatusOK)
	if at := bdev.Difference(zero, got); at >= 0 {
		t.Fatalf("a write was done after it had been aborted: byte %d", at)
	}
}
