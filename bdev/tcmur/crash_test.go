package tcmur

import (
	"errors"
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"pollux/bdev"
	"pollux/reactor"
)

// trigger is the block at which the test handler bad misbehaves.
const trigger = 1 << 20 / 512

// TestCrashes: a handler that misbehaves costs its own device some milliseconds; its neighbour answers throughout, and requests that
// were not to blame are done.
func TestCrashes(t *testing.T) {
	for _, c := range []struct {
		mode     string
		end      bdev.Status // of the request that has the handler misbehave
		restarts bool
	}{
		{"segv", bdev.StatusHardwareError, true},
		{"segv1", bdev.StatusOK, true},
		{"abort", bdev.StatusHardwareError, true},
		{"abort1", bdev.StatusOK, true},
		{"overflow", bdev.StatusHardwareError, true},
		{"overflow1", bdev.StatusOK, true},
		{"exit1", bdev.StatusOK, true},
		{"sleep", bdev.StatusHardwareError, true},
		{"sleep1", bdev.StatusOK, true},
		{"loop", bdev.StatusHardwareError, true},
		{"loop1", bdev.StatusOK, true},
		{"close1", bdev.StatusOK, true},
		{"fork", bdev.StatusOK, false},
		{"killgroup", bdev.StatusOK, false},
		{"regroup", bdev.StatusOK, false},
		{"truncate", bdev.StatusOK, false},
		{"lost1", bdev.StatusOK, true},
		{"fenced1", bdev.StatusOK, true},
	} {
		t.Run(c.mode, func(t *testing.T) {
			t.Parallel()
			l := newLive(t, reactor.ModeAdaptive)
			s := l.bad(c.mode)
			l.create(Options{Name: "neighbour", Cfg: "ram/@", Size: 4 << 20})
			bad, other, neighbour := l.open(0, "bad"), l.open(1, "bad"), l.open(0, "neighbour")
			bad.want(bdev.StatusOK, bad.write(8, 8, 7))

			blamed := bad.start(bad.write(trigger, 1, 9))
			var innocent []<-chan *bdev.Request
			for i := range uint64(20) {
				innocent = append(innocent, bad.start(bad.write(100+i, 1, byte(i))), other.start(other.write(200+i, 1, byte(i))))
			}
			for i := range byte(50) {
				neighbour.want(bdev.StatusOK, neighbour.write(uint64(i), 1, i))
				neighbour.verify(uint64(i), 1, i)
			}
			if q := bad.await(blamed); q.Status != c.end {
				t.Fatalf("the request to blame: %v, want %v", q.Status, c.end)
			}
			for _, ended := range innocent {
				if q := bad.await(ended); q.Status != bdev.StatusOK {
					t.Fatalf("%v at %d: %v", q.Op, q.LBA, q.Status)
				}
			}
			// What closes descriptors or loses a lock is noticed beside the requests, which may have ended before.
			bad.verify(8, 8, 7)
			for i := range uint64(20) {
				bad.verify(100+i, 1, byte(i))
				bad.verify(200+i, 1, byte(i))
			}
			if c.restarts {
				waitFor(t, "restart", func() bool {
					bad.verify(8, 8, 7) // The loss of descriptors is noticed when one is needed.
					return s.copyReport().Restarts > 0
				})
			} else if n := s.copyReport().Restarts; n != 0 {
				t.Fatalf("%d restarts: %s", n, s.copyReport().LastError)
			}
			if err := l.module.Delete("bad"); err != nil {
				t.Fatal(err)
			}
			nothingLeft(t, s)
		})
	}
}

// waitFor waits for what another process or goroutine does soon.
func waitFor(t *testing.T, what string, cond func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !cond(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("no %s within 20 s", what)
		}
	}
}

// nothingLeft fails the test if a deleted device has left a process or a mapping.
func nothingLeft(t *testing.T, s *supervisor) {
	t.Helper()
	if n := len(processesWith(s.launch.cfg)); n != 0 {
		t.Errorf("%d processes of the device are left", n)
	}
	if s.d.helper.Load() != nil {
		t.Error("a helper is left")
	}
}

// processesWith lists the helpers of devices whose configuration strings begin with text.
func processesWith(text string) (pids []string) {
	files, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, f := range files {
		if b, err := os.ReadFile(f); err == nil && strings.Contains(string(b), "cfg="+text) {
			pids = append(pids, f)
		}
	}
	return pids
}

