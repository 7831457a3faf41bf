package aio

import (
	"bytes"
	"errors"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"pollux/bdev"
	"pollux/reactor"
	"pollux/reactor/iobuf"
	"pollux/reactor/uring"
)

// live is a device on running reactors.
type live struct {
	t        *testing.T
	group    *reactor.Group
	registry *bdev.Registry
	module   *Module
}

func newLive(t *testing.T, without uring.Features) *live {
	g, err := reactor.Start(reactor.Config{Cores: []int{-1, -1}, Without: without})
	if err != nil {
		t.Fatal(err)
	}
	l := &live{t: t, group: g, registry: bdev.NewRegistry(g, slog.New(slog.DiscardHandler))}
	l.module = New(l.registry)
	t.Cleanup(func() {
		if err := l.registry.Close(); err != nil {
			t.Errorf("close the registry: %v", err)
		}
		g.Stop()
	})
	return l
}

// liveClient submits requests from the test's goroutine, one at a time.
type liveClient struct {
	t    *testing.T
	r    *reactor.Reactor
	desc *bdev.Desc
	c    *bdev.Channel
	mem  []byte
	buf  iobuf.Buf
	gone bool
}

// open opens the device on reactor i. On reactor 1 data is in a buffer of the reactor's pool, which may be registered with the
// kernel; elsewhere it is not.
func (l *live) open(i int, name string) *liveClient {
	l.t.Helper()
	c := &liveClient{t: l.t, r: l.group.Reactors()[i]}
	var err error
	if c.desc, err = l.registry.Open(name, bdev.OpenOptions{Write: true}); err != nil {
		l.t.Fatal(err)
	}
	c.call(func() { c.c, err = c.desc.OpenChannel(c.r) })
	if err != nil {
		l.t.Fatal(err)
	}
	l.t.Cleanup(c.close) // Before the registry's, which waits for who has opened a device: a failed test must end.
	if i == 1 {
		c.call(func() { c.buf, _ = c.r.Buffers().Get(iobuf.MaxSize) })
		c.mem = c.buf.Bytes()
		return c
	}
	if c.mem, err = iobuf.Map(1 << 20); err != nil {
		l.t.Fatal(err)
	}
	return c
}

func (c *liveClient) call(fn func()) {
	c.t.Helper()
	if err := c.r.Call(fn); err != nil {
		c.t.Fatal(err)
	}
}

func (c *liveClient) close() {
	if c.gone {
		return
	}
	c.gone = true
	if err := c.r.Do(func(done func()) { c.c.Close(done) }); err != nil {
		c.t.Fatal(err)
	}
	c.desc.Close()
	if c.buf.Bytes() != nil {
		c.call(func() { c.r.Buffers().Put(c.buf) })
		return
	}
	iobuf.Unmap(c.mem)
}

// do carries out q; data is copied to and from memory of iobuf.
func (c *liveClient) do(q bdev.Request, data []byte) bdev.Request {
	c.t.Helper()
	copy(c.mem, data)
	if data != nil {
		q.Data = [][]byte{c.mem[:len(data)]}
	}
	err := c.r.Do(func(done func()) {
		q.Done = func(*bdev.Request) { done() }
		c.c.Submit(&q)
	})
	if err != nil {
		c.t.Fatal(err)
	}
	copy(data, c.mem)
	return q
}

func (c *liveClient) want(q bdev.Request, data []byte, status bdev.Status) bdev.Request {
	c.t.Helper()
	q = c.do(q, data)
	if q.Status != status {
		c.t.Fatalf("%v at %d, %d blocks: %v, want %v", q.Op, q.LBA, q.Blocks, q.Status, status)
	}
	return q
}

// places are file systems of different kinds, and kernels with and without a ring.
var places = []struct {
	name, dir string
	without   uring.Features
}{
	{"disk", "", 0},
	{"disk without io_uring", "", uring.FeatureURing},
	{"memory", "/dev/shm", 0},
}

// path is a new file's name there.
func path(t *testing.T, dir string) string {
	if dir == "" {
		return filepath.Join(t.TempDir(), "disk.img")
	}
	d, err := os.MkdirTemp(dir, "pollux-aio")
	if err != nil {
		t.Skipf("no %s: %v", dir, err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(d) })
	return filepath.Join(d, "disk.img")
}

// TestLiveFile does operations on real files and compares with a model in memory.
func TestLiveFile(t *testing.T) {
	for _, p := range places {
		for _, blockSize := range []uint32{512, 4096} {
			t.Run(p.name, func(t *testing.T) { testLiveFile(t, path(t, p.dir), p.without, blockSize) })
		}
	}
}

