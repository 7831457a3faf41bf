package uring

import (
	"os"
	"path/filepath"
	"testing"
)

// TestEveryEntryCompletesOnce: whatever is wrong with an entry, and however many completions the queue has no room for, each entry
// that was submitted completes exactly once. No completion is read before all are submitted, unless the kernel insists.
func TestEveryEntryCompletesOnce(t *testing.T) {
	const rounds = 50 // Their completions are many times what the queue holds.
	onEach(t, func(t *testing.T, q *Ring) {
		f, err := os.OpenFile(filepath.Join(t.TempDir(), "file"), os.O_RDWR|os.O_CREATE, 0o600)
		if err != nil {
			t.Error(err)
			return
		}
		defer func() { _ = f.Close() }()
		if err := f.Truncate(4096); err != nil {
			t.Error(err)
		}
		fd, mem := int(f.Fd()), page(t, 4096)
		nowhere := []Iovec{{Base: 8, Len: 512}, {Base: 16, Len: 512}}
		entries := []struct {
			name  string
			fails bool // with every kernel
			fill  func(e *SQE)
		}{
			{"nop", false, func(e *SQE) { e.Opcode = OpNop }},
			{"read", false, func(e *SQE) { e.Read(fd, mem, 0) }},
			{"no such descriptor", true, func(e *SQE) { e.Write(1<<20, mem, 0) }},
			{"no such memory", true, func(e *SQE) { e.Read(fd, mem, 0); e.Addr = 8 }},
			{"no such pieces", true, func(e *SQE) { e.Readv(fd, nowhere, 0, 0) }},
			{"no such vector", true, func(e *SQE) { e.Readv(fd, nowhere, 0, 0); e.Addr = 8 }},
			{"no such registered buffer", false, func(e *SQE) { e.Read(fd, mem, 0); e.Fixed(FixedMax - 1) }},
			{"a registered buffer beyond the table", false, func(e *SQE) { e.Write(fd, mem, 0); e.Fixed(1<<16 - 1) }},
			{"no such operation", true, func(e *SQE) { e.Opcode = 255 }},
			{"no such flag", false, func(e *SQE) { e.Opcode, e.Flags = OpNop, 1<<7 }},
			{"no such flag of a write", true, func(e *SQE) { e.Write(fd, mem, 0); e.OpFlags = 1 << 30 }},
			{"sync without descriptor", true, func(e *SQE) { e.Fsync(-1, true) }},
			{"sync", false, func(e *SQE) { e.Fsync(fd, true) }},
			{"allocation below nothing", true, func(e *SQE) { e.Fallocate(fd, 0, -1, 4096) }},
			{"receive from a file", true, func(e *SQE) { e.RecvSelect(fd, 77, false) }},
			{"cancellation of nothing", false, func(e *SQE) { e.CancelByUserData(1 << 60) }},
		}
		seen := make([]int, rounds*len(entries))
		take := func() {
			c := next(t, q)
			seen[c.UserData]++
			if e := entries[c.UserData%uint64(len(entries))]; e.fails && c.Res >= 0 {
				t.Errorf("%s: result %d", e.name, c.Res)
			}
		}
		taken := 0
		for i := range seen {
			if q.Full() {
				_, _ = q.Enter()
			}
			for ; q.Full(); taken++ { // A kernel may refuse entries until completions have been read.
				take()
			}
			entries[i%len(entries)].fill(submit(q, uint64(i)))
		}
		for ; taken < len(seen); taken++ {
			take()
		}
		_, _ = q.Enter()
		if q.Ready() != 0 || q.Prepared() != 0 {
			t.Errorf("%d completions and %d entries are left", q.Ready(), q.Prepared())
		}
		for i, n := range seen {
			if n != 1 {
				t.Errorf("entry %d (%s) has completed %d times", i, entries[i%len(entries)].name, n)
			}
		}
	})
}
