package md

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"pollux/test/drbdmeta"
	"pollux/test/target"
)

const (
	limit       = time.Minute
	seeds       = 24
	seedsFull   = 120
	seedsDamage = 8
	page        = 4096
	windowMax   = 919 // slots that a block tells of
	updatesMax  = 64
	extentFree  = 1<<32 - 1
	blockMagic  = 0x69cb65a2
	unclean     = 0x8374026c
	flagPrimary = 2
)

// TestDrbdmetaAgrees makes metadata of random shapes and histories and has drbdmeta and Pollux read them.
func TestDrbdmetaAgrees(t *testing.T) {
	target.NeedProgram(t, "drbdmeta")
	n := uint64(seeds)
	if target.Full() {
		n = seedsFull
	}
	for seed := range n {
		t.Run(strconv.FormatUint(seed, 10), func(t *testing.T) {
			t.Parallel()
			d := newDevice(t, seed)
			d.writeSuperblock()
			d.writeLog()
			d.writeBitmap()
			d.compare()
		})
	}
}

// TestDamagedLogCostsResyncOnly damages blocks of such logs: at least what drbdmeta makes dirty must count as dirty.
func TestDamagedLogCostsResyncOnly(t *testing.T) {
	target.NeedProgram(t, "drbdmeta")
	for seed := range uint64(seedsDamage) {
		t.Run(strconv.FormatUint(seed, 10), func(t *testing.T) {
			t.Parallel()
			d := newDevice(t, seed)
			d.writeSuperblock()
			d.write(d.offset["md_offset"]+59, []byte{flagPrimary})
			d.writeLog()
			blocks := d.rng.Perm(d.stripes * d.stripe)[:1+d.rng.IntN(3)]
			for _, block := range blocks {
				d.write(d.offset["al_offset"]+block*page+d.rng.IntN(page/2), []byte("damage"))
			}
			run(t, 1, fmt.Sprintf("warning: %d of %d blocks", len(blocks), d.stripes*d.stripe), "check", d.path)
			dump := run(t, 0, fmt.Sprintf(", %d damaged blocks", len(blocks)), "dump", "--bits", d.path)
			d.drbdmeta("apply-al")
			want, got := d.bits(dump, "dirty bits", d.drbdmeta("dump-md"))
			for i := range want {
				if want[i] && !got[i] {
					t.Fatalf("bit %d is dirty for drbdmeta alone\n%.600s", i, dump)
				}
			}
		})
	}
}

// device is a disk whose metadata are being made. It is one that was Primary, but for a few.
type device struct {
	t       *testing.T
	rng     *rand.Rand
	path    string
	kind    string // as drbdmeta names it
	size    int64
	offset  map[string]int // of the areas
	stripes int
	stripe  int // blocks
	active  int // extents
}