func testLiveFile(t *testing.T, name string, without uring.Features, blockSize uint32) {
	const size = 1 << 20
	if created, err := CreateFile(t.Context(), name, size); err != nil || !created {
		t.Fatalf("create: %v %v", created, err)
	}
	if created, err := CreateFile(t.Context(), name, 5); err != nil || created {
		t.Fatalf("create again: %v %v", created, err)
	}
	l := newLive(t, without)
	if err := l.module.Create(Options{Name: "f", Filename: name, BlockSize: blockSize, Fallocate: true}); err != nil {
		t.Fatal(err)
	}
	clients := []*liveClient{l.open(0, "f"), l.open(1, "f")}
	model := make([]byte, size)
	rng := rand.New(rand.NewPCG(1, uint64(blockSize)))
	for i := range 300 {
		c := clients[i%2]
		n := uint64(1 + rng.IntN(16))
		q := bdev.Request{Blocks: n, LBA: rng.Uint64N(size/uint64(blockSize) - n + 1), Flags: bdev.Flags(rng.IntN(4))}
		at := model[q.LBA*uint64(blockSize):][:n*uint64(blockSize)]
		data := make([]byte, len(at))
		switch rng.IntN(6) {
		case 0, 1:
			q.Op = bdev.OpWrite
			for j := range data {
				data[j] = byte(i + j>>9)
			}
			copy(at, data)
			c.want(q, data, bdev.StatusOK)
		case 2:
			q.Op = bdev.OpUnmap
			clear(at)
			c.want(q, nil, bdev.StatusOK)
		case 3:
			q.Op = bdev.OpWriteZeroes
			clear(at)
			c.want(q, nil, bdev.StatusOK)
		case 4:
			c.want(bdev.Request{Op: bdev.OpFlush}, nil, bdev.StatusOK)
		default:
			q.Op = bdev.OpRead
			if c.want(q, data, bdev.StatusOK); !bytes.Equal(data, at) {
				t.Fatalf("step %d: read %d+%d differs", i, q.LBA, n)
			}
		}
	}
	liveSeek(t, clients[0], blockSize, size)
	for _, c := range clients {
		c.close()
	}
	if err := l.module.Delete("f"); err != nil {
		t.Fatal(err)
	}
}

// liveSeek: the only data is found.
func liveSeek(t *testing.T, c *liveClient, blockSize uint32, size uint64) {
	blocks := size / uint64(blockSize)
	at := blocks / 2
	c.want(bdev.Request{Op: bdev.OpUnmap, Blocks: blocks}, nil, bdev.StatusOK)
	c.want(bdev.Request{Op: bdev.OpWrite, LBA: at, Blocks: 1}, bytes.Repeat([]byte{7}, int(blockSize)), bdev.StatusOK)
	page := uint64(max(1, 4096/blockSize))
	if q := c.want(bdev.Request{Op: bdev.OpSeekData}, nil, bdev.StatusOK); q.Result > at || q.Result+page <= at {
		t.Fatalf("seek data: %d, want %d", q.Result, at)
	}
	if q := c.want(bdev.Request{Op: bdev.OpSeekHole, LBA: at}, nil, bdev.StatusOK); q.Result <= at || q.Result > at+page {
		t.Fatalf("seek hole: %d, want about %d", q.Result, at+1)
	}
	if q := c.want(bdev.Request{Op: bdev.OpSeekData, LBA: at + page}, nil, bdev.StatusOK); q.Result != blocks {
		t.Fatalf("seek data behind all data: %d, want %d", q.Result, blocks)
	}
}

// TestLiveUnmapFrees: a hole takes no room.
func TestLiveUnmapFrees(t *testing.T) {
	name := path(t, "")
	if _, err := CreateFile(t.Context(), name, 1<<20); err != nil {
		t.Fatal(err)
	}
	l := newLive(t, 0)
	if err := l.module.Create(Options{Name: "f", Filename: name, BlockSize: 4096, Fallocate: true}); err != nil {
		t.Fatal(err)
	}
	room := func() int64 {
		var st syscall.Stat_t
		if err := syscall.Stat(name, &st); err != nil {
			t.Fatal(err)
		}
		return st.Blocks
	}
	c := l.open(0, "f")
	c.want(bdev.Request{Op: bdev.OpWrite, Flags: bdev.FlagFUA, Blocks: 256}, bytes.Repeat([]byte{1}, 1<<20), bdev.StatusOK)
	if room() < 2048 {
		t.Fatalf("a full file takes %d sectors", room())
	}
	c.want(bdev.Request{Op: bdev.OpUnmap, Flags: bdev.FlagFUA, Blocks: 256}, nil, bdev.StatusOK)
	if room() > 64 {
		t.Fatalf("an unmapped file takes %d sectors", room())
	}
	c.close()
}

