package bdev_test

import (
	"errors"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"pollux/bdev"
	"pollux/bdev/bdevtest"
	"pollux/bdev/passthru"
	"pollux/reactor"
)

// hungEnv is a world with the device "base" that answers nothing until it is released.
type hungEnv struct {
	*bdevtest.Env
	disk       *bdevtest.Disk
	background func()
}

func newHungEnv(e *bdevtest.Env) *hungEnv {
	h := &hungEnv{Env: e, disk: &bdevtest.Disk{Native: bdevtest.Everything(), Hold: true}, background: e.Registry.KeepBackground()}
	h.disk.Register(e, "base", 512, 64)
	return h
}

// hang leaves a device with n writes, from each reactor in turn.
func (h *hungEnv) hang(name string, n int) (all []*bdevtest.Op) {
	h.T.Helper()
	for i := range n {
		c := h.Open(i%2, name, bdev.OpenOptions{Write: true})
		all = append(all, c.Start(bdev.Request{Op: bdev.OpWrite, LBA: uint64(i), Blocks: 1, Data: [][]byte{h.Memory(512)}}))
	}
	h.World.Run()
	if len(h.disk.Held) != n {
		h.T.Fatalf("the disk holds %d requests, not %d", len(h.disk.Held), n)
	}
	return all
}

// release has the disk answer, and runs what that sets off.
func (h *hungEnv) release() {
	h.T.Helper()
	h.disk.Hold = false
	h.disk.ReleaseAll()
	for range 3 { // A device, and those below it.
		h.World.Run()
		h.background()
	}
}

// mustBeUnanswered asserts what a removal says that has taken the time from before until now.
func (h *hungEnv) mustBeUnanswered(err error, before int64, says string) {
	h.T.Helper()
	if took := h.World.Nanos() - before; took != int64(bdev.RemovalTimeout) {
		h.T.Errorf("it took %v", time.Duration(took))
	}
	if !errors.Is(err, bdev.ErrUnanswered) || !strings.Contains(err.Error(), says) {
		h.T.Errorf("%v, want %q", err, says)
	}
}

// TestRemovalOfAHungDevice: it is over in time and says what is missing; the device is hidden, keeps its name and its memory until it has
// answered, and goes then.
func TestRemovalOfAHungDevice(t *testing.T) {
	h := newHungEnv(bdevtest.NewEnv(t, 2))
	ops := h.hang("base", 3)
	before := h.World.Nanos()
	h.mustBeUnanswered(h.Registry.Unregister("base"), before, "bdev base keeps 3 requests")
	if h.disk.Destroyed || ops[0].Ended != 0 {
		t.Fatal("let go of while the disk has requests")
	}
	_, missing := h.Registry.Lookup("base")
	_, closed := h.Registry.Open("base", bdev.OpenOptions{})
	for what, err := range map[string]error{"found": missing, "opened": closed, "removed again": h.Registry.Unregister("base")} {
		if !errors.Is(err, syscall.ENODEV) || !strings.Contains(err.Error(), "removal has begun") {
			t.Errorf("%s: %v", what, err)
		}
	}
	spec := bdev.Spec{Name: "base", ProductName: "x", BlockSize: 512, Blocks: 8, Backend: &bdevtest.Disk{Native: bdevtest.Everything()}}
	if _, err := h.Registry.Register(spec); !errors.Is(err, syscall.EEXIST) || !strings.Contains(err.Error(), "removal has not ended") {
		t.Errorf("made anew: %v", err)
	}
	if names := h.Registry.Removing(); !slices.Equal(names, []string{"base"}) || len(h.Registry.Devices()) != 0 {
		t.Errorf("on their way out: %q; there: %d", names, len(h.Registry.Devices()))
	}
	h.release()
	for _, o := range ops {
		h.Want(o, bdev.StatusOK)
	}
	if !h.disk.Destroyed || len(h.Registry.Removing()) != 0 {
		t.Errorf("when it has answered: destroyed %v, on their way out: %q", h.disk.Destroyed, h.Registry.Removing())
	}
	if _, err := h.Registry.Register(spec); err != nil {
		t.Errorf("made anew when it is gone: %v", err)
	}
}

