package vm

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"pollux/test/target"
	"pollux/test/vm/powerloss"
)

// Bounds of the test of power loss.
const (
	lossDisk      = 48 << 20
	lossLog       = 1 << 30 // sparse
	lossFiles     = 8
	lossFilesFull = 40
	lossFilesFew  = 4 // under a target that is broken on purpose
	lossEvery     = 4 // of this many flushes one is looked at, all of them in full runs; marks always
	lossToolLimit = time.Minute
	// lossRunLimit is added to the guest's time for each run but one.
	lossRunLimit = 6 * time.Minute
)

// lossRun is a target on a recording disk of its own.
type lossRun struct {
	file     bool   // the LUN is a file in a file system on the disk; otherwise it is the disk
	mutation string // how the target is broken on purpose
	slow     bool   // the disk's flushes take seconds, so that one can tell who waits for them
}

// String is the run as guest/powerloss.sh takes it.
func (r lossRun) String() string {
	backing := "device"
	if r.file {
		backing = "file"
	}
	speed := ""
	if r.slow {
		speed = "slow"
	}
	return backing + ":" + r.mutation + ":" + speed
}

// TestPowerLoss runs guest/powerloss.sh: the target in the guest on a recording disk. The record is replayed here to each flush:
// the file system must be whole after its journal was replayed, and hold what had been synced. A LUN that is a file must be there
// since the target has made it, of the size that the target has told last.
func TestPowerLoss(t *testing.T) {
	t.Parallel()
	program, err := target.PolluxBinary()
	if err != nil {
		t.Skip(err)
	}
	for _, l := range losePower(t, program, []lossRun{{file: false}, {file: true}}) {
		t.Logf("%v %d entries, %d flushes, %d FUA writes, %d discards, %d marks; looked at %d points",
			l.run, l.entries, l.flushes, l.fua, l.discards, l.marks, l.points)
		switch {
		case l.wrong != "":
			t.Errorf("%v %s", l.run, l.wrong)
		case l.points < l.marks, l.marks < 2*l.files, l.flushes == 0, l.fua == 0, l.run.file && (l.trims == 0 || l.sizes != 2):
			t.Errorf("%v too little was recorded", l.run)
		}
	}
}

// TestPowerLossIsNoticed: a target that is broken on purpose fails the test above. A flush that does nothing shows on a device only: on a
// file the FUA write that ends each commit of the initiator's file system is an fdatasync, which brings all earlier writes with it. A flush that
// answers early shows where flushes take long; the last run shows that this alone harms nobody.
func TestPowerLossIsNoticed(t *testing.T) {
	if !target.Full() {
		t.Skip("a minute for each way to be wrong: make test-full")
	}
	program, err := target.Build("invariants")
	if err != nil {
		t.Fatal(err)
	}
	runs := []lossRun{
		{mutation: "flush-does-nothing"},
		{mutation: "fua-ignored"},
		{mutation: "flush-answers-early", slow: true},
		{mutation: "file-not-synced", file: true},
		{mutation: "size-not-synced", file: true},
		{slow: true},
	}
	for _, l := range losePower(t, program, runs) {
		t.Logf("%v at %d points: %s", l.run, l.points, l.wrong)
		if (l.wrong != "") != (l.run.mutation != "") || l.points == 0 {
			t.Errorf("%v noticed at %d points: %v", l.run, l.points, l.wrong != "")
		}
	}
}

// losePower runs the guest and replays its records, one for each run.
func losePower(t *testing.T, program string, runs []lossRun) (all []*loss) {
	t.Helper()
	target.NeedProgram(t, "e2fsck", "debugfs")
	files, every, words := lossFiles, lossEvery, []string{}
	for _, r := range runs {
		words = append(words, r.String())
	}
	if target.Full() {
		files, every = lossFilesFull, 1
	}
	if runs[0].mutation != "" {
		files = lossFilesFew
	}
	dir := t.TempDir()
	disk, record := newDisk(t, dir, "data", int64(len(runs))*lossDisk), newDisk(t, dir, "record", int64(len(runs))*lossLog)
	said := guest{
		script: "powerloss.sh", env: map[string]string{
			"FILES": strconv.Itoa(files), "RUNS": strings.Join(words, " "), "DATA": strconv.Itoa(lossDisk), "RECORD": strconv.Itoa(lossLog),
		},
		files: map[string]string{"pollux": program}, disks: []string{disk, record},
		extra: time.Duration(len(runs)-1) * lossRunLimit,
	}.run(t)
	checkGuestTold(t, said, len(runs))
	from, err := os.Open(record)
	if err != nil {
		t.Fatal(err)
	}
	defer from.Close()
	for i, r := range runs {
		l := &loss{t: t, run: r, dir: t.TempDir(), files: files, every: every, kept: map[string]int{}}
		l.replay(io.NewSectionReader(from, int64(i)*lossLog, lossLog))
		all = append(all, l)
	}
	return all
}