// TestLiveRescan: the device follows its file.
func TestLiveRescan(t *testing.T) {
	name := path(t, "")
	if _, err := CreateFile(t.Context(), name, 1<<20); err != nil {
		t.Fatal(err)
	}
	l := newLive(t, 0)
	if err := l.module.Create(Options{Name: "f", Filename: name, BlockSize: 4096}); err != nil {
		t.Fatal(err)
	}
	c := l.open(1, "f")
	block := make([]byte, 4096)
	c.want(bdev.Request{Op: bdev.OpRead, LBA: 256, Blocks: 1}, block, bdev.StatusOutOfRange)
	if err := os.Truncate(name, 2<<20); err != nil {
		t.Fatal(err)
	}
	if err := l.module.Rescan("f"); err != nil {
		t.Fatal(err)
	}
	c.want(bdev.Request{Op: bdev.OpRead, LBA: 511, Blocks: 1}, block, bdev.StatusOK)
	if err := os.Truncate(name, 1<<19); err != nil {
		t.Fatal(err)
	}
	c.want(bdev.Request{Op: bdev.OpRead, LBA: 500, Blocks: 1}, block, bdev.StatusMediumError)
	if err := l.module.Rescan("f"); err != nil {
		t.Fatal(err)
	}
	c.want(bdev.Request{Op: bdev.OpRead, LBA: 500, Blocks: 1}, block, bdev.StatusOutOfRange)
	c.close()
}

func TestCreateErrors(t *testing.T) {
	name := path(t, "")
	if err := os.WriteFile(name, make([]byte, 1<<16), 0o600); err != nil {
		t.Fatal(err)
	}
	l := newLive(t, 0)
	for _, c := range []struct {
		o    Options
		want syscall.Errno
	}{
		{Options{Name: "a", Filename: name + "x", BlockSize: 512}, syscall.ENOENT},
		{Options{Name: "a", Filename: name}, syscall.EINVAL},
		{Options{Name: "a", Filename: name, BlockSize: 513}, syscall.EINVAL},
		{Options{Name: "a", Filename: filepath.Dir(name), BlockSize: 512}, syscall.EISDIR},
		{Options{Name: "a", Filename: "/dev/null", BlockSize: 512}, syscall.EINVAL},
		{Options{Name: "a", Filename: name, BlockSize: 512, ReadOnly: true}, 0},
		{Options{Name: "a", Filename: name, BlockSize: 512}, syscall.EEXIST},
	} {
		err := l.module.Create(c.o)
		if c.want == 0 && err != nil || c.want != 0 && !errors.Is(err, c.want) {
			t.Errorf("%+v: %v, want %v", c.o, err, c.want)
		}
	}
	if _, err := l.registry.Open("a", bdev.OpenOptions{Write: true}); !errors.Is(err, syscall.EROFS) {
		t.Errorf("open a read-only device for writing: %v", err)
	}
}

// TestFileIsLocked: a file is one device's, or many read-only ones'.
func TestFileIsLocked(t *testing.T) {
	name := path(t, "")
	if _, err := CreateFile(t.Context(), name, 1<<20); err != nil {
		t.Fatal(err)
	}
	hold := func(readOnly bool) (*file, error) {
		fd, err := unix.Open(name, unix.O_RDWR|unix.O_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		f := &file{fd: fd, close: func() error { return unix.Close(fd) }}
		return f, lock(fd, name, readOnly, 0)
	}
	for _, c := range []struct {
		first, second bool // read-only
		want          error
	}{
		{false, false, syscall.EBUSY},
		{false, true, syscall.EBUSY},
		{true, false, syscall.EBUSY},
		{true, true, nil},
	} {
		first, err := hold(c.first)
		if err != nil {
			t.Fatal(err)
		}
		second, err := hold(c.second)
		if !errors.Is(err, c.want) || err != nil && !strings.Contains(err.Error(), name) {
			t.Errorf("%+v: %v", c, err)
		}
		_, _ = first.close(), second.close()
	}

	// A device waits for the last writes of a process that was killed.
	held, err := hold(false)
	if err != nil {
		t.Fatal(err)
	}
	time.AfterFunc(10*lockStep, func() { _ = held.close() })
	l := newLive(t, 0)
	if err := l.module.Create(Options{Name: "f", Filename: name, BlockSize: 512}); err != nil {
		t.Error(err)
	}
	if f, err := hold(true); !errors.Is(err, syscall.EBUSY) {
		t.Errorf("a device's file: %v", err)
	} else {
		_ = f.close()
	}
}
