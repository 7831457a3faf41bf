package vm

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"pollux/test/target"
)

// drbdCase is a device of the guest's kernel, written to by guest/drbd.sh.
type drbdCase struct {
	name     string
	kind     string // internal, flex-external or an index
	use      string
	attach   string
	create   string
	size     int64 // of the lower disk
	metaSize int64 // of that of the metadata, if it is another
	// kernelOnly is set where apply-al does less than the kernel does when it attaches.
	kernelOnly bool
}

var drbdCases = []drbdCase{
	{name: "file-system", kind: "internal", use: "fs", size: 101<<20 + 1536},
	{name: "ring-wraps", kind: "internal", use: "random", attach: "--al-extents=67", size: 1 << 30},
	{
		name: "striped-ring-wraps", kind: "internal", use: "random", attach: "--al-extents=67",
		create: "--al-stripes=3 --al-stripe-size-kB=16", size: 1<<30 + 5<<10,
	},
	{name: "table-of-two-windows", kind: "internal", use: "deep", attach: "--al-extents=1237", size: 6 << 30},
	{name: "external", kind: "flex-external", use: "random", size: 50<<20 + 512, metaSize: 4 << 20},
	{name: "indexed", kind: "1", use: "random", size: 50 << 20, metaSize: 256 << 20},
	{name: "retired", kind: "internal", use: "retire", attach: "--al-extents=67", size: 512 << 20},
	{name: "untouched", kind: "internal", use: "nothing", size: 64 << 20},
	{name: "without-log", kind: "internal", use: "random", attach: "--al-updates=no", size: 64 << 20, kernelOnly: true},
}

func (c drbdCase) String() string {
	return strings.Join([]string{c.name, c.kind, c.use, c.attach, c.create}, "|")
}

const drbdBlock = 4096

// TestDRBD has DRBD 8.4 in the guest's kernel write metadata until the power goes, and reads them: what the program says must
// be what drbdmeta and the kernel say at the next boot, and no block that was written may count as clean.
func TestDRBD(t *testing.T) {
	t.Parallel()
	program, err := target.PolluxBinary()
	if err != nil {
		t.Skip(err)
	}
	dir := t.TempDir()
	var disks, lines []string
	newDisk := func(name string, size int64) {
		path := filepath.Join(dir, name)
		if err := errors.Join(os.WriteFile(path, nil, 0o600), os.Truncate(path, size)); err != nil {
			t.Fatal(err)
		}
		disks = append(disks, path)
	}
	for _, c := range drbdCases {
		lines = append(lines, c.String())
		newDisk(c.name, c.size)
		if c.metaSize > 0 {
			newDisk(c.name+".meta", c.metaSize)
		}
	}
	boot := func(phase string) string {
		return guest{
			script: "drbd.sh", env: map[string]string{"PHASE": phase, "CASES": strings.Join(lines, "\n")}, disks: disks,
		}.run(t)
	}
	boot("write")
	dumps, written := map[string]string{}, map[string][]int{}
	for _, c := range drbdCases {
		dumps[c.name] = c.dump(t, program, dir)
		written[c.name] = writtenBlocks(t, filepath.Join(dir, c.name))
	}
	said := sections(boot("read"))
	for _, c := range drbdCases {
		t.Run(c.name, func(t *testing.T) { c.compare(t, dumps[c.name], said[c.name], written[c.name]) })
	}
}

// dump is what the program says of the metadata; they must pass its check too.
func (c drbdCase) dump(t *testing.T, program, dir string) string {
	t.Helper()
	path := filepath.Join(dir, c.name)
	if c.metaSize > 0 {
		path += ".meta"
	}
	index := "--index=0"
	if _, err := strconv.Atoi(c.kind); err == nil {
		index = "--index=" + c.kind
	}
	if said := target.Run(t, time.Minute, program, "replicated", "md", "check", index, path); said != "ok\n" {
		t.Errorf("%s: check says %q", c.name, said)
	}
	return target.Run(t, time.Minute, program, "replicated", "md", "dump", "--bits", index, path)
}

