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
	lossFilesFull = 60
	lossEvery     = 4 // of this many flushes one is looked at, all of them in full runs; marks always
	lossToolLimit = time.Minute
)

// TestPowerLoss runs guest/powerloss.sh: the target in the guest on a recording disk. The record is replayed here to each flush:
// the file system must be whole after its journal was replayed, and hold what had been synced.
func TestPowerLoss(t *testing.T) {
	t.Parallel()
	program, err := target.PolluxBinary()
	if err != nil {
		t.Skip(err)
	}
	l := losePower(t, program, "")
	t.Logf("%d entries, %d flushes, %d FUA writes, %d marks; looked at %d points", l.entries, l.flushes, l.fua, l.marks, l.points)
	if l.wrong != "" {
		t.Error(l.wrong)
	} else if l.points < l.marks || l.marks < 2*l.files || l.flushes == 0 || l.fua == 0 {
		t.Error("too little was recorded")
	}
}

// TestPowerLossIsNoticed: a target that is broken on purpose fails the test above. A flush that answers early is not among the
// ways: here the disk is always done before the next command comes; package bdevtest shows that one.
func TestPowerLossIsNoticed(t *testing.T) {
	if !target.Full() {
		t.Skip("a minute for each way to be wrong: make test-full")
	}
	program, err := target.Build("invariants")
	if err != nil {
		t.Fatal(err)
	}
	for _, mutation := range []string{"flush-does-nothing", "fua-ignored"} {
		t.Run(mutation, func(t *testing.T) {
			l := losePower(t, program, mutation)
			t.Log(l.wrong)
			if l.wrong == "" {
				t.Errorf("nobody has noticed at %d points", l.points)
			}
		})
	}
}

// losePower runs the guest and replays its record.
func losePower(t *testing.T, program, mutation string) *loss {
	t.Helper()
	target.NeedProgram(t, "e2fsck", "debugfs")
	l := &loss{t: t, dir: t.TempDir(), files: lossFiles, every: lossEvery, kept: map[string]int{}}
	if target.Full() {
		l.every = 1
		if mutation == "" {
			l.files = lossFilesFull
		}
	}
	disk, record := l.newDisk("data", lossDisk), l.newDisk("record", lossLog)
	said := guest{
		script: "powerloss.sh", env: map[string]string{"FILES": strconv.Itoa(l.files), "POLLUX_MUTATION": mutation},
		files: map[string]string{"pollux": program}, disks: []string{disk, record},
	}.run(t)
	checkGuestTold(t, said)
	l.replay(record)
	return l
}

// checkGuestTold asserts that the target said in one line what Debian's kernel lacks and why.
func checkGuestTold(t *testing.T, said string) {
	t.Helper()
	var lines []string
	for line := range strings.Lines(said) {
		if strings.Contains(line, "kernel features") {
			lines = append(lines, line)
		}
	}
	if len(lines) != 1 || !strings.Contains(lines[0], "buffer-ring-inc") || !strings.Contains(lines[0], "Linux is older than") {
		t.Errorf("what the target says of its kernel: %q", lines)
	}
}

// loss is a replay: the disk as it would be after a loss of power at some point.
type loss struct {
	t      *testing.T
	dir    string
	files  int
	every  int
	image  *os.File
	made   bool           // the file system is there
	kept   map[string]int // by name, the number of the content that must be there; 0: it must be gone
	points int
	wrong  string // the first thing that was not as it must be

	entries, flushes, fua, marks int
}

func (l *loss) newDisk(name string, size int64) string {
	l.t.Helper()
	path := filepath.Join(l.dir, name)
	if err := errors.Join(os.WriteFile(path, nil, 0o600), os.Truncate(path, size)); err != nil {
		l.t.Fatal(err)
	}
	return path
}

// replay goes through the record and looks at the disk at flushes and marks.
func (l *loss) replay(record string) {
	l.t.Helper()
	from, err := os.Open(record)
	if err != nil {
		l.t.Fatal(err)
	}
	defer from.Close()
	if l.image, err = os.OpenFile(l.newDisk("image", lossDisk), os.O_RDWR, 0); err != nil {
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

// mark is what the guest says: "made", "end", and with a file's number and name: "file", which is synced; "free", which may be there
// or not from now on; "gone", whose removal is synced.
func (l *loss) mark(text string) {
	l.made = true
	var what, name string
	var n int
	if _, err := fmt.Sscanf(strings.ReplaceAll(text, ":", " "), "%s %d %s", &what, &n, &name); err != nil {
		return // "made", "end"
	}
	switch what {
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
	if !l.made {
		return
	}
	l.points++
	path := filepath.Join(l.dir, "copy")
	if err := copyDisk(path, l.image); err != nil {
		l.t.Fatal(err)
	}
	// 1: the journal was replayed, orphans were removed. More means that a person would have to repair.
	if out, err := target.TryRun(l.t, lossToolLimit, "e2fsck", "-p", path); err != nil && exitStatus(err) != 1 {
		l.wrong = fmt.Sprintf("%s: e2fsck -p: %v\n%s", where, err, out)
		return
	}
	if out, err := target.TryRun(l.t, lossToolLimit, "e2fsck", "-f", "-n", path); err != nil {
		l.wrong = fmt.Sprintf("%s: e2fsck -n: %v\n%s", where, err, out)
		return
	}
	l.lookFor(path, where)
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
