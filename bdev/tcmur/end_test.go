package tcmur

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"pollux/bdev"
	"pollux/reactor"
)

// TestEndWhileHanging: when the target begins to end, a handler that never answers is killed within leavingPatience, however long its
// timeout is, and what it had is answered, while other devices serve on.
func TestEndWhileHanging(t *testing.T) {
	for _, mode := range []string{"sleep", "loop"} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			l := newLive(t, reactor.ModeAdaptive)
			s := l.create(Options{
				Name: "bad", Cfg: "bad/" + mode + "@" + filepath.Join(t.TempDir(), "disk"), Size: 4 << 20, Timeout: time.Hour,
			})
			l.create(Options{Name: "neighbour", Cfg: "ram/@", Size: 4 << 20})
			bad, neighbour := l.open(0, "bad"), l.open(0, "neighbour")
			blamed, behind := bad.start(bad.write(trigger, 1, 9)), bad.start(bad.write(0, 1, 9))
			l.registry.Ending()
			for _, ended := range []<-chan *bdev.Request{blamed, behind} {
				if q := bad.await(ended); q.Status != bdev.StatusRemoved {
					t.Errorf("%v at %d: %v, want %v", q.Op, q.LBA, q.Status, bdev.StatusRemoved)
				}
			}
			neighbour.want(bdev.StatusOK, neighbour.write(0, 1, 1))
			neighbour.verify(0, 1, 1)
			<-s.ended
			nothingLeft(t, s)
			for _, word := range []string{"the helper was killed", "bdev=bad", "handler=handler_bad.so"} {
				if !strings.Contains(l.logged.String(), word) {
					t.Errorf("the log lacks %s", word)
				}
			}
		})
	}
}

// TestEndWhileOpening: nor does anybody wait for a handler that does not open its device, and none is opened from then on.
func TestEndWhileOpening(t *testing.T) {
	t.Parallel()
	l := newLive(t, reactor.ModeAdaptive)
	o := Options{Name: "bad", Cfg: "bad/hangopen@" + filepath.Join(t.TempDir(), "disk"), Size: 4 << 20, Timeout: time.Hour}
	failed := make(chan error, 1)
	go func() {
		_, err := l.module.Create(context.Background(), o)
		failed <- err
	}()
	waitFor(t, "helper", func() bool { return len(processesWith(o.Cfg)) > 0 })
	l.registry.Ending()
	if err := <-failed; !errors.Is(err, syscall.ESHUTDOWN) {
		t.Errorf("opening: %v", err)
	}
	if _, err := l.module.Create(t.Context(), o); !errors.Is(err, syscall.ESHUTDOWN) {
		t.Errorf("opening another: %v", err)
	}
	if n := len(processesWith(o.Cfg)); n != 0 {
		t.Errorf("%d processes are left", n)
	}
}

// TestCloseSideBySide: at the end of the target handlers close beside one another, so that those which take long do not add up. Each of
// these waits in its close until all of them do.
func TestCloseSideBySide(t *testing.T) {
	t.Parallel()
	l := newLive(t, reactor.ModeAdaptive)
	dir := t.TempDir()
	for i := range 4 {
		name := fmt.Sprint("disk", i)
		l.create(Options{Name: name, Cfg: "bad/meet@" + filepath.Join(dir, name), Size: 4 << 20})
	}
	l.registry.Ending()
	if err := l.registry.Close(); err != nil {
		t.Error(err)
	}
	if strings.Contains(l.logged.String(), "was not closed") {
		t.Error("one has waited for the others in vain")
	}
	if n := len(processesWith("bad/meet@" + dir)); n != 0 {
		t.Errorf("%d processes are left", n)
	}
}

// TestCloseHangs: a handler that does not close is killed, and the log says so.
func TestCloseHangs(t *testing.T) {
	t.Parallel()
	l := newLive(t, reactor.ModeAdaptive)
	s := l.badFor("hangclose", 0)
	if err := l.module.Delete("bad"); err != nil {
		t.Fatal(err)
	}
	nothingLeft(t, s)
	if !strings.Contains(l.logged.String(), "the handler was not closed") {
		t.Error("the log does not say that the handler was not closed")
	}
}

// TestResizeHangs: a handler that never answers a resize costs its helper, not the device, and a late answer is not taken for that
// of another resize.
func TestResizeHangs(t *testing.T) {
	t.Parallel()
	l := newLive(t, reactor.ModeAdaptive)
	s := l.bad("sleep1")
	c := l.open(0, "bad")
	c.want(bdev.StatusOK, c.write(0, 1, 1))
	if err := l.module.Resize("bad", 8<<20); !errors.Is(err, syscall.ETIMEDOUT) {
		t.Fatalf("resize: %v", err)
	}
	c.verify(0, 1, 1)
	if err := l.module.Resize("bad", 8<<20); err != nil {
		t.Fatal(err)
	}
	c.want(bdev.StatusOK, c.write(8<<20/512-1, 1, 2))
	if n := s.copyReport().Restarts; n != 1 {
		t.Errorf("%d restarts, want 1", n)
	}
}

// TestResizeHangsAtTheEnd: nor does the target wait for it when it ends.
func TestResizeHangsAtTheEnd(t *testing.T) {
	t.Parallel()
	l := newLive(t, reactor.ModeAdaptive)
	path := filepath.Join(t.TempDir(), "disk")
	s := l.create(Options{Name: "bad", Cfg: "bad/sleep1@" + path, Size: 4 << 20, Timeout: time.Hour})
	failed := make(chan error, 1)
	go func() { failed <- l.module.Resize("bad", 8<<20) }()
	waitFor(t, "the handler's reconfig", func() bool { return exists(path + ".done") })
	l.registry.Ending()
	if err := <-failed; !errors.Is(err, syscall.ESHUTDOWN) {
		t.Errorf("resize: %v", err)
	}
	<-s.ended
	nothingLeft(t, s)
}
