package bench

import (
	"bytes"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestBucketsCoverAllValues(t *testing.T) {
	last := -1
	for i := range bucketCount {
		if bucket(upper(i)) != i {
			t.Fatalf("bucket %d ends at %d, which is in bucket %d", i, upper(i), bucket(upper(i)))
		}
		if i > 0 && bucket(upper(i-1)+1) != i {
			t.Fatalf("bucket %d does not begin behind bucket %d", i, i-1)
		}
		last = i
	}
	if upper(last) != math.MaxUint64 {
		t.Errorf("the last bucket ends at %d", upper(last))
	}
}

func TestPercentilesAreNearTheTruth(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	var h, part Histogram
	var values []uint64
	for i := range 10000 {
		v := uint64(math.Exp(r.Float64() * 15))
		values = append(values, v)
		if i%2 == 0 {
			h.Add(v)
		} else {
			part.Add(v)
		}
	}
	h.Merge(&part)
	slices.Sort(values)
	for _, p := range []float64{0.01, 0.5, 0.9, 0.99, 0.999, 1} {
		want := float64(values[int(p*float64(len(values)))-1])
		if got := float64(h.Percentile(p)); got < want || got > want*(1+1.0/subBuckets)+1 {
			t.Errorf("p%g is %g, want %g", p*100, got, want)
		}
	}
	if (&Histogram{}).Percentile(0.5) != 0 || (&Histogram{}).Mean() != 0 {
		t.Error("an empty histogram has latencies")
	}
}

func TestStamps(t *testing.T) {
	for _, length := range []int{512, 520, 4096} {
		block := make([]byte, length)
		putStamp(block, 7, 100, 3)
		if g, f := checkStamp(block, 7, 100); g != 3 || f != foundStamp {
			t.Errorf("%d, %v", g, f)
		}
		if _, f := checkStamp(block, 8, 100); f != foundOther {
			t.Errorf("another run: %v", f)
		}
		if _, f := checkStamp(block, 7, 101); f != foundMoved {
			t.Errorf("another place: %v", f)
		}
		for i := range block {
			block[i] ^= 1
			if _, f := checkStamp(block, 7, 100); f == foundStamp {
				t.Fatalf("byte %d of %d is not covered", i, length)
			}
			block[i] ^= 1
		}
		newer := make([]byte, length)
		putStamp(newer, 7, 100, 4)
		copy(newer[length/2:], block[length/2:])
		if _, f := checkStamp(newer, 7, 100); f != foundBroken {
			t.Errorf("half of each: %v", f)
		}
	}
}

// disk is what a target holds, in one unit of two blocks.
type disk struct {
	u   units
	mem []byte
}

func newDisk() *disk {
	return &disk{
		u:   units{step: 1, count: 4, blocks: 2, blockLength: 512, run: 7, records: make([]record, 4), random: 1},
		mem: make([]byte, 4*1024),
	}
}

// write stamps unit i; of the stamp, the first n bytes reach the medium.
func (d *disk) write(i uint64, n int, certain bool) {
	buf := make([]byte, 1024)
	d.u.stamp(i, buf)
	copy(d.mem[i*1024:], buf[:n])
	d.u.written(i, certain)
}

func (d *disk) check(i uint64) string { return d.u.check(i, d.mem[i*1024:(i+1)*1024]) }

func TestAcknowledgedWritesMustBeFound(t *testing.T) {
	d := newDisk()
	if s := d.check(0); s != "" {
		t.Errorf("never written: %s", s)
	}
	d.write(0, 1024, true)
	before := bytes.Clone(d.mem)
	d.write(0, 1024, true)
	if s := d.check(0); s != "" {
		t.Errorf("found: %s", s)
	}
	now := bytes.Clone(d.mem)
	for name, harm := range map[string]func(){
		"lost":        func() { clear(d.mem[:1024]) },
		"old":         func() { copy(d.mem, before) },
		"second old":  func() { copy(d.mem[512:1024], before[512:1024]) },
		"torn block":  func() { copy(d.mem[256:512], before[256:512]) },
		"moved":       func() { copy(d.mem[512:1024], d.mem[:512]) },
		"damaged":     func() { d.mem[700] ^= 4 },
		"from before": func() { d.u.run++; d.write(1, 1024, true); d.u.run--; copy(d.mem, d.mem[1024:2048]) },
	} {
		copy(d.mem, now)
		harm()
		if d.check(0) == "" {
			t.Errorf("%s: not noticed", name)
		}
	}
}

func TestLostWriteMayBeOldOrNewPerBlock(t *testing.T) {
	for _, n := range []int{0, 512, 1024} {
		d := newDisk()
		d.write(0, 1024, true)
		old := bytes.Clone(d.mem)
		d.write(0, n, false)
		if !d.u.mustRead(0) {
			t.Error("its fate is open, and it may be written")
		}
		if s := d.check(0); s != "" {
			t.Errorf("%d bytes arrived: %s", n, s)
		}
		if d.u.mustRead(0) != (n == 512) {
			t.Errorf("%d bytes arrived: must be read again: %v", n, d.u.mustRead(0))
		}
		if n == 1024 { // read as new, so it must not become old again
			copy(d.mem, old)
			if d.check(0) == "" {
				t.Error("new became old")
			}
		}
		if n == 0 { // read as old: the lost write must not come late
			late := make([]byte, 1024)
			for b := range 2 {
				putStamp(late[b*512:(b+1)*512], 7, uint64(b), 2)
			}
			copy(d.mem, late)
			if d.check(0) == "" {
				t.Error("a write that came too late was not noticed")
			}
			copy(d.mem, old)
			d.write(0, 1024, true)
			copy(d.mem, late)
			if d.check(0) == "" {
				t.Error("a write that came too late was taken for a newer one")
			}
		}
	}
}

func TestBusyUnitsAreNotPicked(t *testing.T) {
	d := newDisk()
	seen := map[uint64]bool{}
	for range 4 {
		seen[d.u.pick()] = true
	}
	if len(seen) != 4 {
		t.Errorf("picked %v", seen)
	}
	d.u.release(2)
	if i := d.u.pick(); i != 2 {
		t.Errorf("picked %d, only 2 is free", i)
	}
}

func TestSharesDoNotMeet(t *testing.T) {
	seen := map[uint64]int{}
	for i := range uint64(3) {
		u := units{first: i, step: 3, count: 5, blocks: 8, sequential: true}
		for range 5 {
			seen[u.lba(u.pick())]++
		}
	}
	for lba := range uint64(15) {
		if seen[lba*8] != 1 {
			t.Errorf("LBA %d is in %d shares", lba*8, seen[lba*8])
		}
	}
}

func TestOptions(t *testing.T) {
	var out, words strings.Builder
	o, err := parse([]string{"--portal", "[::1]:3260", "--block-size", "64k", "--span", "1G", "--read-share", "70", "--wait", "block", "--verify", "--chap", "me:secret:with:colons"}, &out, &words)
	if err != nil || o.BlockSize != 65536 || o.Span != 1<<30 || o.ReadShare != 70 || o.Spin || o.Reconnect != time.Minute || o.User != "me" || o.Secret != "secret:with:colons" {
		t.Errorf("%+v, %v", o, err)
	}
	o, err = parse([]string{"--depth", "8", "iscsi://me%secret@127.0.0.1:3261/iqn.a:b/3"}, &out, &words)
	if err != nil || o.Portal != "127.0.0.1:3261" || o.Target != "iqn.a:b" || o.LUN != 3 || o.User != "me" || o.Secret != "secret" {
		t.Errorf("%+v, %v", o, err)
	}
	for _, args := range []string{
		"--nonsense", "extra", "iscsi://a/b", "iscsi://a/b/c", "iscsi://a/b/1 more", "--depth 0", "--depth 1025", "--connections 0", "--block-size 100", "--block-size x", "--block-size 8M",
		"--read-share 101", "--wait often", "--sequential --random", "--span -1", "--span 9E", "--lun 16384", "--duration 0s", "--cmdsn 4294967296",
	} {
		words.Reset()
		if Main(strings.Fields(args), &out, &words) != 2 || words.Len() == 0 {
			t.Errorf("%s: not refused, or without a word", args)
		}
	}
	out.Reset()
	if Main([]string{"--help"}, &out, &words) != 0 || strings.Count(out.String(), "\n") > 40 {
		t.Errorf("help has %d lines", strings.Count(out.String(), "\n"))
	}
}

func TestReportNamesWhatItCounts(t *testing.T) {
	var c counts
	for i := range uint64(1000) {
		c.histogram.Add(i * 1000)
	}
	c.reads, c.writes = 600, 400
	p := &Report{Seconds: 2, Connections: 1}
	p.fill(&c, 4096)
	if p.IOPS != 500 || p.MiBs != 500*4096/float64(1<<20) || p.Commands != 1000 || p.Latency.Max != 999 || p.Latency.P50 < 490 || p.Latency.P50 > 510 {
		t.Errorf("%+v", p)
	}
	var b strings.Builder
	if err := p.write(&b, true); err != nil || !strings.Contains(b.String(), `"p99.9":`) || !strings.Contains(b.String(), `"cpu_us_per_io":`) {
		t.Errorf("%s, %v", b.String(), err)
	}
}
