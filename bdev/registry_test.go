package bdev_test

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"syscall"
	"testing"

	"pollux/bdev"
	"pollux/bdev/bdevtest"
)

func TestNamesAreTakenOnce(t *testing.T) {
	e := bdevtest.NewEnv(t, 1)
	spec := bdev.Spec{
		Name: "a", Aliases: []string{"b"}, UUID: [16]byte{1}, ProductName: "x", BlockSize: 512, Blocks: 8,
		Backend: &bdevtest.Disk{Native: bdevtest.Everything()},
	}
	if _, err := e.Registry.Register(spec); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name    string
		aliases []string
		uuid    byte
		blocks  uint64
		size    uint32
		want    error
	}{
		{"a", nil, 2, 8, 512, syscall.EEXIST},
		{"b", nil, 2, 8, 512, syscall.EEXIST},
		{"c", []string{"a"}, 2, 8, 512, syscall.EEXIST},
		{"c", nil, 1, 8, 512, syscall.EEXIST},
		{"01000000-0000-0000-0000-000000000000", nil, 2, 8, 512, syscall.EEXIST},
		{"", nil, 2, 8, 512, syscall.EINVAL},
		{"c", nil, 2, 0, 512, syscall.EINVAL},
		{"c", nil, 2, 1<<54 + 1, 512, syscall.EINVAL},
		{"c", nil, 2, 8, 520, syscall.EINVAL},
		{"c", nil, 2, 8, 256, syscall.EINVAL},
		{"c", nil, 2, 8, 128 << 10, syscall.EINVAL},
		{"c", nil, 2, 1 << 54, 512, nil},
	} {
		s := spec
		s.Name, s.Aliases, s.UUID, s.Blocks, s.BlockSize = c.name, c.aliases, [16]byte{c.uuid}, c.blocks, c.size
		s.Backend = &bdevtest.Disk{Native: bdevtest.Everything()}
		if _, err := e.Registry.Register(s); !errors.Is(err, c.want) {
			t.Errorf("register %q %v %d %d*%d: %v, want %v", c.name, c.aliases, c.uuid, c.blocks, c.size, err, c.want)
		}
	}
	for _, name := range []string{"a", "b", "01000000-0000-0000-0000-000000000000", "c"} {
		if _, err := e.Registry.Lookup(name); err != nil {
			t.Error(err)
		}
	}
	if _, err := e.Registry.Lookup("d"); !errors.Is(err, syscall.ENODEV) {
		t.Errorf("lookup of nothing: %v", err)
	}
}

func TestClaimsExcludeWriters(t *testing.T) {
	e := bdevtest.NewEnv(t, 1)
	(&bdevtest.Disk{Native: bdevtest.Everything()}).Register(e, "d", 512, 8)
	open := func(o bdev.OpenOptions, want error) *bdev.Desc {
		t.Helper()
		s, err := e.Registry.Open("d", o)
		if !errors.Is(err, want) {
			t.Fatalf("open %+v: %v, want %v", o, err, want)
		}
		return s
	}
	writer, second := open(bdev.OpenOptions{Write: true}, nil), open(bdev.OpenOptions{Write: true}, nil)
	open(bdev.OpenOptions{Claim: "lvol"}, syscall.EPERM)
	writer.Close()
	second.Close()
	claim := open(bdev.OpenOptions{Claim: "lvol"}, nil)
	open(bdev.OpenOptions{Write: true}, syscall.EPERM)
	open(bdev.OpenOptions{Claim: "raid"}, syscall.EPERM)
	open(bdev.OpenOptions{}, nil).Close()
	d, _ := e.Registry.Lookup("d")
	if by := e.Registry.ClaimedBy(d); by != "lvol" || !claim.Writable() {
		t.Fatalf("claimed by %q, writable: %v", by, claim.Writable())
	}
	claim.Close()
	open(bdev.OpenOptions{Write: true}, nil).Close()
}

