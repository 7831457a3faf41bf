package tcmur

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"pollux/bdev"
	"pollux/bdev/aio"
	"pollux/reactor"
)

const benchSize = 256 << 20

// BenchmarkHelper is 4 KiB random I/O on one reactor, through handlers in helpers and through aio on the same kind of file. Beside the
// time it reports the CPU time of an I/O: reactor-ns of passes that had work, helper-ns of all threads of the helper.
//
//	go test -run '^$' -bench Helper -count 6 ./bdev/tcmur
func BenchmarkHelper(b *testing.B) {
	for _, kind := range []string{"null", "file", "aio"} {
		for _, op := range []bdev.Op{bdev.OpRead, bdev.OpWrite} {
			for _, depth := range []int{1, 32} {
				b.Run(fmt.Sprintf("%s/%v/QD%d", kind, op, depth), func(b *testing.B) {
					l := newLive(b, reactor.ModeAdaptive)
					h := l.benchDevice(kind)
					load := newBenchLoad(l, op, depth)
					load.run(depth * 10)
					busy, cpu := load.busy(), cpuOf(h)
					b.ResetTimer()
					load.run(b.N)
					b.StopTimer()
					b.ReportMetric(float64(load.busy()-busy)/float64(b.N), "reactor-ns/op")
					b.ReportMetric(float64(cpuOf(h)-cpu)/float64(b.N), "helper-ns/op")
					load.c.close()
				})
			}
		}
	}
}

// benchDevice makes the device "disk", and returns its helper if it has one.
func (l *live) benchDevice(kind string) *helper {
	path := filepath.Join(l.t.TempDir(), "disk")
	if kind == "aio" {
		if err := os.WriteFile(path, make([]byte, benchSize), 0o600); err != nil {
			l.t.Fatal(err)
		}
		if err := aio.New(l.registry).Create(aio.Options{Name: "disk", Filename: path, BlockSize: 512}); err != nil {
			l.t.Fatal(err)
		}
		return nil
	}
	if err := os.WriteFile(path, make([]byte, benchSize), 0o600); err != nil {
		l.t.Fatal(err)
	}
	s := l.create(Options{Name: "disk", Cfg: kind + "/" + path, Size: benchSize})
	return s.d.helper.Load()
}

// benchLoad keeps depth requests in flight.
type benchLoad struct {
	c     *client
	reqs  []*bdev.Request
	left  int // to be started; the reactor's
	inUse int
	x     uint64
	ended func()
}

func newBenchLoad(l *live, op bdev.Op, depth int) *benchLoad {
	b := &benchLoad{c: l.open(0, "disk"), x: 1}
	for range depth {
		q := &bdev.Request{Op: op, Blocks: 8, Data: l.memory(8, 1)}
		q.Done = b.done
		b.reqs = append(b.reqs, q)
	}
	return b
}

func (b *benchLoad) run(n int) {
	_ = b.c.r.Do(func(done func()) {
		b.left, b.ended = n, done
		for _, q := range b.reqs {
			b.next(q)
		}
	})
}

func (b *benchLoad) next(q *bdev.Request) {
	if b.left == 0 {
		return
	}
	b.left--
	b.inUse++
	b.x ^= b.x << 13
	b.x ^= b.x >> 7
	b.x ^= b.x << 17
	q.LBA = b.x % (benchSize / 4096) * 8
	b.c.c.Submit(q)
}

func (b *benchLoad) done(q *bdev.Request) {
	b.inUse--
	b.next(q)
	if b.inUse == 0 {
		b.ended()
	}
}

func (b *benchLoad) busy() (nanos int64) {
	_ = b.c.r.Call(func() { nanos = b.c.r.Stats().BusyNanos })
	return nanos
}

// cpuOf is the CPU time of a helper's threads, in nanoseconds.
func cpuOf(h *helper) (nanos int64) {
	if h == nil {
		return 0
	}
	files, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", h.cmd.Process.Pid))
	for _, f := range files {
		if text, err := os.ReadFile(f); err == nil {
			if words := strings.Fields(string(text)); len(words) > 0 {
				n, _ := strconv.ParseInt(words[0], 10, 64)
				nanos += n
			}
		}
	}
	return nanos
}