// newDevice lays out fresh metadata.
func newDevice(t *testing.T, seed uint64) *device {
	t.Helper()
	rng := rand.New(rand.NewPCG(seed, 0))
	d := &device{
		t: t, rng: rng, path: filepath.Join(t.TempDir(), "disk"), kind: []string{"internal", "flex-external", "0"}[rng.IntN(3)],
		size: 300<<20 + rng.Int64N(1<<32)&^511, stripes: 1 + rng.IntN(4), offset: map[string]int{},
	}
	d.stripe = (8+d.stripes-1)/d.stripes + rng.IntN(8)
	// The table must fit into what a ring tells of.
	d.active = 67 + rng.IntN(min(4000, (d.stripes*d.stripe-1)*windowMax-67))
	if err := os.WriteFile(d.path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(d.path, d.size); err != nil {
		t.Fatal(err)
	}
	if d.kind != "0" { // an index has the usual ring
		d.drbdmeta("create-md", fmt.Sprintf("--al-stripes=%d", d.stripes), fmt.Sprintf("--al-stripe-size-kB=%d", 4*d.stripe))
	} else {
		d.stripes, d.stripe = 1, 8
		d.active = min(d.active, 7*windowMax)
		d.drbdmeta("create-md")
	}
	dump := d.drbdmeta("dump-md")
	for _, area := range []string{"md_offset", "al_offset", "bm_offset"} {
		d.offset[area] = d.number(dump, area)
	}
	return d
}

func (d *device) drbdmeta(args ...string) string {
	d.t.Helper()
	return target.Run(d.t, limit, "drbdmeta", append([]string{"--force", "-", "v08", d.path, d.kind}, args...)...)
}

func (d *device) number(dump, name string) int {
	d.t.Helper()
	n, err := drbdmeta.Number(dump, name)
	if err != nil {
		d.t.Fatal(err)
	}
	return int(n)
}

func (d *device) write(at int, b []byte) {
	d.t.Helper()
	f, err := os.OpenFile(d.path, os.O_WRONLY, 0)
	if err != nil {
		d.t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt(b, int64(at)); err != nil {
		d.t.Fatal(err)
	}
}

// dataSize is how much is replicated: all there is room for, or somewhat less.
func (d *device) dataSize() int64 {
	room := int64(128 << 20) // external metadata: of any disk
	if d.kind == "internal" {
		room = int64(d.offset["bm_offset"])
	}
	return room - d.size/512%64*512
}

// writeSuperblock fills what the kernel fills.
func (d *device) writeSuperblock() {
	b := make([]byte, 64)
	be := binary.BigEndian
	be.PutUint64(b[0:], uint64(d.dataSize()/512))
	for i := range 5 {
		be.PutUint64(b[8+8*i:], d.rng.Uint64()) // generations and the device's UUID
	}
	flags := d.rng.Uint32N(128) &^ 8 // all but full-sync, which drbdmeta leaves to the kernel
	if d.rng.IntN(4) > 0 {
		flags |= flagPrimary
	}
	be.PutUint32(b[56:], flags)
	be.PutUint32(b[60:], unclean)
	d.write(d.offset["md_offset"], b)
	extents := binary.BigEndian.AppendUint32(nil, uint32(d.active))
	d.write(d.offset["md_offset"]+72, extents)
}

// writeLog makes the log of a history: extents come into slots, several in a transaction, until the ring has gone round a few
// times or has just begun.
func (d *device) writeLog() {
	ring := d.stripes * d.stripe
	table := make([]uint32, d.active)
	for i := range table {
		table[i] = extentFree
	}
	extents := uint32((d.dataSize() + 4<<20 - 1) / (4 << 20))
	number := uint32(0) - d.rng.Uint32N(uint32(4*ring)) // it may wrap
	window := 0
	for i := range ring + d.rng.IntN(3*ring) { // the kernel fills the ring when it attaches
		changes := map[int]uint32{}
		if i > 0 {
			for range d.rng.IntN(updatesMax + 1) {
				changes[d.rng.IntN(d.active)] = d.rng.Uint32N(extents)
			}
		}
		block := transaction(number, table, window, changes)
		at := i % ring
		d.write(d.offset["al_offset"]+(at%d.stripes*d.stripe+at/d.stripes)*page, block)
		for slot, extent := range changes {
			table[slot] = extent
		}
		number++
		if window += windowMax; window >= d.active {
			window = 0
		}
	}
}

// transaction is a block of the log: the changes, and a window of the table as it was before them.
func transaction(number uint32, table []uint32, first int, changes map[int]uint32) []byte {
	b := make([]byte, page)
	be := binary.BigEndian
	be.PutUint32(b[0:], blockMagic)
	be.PutUint32(b[4:], number)
	be.PutUint16(b[14:], uint16(len(changes)))
	be.PutUint16(b[16:], uint16(len(table)))
	be.PutUint16(b[18:], uint16(first))
	for i := 36; i < page; i++ {
		b[i] = 0xff // free, unless said below
	}
	n := 0
	for slot, extent := range changes {
		be.PutUint16(b[36+2*n:], uint16(slot))
		be.PutUint32(b[36+2*updatesMax+4*n:], extent)
		n++
	}
	for i, extent := range table[first:min(first+windowMax, len(table))] {
		be.PutUint32(b[36+6*updatesMax+4*i:], extent)
	}
	be.PutUint32(b[8:], ^crc32.Update(^uint32(0), crc32.MakeTable(crc32.Castagnoli), b))
	return b
}

// writeBitmap sets some bits.
func (d *device) writeBitmap() {
	b := make([]byte, (d.dataSize()/512+63)/64)
	for range d.rng.IntN(200) {
		i := d.rng.IntN(int(d.dataSize()+page-1) / page)
		b[i/8] |= 1 << (i % 8)
	}
	d.write(d.offset["bm_offset"], b)
}

// compare asks Pollux first: apply-al empties the log.
func (d *device) compare() {
	d.t.Helper()
	program, err := target.PolluxBinary()
	if err != nil {
		d.t.Skip(err)
	}
	if said := target.Run(d.t, limit, program, "replicated", "md", "check", d.path); said != "ok\n" {
		d.t.Errorf("check says %q", said)
	}
	dump := target.Run(d.t, limit, program, "replicated", "md", "dump", "--bits", d.path)
	before := d.drbdmeta("dump-md")
	superblock, err := drbdmeta.Superblock(lastLine(d.drbdmeta("get-gi")), before)
	if err != nil {
		d.t.Fatal(err)
	}
	for _, part := range superblock {
		if !strings.Contains(dump, part) {
			d.t.Errorf("drbdmeta says %q, the program\n%.600s", part, dump)
		}
	}
	d.compareBits(dump, "set bits", before)
	d.drbdmeta("apply-al")
	after := d.drbdmeta("dump-md")
	d.compareBits(dump, "dirty bits", after)
	applied := target.Run(d.t, limit, program, "replicated", "md", "dump", "--bits", d.path)
	d.compareBits(applied, "dirty bits", after)
}

func (d *device) compareBits(dump, name, oracle string) {
	d.t.Helper()
	want, got := d.bits(dump, name, oracle)
	if wrong := drbdmeta.Difference(got, want); wrong != "" {
		d.t.Errorf("%s are not drbdmeta's: %s\n%.600s", name, wrong, dump)
	}
}

// bits are the bitmap of drbdmeta's dump and a bitmap of Pollux's.
func (d *device) bits(dump, name, oracle string) (want, got []bool) {
	d.t.Helper()
	want, err := drbdmeta.Bitmap(oracle)
	if err != nil {
		d.t.Fatal(err)
	}
	if got, err = drbdmeta.Runs(dump, name, len(want)); err != nil {
		d.t.Fatal(err)
	}
	return want, got
}

// lastLine leaves out drbdmeta's remarks on what a file is not.
func lastLine(text string) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return lines[len(lines)-1]
}

// TestOtherFormatsOfDRBD: what drbdmeta lays out in another format is refused by its name, by dump and check, and by create, which
// would destroy it.
func TestOtherFormatsOfDRBD(t *testing.T) {
	target.NeedProgram(t, "drbdmeta")
	for format, options := range map[string][]string{"v07": nil, "v08": nil, "v09": {"2"}} {
		t.Run(format, func(t *testing.T) {
			path := newFile(t, 300<<20)
			target.Run(t, limit, "drbdmeta", append([]string{"--force", "-", format, path, "internal", "create-md"}, options...)...)
			want := "there is metadata of DRBD v08; --force"
			if format != "v08" {
				want = "not DRBD v08, but " + format
				run(t, 1, want, "dump", path)
				run(t, 1, want, "check", path)
			}
			run(t, 1, want, "create", path)
			run(t, 0, "format GREP v1", "create", "--force", path)
			run(t, 0, "ok", "check", path)
		})
	}
}