// TestFlood: a handler that logs without end, itself or by what it reports, is cut short, costs little, and goes on working.
func TestFlood(t *testing.T) {
	for _, mode := range []string{"flood1", "complain1"} {
		t.Run(mode, func(t *testing.T) {
			l := newLive(t, reactor.ModeAdaptive)
			s := l.badFor(mode, 0)
			c := l.open(0, "bad")
			c.want(bdev.StatusOK, c.write(trigger, 1, 1))
			waitFor(t, "dropped line", func() bool { return s.launch.logs.dropped.Load() > 10_000 })
			c.want(bdev.StatusOK, c.write(0, 1, 1))
			if n := strings.Count(l.logged.String(), "\n"); n > 5*logBurst {
				t.Errorf("%d lines have been logged", n)
			}
			if !strings.Contains(l.logged.String(), "bdev=bad handler=handler_bad.so") {
				t.Error("the lines do not name the device and its handler")
			}
		})
	}
}

// TestScribble: a handler that writes all over the shared memory harms its own device alone. test/fault does it for a minute.
func TestScribble(t *testing.T) {
	t.Parallel()
	l := newLive(t, reactor.ModeAdaptive)
	s := l.bad("scribble")
	l.create(Options{Name: "neighbour", Cfg: "ram/@", Size: 4 << 20})
	clients := []*client{l.open(0, "bad"), l.open(1, "bad")}
	neighbour := l.open(1, "neighbour")
	ends := map[bdev.Status]int{}
	for s.copyReport().Restarts < 5 {
		var started []<-chan *bdev.Request
		for i, c := range clients {
			started = append(started, c.start(c.write(trigger, 1, 1)))
			for j := range uint64(8) {
				started = append(started, c.start(c.read(uint64(i)*100+j, 8)))
			}
		}
		neighbour.want(bdev.StatusOK, neighbour.write(3, 1, 3))
		neighbour.verify(3, 1, 3)
		for _, ended := range started {
			ends[neighbour.await(ended).Status]++
		}
	}
	t.Logf("restarts %d, ends %v, last error %s", s.copyReport().Restarts, ends, s.copyReport().LastError)
}

// TestOffline: too many crashes end the attempts, requests fail, and an order brings the device back.
func TestOffline(t *testing.T) {
	t.Parallel()
	l := newLive(t, reactor.ModeAdaptive)
	path := filepath.Join(t.TempDir(), "disk")
	s := l.create(Options{Name: "bad", Cfg: "bad/segv@" + path, Size: 4 << 20, RestartsMax: 3})
	c := l.open(0, "bad")
	for range 2 {
		c.want(bdev.StatusHardwareError, c.write(trigger, 1, 9))
	}
	waitFor(t, "end of attempts", func() bool { return s.copyReport().State == "offline" })
	c.want(bdev.StatusNotReady, c.write(0, 1, 1))
	if err := l.module.Restart("bad"); err != nil {
		t.Fatal(err)
	}
	c.want(bdev.StatusOK, c.write(0, 1, 1))
}

// TestHeldRequestsCanBeAborted: while there is no helper, an abort ends its target, and a reset everything.
func TestHeldRequestsCanBeAborted(t *testing.T) {
	t.Parallel()
	l := newLive(t, reactor.ModeAdaptive)
	s := l.bad("sleep")
	c := l.open(0, "bad")
	first := c.start(c.write(trigger, 1, 9))
	waitFor(t, "hang", func() bool { return s.copyReport().Restarts > 0 })
	// Alone in the new helper, it hangs again: everything else waits.
	held := c.write(0, 1, 1)
	done := make(chan struct{})
	held.Done = func(*bdev.Request) { close(done) }
	if err := c.r.Call(func() { c.c.Submit(&held) }); err != nil {
		t.Fatal(err)
	}
	c.want(bdev.StatusOK, bdev.Request{Op: bdev.OpAbort, Target: &held})
	<-done
	if held.Status != bdev.StatusAborted {
		t.Fatalf("aborted while held: %v", held.Status)
	}
	if q := c.await(first); q.Status != bdev.StatusHardwareError {
		t.Fatalf("the second hang: %v", q.Status)
	}
}