// TestExamine: modules see every new device, unless that is turned off, and then when they are asked to.
func TestExamine(t *testing.T) {
	e := bdevtest.NewEnv(t, 1)
	var mu sync.Mutex
	var seen []string
	e.Registry.AddModule(bdev.Module{Name: "m", Examine: func(d *bdev.Device) {
		mu.Lock()
		defer mu.Unlock()
		seen = append(seen, d.Name())
	}})
	register := func(name string) { (&bdevtest.Disk{Native: bdevtest.Everything()}).Register(e, name, 512, 8) }
	register("a")
	if err := e.Registry.WaitForExamine(t.Context()); err != nil {
		t.Fatal(err)
	}
	o := e.Registry.Options()
	o.AutoExamine = false
	e.Registry.SetOptions(o)
	register("b")
	register("c")
	if err := e.Registry.Examine("c"); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(seen, []string{"a", "c"}) {
		t.Fatalf("examined: %v", seen)
	}
}

// TestEnding: modules hear that the target begins to end while devices still serve, and are closed after the last device is gone.
func TestEnding(t *testing.T) {
	e := bdevtest.NewEnv(t, 1)
	var heard []string
	note := func(what string) { heard = append(heard, fmt.Sprint(what, len(e.Registry.Devices()))) }
	e.Registry.AddModule(bdev.Module{Name: "silent"})
	e.Registry.AddModule(bdev.Module{Name: "m", Ending: func() { note("ending ") }, Close: func() error { note("closed "); return nil }})
	(&bdevtest.Disk{Native: bdevtest.Everything()}).Register(e, "a", 512, 8)
	e.Registry.Ending()
	if err := e.Registry.Close(); err != nil {
		t.Fatal(err)
	}
	if want := []string{"ending 1", "closed 0"}; !slices.Equal(heard, want) {
		t.Errorf("heard %q, want %q", heard, want)
	}
}

// TestPartsInOrder looks at what a disk gets for requests that it cannot do as they are.
func TestPartsInOrder(t *testing.T) {
	for _, c := range []struct {
		name string
		disk bdevtest.Disk
		q    bdev.Request
		want []string
	}{
		{
			"FUA is a flush after the write",
			bdevtest.Disk{Native: bdevtest.Only(bdev.OpRead, bdev.OpWrite, bdev.OpFlush), Cache: true},
			bdev.Request{Op: bdev.OpWrite, Flags: bdev.FlagFUA, LBA: 1, Blocks: 8},
			[]string{"write 1+8", "flush 0+0"},
		},
		{
			"FUA of a module that knows it is one write",
			bdevtest.Disk{Native: bdevtest.Only(bdev.OpRead, bdev.OpWrite, bdev.OpFlush), Cache: true, FUA: true},
			bdev.Request{Op: bdev.OpWrite, Flags: bdev.FlagFUA, LBA: 1, Blocks: 8},
			[]string{"write 1+8"},
		},
		{
			"a write is split at boundaries and limits",
			bdevtest.Disk{Native: bdevtest.Only(bdev.OpRead, bdev.OpWrite), Limits: bdev.Limits{
				OptimalBoundaryBlocks: 4, SplitAtBoundary: true, MaxTransferBlocks: 3,
			}},
			bdev.Request{Op: bdev.OpWrite, LBA: 3, Blocks: 8},
			[]string{"write 3+1", "write 4+3", "write 7+1", "write 8+3"},
		},
		{
			"write zeroes that may unmap unmaps",
			bdevtest.Disk{Native: bdevtest.Only(bdev.OpRead, bdev.OpWrite, bdev.OpUnmap)},
			bdev.Request{Op: bdev.OpWriteZeroes, Flags: bdev.FlagUnmap, LBA: 3, Blocks: 8},
			[]string{"unmap 3+8"},
		},
		{
			"write zeroes writes",
			bdevtest.Disk{Native: bdevtest.Only(bdev.OpRead, bdev.OpWrite, bdev.OpUnmap)},
			bdev.Request{Op: bdev.OpWriteZeroes, LBA: 3, Blocks: 8},
			[]string{"write 3+8"},
		},
		{
			"compare and write reads, then writes",
			bdevtest.Disk{Native: bdevtest.Only(bdev.OpRead, bdev.OpWrite, bdev.OpFlush), Cache: true},
			bdev.Request{Op: bdev.OpCompareAndWrite, Flags: bdev.FlagFUA, LBA: 3, Blocks: 8},
			[]string{"read 3+8", "write 3+8", "flush 0+0"},
		},
		{
			"a copy to an overlapping place behind goes backwards",
			bdevtest.Disk{Native: bdevtest.Only(bdev.OpRead, bdev.OpWrite), Limits: bdev.Limits{MaxTransferBlocks: 4}},
			bdev.Request{Op: bdev.OpCopy, LBA: 2, SrcLBA: 0, Blocks: 6},
			[]string{"read 2+4", "write 4+4", "read 0+2", "write 2+2"},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			e := bdevtest.NewEnv(t, 2)
			var log []string
			c.disk.Log = &log
			c.disk.Register(e, "d", 512, 64)
			client := e.Open(1, "d", bdev.OpenOptions{Write: true})
			c.q.Data = [][]byte{e.Memory(8 * 512)}
			c.q.Compare = [][]byte{e.Memory(8 * 512)}
			if c.q.Op == bdev.OpCopy || c.q.Op == bdev.OpWriteZeroes {
				c.q.Data, c.q.Compare = nil, nil
			}
			e.Want(client.Do(c.q), bdev.StatusOK)
			if !slices.Equal(log, c.want) {
				t.Errorf("the disk got %v, want %v", log, c.want)
			}
		})
	}
}

