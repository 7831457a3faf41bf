package aio

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"pollux/bdev"
	"pollux/bdev/bdevtest"
)

// slowKernel opens files when the test lets it. Time is that of synctest: it passes when everybody waits.
type slowKernel struct {
	*bdevtest.Env
	module  *Module
	answers map[string]chan error // by path: what opening it will say
	closed  atomic.Int32

	mu     sync.Mutex
	opened map[string]int // by path: how often it was asked for
}

func newSlowKernel(t *testing.T) *slowKernel {
	k := &slowKernel{Env: bdevtest.NewEnv(t, 1), answers: map[string]chan error{}, opened: map[string]int{}}
	k.module = New(k.Registry)
	k.module.openFile = func(path string, blockSize uint32, _ bool) (*file, error) {
		k.count(path)
		if answer := k.answers[path]; answer != nil {
			if err := <-answer; err != nil {
				return nil, err
			}
		}
		return k.file(blockSize), nil
	}
	return k
}

func (k *slowKernel) count(path string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.opened[path]++
}

func (k *slowKernel) file(blockSize uint32) *file {
	k.mu.Lock()
	defer k.mu.Unlock()
	f, _ := simulated(k.World, blockSize, 64<<10)
	f.close = func() error { k.closed.Add(1); return nil }
	return f
}

// hang has the kernel not answer about path until the test does.
func (k *slowKernel) hang(path string) (answer chan error) {
	k.answers[path] = make(chan error)
	return k.answers[path]
}

// create begins a create, and returns when everybody waits.
func (k *slowKernel) create(name, path string) (ended chan error) {
	ended = make(chan error, 1)
	go func() { ended <- k.module.Create(Options{Name: name, Filename: path, BlockSize: 512}) }()
	synctest.Wait()
	return ended
}

// mustSay compares how a create has ended; text is part of the error's.
func (k *slowKernel) mustSay(ended chan error, want error, text string) {
	k.T.Helper()
	synctest.Wait()
	select {
	case err := <-ended:
		if !errors.Is(err, want) || err != nil && !strings.Contains(err.Error(), text) {
			k.T.Fatalf("create: %v, want %v with %q", err, want, text)
		}
	default:
		k.T.Fatal("create has not ended")
	}
}

func (k *slowKernel) mustHave(names ...string) {
	k.T.Helper()
	var have []string
	for _, d := range k.Registry.Devices() {
		have = append(have, d.Name())
	}
	if fmt.Sprint(have) != fmt.Sprint(names) {
		k.T.Fatalf("devices %q, want %q", have, names)
	}
}

// TestOpenHangs: a create of a file that the kernel does not open is given up at OpenTimeout and not before; its name is taken until then,
// and its file until the kernel has answered, whatever it says.
func TestOpenHangs(t *testing.T) {
	for _, late := range []error{nil, syscall.EIO} {
		synctest.Test(t, func(t *testing.T) {
			k := newSlowKernel(t)
			answer := k.hang("/nfs/disk")
			ended := k.create("a", "/nfs/disk")
			time.Sleep(OpenTimeout - 1)
			synctest.Wait()
			if len(ended) > 0 {
				t.Fatalf("given up before OpenTimeout: %v", <-ended)
			}
			k.mustSay(k.create("a", "/other"), syscall.EEXIST, "bdev a: it is being created, and /nfs/disk is being opened")
			k.mustSay(k.create("b", "/other"), nil, "")
			time.Sleep(time.Nanosecond)
			k.mustSay(ended, bdev.ErrUnanswered, "bdev a: open /nfs/disk: requests are unanswered after 10s: the disk or its server hangs; ")
			k.mustHave("b")

			k.mustSay(k.create("a", "/another"), nil, "")
			k.mustSay(k.create("c", "/nfs//disk"), bdev.ErrUnanswered, "bdev c: open /nfs//disk: requests are unanswered since bdev a was to be created of it")
			k.mu.Lock()
			if k.opened["/nfs/disk"] != 1 || k.opened["/nfs//disk"] != 0 {
				t.Errorf("a file that hangs is opened again: %v", k.opened)
			}
			k.mu.Unlock()
			answer <- late
			synctest.Wait()
			if closed, want := k.closed.Load(), map[error]int32{nil: 1, syscall.EIO: 0}[late]; closed != want {
				t.Errorf("opened late (%v): closed %d times, want %d", late, closed, want)
			}
			k.mustHave("b", "a")
			delete(k.answers, "/nfs/disk")
			k.mustSay(k.create("c", "/nfs/disk"), nil, "")
			k.mustHave("b", "a", "c")
		})
	}
}