// TestRemovalIsInTimeAtTheBound: a device that answers just before the bound is removed.
func TestRemovalIsInTimeAtTheBound(t *testing.T) {
	h := newHungEnv(bdevtest.NewEnv(t, 2))
	h.hang("base", 1)
	var timer reactor.Timer
	r := h.World.Reactors[0]
	timer.Bind(r, h.disk.ReleaseAll)
	if err := r.Call(func() { timer.Start(bdev.RemovalTimeout - 1) }); err != nil {
		t.Fatal(err)
	}
	if err := h.Registry.Unregister("base"); err != nil || !h.disk.Destroyed {
		t.Errorf("destroyed %v: %v", h.disk.Destroyed, err)
	}
}

// TestRemovalBelowOthers: devices above a hung one are removed within the same time, and go in order when it has answered.
func TestRemovalBelowOthers(t *testing.T) {
	h := newHungEnv(bdevtest.NewEnv(t, 2))
	above := passthru.New(h.Registry)
	for _, c := range [][2]string{{"middle", "base"}, {"top", "middle"}} {
		if err := above.Create(c[0], c[1], [16]byte{}); err != nil {
			t.Fatal(err)
		}
	}
	h.hang("top", 2)
	before := h.World.Nanos()
	h.mustBeUnanswered(h.Registry.Unregister("base"), before, "bdev base keeps 2 requests")
	if names := h.Registry.Removing(); len(names) != 3 {
		t.Errorf("on their way out: %q", names)
	}
	h.release()
	if !h.disk.Destroyed || len(h.Registry.Removing()) != 0 {
		t.Errorf("when it has answered: destroyed %v, on their way out: %q", h.disk.Destroyed, h.Registry.Removing())
	}
}

// TestRemovalUnderAClaim: a device of which only the one above has requests says so.
func TestRemovalUnderAClaim(t *testing.T) {
	h := newHungEnv(bdevtest.NewEnv(t, 1))
	above, err := h.Registry.Open("base", bdev.OpenOptions{Claim: "lvol"})
	if err != nil {
		t.Fatal(err)
	}
	before := h.World.Nanos()
	h.mustBeUnanswered(h.Registry.Unregister("base"), before, "bdev base is kept by the device above it (lvol)")
	above.Close()
	h.release()
	if !h.disk.Destroyed || len(h.Registry.Removing()) != 0 {
		t.Errorf("when it is closed: destroyed %v, on their way out: %q", h.disk.Destroyed, h.Registry.Removing())
	}
}

// TestShrinkOfAHungDevice: a smaller size waits so long for what is in flight beyond it, and holds all the same.
func TestShrinkOfAHungDevice(t *testing.T) {
	for _, answers := range []time.Duration{bdev.ResizeTimeout - 1, bdev.ResizeTimeout + 1} {
		h := newHungEnv(bdevtest.NewEnv(t, 2))
		var told []bdev.Event
		h.Open(0, "base", bdev.OpenOptions{Event: func(e bdev.Event) { told = append(told, e) }})
		ops := h.hang("base", 3) // at blocks 0, 1 and 2
		var timer reactor.Timer
		r := h.World.Reactors[0]
		timer.Bind(r, h.disk.ReleaseAll)
		if err := r.Call(func() { timer.Start(answers) }); err != nil {
			t.Fatal(err)
		}
		d, err := h.Registry.Lookup("base")
		if err != nil {
			t.Fatal(err)
		}
		err = d.Resize(2)
		if late := answers > bdev.ResizeTimeout; late != errors.Is(err, bdev.ErrUnanswered) || late != (ops[2].Ended == 0) {
			t.Errorf("answered after %v: the write beyond has ended %d times; %v", answers, ops[2].Ended, err)
		}
		if d.Blocks() != 2 || !slices.Equal(told, []bdev.Event{bdev.EventResize}) {
			t.Errorf("answered after %v: %d blocks, told %v", answers, d.Blocks(), told)
		}
		h.World.Advance(time.Second)
		h.disk.Hold = false
		if err := d.Resize(64); err != nil {
			t.Error(err)
		}
		c := h.Open(1, "base", bdev.OpenOptions{Write: true})
		h.Want(c.Do(bdev.Request{Op: bdev.OpWrite, LBA: 2, Blocks: 1, Data: [][]byte{h.Memory(512)}}), bdev.StatusOK)
		if err := h.Registry.Close(); err != nil {
			t.Error(err)
		}
	}
}

