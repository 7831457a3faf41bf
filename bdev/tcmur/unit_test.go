package tcmur

import (
	"encoding/binary"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unsafe"

	"pollux/bdev"
)

// TestRegionLayout: the two sides agree on every offset, as the C compiler sees it.
func TestRegionLayout(t *testing.T) {
	build(t)
	var h regionHeader
	var r ringHeader
	var s sqe
	var c cqe
	want := []struct {
		c    string
		ours uintptr
	}{
		{"REGION_MAGIC", regionMagic},
		{"REGION_PAGE", regionPage},
		{"offsetof(struct region_header, rings)", unsafe.Offsetof(h.rings)},
		{"offsetof(struct region_header, depth)", unsafe.Offsetof(h.depth)},
		{"offsetof(struct region_header, slot_bytes)", unsafe.Offsetof(h.slotBytes)},
		{"offsetof(struct region_header, ring_stride)", unsafe.Offsetof(h.ringStride)},
		{"offsetof(struct region_header, data_off)", unsafe.Offsetof(h.dataOff)},
		{"offsetof(struct region_header, bytes)", unsafe.Offsetof(h.bytes)},
		{"offsetof(struct region_header, wake_seq)", unsafe.Offsetof(h.wakeSeq)},
		{"offsetof(struct region_header, sleepers)", unsafe.Offsetof(h.sleepers)},
		{"offsetof(struct ring_header, sq_tail)", unsafe.Offsetof(r.sqTail)},
		{"offsetof(struct ring_header, cq_tail)", unsafe.Offsetof(r.cqTail)},
		{"offsetof(struct ring_header, armed)", unsafe.Offsetof(r.armed)},
		{"sizeof(struct ring_header)", unsafe.Sizeof(r)},
		{"offsetof(struct sqe, gen)", unsafe.Offsetof(s.gen)},
		{"offsetof(struct sqe, op)", unsafe.Offsetof(s.op)},
		{"offsetof(struct sqe, data)", unsafe.Offsetof(s.data)},
		{"offsetof(struct sqe, off)", unsafe.Offsetof(s.off)},
		{"offsetof(struct sqe, len)", unsafe.Offsetof(s.len)},
		{"sizeof(struct sqe)", unsafe.Sizeof(s)},
		{"offsetof(struct cqe, gen)", unsafe.Offsetof(c.gen)},
		{"offsetof(struct cqe, status)", unsafe.Offsetof(c.status)},
		{"offsetof(struct cqe, info)", unsafe.Offsetof(c.info)},
		{"sizeof(struct cqe)", unsafe.Sizeof(c)},
		{"OP_READ", opRead},
		{"OP_WRITE", opWrite},
		{"OP_FLUSH", opFlush},
		{"OP_UNMAP", opUnmap},
		{"OP_WRITESAME", opWriteSame},
		{"OP_CAW", opCAW},
	}
	var source strings.Builder
	source.WriteString("#include \"region.h\"\n")
	for _, w := range want {
		fmt.Fprintf(&source, "_Static_assert((%s) == %#x, \"%s\");\n", w.c, w.ours, w.c)
	}
	file := filepath.Join(t.TempDir(), "layout.c")
	if err := os.WriteFile(file, []byte(source.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := gcc([]string{"-std=gnu11", "-Ihelper", "-fsyntax-only", file}); err != nil {
		t.Error(err)
	}
}

// TestHostSymbols: the helper exports every name that Debian's handlers want of their host.
func TestHostSymbols(t *testing.T) {
	dir, config := packaged(t, "handler_*.so"), build(t)
	exports := symbols(t, "--defined-only", config.Helper)
	files, err := filepath.Glob(filepath.Join(dir, "handler_*.so"))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		for name := range symbols(t, "--undefined-only", f) {
			if strings.Contains(name, "tcmu") && !exports[name] {
				t.Errorf("%s wants %s", filepath.Base(f), name)
			}
		}
	}
}

func symbols(t *testing.T, which, file string) map[string]bool {
	out, err := exec.Command("nm", "-D", which, file).Output()
	if err != nil {
		t.Skipf("nm: %v", err)
	}
	names := map[string]bool{}
	for line := range strings.Lines(string(out)) {
		if words := strings.Fields(line); len(words) > 0 {
			names[words[len(words)-1]] = true
		}
	}
	return names
}

// TestHandlers: what handlers say of themselves, with the layout that they were built in; those that pass commands through are
// refused.
func TestHandlers(t *testing.T) {
	l := newLive(t, 0)
	got := map[string]Handler{}
	for _, h := range l.module.Handlers(t.Context()) {
		got[h.Subtype] = h
	}
	for subtype, want := range map[string]string{
		"null": "1.5.4 1 [read write] ", "file": "1.5.4 2 [read write flush unmap reconfig] ", "ram": "1.5.0 1 [read write] ",
		"async": "1.5.4 0 [read write flush unmap writesame caw lock] ",
	} {
		h := got[subtype]
		if s := fmt.Sprintf("%s %d %v %s", h.ABI, h.Threads, h.Operations(), h.Error); s != want {
			t.Errorf("%s: %q, want %q", subtype, s, want)
		}
	}
	l.module.config.Dirs = []string{packaged(t, "handler_qcow.so")}
	for _, h := range l.module.Handlers(t.Context()) {
		passes := strings.Contains(h.Error, "passes SCSI commands through")
		if want := h.Subtype == "zbc" || h.Subtype == "fbo"; passes != want || h.ABI != "1.5.4" && h.Error == "" {
			t.Errorf("%s: abi %s, error %q", h.Subtype, h.ABI, h.Error)
		}
	}
	_, err := l.module.Create(t.Context(), Options{Name: "z", Cfg: "zbc/@/tmp/x", Size: 1 << 20})
	if err == nil || !strings.Contains(err.Error(), "passes SCSI commands through") {
		t.Errorf("a handler that passes commands through: %v", err)
	}
}

// TestABIs: handlers of older layouts: one that is too old, one that can be read in two ways, and what abi says instead.
func TestABIs(t *testing.T) {
	config := build(t)
	source := `
#include "abi.h"
static int f(struct tcmu_device *d, bool r) { (void)d, (void)r; return 0; }
static void g(struct tcmu_device *d) { (void)d; }
static int rw(struct tcmu_device *d, struct tcmur_cmd *c, struct iovec *i, size_t n, size_t l, off_t o)
{ (void)d, (void)c, (void)i, (void)n, (void)l, (void)o; return 0; }
static int lock(struct tcmu_device *d, uint16_t tag) { (void)d, (void)tag; return 0; }
WHAT
int handler_init(void);
`
	const fields = `"n", "SUB", "", 0, 0, 0, f, g, 1, 0, rw, rw, 0, 0`
	for name, c := range map[string]struct{ what, abi, want string }{
		"1.4": {
			`struct { void *p[8]; long n; void *q[8]; void *r[2]; } h = {{"n", "old", "", 0, 0, 0, f, g}, 1, {0, rw, rw}};
			int handler_init(void) { return tcmur_register_handler((void *)&h); }`, "auto", "oldest that can be used is 1.5.0",
		},
		"1.3": {
			`struct { void *p[8]; long n; void *q[8]; } h = {{"n", "old", "", 0, 0, 0, f, g}, 1, {0, rw, rw}};
			int handler_init(void) { return tcmur_register_handler((void *)&h); }`, "auto", "oldest that can be used is 1.5.0",
		},
		// 1.5.3: report_event, lock, unlock, get_lock_tag, get_lock_state after unmap; is_dbus; update_logdir, init, destroy.
		"1.5.3 by its size": {
			`struct { void *p[8]; long n; void *q[10]; long dbus; void *r[3]; } h =
			{{"n", "newer", "", 0, 0, 0, f, g}, 1, {0, rw, rw, 0, 0, 0, lock, g}};
			_Static_assert(sizeof h == 184, "h");
			int handler_init(void) { return tcmur_register_handler((void *)&h); }`, "auto", "abi=1.5.3\nops=rwl\n",
		},
		"1.5.3, told": {
			`static struct { void *p[8]; long n; void *q[10]; long dbus; void *r[3]; } h =
			{{"n", "newer", "", 0, 0, 0, f, g}, 1, {0, rw, rw, 0, 0, 0, lock, g}};
			int handler_init(void) { return tcmur_register_handler((void *)&h); }`, "1.5.3", "abi=1.5.3\nops=rwl\n",
		},
		"1.5.0 by its size": {
			`struct { void *p[8]; long n; void *q[9]; long dbus; void *r[1]; } h =
			{{"n", "first", "", 0, 0, 0, f, g}, 1, {0, rw, rw, 0, 0, lock, g}};
			_Static_assert(sizeof h == 160, "h");
			int handler_init(void) { return tcmur_register_handler((void *)&h); }`, "auto", "abi=1.5.0\nops=rwl\n",
		},
		"1.5.2, told": {
			`static struct { void *p[8]; long n; void *q[9]; long dbus; void *r[1]; } h =
			{{"n", "first", "", 0, 0, 0, f, g}, 1, {0, rw, rw, 0, 0, lock, g}};
			int handler_init(void) { return tcmur_register_handler((void *)&h); }`, "1.5.2", "abi=1.5.0\nops=rwl\n",
		},
		"1.6.2, told": {
			`static struct tcmur_handler h = {` + strings.ReplaceAll(fields, "SUB", "now") + `, (void *)lock, (void *)lock, 0, lock};
			int handler_init(void) { return tcmur_register_handler(&h); }`, "1.6.2", "abi=1.5.4\nops=rwscl\n",
		},
		"two readings": {
			`static struct tcmur_handler h = {` + strings.ReplaceAll(fields, "SUB", "two") + `, (void *)lock, (void *)lock};
			int handler_init(void) { return tcmur_register_handler(&h); }`, "auto", "in two ways",
		},
		"two readings, told": {
			`static struct tcmur_handler h = {` + strings.ReplaceAll(fields, "SUB", "two") + `, (void *)lock, (void *)lock};
			int handler_init(void) { return tcmur_register_handler(&h); }`, "1.6.2", "",
		},
		"no such version": {
			`static struct tcmur_handler h = {` + strings.ReplaceAll(fields, "SUB", "two") + `};
			int handler_init(void) { return tcmur_register_handler(&h); }`, "2.0", "must be one of",
		},
		"names of 1.3": {
			`void tcmu_zero_iovec(void); int handler_init(void) { tcmu_zero_iovec(); return 0; }`, "auto", "older than 1.5.0",
		},
		"no handler": {`int something_else;`, "auto", "not a handler"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			file, so := filepath.Join(dir, "h.c"), filepath.Join(dir, "h.so")
			if err := os.WriteFile(file, []byte(strings.ReplaceAll(source, "WHAT", c.what)), 0o600); err != nil {
				t.Fatal(err)
			}
			if err := gcc([]string{"-std=gnu11", "-w", "-shared", "-fPIC", "-Ihelper", "-o", so, file}); err != nil {
				t.Fatal(err)
			}
			out, err := exec.Command(config.Helper, "probe="+so, "abi="+c.abi).CombinedOutput()
			if err != nil {
				t.Fatal(err)
			}
			if c.want != "" && !strings.Contains(string(out), c.want) || c.want == "" && strings.Contains(string(out), "error=") {
				t.Errorf("%s, want %q", out, c.want)
			}
		})
	}
}