// checkGuestTold asserts that the target said in one line of each run what Debian's kernel lacks and why.
func checkGuestTold(t *testing.T, said string, runs int) {
	t.Helper()
	var lines []string
	for line := range strings.Lines(said) {
		if strings.Contains(line, "kernel features") {
			lines = append(lines, line)
		}
	}
	wrong := len(lines) != runs
	for _, line := range lines {
		wrong = wrong || !strings.Contains(line, "buffer-ring-inc") || !strings.Contains(line, "Linux is older than")
	}
	if wrong {
		t.Errorf("what the target says of its kernel in %d runs: %q", runs, lines)
	}
}

// loss is a replay: the disk as it would be after a loss of power at some point.
type loss struct {
	t      *testing.T
	run    lossRun
	dir    string
	files  int
	every  int
	image  *os.File
	outer  bool           // the file system that holds the LUN's file is there
	size   int64          // of the LUN's file; 0: it may not be there yet
	made   bool           // the initiator's file system is there
	kept   map[string]int // by name, the number of the content that must be there; 0: it must be gone
	points int
	wrong  string // the first thing that was not as it must be

	entries, flushes, fua, marks, discards, trims, sizes int
}

func newDisk(t *testing.T, dir, name string, size int64) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := errors.Join(os.WriteFile(path, nil, 0o600), os.Truncate(path, size)); err != nil {
		t.Fatal(err)
	}
	return path
}

// replay goes through the record and looks at the disk at flushes and marks.
func (l *loss) replay(from io.ReaderAt) {
	l.t.Helper()
	var err error
	if l.image, err = os.OpenFile(newDisk(l.t, l.dir, "image", lossDisk), os.O_RDWR, 0); err != nil {
		l.t.Fatal(err)
	}
	defer l.image.Close()
	log, err := powerloss.Open(from)
	if err != nil {
		l.t.Fatal(err)
	}
	for l.wrong == "" {
		e, err := log.Next()
		if err == io.EOF {
			return
		}
		if err == nil {
			err = e.Apply(l.image)
		}
		if err != nil {
			l.t.Fatal(err)
		}
		l.step(&e)
	}
}

// step takes note of an entry that was replayed.
func (l *loss) step(e *powerloss.Entry) {
	l.t.Helper()
	l.entries++
	switch {
	case e.Mark != "":
		l.marks++
		l.mark(e.Mark)
		l.look(fmt.Sprintf("mark %q", e.Mark))
	case e.Discard:
		l.discards++
	case e.Flush || e.FUA:
		if e.Flush {
			l.flushes++
		}
		if e.FUA {
			l.fua++
		}
		if (l.flushes+l.fua)%l.every == 0 {
			l.look(fmt.Sprintf("entry %d", l.entries))
		}
	}
}

// mark is what the guest says: "outer", "made": a file system is there and synced; "trimmed", "end"; "size", with bytes and name: what the target
// has told of the LUN's file; and with a file's number and name: "file", which is synced; "free", which may be there or not from now on; "gone",
// whose removal is synced.
func (l *loss) mark(text string) {
	words := strings.Split(text, ":")
	n, name := 0, ""
	if len(words) == 3 {
		n, _ = strconv.Atoi(words[1])
		name = words[2]
	}
	switch words[0] {
	case "outer":
		l.outer = true
	case "size":
		l.size = int64(n)
		l.sizes++
	case "made":
		l.made = true
	case "trimmed":
		l.trims++
	case "file":
		l.kept[name] = n
	case "free":
		delete(l.kept, name)
	case "gone":
		l.kept[name] = 0
	}
}

