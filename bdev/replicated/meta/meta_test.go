package meta

import (
	"errors"
	"fmt"
	"io"
	"testing"
)

// memory is a disk in memory.
type memory []byte

func (m memory) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 || off+int64(len(p)) > int64(len(m)) {
		return 0, io.ErrUnexpectedEOF
	}
	return copy(p, m[off:]), nil
}

func (m memory) WriteAt(p []byte, off int64) (int, error) {
	if off < 0 || off+int64(len(p)) > int64(len(m)) {
		return 0, io.ErrShortWrite
	}
	return copy(m[off:], p), nil
}

func (m memory) Sync() error { return nil }

func create(t *testing.T, size int, o Options) (memory, *Store) {
	t.Helper()
	m := make(memory, size)
	s, err := Create(m, int64(size), o)
	if err != nil {
		t.Fatal(err)
	}
	return m, s
}

func reopen(t *testing.T, m memory) *Store {
	t.Helper()
	s, err := Open(m, int64(len(m)))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestSuperRoundTrip(t *testing.T) {
	m, s := create(t, 4<<20, Options{})
	s.Super.Fence, s.Super.Current, s.Super.LegGen = 9, 0xabcdef, 77
	s.Super.LegPast[7] = 5
	for i := range s.Super.History {
		s.Super.History[i] = uint64(1000 + i)
	}
	for i := range s.Super.Peers {
		s.Super.Peers[i] = Peer{Node: UUID{byte(i)}, Bitmap: uint64(i), Slot: int8(i - 1), Kind: 3, Flags: 7, Fetched: 8, Applied: 9, MaxEpoch: 10}
	}
	if err := s.WriteSuper(); err != nil {
		t.Fatal(err)
	}
	if got := reopen(t, m).Super; got != s.Super {
		t.Errorf("read %+v\nwrote %+v", got, s.Super)
	}
}

// TestAreasDoNotOverlap lays out many disks and checks that data and areas share no byte and lose few.
func TestAreasDoNotOverlap(t *testing.T) {
	for _, disk := range []int64{1 << 20, 64<<20 + 512, 127 << 20, 1 << 30, 1<<40 + 12345, 126<<20 + 66*4096, 126<<20 + 67*4096} {
		for _, slots := range []int{1, 4, 16} {
			l, err := Internal(disk, slots, 12, ALPages)
			if err != nil {
				t.Fatal(err)
			}
			if l.Data > l.Bitmap(0, 0) {
				t.Errorf("%d bytes, %d slots: data ends at %d, bitmaps begin at %d", disk, slots, l.Data, l.Bitmap(0, 0))
			}
			if waste := l.Bitmap(0, 0) - l.Data; waste > 16*PageSize {
				t.Errorf("%d bytes, %d slots: %d bytes are lost", disk, slots, waste)
			}
			if l.Data > int64(l.SlotPages())*PageBits<<12 {
				t.Errorf("%d bytes, %d slots: data without bits", disk, slots)
			}
			if l.Bitmap(slots-1, l.SlotPages()-1)+PageSize != l.AL(0) || l.AL(ALPages-1)+PageSize != l.Super(1) ||
				l.Super(0)+PageSize != l.Disk {
				t.Errorf("%d bytes, %d slots: areas do not touch", disk, slots)
			}
		}
	}
}

func TestActivityLogRebuilds(t *testing.T) {
	m, s := create(t, 4<<20, Options{ALPages: 4, ALSlots: 1300})
	want := make([]uint32, 1300)
	for i := range want {
		want[i] = ExtentFree
	}
	for n := range 50 {
		u := []Update{{uint16(n * 26), uint32(n)}, {uint16(n*7 + 3), uint32(n + 1000)}}
		if err := s.WriteTransaction(u); err != nil {
			t.Fatal(err)
		}
		for _, x := range u {
			want[x.Slot] = x.Extent
		}
		got, all := reopen(t, m).Hot()
		if all {
			t.Fatalf("after %d transactions the log is not trusted", n+1)
		}
		for i := range want {
			if got[i] != want[i] {
				t.Fatalf("after %d transactions slot %d holds %d, want %d", n+1, i, got[i], want[i])
			}
		}
	}
}

func TestBitmapRoundTripAndWrongPlace(t *testing.T) {
	m, s := create(t, 300<<20, Options{})
	words := make([]uint64, PageBits/64)
	words[3] = 0xf0
	if err := s.WriteBitmap(2, 1, words); err != nil {
		t.Fatal(err)
	}
	got, bad := reopen(t, m).ReadBitmap(2)
	if bad != 0 || got[PageBits/64+3] != 0xf0 || got[3] != 0 {
		t.Fatalf("bad %d", bad)
	}
	var p Page // a page that was written to the wrong place is not believed
	if _, err := m.ReadAt(p[:], s.Layout.Bitmap(2, 1)); err != nil {
		t.Fatal(err)
	}
	m.WriteAt(p[:], s.Layout.Bitmap(2, 0))
	got, bad = reopen(t, m).ReadBitmap(2)
	if bad != 1 || got[0] != ^uint64(0) {
		t.Errorf("bad %d, first word %x", bad, got[0])
	}
}

// TestEveryCorruptionCostsResyncOnly damages each page of the metadata in turn (M7): the result is a refusal, or bits and
// hot extents that include all that were there.
func TestEveryCorruptionCostsResyncOnly(t *testing.T) {
	m, s := create(t, 2<<20, Options{ALPages: 4, ALSlots: 8, Slots: 2})
	words := make([]uint64, 7)
	words[1] = 6
	for slot := range 2 {
		if err := s.WriteBitmap(slot, 0, words); err != nil {
			t.Fatal(err)
		}
	}
	for n := range 9 {
		if err := s.WriteTransaction([]Update{{uint16(n % 8), uint32(n)}}); err != nil {
			t.Fatal(err)
		}
	}
	s.Super.Current = 0x5555
	if err := s.WriteSuper(); err != nil {
		t.Fatal(err)
	}
	before := reopen(t, m)
	for off := s.Layout.Bitmap(0, 0); off < int64(len(m)); off += PageSize {
		for _, byteAt := range []int64{0, 5, 9, 70, 600, 4095} {
			damaged := append(memory(nil), m...)
			damaged[off+byteAt] ^= 0x10
			compareLess(t, before, damaged, fmt.Sprintf("page at %d, byte %d", off, byteAt))
		}
		zeroed := append(memory(nil), m...)
		clear(zeroed[off : off+PageSize])
		if off < s.Layout.AL(0) || off >= s.Layout.Super(1) {
			compareLess(t, before, zeroed, fmt.Sprintf("page at %d zeroed", off))
		}
	}
	both := append(memory(nil), m...)
	both[s.Layout.Super(0)+100] ^= 1
	both[s.Layout.Super(1)+100] ^= 1
	if _, err := Open(both, int64(len(both))); !errors.Is(err, ErrNoSuper) {
		t.Errorf("both superblocks are damaged: %v", err)
	}
}

func compareLess(t *testing.T, before *Store, m memory, what string) {
	t.Helper()
	after, err := Open(m, int64(len(m)))
	if err != nil {
		return // refused
	}
	for slot := range 2 {
		want, _ := before.ReadBitmap(slot)
		got, _ := after.ReadBitmap(slot)
		for i := range want {
			if want[i]&^got[i] != 0 {
				t.Errorf("%s: slot %d has forgotten bits", what, slot)
			}
		}
	}
	hot, all := after.Hot()
	if all {
		return
	}
	is := map[uint32]bool{}
	for _, x := range hot {
		is[x] = true
	}
	for _, x := range before.table {
		if x != ExtentFree && !is[x] {
			t.Errorf("%s: extent %d is not hot any more", what, x)
		}
	}
}

// TestSuperblockSurvivesTornWrite cuts a write of the superblock at every sector of both copies: either the old or the new
// contents count, and from the end of the first copy on the new.
func TestSuperblockSurvivesTornWrite(t *testing.T) {
	m, s := create(t, 1<<20, Options{})
	for n := range 5 {
		s.Super.Fence = uint64(n)
		before := append(memory(nil), m...)
		if err := s.WriteSuper(); err != nil {
			t.Fatal(err)
		}
		for cut := 0; cut <= 2*PageSize; cut += 512 {
			torn := append(memory(nil), before...)
			for i, copyOf := range [2]int{s.copy, 1 - s.copy} {
				at := s.Layout.Super(copyOf)
				part := min(max(cut-i*PageSize, 0), PageSize)
				copy(torn[at:at+int64(part)], m[at:])
			}
			want := uint64(n)
			if cut < PageSize {
				want = uint64(max(n-1, 0))
			}
			// The last sectors of the page are zero in both versions, so it is whole a little earlier.
			if got := reopen(t, torn).Super.Fence; got != want && got != uint64(n) {
				t.Fatalf("fence %d after %d bytes of the write of %d", got, cut, n)
			}
		}
	}
}

// TestOneRottenSuperblockChangesNothing: what was written counts, whichever copy is lost.
func TestOneRottenSuperblockChangesNothing(t *testing.T) {
	m, s := create(t, 1<<20, Options{})
	for n := range 3 {
		s.Super.Current = uint64(0x100 * (n + 1))
		if err := s.WriteSuper(); err != nil {
			t.Fatal(err)
		}
		for i := range 2 {
			damaged := append(memory(nil), m...)
			damaged[s.Layout.Super(i)+700] ^= 1
			if got := reopen(t, damaged).Super; got != s.Super {
				t.Errorf("without copy %d: %+v, want %+v", i, got, s.Super)
			}
		}
	}
}

// TestTransactionInTheWrongPlace: it lies over another one, which is gone, so nothing says any more what is hot.
func TestTransactionInTheWrongPlace(t *testing.T) {
	m, s := create(t, 1<<20, Options{ALPages: 4, ALSlots: 8})
	for n := range 6 {
		if err := s.WriteTransaction([]Update{{uint16(n), uint32(n)}}); err != nil {
			t.Fatal(err)
		}
	}
	var p Page
	if _, err := s.NextTransaction([]Update{{6, 6}}, &p); err != nil {
		t.Fatal(err)
	}
	m.WriteAt(p[:], s.Layout.AL(6%4))
	if _, all := reopen(t, m).Hot(); !all {
		t.Error("the log is trusted although its newest transactions are lost")
	}
}
