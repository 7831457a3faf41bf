package meta

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// shell is `pollux replicated md` in a folder.
type shell struct {
	t   *testing.T
	dir string
}

func newShell(t *testing.T) shell { return shell{t, t.TempDir()} }

// file makes a file of a size, which begins with some bytes.
func (s shell) file(name string, size int64, begin string) string {
	s.t.Helper()
	path := filepath.Join(s.dir, name)
	if err := os.WriteFile(path, []byte(begin), 0o600); err != nil {
		s.t.Fatal(err)
	}
	if err := os.Truncate(path, size); err != nil {
		s.t.Fatal(err)
	}
	return path
}

// damage writes a byte.
func (s shell) damage(path string, at int64) {
	s.t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		s.t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt([]byte{0xa5}, at); err != nil {
		s.t.Fatal(err)
	}
}

// run expects an exit status, and a part of what is printed: on stdout, or of words on stderr if the status is not 0.
func (s shell) run(want int, part string, args ...string) string {
	s.t.Helper()
	var out, words bytes.Buffer
	got := Command(args, &out, &words)
	said := out.String()
	if want != 0 && said == "" {
		said = words.String()
	}
	if got != want || !strings.Contains(said, part) || want == 0 && words.Len() > 0 {
		s.t.Errorf("%v: exit status %d, want %d and %q: %s%s", args, got, want, part, &out, &words)
	}
	return out.String()
}

func TestCommandLine(t *testing.T) {
	s := newShell(t)
	disk := s.file("disk", 8<<20, "")
	s.run(2, "usage: pollux replicated md")
	s.run(2, "usage: pollux replicated md", "frobnicate")
	s.run(0, "usage: pollux replicated md", "--help")
	for _, command := range []string{"create", "dump", "check"} {
		s.run(0, "usage: pollux replicated md", command, "--help")
		s.run(2, "0 files are named", command)
		s.run(2, "2 files are named", command, disk, disk)
		s.run(2, "-frobnicate", command, "--frobnicate", disk)
		s.run(1, "none: no such file", command, filepath.Join(s.dir, "none"))
		s.run(1, "8191 bytes: the disk is too small", command, s.file("small", 8191, ""))
		s.run(1, "is a directory", command, s.dir)
	}
	s.run(2, "-force", "dump", "--force", disk)
	s.run(2, "invalid value", "create", "--slots", "many", disk)
	s.run(1, "no valid superblock", "dump", disk)
	s.run(1, "no valid superblock", "check", disk)
	s.run(1, "index 65536", "dump", "--index", "65536", disk)
}

func TestCommandCreate(t *testing.T) {
	s := newShell(t)
	disk := s.file("disk", 8<<20, "")
	s.run(0, "current 0000000000000004", "create", "--slots", "2", disk)
	s.run(0, "trusted true", "dump", disk)
	s.run(0, "ok\n", "check", disk)
	s.run(1, "metadata of the format GREP v1; --force overwrites it", "create", disk)
	s.run(0, "external false", "create", "--force", disk)
	s.run(1, "an XFS file system; --force overwrites it", "create", s.file("xfs", 8<<20, "XFSB"))
	s.run(0, "", "create", "--force", filepath.Join(s.dir, "xfs"))

	own := s.file("own", 16<<20, "")
	s.run(0, "size 107374182400 of 107374182400 bytes", "create", "--data-size", "107374182400", own)
	s.run(0, "external true", "dump", own)
	s.run(0, "ok\n", "check", own)
	s.run(1, "too small", "create", "--force", "--data-size", "10737418240000", own)
}