// look checks a copy of the disk, since replaying the journal changes it.
func (l *loss) look(where string) {
	l.t.Helper()
	if !l.made && !l.outer {
		return
	}
	l.points++
	path := filepath.Join(l.dir, "copy")
	if err := copyDisk(path, l.image); err != nil {
		l.t.Fatal(err)
	}
	if l.outer {
		if path = l.lookInto(path, where); path == "" {
			return
		}
	}
	if l.made && l.isWhole(path, where) {
		l.lookFor(path, where)
	}
}

// isWhole asserts that a file system needs nobody to repair it.
func (l *loss) isWhole(path, where string) bool {
	l.t.Helper()
	// 1: the journal was replayed, orphans were removed. More means that a person would have to repair.
	if out, err := target.TryRun(l.t, lossToolLimit, "e2fsck", "-p", path); err != nil && exitStatus(err) != 1 {
		l.wrong = fmt.Sprintf("%s: e2fsck -p: %v\n%s", where, err, out)
	} else if out, err := target.TryRun(l.t, lossToolLimit, "e2fsck", "-f", "-n", path); err != nil {
		l.wrong = fmt.Sprintf("%s: e2fsck -n: %v\n%s", where, err, out)
	}
	return l.wrong == ""
}

// lookInto asserts that the LUN's file is in the file system on disk, and has its size; it returns a copy of the file, nothing if there
// need not be one or something is wrong.
func (l *loss) lookInto(disk, where string) (path string) {
	l.t.Helper()
	if !l.isWhole(disk, where) || l.size == 0 {
		return ""
	}
	path = filepath.Join(l.dir, "lun")
	if err := os.RemoveAll(path); err != nil {
		l.t.Fatal(err)
	}
	target.Run(l.t, lossToolLimit, "debugfs", "-R", "dump /lun "+path, disk)
	// Who makes it larger may not have told the target yet.
	if info, err := os.Stat(path); err != nil {
		l.wrong = fmt.Sprintf("%s: the LUN's file has gone: %v", where, err)
		return ""
	} else if info.Size() < l.size {
		l.wrong = fmt.Sprintf("%s: the LUN's file has %d bytes, not %d", where, info.Size(), l.size)
		return ""
	}
	return path
}

// lookFor asserts that what had been synced is in the file system on path.
func (l *loss) lookFor(path, where string) {
	l.t.Helper()
	if len(l.kept) == 0 {
		return
	}
	tree := filepath.Join(l.dir, "tree")
	if err := errors.Join(os.RemoveAll(tree), os.Mkdir(tree, 0o700)); err != nil {
		l.t.Fatal(err)
	}
	target.Run(l.t, lossToolLimit, "debugfs", "-R", "rdump / "+tree, path)
	for name, n := range l.kept {
		have, err := os.ReadFile(filepath.Join(tree, name))
		switch {
		case n == 0 && !errors.Is(err, os.ErrNotExist):
			l.wrong = fmt.Sprintf("%s: %s is back (%v)", where, name, err)
		case n != 0 && (err != nil || !bytes.Equal(have, content(n))):
			l.wrong = fmt.Sprintf("%s: %s was synced, and has %d bytes that differ (%v)", where, name, len(have), err)
		}
	}
}

// content is what the guest's script writes to file n.
func content(n int) []byte {
	var b []byte
	for i := n * 1000; i <= n*1000+n*300; i++ {
		b = append(strconv.AppendInt(b, int64(i), 10), '\n')
	}
	return b
}

// copyDisk makes path a copy of from, with holes where it holds zeroes.
func copyDisk(path string, from *os.File) error {
	to, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	defer to.Close()
	buf, zero := make([]byte, 1<<20), make([]byte, 1<<20)
	for off := int64(0); off < lossDisk; off += int64(len(buf)) {
		if _, err := from.ReadAt(buf, off); err != nil {
			return err
		}
		if bytes.Equal(buf, zero) {
			continue
		}
		if _, err := to.WriteAt(buf, off); err != nil {
			return err
		}
	}
	return to.Truncate(lossDisk)
}

func exitStatus(err error) int {
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		return exit.ExitCode()
	}
	return -1
}