// stuckDisk is a disk whose module does not let go of it until it may.
type stuckDisk struct {
	bdevtest.Disk
	may chan struct{}
}

// Destroy waits (bdev.Backend).
func (d *stuckDisk) Destroy() error {
	<-d.may
	return d.Disk.Destroy()
}

// TestRemovalOfADeviceThatDoesNotClose: a sync or a close that does not end is bounded too.
func TestRemovalOfADeviceThatDoesNotClose(t *testing.T) {
	e := bdevtest.NewEnv(t, 1)
	if bdev.DestroyTimeout < time.Second {
		t.Error("a sync of a disk that works may take seconds")
	}
	e.Registry.SetDestroyTimeout(time.Millisecond)
	d := &stuckDisk{Disk: bdevtest.Disk{Native: bdevtest.Everything()}, may: make(chan struct{})}
	_, err := e.Registry.Register(bdev.Spec{Name: "d", ProductName: "x", BlockSize: 512, Blocks: 8, Backend: d})
	if err != nil {
		t.Fatal(err)
	}
	gone := make(chan string, 1)
	e.Registry.Follow(func(c bdev.Change, d *bdev.Device) { gone <- d.Name() })
	if err := e.Registry.Unregister("d"); !errors.Is(err, bdev.ErrUnanswered) || !strings.Contains(err.Error(), "bdev d: its sync and close") {
		t.Errorf("%v", err)
	}
	if err := e.Registry.Close(); !errors.Is(err, bdev.ErrUnanswered) {
		t.Errorf("the end of the registry: %v", err)
	}
	close(d.may)
	if name := <-gone; name != "d" {
		t.Errorf("%s is gone", name)
	}
	if err := e.Registry.Close(); err != nil {
		t.Error(err)
	}
}

// TestEndOverAHungDevice: the end of the registry says what it leaves, with the modules, and can be asked for again. It gives a device whose
// removal was given up the same time once more.
func TestEndOverAHungDevice(t *testing.T) {
	h := newHungEnv(bdevtest.NewEnv(t, 2))
	closed := 0
	h.Registry.AddModule(bdev.Module{Name: "m", Close: func() error { closed++; return nil }})
	h.hang("base", 2)
	for _, what := range []string{"first", "second"} {
		before := h.World.Nanos()
		h.mustBeUnanswered(h.Registry.Close(), before, "bdev base keeps 2 requests")
		if closed != 0 {
			t.Fatalf("the %s time the modules are closed under a device", what)
		}
	}
	h.release()
	if err := h.Registry.Close(); err != nil || closed != 1 || !h.disk.Destroyed {
		t.Errorf("closed %d times, destroyed %v: %v", closed, h.disk.Destroyed, err)
	}
}

// TestDeleteOfAHungDevice is what the client of a module's delete method hears.
func TestDeleteOfAHungDevice(t *testing.T) {
	e, s := newServer(t)
	passthru.New(e.Registry).Register(s)
	h := newHungEnv(e)
	mustCall := func(method, params, want string) {
		t.Helper()
		if got := call(t, s, method, params); got != want {
			t.Errorf("%s: %s, want %s", method, got, want)
		}
	}
	mustCall("bdev_passthru_create", `{"name":"top","base_bdev_name":"base"}`, `"top"`)
	h.hang("top", 1)
	mustCall("bdev_passthru_delete", `{"name":"top"}`, `{"code":-16,"message":"Device or resource busy: bdev top keeps 1 requests: requests are unanswered after 10s; `+
		`it is hidden, keeps its name, and goes when they are answered: see to what it stands on"}`)
	mustCall("bdev_passthru_delete", `{"name":"top"}`, `{"code":-19,"message":"No such device: bdev top: its removal has begun and waits for an answer"}`)
	mustCall("bdev_get_bdevs", `{"name":"top"}`, `{"code":-19,"message":"No such device"}`)
	h.release()
	mustCall("bdev_passthru_create", `{"name":"top","base_bdev_name":"base"}`, `"top"`)
	mustCall("bdev_passthru_delete", `{"name":"top"}`, `true`)
}