// TestDeleteWhileHanging: deletion does not wait for a handler that never answers.
func TestDeleteWhileHanging(t *testing.T) {
	t.Parallel()
	l := newLive(t, reactor.ModeAdaptive)
	s := l.create(Options{Name: "bad", Cfg: "bad/loop@" + filepath.Join(t.TempDir(), "disk"), Size: 4 << 20, Timeout: time.Hour})
	c := l.open(0, "bad")
	ended := c.start(c.write(trigger, 1, 9))
	if err := l.module.Delete("bad"); err != nil {
		t.Fatal(err)
	}
	if q := c.await(ended); q.Status == bdev.StatusOK {
		t.Fatalf("a request of an endless loop: %v", q.Status)
	}
	nothingLeft(t, s)
}

// TestCloseWhileHanging: neither does the end of the target.
func TestCloseWhileHanging(t *testing.T) {
	t.Parallel()
	l := newLive(t, reactor.ModeAdaptive)
	l.create(Options{Name: "bad", Cfg: "bad/sleep@" + filepath.Join(t.TempDir(), "disk"), Size: 4 << 20, Timeout: time.Hour})
	c := l.open(0, "bad")
	ended := c.start(c.write(trigger, 1, 9))
	if err := l.registry.Close(); err != nil {
		t.Fatal(err)
	}
	if q := c.await(ended); q.Status == bdev.StatusOK {
		t.Fatalf("a request that sleeps: %v", q.Status)
	}
}

// TestTargetDies: a helper whose target is gone ends by itself.
func TestTargetDies(t *testing.T) {
	t.Parallel()
	modes := []string{"none", "loop"}
	if os.Getenv("POLLUX_TEST_FULL") != "" {
		modes = append(modes, "hangclose")
	}
	for _, mode := range modes {
		t.Run(mode, func(t *testing.T) {
			l := newLive(t, reactor.ModeAdaptive)
			s := l.bad(mode)
			c := l.open(0, "bad")
			ended := c.start(c.write(trigger, 1, 9))
			h := s.d.helper.Load()
			_ = h.control.CloseWrite()
			if err := h.control.CloseRead(); err != nil {
				t.Fatal(err)
			}
			waitFor(t, "end of the helper", func() bool {
				return errors.Is(syscall.Kill(h.cmd.Process.Pid, 0), syscall.ESRCH)
			})
			c.await(ended)
		})
	}
}

// TestFailedOpen: what the handler says is in the error, and nothing is left.
func TestFailedOpen(t *testing.T) {
	l := newLive(t, reactor.ModeAdaptive)
	for mode, want := range map[string]string{
		"noopen": "input/output error", "hangopen": "not opened the device", "cached": "a write cache and no flush",
		"oddblocks": "a block size of 1000", "nosize": "without a size",
	} {
		_, err := l.module.Create(t.Context(), Options{
			Name: "bad", Cfg: fmt.Sprintf("bad/%s@%s", mode, filepath.Join(t.TempDir(), "x")), Size: 1 << 20, Timeout: time.Second,
		})
		if err == nil || !strings.Contains(strings.ToLower(err.Error()), want) {
			t.Errorf("%s: %v, want %q", mode, err, want)
		}
	}
	if n := len(processesWith("bad/")); n != 0 {
		t.Errorf("%d processes are left", n)
	}
}

// TestWritesLost: when a helper dies that may have kept writes to itself, users of the device are told, but not after a flush.
func TestWritesLost(t *testing.T) {
	l := newLive(t, reactor.ModeAdaptive)
	s := l.create(Options{Name: "disk", Cfg: "async/" + filepath.Join(t.TempDir(), "disk"), Size: 4 << 20, RestartsMax: 100})
	var told atomic.Int32
	desc, err := l.registry.Open("disk", bdev.OpenOptions{Event: func(e bdev.Event) {
		if e == bdev.EventWritesLost {
			told.Add(1)
		}
	}})
	if err != nil {
		t.Fatal(err)
	}
	defer desc.Close()
	c := l.open(0, "disk")
	defer c.close()
	for i, flush := range []bool{true, false} {
		c.want(bdev.StatusOK, c.write(0, 1, 1))
		if flush {
			c.want(bdev.StatusOK, bdev.Request{Op: bdev.OpFlush})
		}
		_ = syscall.Kill(s.d.helper.Load().cmd.Process.Pid, syscall.SIGKILL)
		waitFor(t, "restart", func() bool { return s.copyReport().Restarts == i+1 && s.copyReport().State == "up" })
		if got, want := told.Load() > 0, !flush; got != want {
			t.Fatalf("flushed %v, told of lost writes %v", flush, got)
		}
	}
}