// TestCommandCreateBounds: each option at its bound and beyond.
func TestCommandCreateBounds(t *testing.T) {
	s := newShell(t)
	disk := s.file("disk", 64<<20, "")
	for _, c := range []struct {
		option, value string
		want          int
	}{
		{"--slots", "1", 0},
		{"--slots", "16", 0},
		{"--slots", "17", 1},
		{"--slots", "-1", 1},
		{"--bm-shift", "12", 0},
		{"--bm-shift", "20", 0},
		{"--bm-shift", "11", 1},
		{"--bm-shift", "21", 1},
		{"--bm-shift", "268", 1}, // 12, modulo 256
		{"--al-pages", "4", 0},
		{"--al-pages", "1024", 0},
		{"--al-pages", "3", 1},
		{"--al-pages", "1025", 1},
		{"--al-extents", "1", 0},
		{"--al-extents", "65535", 0},
		{"--al-extents", "65536", 1},
		{"--al-extents", "4294967297", 1}, // 1, modulo 2^32
		{"--size", "512", 0},
		{"--size", "513", 1},
		{"--size", "66822144", 0},
		{"--size", "66822656", 1},
		{"--size", "18446744073709551104", 1},
		{"--data-size", "-512", 1},
	} {
		s.run(c.want, "", "create", "--force", c.option, c.value, disk)
	}
	s.run(1, "size, which is not a multiple of 512 513", "create", "--force", "--size", "513", disk)
}

// TestCommandSaysWhatIsDamaged: one superblock is a warning, both are an error; what lies between costs a resync.
func TestCommandSaysWhatIsDamaged(t *testing.T) {
	s := newShell(t)
	const size = 8 << 20
	disk := s.file("disk", size, "")
	s.run(0, "", "create", disk)
	s.damage(disk, size-PageSize+50)
	s.run(1, "warning: superblock A", "check", disk)
	s.run(0, "superblock B", "dump", disk)
	s.damage(disk, size-3*PageSize+50)
	s.run(1, "warning: the activity log is damaged", "check", disk)
	s.damage(disk, size-(2+ALPages+1)*PageSize+50)
	s.run(1, "warning: bitmap slot 3: 1 damaged pages", "check", disk)
	s.damage(disk, size-2*PageSize+50)
	s.run(1, "error: no valid superblock", "check", disk)
	s.run(1, "make fresh metadata with create", "dump", disk)
}

func TestCommandBits(t *testing.T) {
	s := newShell(t)
	path := s.file("disk", 8<<20, "")
	s.run(0, "", "create", "--slots", "2", path)
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	store, err := Open(f, 8<<20)
	if err != nil {
		t.Fatal(err)
	}
	words := make([]uint64, PageBits/64)
	words[0], words[1], words[2] = 0xf0, 1<<63, 1
	if err := store.WriteBitmap(1, 0, words); err != nil {
		t.Fatal(err)
	}
	if err := store.WriteTransaction([]Update{{3, 1}}); err != nil {
		t.Fatal(err)
	}
	out := s.run(0, "hot extent 1\nslot 1 dirty bits 4 7\nslot 1 dirty bits 127 128\n", "dump", "--bits", path)
	if !strings.HasPrefix(out, s.run(0, "format GREP v1.0", "dump", path)) {
		t.Errorf("with --bits there is more, not something else:\n%s", out)
	}
}

// TestCommandDRBD: dump and check of metadata that DRBD wrote, create that must not destroy it, and what is not v08.
func TestCommandDRBD(t *testing.T) {
	s := newShell(t)
	m := newDRBDDisk(DRBDPrimary, 3, 4)
	m.history(1000, 7)
	path := s.file("drbd", int64(len(m.memory)), string(m.memory))
	s.run(0, "transaction 1000, 7 of 7 slots hot", "dump", path)
	s.run(0, "hot extents 5 11\ndirty bits 5120 12287\n", "dump", "--bits", path)
	s.run(0, "ok\n", "check", path)
	s.run(1, "metadata of DRBD v08; --force", "create", path)
	s.damage(path, 4096+500)
	s.run(1, "warning: 1 of 12 blocks of the activity log are damaged\nwarning: the activity log cannot be trusted", "check", path)
	s.run(0, "trusted false", "dump", path)
	s.damage(path, 80)
	s.run(1, "error: DRBD v08 superblock at 0", "check", path)
	s.run(1, "take another copy", "dump", path)

	indexed := s.file("indexed", 3*drbdIndexSize, "")
	f, err := os.OpenFile(indexed, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt(newDRBDDisk(0, 1, 8).memory, drbdIndexSize); err != nil {
		t.Fatal(err)
	}
	s.run(1, "no DRBD superblock", "dump", indexed)
	s.run(0, "superblock at 134217728", "dump", "--index", "1", indexed)
	s.run(0, "ok\n", "check", "--index=1", indexed)
}