// TestStatuses: every status of a handler has an answer, and none of an error is OK.
func TestStatuses(t *testing.T) {
	for sts := int32(-100); sts < 200; sts++ {
		for _, info := range []uint64{0, 3 << 16, 7<<16 | 0x2707, 5<<16 | 0x2100, 1<<64 - 1} {
			s := statusOf(sts, info)
			if s >= bdev.StatusCount || (s == bdev.StatusOK) != (sts == stsOK) {
				t.Errorf("status %d, info %#x: %d", sts, info, s)
			}
		}
	}
	if s := statusOf(stsPassthrough, 7<<16|0x2707); s != bdev.StatusNoSpace {
		t.Errorf("no space: %v", s)
	}
}

// TestUnmapUnits: an unmap covers its range exactly, with whole units in the middle.
func TestUnmapUnits(t *testing.T) {
	d := &disk{shift: 9, unmapUnit: 4096, ops: opSet{write: true, unmap: true, writeSame: true}}
	for lba := range uint64(20) {
		for blocks := uint64(1); blocks < 40; blocks++ {
			var p program
			p.compile(d, &bdev.Request{Op: bdev.OpUnmap, LBA: lba, Blocks: blocks})
			at := lba << 9
			for _, s := range p.steps[:p.n] {
				if s.off != at || s.len == 0 || s.op == opUnmap && (s.off|s.len)%4096 != 0 || s.op == opWriteSame && s.len >= 8192 {
					t.Fatalf("%d+%d: %+v", lba, blocks, p.steps[:p.n])
				}
				at += s.len
			}
			if at != (lba+blocks)<<9 {
				t.Fatalf("%d+%d: %+v", lba, blocks, p.steps[:p.n])
			}
		}
	}
}

