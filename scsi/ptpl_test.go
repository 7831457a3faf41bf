package scsi

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"pollux/bdev"
)

const (
	flagAPTPL     = 0x01
	flagAllTGPT   = 0x04
	capabilityATP = 0x04
)

// newPTPL is a bench whose LUN 0 has a ptpl_file. Files are written when run is called, or at once if it is nil.
func newPTPL(t testing.TB, path string, run func(func())) *bench {
	b := newBench(t, 2)
	b.must(b.dev.RemoveLUN(0))
	_, err := b.dev.AddLUN(0, "Disk0", LUNOptions{PTPLFile: path})
	b.must(err)
	if run == nil {
		run = func(write func()) { write() }
	}
	b.dev.luns[0].ptpl.start = run
	return b
}

// registerWith registers with flags.
func (n *initiator) registerWith(key uint64, flags byte) result {
	n.b.t.Helper()
	l := outList(0, key)
	l[20] = flags
	return n.run(0, cdbOut(outRegisterIgnore, 0, len(l)), l, 0)
}

// wantCapabilities looks at PTPL_C and PTPL_A.
func (n *initiator) wantCapabilities(capable, activated byte) {
	n.b.t.Helper()
	if got := n.in(2); got[2] != capabilityATP|capable || got[3] != 0x80|activated {
		n.b.t.Errorf("capabilities % x", got)
	}
}

func TestRegistrationsPersistThroughPowerLoss(t *testing.T) {
	for _, c := range []struct {
		name string
		kind byte
		key  uint64
	}{{"one holder", 3, 1}, {"all registrants", 8, 0}} {
		t.Run(c.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "pr.json")
			b := newPTPL(t, path, nil)
			a, other := b.open(0, "a"), b.open(1, "other")
			a.wantCapabilities(1, 0)
			a.registerWith(1, flagAPTPL).wantGood()
			a.wantCapabilities(1, 1)
			other.registerWith(0xf00d_0000_0000_0002, flagAPTPL).wantGood()
			a.out(outReserve, c.kind, 1, 0).wantGood()

			b = newPTPL(t, path, nil)
			a, stranger := b.open(1, "a"), b.open(0, "stranger")
			a.wantCapabilities(1, 1)
			a.wantKeys(1, 0xf00d_0000_0000_0002)
			a.wantReservation(c.key, c.kind)
			if a.access() != "rw" || stranger.access() != "--" {
				t.Errorf("a may %s, a stranger may %s", a.access(), stranger.access())
			}
			a.out(outRelease, c.kind, 1, 0).wantGood()

			b = newPTPL(t, path, nil)
			a = b.open(0, "a")
			a.wantReservation(0, 0)
			a.out(outClear, 0, 1, 0).wantGood()

			b = newPTPL(t, path, nil)
			b.open(0, "a").wantKeys()
		})
	}
}

// TestPersistenceEnds: the APTPL bit of the last registration decides (SPC-5 5.14.5).
func TestPersistenceEnds(t *testing.T) {
	path := filepath.Join(t.TempDir(), "pr.json")
	b := newPTPL(t, path, nil)
	a, c := b.open(0, "a"), b.open(1, "c")
	a.registerWith(1, flagAPTPL).wantGood()
	c.registerWith(2, 0).wantGood()
	a.wantCapabilities(1, 0)
	a.wantKeys(1, 2)
	b = newPTPL(t, path, nil)
	a = b.open(0, "a")
	a.wantKeys()
	a.wantCapabilities(1, 0)
}

// TestAnswerWaitsForTheFile: nobody sees a registration, and the command is not answered, before it is in the file. Reads go on.
func TestAnswerWaitsForTheFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "pr.json")
	var write func()
	b := newPTPL(t, path, func(w func()) { write = w })
	a, c := b.open(0, "a"), b.open(1, "c")
	l := outList(0, 1)
	l[20] = flagAPTPL
	cmd := a.new(0, cdbOut(outRegister, 0, len(l)), l, 0).start()
	b.w.Run()
	if cmd.finished != 0 || write == nil {
		t.Fatalf("finished %d before the file is written", cmd.finished)
	}
	c.wantKeys()
	c.lun(0, cdb10(0x28, 0, 0, 1)).wantGood()
	write()
	b.w.Run()
	if cmd.finished != 1 || cmd.Status != StatusGood {
		t.Fatalf("finished %d, status %#x", cmd.finished, cmd.Status)
	}
	c.wantKeys(1)
}

// TestWriteThatFails: what cannot be written does not happen.
func TestWriteThatFails(t *testing.T) {
	folder := filepath.Join(t.TempDir(), "gone")
	if err := os.Mkdir(folder, 0o700); err != nil {
		t.Fatal(err)
	}
	b := newPTPL(t, filepath.Join(folder, "pr.json"), nil)
	a := b.open(0, "a")
	if err := os.Remove(folder); err != nil {
		t.Fatal(err)
	}
	a.registerWith(1, flagAPTPL).wantSense(senseTargetFailure)
	a.wantKeys()
	a.wantCapabilities(1, 0)
	a.registerWith(1, 0).wantGood()
	a.wantKeys(1)
}

// TestHalfWrittenFile: a crash between the steps of a write leaves what was before.
func TestHalfWrittenFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "pr.json")
	b := newPTPL(t, path, nil)
	b.open(0, "a").registerWith(1, flagAPTPL).wantGood()
	if err := os.WriteFile(path+".new", []byte(`{"version": 1, "regis`), 0o600); err != nil {
		t.Fatal(err)
	}
	b = newPTPL(t, path, nil)
	a := b.open(0, "a")
	a.wantKeys(1)
	a.registerWith(2, flagAPTPL).wantGood()
	b = newPTPL(t, path, nil)
	b.open(0, "a").wantKeys(2)
}

