package scsi

import (
	"bytes"
	"encoding/binary"
	"os"
	"path/filepath"
	"testing"

	"pollux/bdev"
	"pollux/bdev/aio"
	"pollux/bdev/malloc"
	"pollux/bdev/passthru"
	"pollux/reactor/iobuf"
)

// TestPromisesAreKept is the table of promises by module: what INQUIRY, READ CAPACITY and REPORT SUPPORTED OPERATION CODES say of a LUN is
// tried on it.
func TestPromisesAreKept(t *testing.T) {
	l := newLive(t)
	names := l.devices()
	c := l.open(0)
	var buf iobuf.Buf
	l.must(c.r.Call(func() { buf, _ = c.r.Buffers().Get(64 << 10) }))
	c.mem = buf.Bytes()
	for i, name := range names {
		lun, err := l.dev.AddLUN(i+1, name, LUNOptions{})
		l.must(err)
		keepsPromises(c, lun, name)
		l.must(l.dev.RemoveLUN(lun))
	}
	l.must(c.r.Call(func() { c.r.Buffers().Put(buf) }))
	c.closeNexus()
	l.close()
}

// devices makes one device of each kind that keeps data.
func (l *live) devices() []string {
	disks, files := malloc.New(l.reg), aio.New(l.reg)
	_, err := disks.Create(malloc.Options{Name: "Malloc4k", BlockSize: 4096, Blocks: 256})
	l.must(err)
	_, err = disks.Create(malloc.Options{Name: "Base", BlockSize: 512, Blocks: 2048})
	l.must(err)
	l.must(passthru.New(l.reg).Create("Pass", "Base", [16]byte{}))
	for name, holes := range map[string]bool{"Holes": true, "Plain": false} {
		path := filepath.Join(l.t.TempDir(), name)
		l.must(os.WriteFile(path, make([]byte, 1<<20), 0o600))
		l.must(files.Create(aio.Options{Name: name, Filename: path, BlockSize: 512, Fallocate: holes}))
	}
	return []string{"Malloc1", "Malloc4k", "Pass", "Holes", "Plain"}
}

// do runs one command on a LUN and waits for it; sent is what the initiator sends, else it takes up to in bytes.
func (c *client) do(lun int, cdb, sent []byte, in int) ([]byte, Sense) {
	copy(c.mem, sent)
	ran := false
	c.start(1, func(c *client) {
		if !ran {
			if ran = true; c.run(lun, cdb, len(sent), in) {
				return
			}
		}
		close(c.done)
	})
	c.wait()
	var s Sense
	if c.task.Status != StatusGood {
		s = Sense{c.task.Sense[2], c.task.Sense[12], c.task.Sense[13]}
	}
	return bytes.Clone(c.mem[:c.task.DataInLen]), s
}

// keeps runs a command and expects GOOD.
func (c *client) keeps(what string, lun int, cdb, sent []byte, in int) []byte {
	c.l.t.Helper()
	got, s := c.do(lun, cdb, sent, in)
	if s.Key == KeyUnitAttention {
		got, s = c.do(lun, cdb, sent, in)
	}
	if c.task.Status != StatusGood {
		c.l.t.Errorf("%s: %02x: status %#x, sense %+v", what, cdb[0], c.task.Status, s)
	}
	return got
}

func keepsPromises(c *client, lun int, name string) {
	t := c.l.t
	capacity := c.keeps(name, lun, cdbAlloc16(0x10, 0, 32), nil, 32)
	if len(capacity) != 32 {
		t.Fatalf("%s: no capacity", name)
	}
	size := int(binary.BigEndian.Uint32(capacity[8:]))
	last := uint32(binary.BigEndian.Uint64(capacity))
	read := func(lba uint32) byte { return c.keeps(name, lun, cdb10(0x28, 0, lba, 1), nil, size)[size-1] }
	want := func(what string, lba uint32, b byte) {
		t.Helper()
		if got := read(lba); got != b {
			t.Errorf("%s: %s: %#x, want %#x", name, what, got, b)
		}
	}
	offered := map[byte]bool{}
	for d := c.keeps(name, lun, []byte{0xa3, 0x0c, 0, 0, 0, 0, 0, 0, 0x20, 0, 0, 0}, nil, 0x2000)[4:]; len(d) >= 8; d = d[8:] {
		offered[d[0]] = true
	}
	one := func(b byte) []byte { return fill(size, b) }
	c.keeps(name, lun, cdb10(0x2a, 8, last, 1), one(1), 0)
	want("FUA write at the end", last, 1)
	c.keeps(name, lun, cdb10(0x35, 0, 0, 0), nil, 0)
	c.keeps(name, lun, cdbSwap(uint64(last), 1), append(one(1), one(2)...), 0)
	want("COMPARE AND WRITE", last, 2)
	if _, s := c.do(lun, cdbSwap(uint64(last), 1), append(one(1), one(3)...), 0); s != senseMiscompare {
		t.Errorf("%s: a second COMPARE AND WRITE says %+v", name, s)
	}
	c.keeps(name, lun, cdb16(0x8b, 0, uint64(last), 1), one(0x50), 0)
	want("ORWRITE", last, 0x52)
	c.keeps(name, lun, cdb10(0x2e, 2, last, 1), one(4), 0)
	c.keeps(name, lun, cdb10(0x2f, 2, last, 1), one(4), 0)
	c.keeps(name, lun, cdb10(0x41, 0, 0, 16), one(5), 0)
	want("WRITE SAME", 15, 5)
	c.keeps(name, lun, cdb10(0x41, 0, 0, 16), one(0), 0)
	want("WRITE SAME of zeroes", 15, 0)

	thin := capacity[14]&0x80 != 0
	if offered[0x42] != thin {
		t.Errorf("%s: UNMAP offered %v, LBPME %v", name, offered[0x42], thin)
	}
	if thin {
		c.keeps(name, lun, cdb10(0x41, 0, 0, 128), one(6), 0)
		list := unmapList(0, 128)
		c.keeps(name, lun, cdbUnmap(len(list)), list, 0)
		want("UNMAP with LBPRZ", 100, 0)
		c.keeps(name, lun, cdb10(0x41, 0, 0, 128), one(6), 0)
		c.keeps(name, lun, cdb10(0x41, sameUnmap, 0, 128), one(0), 0)
		want("WRITE SAME with UNMAP", 100, 0)
		if s := c.keeps(name, lun, cdbAlloc16(0x12, 0, 24), nil, 24); len(s) != 24 || s[20] != lbaDeallocated {
			t.Errorf("%s: GET LBA STATUS after UNMAP: % x", name, s)
		}
	}
	keepsCacheMode(c, lun, name)
}

// keepsCacheMode looks whether WCE and V_SUP are what the device says of itself.
func keepsCacheMode(c *client, lun int, name string) {
	d, err := c.l.reg.Lookup(name)
	c.l.must(err)
	cache := c.keeps(name, lun, senseMode(0x08, 0), nil, 255)
	extended := c.keeps(name, lun, vpd(0x86), nil, 64)
	if has := d.Spec().WriteCache; cache[6]&writeCacheEnable != 0 != has || extended[6]&1 != 0 != has || !d.Supports(bdev.OpFlush) {
		c.l.t.Errorf("%s: write cache %v, caching page % x, page 86h % x", name, has, cache[4:8], extended[4:8])
	}
}