// TestFailureOfOnePartIsTheRequests: the first failure is reported, after everything in flight has ended.
func TestFailureOfOnePartIsTheRequests(t *testing.T) {
	e := bdevtest.NewEnv(t, 1)
	disk := &bdevtest.Disk{Native: bdevtest.Only(bdev.OpRead, bdev.OpWrite), Hold: true, Limits: bdev.Limits{MaxTransferBlocks: 1}}
	disk.Register(e, "d", 512, 64)
	disk.Refuse = func(q *bdev.Request) bdev.Status {
		if q.LBA == 3 {
			return bdev.StatusNoSpace
		}
		return bdev.StatusOK
	}
	c := e.Open(0, "d", bdev.OpenOptions{Write: true})
	o := c.Start(bdev.Request{Op: bdev.OpWrite, Blocks: 20, Data: [][]byte{e.Memory(20 * 512)}})
	e.World.Run()
	if o.Ended != 0 || len(disk.Held) == 0 {
		t.Fatalf("ended %d times with %d parts in flight", o.Ended, len(disk.Held))
	}
	disk.ReleaseAll()
	e.Wait(o)
	e.Want(o, bdev.StatusNoSpace)
}

// TestStatusNames: every status has a name, and all names differ.
func TestStatusNames(t *testing.T) {
	seen := map[string]bool{}
	for s := range bdev.StatusCount {
		if name := s.String(); name == "" || seen[name] {
			t.Errorf("status %d: %q", s, name)
		} else {
			seen[name] = true
		}
	}
	for op := range bdev.OpCount {
		if fmt.Sprint(op) == "" {
			t.Errorf("operation %d has no name", op)
		}
	}
}

// TestDerivedUUIDs: the same name gives the same UUID, another name another.
func TestDerivedUUIDs(t *testing.T) {
	uuid := func(name string) [16]byte {
		e := bdevtest.NewEnv(t, 1)
		return (&bdevtest.Disk{Native: bdevtest.Everything()}).Register(e, name, 512, 8).UUID()
	}
	a := uuid("a")
	if a != uuid("a") || a == uuid("b") || a[6]>>4 != 5 || a[8]>>6 != 2 {
		t.Errorf("UUIDs %v, %v, %v", a, uuid("a"), uuid("b"))
	}
	var back bdev.UUID
	if err := back.UnmarshalText([]byte(bdev.UUID(a).String())); err != nil || back != a {
		t.Errorf("read back: %v %v", back, err)
	}
	for _, bad := range []string{"", "x", "d9761828-9325-54cb-a3f0-19935c1d727", "d9761828-9325-54cb-a3f0-19935c1d727g", "d976182809325-54cb-a3f0-19935c1d727fa"} {
		if err := back.UnmarshalText([]byte(bad)); err == nil {
			t.Errorf("%q was taken for a UUID", bad)
		}
	}
}