// TestFilesThatAreRefused: a LUN does not begin without the fences that it may have had.
func TestFilesThatAreRefused(t *testing.T) {
	b := newBench(t, 1)
	uuid := bdev.UUID(b.reg.Devices()[0].UUID()).String()
	const registrant = `{"rkey": "0x1", "transport_id": "45", "initiator_port": "x", "target_port": 1}`
	text := func(s string, args ...any) string {
		return fmt.Sprintf(`{"version": 1, "bdev_uuid": "%s", "ptpl": true, %s}`, uuid, fmt.Sprintf(s, args...))
	}
	for _, c := range []struct{ name, text, want string }{
		{"empty", "", "EOF"},
		{"cut off", text(`"registrants": [`)[:80], "unexpected EOF"},
		{"unknown member", text(`"registrants": [], "colour": 1`), "colour"},
		{"other version", strings.Replace(text(`"registrants": []`), "1", "2", 1), "version 2"},
		{"other device", strings.Replace(text(`"registrants": []`), uuid, "00000000-0000-0000-0000-000000000001", 1), "belongs to the device"},
		{"bad key", text(`"registrants": [%s]`, strings.Replace(registrant, "0x1", "one", 1)), "registration of x"},
		{"bad transport ID", text(`"registrants": [%s]`, strings.Replace(registrant, "45", "4", 1)), "registration of x"},
		{"bad type", text(`"rtype": 2, "registrants": [%s]`, registrant), "type 2"},
		{"no holder", text(`"rtype": 1, "registrants": [%s]`, registrant), "not registered"},
		{"holder who is not registered", text(`"rtype": 1, "holder": {"initiator_port": "y", "target_port": 1}, "registrants": [%s]`, registrant), "not registered"},
		{"holder of nothing", text(`"holder": {"initiator_port": "x", "target_port": 1}, "registrants": [%s]`, registrant), "without a reservation"},
		{"too many", text(`"registrants": [%s]`, strings.Repeat(registrant+",", RegistrantsMax)+registrant), "129 registrations"},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "pr.json")
			if err := os.WriteFile(path, []byte(c.text), 0o600); err != nil {
				t.Fatal(err)
			}
			_, err := b.dev.AddLUN(1, "Disk0", LUNOptions{PTPLFile: path})
			if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), path) {
				t.Errorf("error %v, want %q", err, c.want)
			}
		})
	}
	path := filepath.Join(t.TempDir(), "pr.json")
	if err := os.WriteFile(path, []byte(text(`"registrants": [%s]`, strings.Repeat(registrant+",", RegistrantsMax-1)+registrant)), 0o600); err != nil {
		t.Fatal(err)
	}
	add := func(number int, path string) error {
		_, err := b.dev.AddLUN(number, "Disk0", LUNOptions{PTPLFile: path})
		return err
	}
	b.must(add(1, path))
	if err := add(2, path); err == nil || !strings.Contains(err.Error(), "another LUN") {
		t.Errorf("a file for two LUNs: %v", err)
	}
	b.must(b.dev.RemoveLUN(1))
	b.must(add(2, path))
	if err := add(3, filepath.Join(path, "below")); err == nil || !strings.Contains(err.Error(), "does not exist") {
		t.Errorf("a folder that is none: %v", err)
	}
}

// TestRemovalWaitsForTheFile: a LUN that goes away leaves no write behind.
func TestRemovalWaitsForTheFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "pr.json")
	started, goOn := make(chan struct{}), make(chan struct{})
	l := newLive(t)
	defer l.close()
	_, err := l.dev.AddLUN(1, "Malloc1", LUNOptions{PTPLFile: path})
	if err != nil {
		t.Fatal(err)
	}
	lun := l.dev.luns[1]
	lun.ptpl.start = func(write func()) {
		close(started)
		go func() { <-goOn; write() }()
	}
	removed := make(chan error)
	if err := lun.home.Call(func() {
		lun.ask(&change{
			from: lun.home, done: func(effect) {},
			apply: func(old *state) effect {
				next := *old
				next.reservations.persistent = true
				return effect{next: &next, persist: true}
			},
		})
	}); err != nil {
		t.Fatal(err)
	}
	<-started
	go func() { removed <- l.dev.RemoveLUN(1) }()
	for closing := false; !closing; {
		l.must(lun.home.Call(func() { closing = lun.changes.closed }))
	}
	select {
	case err := <-removed:
		t.Errorf("removed while its file is being written: %v", err)
	default:
	}
	close(goOn)
	if err := <-removed; err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path); err != nil {
		t.Errorf("the LUN has gone before its file was written: %v", err)
	}
}

// TestAllTargetPorts: ALL_TG_PT registers the initiator port at every port of the target, and unregisters it there.
func TestAllTargetPorts(t *testing.T) {
	b := newBench(t, 2)
	b.dev.SetPorts([]uint16{1, 2, 7})
	a, c := b.open(0, "a"), b.open(1, "c")
	c.register(9)
	a.registerWith(5, flagAllTGPT).wantGood()
	c.wantKeys(9, 5, 5, 5)
	a.registerWith(6, flagAllTGPT).wantGood()
	c.wantKeys(9, 6, 6, 6)
	a.out(outRegister, 0, 6, 4).wantGood() // at one port
	c.wantKeys(9, 4, 6, 6)
	c.out(outPreempt, 0x01, 9, 6).wantGood()
	c.wantKeys(9, 4)
	a.registerWith(3, flagAllTGPT).wantGood()
	a.registerWith(0, flagAllTGPT).wantGood()
	c.wantKeys(9)
}