// sections are the parts of what guest/drbd.sh prints: case by case, the text after each line "@ NAME".
func sections(text string) map[string]map[string]string {
	said := map[string]map[string]string{}
	var of map[string]string
	name := ""
	for line := range strings.Lines(text) {
		if step, ok := strings.CutPrefix(line, "== "); ok {
			of, name = map[string]string{}, ""
			said[strings.Fields(step)[0]] = of
		} else if part, ok := strings.CutPrefix(line, "@ "); ok {
			name = strings.TrimSpace(part)
		} else if of != nil {
			of[name] += line
		}
	}
	return said
}

// compare checks the dump against drbdmeta's words before and after apply-al, the kernel's after it has attached, and the blocks
// that were written.
func (c drbdCase) compare(t *testing.T, dump string, said map[string]string, written []int) {
	for _, line := range superblockLines(t, said) {
		if !strings.Contains(dump, line) {
			t.Errorf("drbdmeta says %q, the program\n%.600s", line, dump)
		}
	}
	bits := (number(t, said["before"], "la-size-sect") + 7) / 8
	set, dirty := runsOf(t, dump, "set bits", bits), runsOf(t, dump, "dirty bits", bits)
	if before := drbdmetaBitmap(t, said["before"], bits); !slices.Equal(set, before) {
		t.Errorf("the bitmap is not drbdmeta's: %s", difference(set, before))
	}
	if after := drbdmetaBitmap(t, said["after"], bits); !c.kernelOnly && !slices.Equal(dirty, after) {
		t.Errorf("what is dirty is not what apply-al makes dirty: %s", difference(dirty, after))
	}
	count := 0
	for _, is := range dirty {
		if is {
			count++
		}
	}
	oos := number(t, said["kernel"], "oos") / (drbdBlock / 1024)
	if oos != count && oos != count-kernelForgets(bits) {
		t.Errorf("the kernel has attached with %d dirty blocks, the program says %d", oos, count)
	}
	written = slices.DeleteFunc(written, func(block int) bool { return block >= bits }) // metadata
	if (len(written) > 0) == (c.use == "nothing") {
		t.Errorf("%d blocks were written", len(written))
	}
	for _, block := range written {
		if !dirty[block] {
			t.Fatalf("block %d was written, and does not count as dirty", block)
		}
	}
}

// kernelForgets is how many bits Linux 6.1 clears at the end of a bitmap when it attaches, set or not: the last word, if all of it is
// in use.
func kernelForgets(bits int) int {
	if bits%64 == 0 {
		return 64
	}
	return 0
}

// superblockLines are those of the program's dump, made of drbdmeta's words.
func superblockLines(t *testing.T, said map[string]string) []string {
	t.Helper()
	field := func(name string) int { return number(t, said["before"], name) }
	gi := strings.Split(strings.TrimSpace(said["gi"]), ":")
	if len(gi) != 11 {
		t.Fatalf("get-gi says %q", said["gi"])
	}
	var flags []string
	for i, name := range []string{"consistent", "was-up-to-date", "primary-ind", "connected-ind", "full-sync", "peer-outdated", "crashed-primary"} {
		if gi[4+i] == "1" {
			flags = append(flags, name)
		}
	}
	order := []string{"consistent", "primary-ind", "connected-ind", "full-sync", "was-up-to-date", "peer-outdated", "crashed-primary", "al-disabled"}
	if strings.Contains(said["before"], "al-disabled") {
		flags = append(flags, "al-disabled")
	}
	slices.SortFunc(flags, func(a, b string) int { return slices.Index(order, a) - slices.Index(order, b) })
	return []string{
		fmt.Sprintf("superblock at %d, unclean %v, %d sectors\n", field("md_offset"), strings.Contains(said["before"], "unclean"), field("md_size_sect")),
		fmt.Sprintf("size %d, one bit for %d bytes, peer's largest request %d\n", field("la-size-sect")*512, field("bm-byte-per-bit"), field("la-peer-max-bio-size")),
		fmt.Sprintf("flags %s", strings.Join(flags, ",")),
		fmt.Sprintf("device %016X\n", field("device-uuid")),
		fmt.Sprintf("current %s bitmap %s history %s %s\n", gi[0], gi[1], gi[2], gi[3]),
		fmt.Sprintf("activity log at %d, %d stripes of %d blocks, %d extents", field("al_offset"), field("al-stripes"), field("al-stripe-size-4k"), field("al-extents")),
		fmt.Sprintf("bitmap at %d, ", field("bm_offset")),
	}
}

