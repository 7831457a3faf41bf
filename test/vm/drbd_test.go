package vm

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"pollux/test/drbdmeta"
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
	must := func(err error) {
		if err != nil {
			t.Helper()
			t.Fatal(err)
		}
	}
	superblock, err := drbdmeta.Superblock(said["gi"], said["before"])
	must(err)
	for _, part := range superblock {
		if !strings.Contains(dump, part) {
			t.Errorf("drbdmeta says %q, the program\n%.600s", part, dump)
		}
	}
	before, err := drbdmeta.Bitmap(said["before"])
	must(err)
	set, err := drbdmeta.Runs(dump, "set bits", len(before))
	must(err)
	if wrong := drbdmeta.Difference(set, before); wrong != "" {
		t.Errorf("the bitmap is not drbdmeta's: %s", wrong)
	}
	after, err := drbdmeta.Bitmap(said["after"])
	must(err)
	dirty, err := drbdmeta.Runs(dump, "dirty bits", len(before))
	must(err)
	if wrong := drbdmeta.Difference(dirty, after); wrong != "" && !c.kernelOnly {
		t.Errorf("what is dirty is not what apply-al makes dirty: %s", wrong)
	}
	oos, err := drbdmeta.Number(said["kernel"], "oos")
	must(err)
	outOfSync := int(oos) / (drbdBlock / 1024)
	if count := countTrue(dirty); outOfSync != count && outOfSync != count-kernelForgets(len(dirty)) {
		t.Errorf("the kernel has attached with %d dirty blocks, the program says %d", outOfSync, count)
	}
	written = slices.DeleteFunc(written, func(block int) bool { return block >= len(dirty) }) // metadata
	if (len(written) > 0) == (c.use == "nothing") {
		t.Errorf("%d blocks were written", len(written))
	}
	for _, block := range written {
		if !dirty[block] {
			t.Fatalf("block %d was written, and does not count as dirty", block)
		}
	}
}

func countTrue(list []bool) (n int) {
	for _, is := range list {
		if is {
			n++
		}
	}
	return n
}

// kernelForgets is how many bits Linux 6.1 clears at the end of a bitmap when it attaches, set or not: the last word, if all of it is
// in use.
func kernelForgets(bits int) int {
	if bits%64 == 0 {
		return 64
	}
	return 0
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