// TestOpenAnswersAtTheLastMoment: at the same instant as the bound either side may win, and there is a device or a closed file.
func TestOpenAnswersAtTheLastMoment(t *testing.T) {
	for range 20 {
		synctest.Test(t, func(t *testing.T) {
			k := newSlowKernel(t)
			answer := k.hang("/nfs/disk")
			go func() {
				time.Sleep(OpenTimeout)
				answer <- nil
			}()
			ended := k.create("a", "/nfs/disk")
			time.Sleep(OpenTimeout)
			synctest.Wait()
			err := <-ended
			_, missing := k.Registry.Lookup("a")
			if (err == nil) != (missing == nil) || (err == nil) != (k.closed.Load() == 0) {
				t.Errorf("create: %v; device: %v; closed %d times", err, missing, k.closed.Load())
			}
		})
	}
}

// TestOpeningsAreBounded: as many files as openingsMax may hang; one more is refused, until one has been answered.
func TestOpeningsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newSlowKernel(t)
		var answers []chan error
		for i := range openingsMax {
			answers = append(answers, k.hang(fmt.Sprint("/nfs/", i)))
		}
		var all []chan error
		for i := range openingsMax {
			all = append(all, k.create(fmt.Sprint("a", i), fmt.Sprint("/nfs/", i)))
		}
		k.mustSay(k.create("b", "/b"), syscall.EAGAIN, "bdev b: 256 files are being opened")
		time.Sleep(OpenTimeout)
		for _, ended := range all {
			k.mustSay(ended, bdev.ErrUnanswered, "")
		}
		k.mustSay(k.create("b", "/b"), syscall.EAGAIN, "bdev b: 256 files are being opened")
		answers[7] <- syscall.EIO
		synctest.Wait()
		k.mustSay(k.create("b", "/b"), nil, "")
		for i, answer := range answers {
			if i != 7 {
				answer <- nil
			}
		}
		synctest.Wait()
		if k.closed.Load() != openingsMax-1 || len(k.module.openings.all) != 0 {
			t.Errorf("%d files are closed, %d are being opened", k.closed.Load(), len(k.module.openings.all))
		}
		k.mustHave("b")
	})
}

// TestEndWhileOpenHangs: when the target begins to end nobody waits for a file, and none becomes a device.
func TestEndWhileOpenHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newSlowKernel(t)
		answer := k.hang("/nfs/disk")
		ended := k.create("a", "/nfs/disk")
		k.Registry.Ending()
		k.Registry.Ending() // By a signal while the configuration is loaded, and by the end itself.
		k.mustSay(ended, syscall.ECANCELED, "bdev a: open /nfs/disk: the target is ending")
		answer <- nil
		synctest.Wait()
		if k.mustHave(); k.closed.Load() != 1 {
			t.Errorf("closed %d times", k.closed.Load())
		}
	})
}

// TestFileOfNoDeviceIsClosed: a file whose device cannot be registered is closed before the create answers, unless that hangs as well.
func TestFileOfNoDeviceIsClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newSlowKernel(t)
		k.mustSay(k.create("a", "/a"), nil, "")
		d, err := k.Registry.Lookup("a")
		if err != nil {
			t.Fatal(err)
		}
		again := Options{Name: "b", Filename: "/b", BlockSize: 512, UUID: d.UUID()}
		if err := k.module.Create(again); !errors.Is(err, syscall.EEXIST) || k.closed.Load() != 1 {
			t.Errorf("create: %v, closed %d times", err, k.closed.Load())
		}
		may, open := make(chan struct{}), k.module.openFile
		k.module.openFile = func(path string, blockSize uint32, readOnly bool) (*file, error) {
			f, err := open(path, blockSize, readOnly)
			f.close = func() error { <-may; return nil }
			return f, err
		}
		began := time.Now()
		if err := k.module.Create(again); err == nil || time.Since(began) != OpenTimeout {
			t.Errorf("a close that hangs: %v after %v", err, time.Since(began))
		}
		close(may)
	})
}