// TestLogRate: a burst passes, then a few lines a second, and what was dropped is said.
func TestLogRate(t *testing.T) {
	out := &logBuffer{}
	p := newLogPump(slog.New(slog.NewTextHandler(out, nil)))
	now := time.Unix(1000, 0)
	p.now, p.last = func() time.Time { return now }, now
	for range 3 * logBurst {
		p.line([]byte("<W>text\x1b[31m\n"))
	}
	if n := strings.Count(out.String(), "text?[31m"); n != logBurst {
		t.Errorf("%d lines of a burst, want %d", n, logBurst)
	}
	now = now.Add(time.Second)
	for range logBurst {
		p.line([]byte("again\n"))
	}
	if n := strings.Count(out.String(), "again"); n != logPerSec {
		t.Errorf("%d lines a second later, want %d", n, logPerSec)
	}
	if !strings.Contains(out.String(), fmt.Sprintf("dropped_lines=%d", 2*logBurst)) {
		t.Error("nothing says how many lines were dropped")
	}
}

// TestCfgForms: tcmu-runner's form, and the 2019 fork's with its leading slash.
func TestCfgForms(t *testing.T) {
	for cfg, want := range map[string]string{
		"file//tmp/x": "file /tmp/x", "/file//tmp/x": "file //tmp/x", "ram/@": "ram @", "/ram/tmp/x": "ram /tmp/x",
		"rbd/pool/image;conf=/x": "rbd pool/image;conf=/x", "file": "file ", "": " ",
	} {
		if got := subtypeOf(cfg) + " " + restOf(cfg); got != want {
			t.Errorf("%s: %q, want %q", cfg, got, want)
		}
	}
}