// number is a field of drbdmeta's dump, or of /proc/drbd.
func number(t *testing.T, text, name string) int {
	t.Helper()
	found := regexp.MustCompile(`(?m)(?:^|# |\s)` + name + `[ :](0x[0-9A-F]+|[0-9]+);?$`).FindStringSubmatch(text)
	if found == nil {
		t.Fatalf("no %s in:\n%.1000s", name, text)
	}
	n, err := strconv.ParseUint(found[1], 0, 64)
	if err != nil {
		t.Fatal(err)
	}
	return int(n)
}

// drbdmetaBitmap is the bitmap of drbdmeta's dump: words, some with "N times" before them. What lies past the end of the device is
// left out: drbdmeta sets the bits of whole extents there.
func drbdmetaBitmap(t *testing.T, dump string, bits int) []bool {
	t.Helper()
	_, text, _ := strings.Cut(dump, "\nbm {\n")
	text, _, _ = strings.Cut(text, "}")
	bitmap := make([]bool, 0, bits)
	for _, word := range regexp.MustCompile(`(?:([0-9]+) times )?0x([0-9A-F]{16});`).FindAllStringSubmatch(text, -1) {
		times := 1
		if word[1] != "" {
			times, _ = strconv.Atoi(word[1])
		}
		value, err := strconv.ParseUint(word[2], 16, 64)
		if err != nil {
			t.Fatal(err)
		}
		for range times {
			for i := range 64 {
				bitmap = append(bitmap, value>>i&1 != 0)
			}
		}
	}
	if len(bitmap) < bits {
		t.Fatalf("drbdmeta's bitmap has %d bits of %d", len(bitmap), bits)
	}
	return bitmap[:bits]
}

// runsOf is the bitmap that the program's dump says with lines "NAME FIRST LAST".
func runsOf(t *testing.T, dump, name string, bits int) []bool {
	t.Helper()
	bitmap := make([]bool, bits)
	for line := range strings.Lines(dump) {
		run, ok := strings.CutPrefix(line, name+" ")
		if !ok {
			continue
		}
		var first, last int
		if _, err := fmt.Sscan(run, &first, &last); err != nil || last >= bits {
			t.Fatalf("%q with %d bits: %v", line, bits, err)
		}
		for i := first; i <= last; i++ {
			bitmap[i] = true
		}
	}
	return bitmap
}

// difference tells where two bitmaps differ first, and how much.
func difference(got, want []bool) string {
	first, n := -1, 0
	for i := range got {
		if got[i] != want[i] {
			if n++; first < 0 {
				first = i
			}
		}
	}
	return fmt.Sprintf("%d bits differ, the first is %d: %v, not %v", n, first, got[max(first, 0)], want[max(first, 0)])
}

// writtenBlocks are the numbers of the blocks that are not zero, of a file that was a hole.
func writtenBlocks(t *testing.T, path string) (blocks []int) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	block, zero := make([]byte, drbdBlock), make([]byte, drbdBlock)
	for off := int64(0); ; {
		off, err = f.Seek(off, unix.SEEK_DATA)
		if errors.Is(err, unix.ENXIO) {
			return blocks
		}
		if err != nil {
			t.Fatal(err)
		}
		off &^= drbdBlock - 1
		n, _ := f.ReadAt(block, off)
		if !bytes.Equal(block[:n], zero[:n]) {
			blocks = append(blocks, int(off/drbdBlock))
		}
		off += drbdBlock
	}
}
