package tcmur

import (
	"bytes"
	"context"
	"log/slog"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"pollux/bdev"
	"pollux/reactor"
	"pollux/reactor/iobuf"
)

// live is a registry on running reactors.
type live struct {
	t        testing.TB
	group    *reactor.Group
	registry *bdev.Registry
	module   *Module
	logged   *logBuffer
}

// logBuffer is what has been logged.
type logBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func newLive(t testing.TB, mode reactor.Mode) *live {
	config := build(t)
	g, err := reactor.Start(reactor.Config{Cores: []int{-1, -1}, Mode: mode})
	if err != nil {
		t.Fatal(err)
	}
	l := &live{t: t, group: g, logged: &logBuffer{}}
	l.registry = bdev.NewRegistry(g, slog.New(slog.NewTextHandler(l.logged, nil)))
	l.module = New(l.registry, config)
	t.Cleanup(func() {
		if err := l.registry.Close(); err != nil {
			t.Errorf("close the registry: %v", err)
		}
		g.Stop()
		if t.Failed() {
			t.Log(l.logged.String())
		}
	})
	return l
}

// create makes a device and returns its supervisor.
func (l *live) create(o Options) *supervisor {
	l.t.Helper()
	if _, err := l.module.Create(context.Background(), o); err != nil {
		l.t.Fatal(err)
	}
	s, err := l.module.lookup(o.Name)
	if err != nil {
		l.t.Fatal(err)
	}
	return s
}

// bad makes a misbehaving device of 4 MiB, which may hang: its timeout is short.
func (l *live) bad(mode string) *supervisor {
	l.t.Helper()
	return l.badFor(mode, time.Second)
}

// badFor makes one with a timeout; 0 is the default, for what must not count as hanging on a busy machine.
func (l *live) badFor(mode string, timeout time.Duration) *supervisor {
	l.t.Helper()
	return l.create(Options{
		Name: "bad", Cfg: "bad/" + mode + "@" + filepath.Join(l.t.TempDir(), "disk"), Size: 4 << 20, Timeout: timeout, RestartsMax: 1000,
	})
}

// client submits requests on one reactor and waits for their ends.
type client struct {
	l    *live
	r    *reactor.Reactor
	desc *bdev.Desc
	c    *bdev.Channel
}

func (l *live) open(i int, name string) *client {
	l.t.Helper()
	c := &client{l: l, r: l.group.Reactors()[i]}
	// Removal closes the client, on a goroutine, since the event comes on the one that waits for that.
	var once sync.Once
	event := func(e bdev.Event) {
		if e == bdev.EventRemove {
			once.Do(func() { go c.close() })
		}
	}
	var err error
	if c.desc, err = l.registry.Open(name, bdev.OpenOptions{Write: true, Event: event}); err != nil {
		l.t.Fatal(err)
	}
	if callErr := c.r.Call(func() { c.c, err = c.desc.OpenChannel(c.r) }); callErr != nil || err != nil {
		l.t.Fatal(callErr, err)
	}
	return c
}

func (c *client) close() {
	_ = c.r.Do(func(done func()) { c.c.Close(done) })
	c.desc.Close()
}

// start submits a request; its end comes through the channel.
func (c *client) start(q bdev.Request) <-chan *bdev.Request {
	ended := make(chan *bdev.Request, 1)
	req := &q
	req.Done = func(*bdev.Request) { ended <- req }
	if err := c.r.Call(func() { c.c.Submit(req) }); err != nil {
		c.l.t.Error(err)
	}
	return ended
}

func (c *client) do(q bdev.Request) *bdev.Request {
	c.l.t.Helper()
	return c.await(c.start(q))
}

func (c *client) await(ended <-chan *bdev.Request) *bdev.Request {
	c.l.t.Helper()
	select {
	case q := <-ended:
		return q
	case <-time.After(60 * time.Second):
		c.l.t.Fatal("the request has not ended within a minute")
		return nil
	}
}

// want does a request and fails the test unless it ends with status.
func (c *client) want(status bdev.Status, q bdev.Request) *bdev.Request {
	c.l.t.Helper()
	r := c.do(q)
	if r.Status != status {
		c.l.t.Fatalf("%v at %d: %v, want %v", r.Op, r.LBA, r.Status, status)
	}
	return r
}

// write and read move n blocks of 512 bytes, each byte v.
func (c *client) write(lba, n uint64, v byte) bdev.Request {
	return bdev.Request{Op: bdev.OpWrite, LBA: lba, Blocks: n, Data: c.l.memory(n, v)}
}

func (c *client) read(lba, n uint64) bdev.Request {
	return bdev.Request{Op: bdev.OpRead, LBA: lba, Blocks: n, Data: c.l.memory(n, 0xee)}
}

// verify reads blocks and compares each byte with v.
func (c *client) verify(lba, n uint64, v byte) {
	c.l.t.Helper()
	r := c.want(bdev.StatusOK, c.read(lba, n))
	if want := bytes.Repeat([]byte{v}, len(r.Data[0])); !bytes.Equal(r.Data[0], want) {
		c.l.t.Fatalf("blocks %d+%d are not all %#x", lba, n, v)
	}
}

func (l *live) memory(blocks uint64, v byte) [][]byte {
	b, err := iobuf.Map(int(blocks) * 512)
	if err != nil {
		l.t.Fatal(err)
	}
	for i := range b {
		b[i] = v
	}
	l.t.Cleanup(func() { iobuf.Unmap(b) })
	return [][]byte{b}
}