// TestRescanOfAHungSize: looking at the size may hang as syncing may, and is not begun again meanwhile.
func TestRescanOfAHungSize(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := bdevtest.NewEnv(t, 1)
		f, sim := simulated(e.World, 512, 64<<10)
		may, sizeNow := make(chan struct{}), f.sizeNow
		var looked atomic.Int32
		f.sizeNow = func() (uint64, error) {
			looked.Add(1)
			<-may
			return sizeNow()
		}
		register(e, "file", f)
		m := New(e.Registry)
		d, err := e.Registry.Lookup("file")
		if err != nil {
			t.Fatal(err)
		}
		sim.Data = append(sim.Data, make([]byte, 64<<10)...)
		for range 3 {
			began := time.Now()
			err := m.Rescan("file")
			if !errors.Is(err, bdev.ErrUnanswered) || time.Since(began) != SyncTimeout || d.Blocks() != 128 || looked.Load() != 1 {
				t.Fatalf("%v after %v; %d blocks, looked %d times", err, time.Since(began), d.Blocks(), looked.Load())
			}
		}
		ended := make(chan error)
		go func() { ended <- m.Rescan("file") }()
		synctest.Wait()
		e.Registry.Ending()
		if err := <-ended; !errors.Is(err, syscall.ECANCELED) {
			t.Errorf("at the end of the target: %v", err)
		}
		close(may)
		synctest.Wait()
		if err := New(e.Registry).Rescan("file"); err != nil || d.Blocks() != 256 {
			t.Errorf("%d blocks: %v", d.Blocks(), err)
		}
	})
}

// TestCreateFileHangs: making a file is given up at SyncTimeout, and when nobody wants it any more.
func TestCreateFileHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		may := make(chan struct{})
		defer close(may)
		hang := func() (bool, error) { <-may; return true, nil }
		began := time.Now()
		_, err := createInTime(t.Context(), "/nfs/disk", hang)
		if !errors.Is(err, bdev.ErrUnanswered) || !strings.Contains(err.Error(), "create /nfs/disk") || time.Since(began) != SyncTimeout {
			t.Errorf("%v after %v", err, time.Since(began))
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := createInTime(ctx, "/nfs/disk", hang); !errors.Is(err, context.Canceled) {
			t.Errorf("at the end of the target: %v", err)
		}
	})
}

// told is a log that hands over its messages.
type told chan string

func (c told) Enabled(context.Context, slog.Level) bool { return true }
func (c told) WithAttrs([]slog.Attr) slog.Handler       { return c }
func (c told) WithGroup(string) slog.Handler            { return c }

func (c told) Handle(_ context.Context, r slog.Record) error {
	c <- r.Message
	return nil
}

// TestLiveOpenHangs: open(2) hangs in the kernel; the create is given up, and the descriptor that comes late is closed.
func TestLiveOpenHangs(t *testing.T) {
	h := bdevtest.NewHungFile(t, 1<<20)
	l := newLive(t, 0)
	log := make(told, 16)
	registry := bdev.NewRegistry(l.group, slog.New(log))
	t.Cleanup(func() {
		if err := registry.Close(); err != nil {
			t.Errorf("close the registry: %v", err)
		}
	})
	m := New(registry)
	m.openTimeout = time.Millisecond
	o := Options{Name: "f", Filename: h.Path, BlockSize: 512}
	if err := m.Create(o); !errors.Is(err, bdev.ErrUnanswered) {
		t.Fatalf("create: %v", err)
	}
	h.Await()
	h.Release()
	if message := <-log; !strings.Contains(message, "too late") {
		t.Errorf("log: %s", message)
	}
	if n := h.Descriptors(); n != 0 || len(registry.Devices()) != 0 {
		t.Errorf("%d descriptors are left, and %d devices", n, len(registry.Devices()))
	}
	m.openTimeout = OpenTimeout
	if err := m.Create(o); err != nil {
		t.Errorf("create again: %v", err)
	}
}