// TestNothingLeaks: devices that come, crash and go leave no descriptors and no mappings.
func TestNothingLeaks(t *testing.T) {
	l := newLive(t, reactor.ModeAdaptive)
	before := -1
	for i := range 8 {
		s := l.badFor("segv1", 0)
		c := l.open(i%2, "bad")
		c.want(bdev.StatusOK, c.write(trigger, 1, 1))
		if n := len(processesWith(s.launch.cfg)); n != 1 {
			t.Errorf("%d processes of the device, want 1", n)
		}
		if err := l.module.Delete("bad"); err != nil {
			t.Fatal(err)
		}
		nothingLeft(t, s)
		runtime.GC()
		if before < 0 {
			before = descriptors() // What the first device has made for good.
		}
	}
	waitFor(t, "return of descriptors", func() bool { return descriptors() <= before })
	maps, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(maps), "pollux-tcmur (deleted)") {
		t.Error("a region is still mapped")
	}
}

func descriptors() int {
	entries, _ := os.ReadDir("/proc/self/fd")
	return len(entries)
}

// TestUser: the helper runs as somebody else, with what that user may do.
func TestUser(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root may change users")
	}
	l := newLive(t, reactor.ModeAdaptive)
	if err := os.Chmod(filepath.Dir(l.module.config.Helper), 0o755); err != nil {
		t.Fatal(err)
	}
	shared, err := os.MkdirTemp("", "tcmur-user")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(shared) })
	if err := os.Chmod(shared, 0o777); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(shared, "disk")
	s := l.create(Options{Name: "disk", Cfg: "file/" + path, Size: 1 << 20, User: "nobody"})
	c := l.open(0, "disk")
	c.want(bdev.StatusOK, c.write(0, 1, 1))
	nobody, err := user.Lookup("nobody")
	if err != nil {
		t.Fatal(err)
	}
	var st syscall.Stat_t
	if err := syscall.Stat(path, &st); err != nil || fmt.Sprint(st.Uid) != nobody.Uid {
		t.Errorf("the file belongs to user %d: %v", st.Uid, err)
	}
	four := func(id string) string { return strings.Join([]string{id, id, id, id}, " ") }
	wantStatus(t, s, map[string]string{"Uid": four(nobody.Uid), "Gid": four(nobody.Gid), "Groups": "", "CapEff": "0000000000000000"})
	locked := filepath.Join(t.TempDir(), "locked")
	if err := os.Mkdir(locked, 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := l.module.Create(t.Context(), Options{Name: "other", Cfg: "file/" + locked + "/disk", Size: 1 << 20, User: "nobody"}); err == nil || !strings.Contains(strings.ToLower(err.Error()), "permission denied") {
		t.Errorf("nobody opens a file that is root's alone: %v", err)
	}
}

// wantStatus compares what the kernel says of a device's helper.
func wantStatus(t *testing.T, s *supervisor, want map[string]string) {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.copyReport().PID))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		key, value, _ := strings.Cut(line, ":")
		got := strings.Join(strings.Fields(value), " ")
		if w, asked := want[key]; asked && got != w {
			t.Errorf("%s is %q, want %q", key, got, w)
		}
		delete(want, key)
	}
	if len(want) != 0 {
		t.Errorf("the kernel does not say %v", want)
	}
}

// TestConfined: whatever the target may do, its helpers may not gain privileges, are filtered, lead a process group of their own,
// leave no core file, and are the first to go when memory is short.
func TestConfined(t *testing.T) {
	l := newLive(t, reactor.ModeAdaptive)
	s := l.create(Options{Name: "disk", Cfg: "ram/@", Size: 1 << 20})
	wantStatus(t, s, map[string]string{"NoNewPrivs": "1", "Seccomp": "2", "SigBlk": "0000000000000000"})
	pid := s.copyReport().PID
	if group, err := syscall.Getpgid(pid); err != nil || group != pid {
		t.Errorf("process %d is of group %d: %v", pid, group, err)
	}
	for file, want := range map[string]string{"oom_score_adj": "1000\n", "limits": "Max core file size        0                    0 "} {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", pid, file))
		if err != nil || !strings.Contains(string(text), want) {
			t.Errorf("%s: %v, %s", file, err, text)
		}
	}
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