// TestProbeIsBounded: a handler cannot make the target remember all that it says.
func TestProbeIsBounded(t *testing.T) {
	l := newLive(t, 0)
	dir := t.TempDir()
	file, so := filepath.Join(dir, "talks.c"), filepath.Join(dir, "talks.so")
	source := `
#include <unistd.h>
static char text[1 << 16];
int handler_init(void) { for (int i = 0; i < 1024; i++) for (int fd = 0; fd < 16; fd++) write(fd, text, sizeof text); return 0; }
`
	if err := os.WriteFile(file, []byte(source), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := gcc([]string{"-w", "-shared", "-fPIC", "-o", so, file}); err != nil {
		t.Fatal(err)
	}
	if h := l.module.probe(t.Context(), so); !strings.Contains(h.Error, "more than 65536 bytes") {
		t.Errorf("a handler that talks: %q", h.Error)
	}
}

// TestImageHeader: every header that the handler must not see is refused with its reason.
func TestImageHeader(t *testing.T) {
	put32, put64 := binary.BigEndian.PutUint32, binary.BigEndian.PutUint64
	for want, harm := range map[string]func(h []byte){
		"not a QCOW image":      func(h []byte) { h[0] = 'q' },
		"version 4":             func(h []byte) { put32(h[qcowOffVersion:], 4) },
		"version 0":             func(h []byte) { put32(h[qcowOffVersion:], 0) },
		"a backing file":        func(h []byte) { put64(h[qcowOffBacking:], 104) },
		"clusters of 512":       func(h []byte) { put32(h[qcowOffClusterBits:], 9) },
		"encrypted":             func(h []byte) { put32(h[qcowOffCrypt:], 1) },
		"snapshots":             func(h []byte) { put32(h[qcowOffSnapshots:], 1) },
		"marked corrupt":        func(h []byte) { put64(h[qcowOffIncompatible:], qcowIncompatCorrupt) },
		"a data file":           func(h []byte) { put64(h[qcowOffIncompatible:], qcowIncompatDataFile) },
		"another method":        func(h []byte) { put64(h[qcowOffIncompatible:], qcowIncompatZstd) },
		"extended L2":           func(h []byte) { put64(h[qcowOffIncompatible:], qcowIncompatExtendedL2) },
		"features that are not": func(h []byte) { put64(h[qcowOffIncompatible:], 1<<5) },
		"counts of 64 bits":     func(h []byte) { put32(h[qcowOffRefcount:], qcowRefcountMax+1) },
		"":                      func(h []byte) { put64(h[qcowOffIncompatible:], 1) }, // lazy reference counts: the handler writes them
	} {
		h := make([]byte, qcowHeaderMin)
		copy(h, "QFI\xfb\x00\x00\x00\x03")
		put32(h[qcowOffClusterBits:], qcowClusterBitsMin)
		put32(h[qcowOffRefcount:], qcowRefcountMax)
		harm(h)
		err := (&image{}).check(h)
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}

// FuzzReady: whatever a helper says, what is believed makes a device that can be.
func FuzzReady(f *testing.F) {
	f.Add("size=1048576 block_size=512 threads=2 nr_threads=2 write_cache=1 write_protect=0 ops=rwfu max_xfer=512 max_unmap=0 " +
		"unmap_gran=0 unmap_align=0 unmap=1 ssd=0 abi=1.5.4 subtype=file")
	f.Add("size=18446744073709551615 block_size=4294967295")
	f.Fuzz(func(t *testing.T, fields string) {
		var r readiness
		if r.parse(fields) == nil && (r.size == 0 || r.blockSize == 0 || r.size%uint64(r.blockSize) != 0) {
			t.Errorf("%q: %+v", fields, r)
		}
	})
}

// FuzzImage: whatever is in a header, the check ends.
func FuzzImage(f *testing.F) {
	header := make([]byte, qcowHeaderMin)
	copy(header, "QFI\xfb\x00\x00\x00\x03")
	header[qcowOffClusterBits+3] = 16
	f.Add(header)
	f.Fuzz(func(t *testing.T, b []byte) {
		h := make([]byte, qcowHeaderMin)
		copy(h, b)
		m := &image{}
		if m.check(h) == nil && string(h[:4]) != "QFI\xfb" {
			t.Errorf("%x is an image", h)
		}
	})
}
