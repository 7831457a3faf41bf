package scsi

import "testing"

// TestReadWriteAllocateNothing measures the whole way from Prepare to Finished.
func TestReadWriteAllocateNothing(t *testing.T) {
	b := newBench(t, 1)
	n := b.open(0, "a")
	r, w := n.new(0, cdb10(0x28, 0, 5, 8), nil, 8*benchBlock), n.new(0, cdb10(0x2a, 0, 9, 8), fill(8*benchBlock, 1), 0)
	w.DataOut, r.DataIn = [][]byte{w.out}, [][]byte{r.in}
	finished := 0
	w.Finished = func(*Task) { finished++ }
	r.Finished = w.Finished
	round := func() {
		for _, task := range []*testTask{r, w} {
			if !n.Prepare(&task.Task) {
				t.Fatal("refused")
			}
			n.Execute(&task.Task)
		}
		for finished%2 != 0 || n.units[0].first != nil {
			b.w.Step(0)
		}
	}
	round()
	if a := testing.AllocsPerRun(100, round); a != 0 {
		t.Errorf("%v allocations for a read and a write", a)
	}
	if finished != 2*102 || r.Status != StatusGood || w.Status != StatusGood {
		t.Errorf("%d finished", finished)
	}
}

// BenchmarkRead is a read of 4 KiB from Prepare to Finished on a stepped reactor, with the block layer and a copy.
func BenchmarkRead(b *testing.B) {
	bench := newBench(b, 1)
	n := bench.open(0, "a")
	r := n.new(0, cdb10(0x28, 0, 5, 8), nil, 8*benchBlock)
	r.DataIn = [][]byte{r.in}
	finished := false
	r.Finished = func(*Task) { finished = true }
	b.ReportAllocs()
	for b.Loop() {
		finished = false
		if !n.Prepare(&r.Task) {
			b.Fatal("refused")
		}
		n.Execute(&r.Task)
		for !finished {
			bench.w.Step(0)
		}
	}
}
