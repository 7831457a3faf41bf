package scsi

import (
	"encoding/binary"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"testing"
	"time"

	"pollux/bdev"
	"pollux/reactor"
	"pollux/reactor/reactortest"
)

// disk is a device in memory. Its requests end at once, after a time by chance, or when the test lets them.
type disk struct {
	size  uint64 // of a block
	data  []byte
	ops   opSet
	delay func() time.Duration // nil: at once
	held  bool                 // requests wait for release
	kept  []func()
	fail  bdev.Status // of the next requests
	hook  func(*bdev.Request)
	enter func(*bdev.Request)              // when a request reaches the device; hook is when it has its effect
	timed map[*bdev.Request]*reactor.Timer // with delay: what can be aborted
}

func (d *disk) Supports(op bdev.Op) bool { return d.ops.has(1 << op) }
func (d *disk) Destroy() error           { return nil }
func (d *disk) OpenQueue(r *reactor.Reactor) (bdev.Queue, error) {
	return &diskQueue{d, r}, nil
}

type diskQueue struct {
	d *disk
	r *reactor.Reactor
}

func (q *diskQueue) Close() {}

func (q *diskQueue) Submit(b *bdev.Request) {
	if q.d.enter != nil {
		q.d.enter(b)
	}
	switch {
	case q.d.held:
		q.d.kept = append(q.d.kept, func() { q.d.serve(b) })
	case b.Op == bdev.OpAbort:
		q.abort(b)
	case q.d.delay != nil:
		t := &reactor.Timer{}
		t.Bind(q.r, func() {
			delete(q.d.timed, b)
			q.d.serve(b)
		})
		t.Start(q.d.delay())
		if q.d.timed != nil {
			q.d.timed[b] = t
		}
	default:
		q.d.serve(b)
	}
}

// abort ends the target before it has had an effect.
func (q *diskQueue) abort(b *bdev.Request) {
	if t := q.d.timed[b.Target]; t != nil {
		t.Stop()
		delete(q.d.timed, b.Target)
		b.Target.Complete(bdev.StatusAborted)
	}
	b.Complete(bdev.StatusOK)
}

// serve does the request in one instant.
func (d *disk) serve(b *bdev.Request) {
	if d.hook != nil {
		d.hook(b)
	}
	if d.fail != bdev.StatusOK {
		b.Complete(d.fail)
		return
	}
	at := b.LBA * d.size
	//exhaustive:ignore what is not named has no effect here
	switch b.Op {
	case bdev.OpRead:
		for _, p := range b.Data {
			copy(p, d.data[at:])
			at += uint64(len(p))
		}
	case bdev.OpWrite:
		for _, p := range b.Data {
			copy(d.data[at:], p)
			at += uint64(len(p))
		}
	case bdev.OpUnmap, bdev.OpWriteZeroes:
		clear(d.data[at : at+b.Blocks*d.size])
	default:
	}
	b.Complete(bdev.StatusOK)
}

var diskOps = ops(bdev.OpRead, bdev.OpWrite, bdev.OpFlush, bdev.OpUnmap, bdev.OpWriteZeroes)

// bench is a device with LUNs in a stepped world.
type bench struct {
	t    testing.TB
	w    *reactortest.World
	reg  *bdev.Registry
	set  *Devices
	dev  *Device
	disk *disk
}

const (
	benchBlocks = 2048
	benchBlock  = 512
)

func newBench(t testing.TB, reactors int) *bench {
	return newBenchSpec(t, reactors, diskOps, bdev.Spec{})
}

// newBenchSpec makes LUN 0 on a disk with the given operations; spec may set more.
func newBenchSpec(t testing.TB, reactors int, can opSet, spec bdev.Spec) *bench {
	b := &bench{t: t, w: reactortest.New(t, reactors)}
	b.reg = bdev.NewRegistry(b.w.Group, slog.New(slog.DiscardHandler))
	b.set = NewDevices(b.w.Group, b.reg, slog.New(slog.DiscardHandler))
	var err error
	b.dev, err = b.set.Create("iqn.2016-06.io.spdk:disk1", DeviceOptions{VersionDescriptor: 0x0960})
	b.must(err)
	b.disk = b.addDisk("Disk0", can, spec)
	_, err = b.dev.AddLUN(0, "Disk0", LUNOptions{})
	b.must(err)
	return b
}

func (b *bench) must(err error) {
	b.t.Helper()
	if err != nil {
		b.t.Fatal(err)
	}
}

func (b *bench) addDisk(name string, can opSet, spec bdev.Spec) *disk {
	b.t.Helper()
	if spec.BlockSize == 0 {
		spec.BlockSize = benchBlock
	}
	if spec.Blocks == 0 {
		spec.Blocks = benchBlocks
	}
	d := &disk{size: uint64(spec.BlockSize), ops: can}
	if can.has(ops(bdev.OpAbort)) {
		d.timed = map[*bdev.Request]*reactor.Timer{}
	}
	if bytes := spec.Blocks * d.size; bytes <= 64<<20 {
		d.data = make([]byte, bytes)
	}
	spec.Name, spec.ProductName, spec.Backend = name, "Malloc disk", d
	_, err := b.reg.Register(spec)
	b.must(err)
	return d
}

// initiator is a nexus with its commands.
type initiator struct {
	*Nexus
	b   *bench
	r   *reactor.Reactor
	tag uint64
}

// open makes a nexus on reactor i, with the power-on condition taken.
func (b *bench) open(i int, name string) *initiator {
	b.t.Helper()
	n := b.openRaw(i, name)
	for _, l := range b.dev.LUNs() {
		n.lun(uint64(l.Number), tur).wantSense(attentionPowerOn)
	}
	return n
}

func (b *bench) openRaw(i int, name string) *initiator {
	b.t.Helper()
	n := &initiator{b: b, r: b.w.Reactors[i]}
	id := "iqn.test:" + name + ",i,0x000000000001"
	b.must(n.r.Call(func() {
		n.Nexus = b.dev.OpenNexus(n.r, PortID{Name: id, TransportID: testTransportID(id)},
			PortID{Name: b.dev.Name() + ",t,0x0001", RelativeID: 1})
	}))
	return n
}

func testTransportID(name string) string {
	body := append([]byte(name), 0)
	for len(body)%4 != 0 {
		body = append(body, 0)
	}
	h := []byte{0x45, 0, 0, 0}
	binary.BigEndian.PutUint16(h[2:], uint16(len(body)))
	return string(h) + string(body)
}

func (n *initiator) close() {
	n.b.t.Helper()
	n.b.must(n.r.Do(func(done func()) { n.Nexus.Close(done) }))
}

// command is a task with its memory.
type testTask struct {
	Task
	n        *initiator
	in, out  []byte
	prepared bool
	finished int
	onFinish func()
}

// new makes a task; out is what the initiator sends, in how much it takes.
func (n *initiator) new(lun uint64, cdb, out []byte, in int) *testTask {
	n.tag++
	t := &testTask{n: n, in: make([]byte, in), out: out}
	t.LUN, t.CDBLen, t.Tag = EncodeLUN(int(lun)), 16, n.tag
	t.Attribute = AttributeSimple
	copy(t.CDB[:], cdb)
	t.ExpectedOut, t.ExpectedIn = uint32(len(out)), uint32(in)
	t.Finished = func(*Task) {
		t.finished++
		if t.onFinish != nil {
			t.onFinish()
		}
	}
	return t
}

// prepare and execute run on the nexus's reactor, inside a Call.
func (t *testTask) prepare() bool {
	t.prepared = t.n.Prepare(&t.Task)
	if !t.prepared {
		t.finished++
	}
	return t.prepared
}

func (t *testTask) execute() {
	t.DataOut, t.DataIn = nil, nil
	if n := min(t.DataOutLen, t.ExpectedOut); n > 0 {
		t.DataOut = [][]byte{t.out[:n]}
	}
	if n := min(t.DataInMax, t.ExpectedIn); n > 0 {
		t.DataIn = [][]byte{t.in[:n]}
	}
	t.n.Execute(&t.Task)
}

// start prepares and executes.
func (t *testTask) start() *testTask {
	t.n.b.t.Helper()
	t.n.b.must(t.n.r.Call(func() {
		if t.prepare() {
			t.execute()
		}
	}))
	return t
}

// wait lets the world go on until the task has finished.
func (t *testTask) wait() *testTask {
	t.n.b.t.Helper()
	for range 10000 {
		if t.finished > 0 {
			t.n.b.w.Run()
			if t.finished != 1 {
				t.n.b.t.Fatalf("finished %d times", t.finished)
			}
			return t
		}
		t.n.b.w.Advance(time.Millisecond)
	}
	t.n.b.t.Fatal("the task does not finish")
	return nil
}

// result is the answer to a command.
type result struct {
	*testTask
	what string
}

func (n *initiator) lun(lun uint64, cdb []byte) result { return n.run(lun, cdb, nil, 4096) }

func (n *initiator) run(lun uint64, cdb, out []byte, in int) result {
	n.b.t.Helper()
	if out != nil {
		in = 0
	}
	t := n.new(lun, cdb, out, in).start().wait()
	return result{testTask: t, what: fmt.Sprintf("% x", cdb)}
}

// cmd runs a command on LUN 0 and expects GOOD.
func (n *initiator) cmd(cdb, out []byte) []byte {
	n.b.t.Helper()
	return n.run(0, cdb, out, 1<<16).wantGood()
}

func (r result) data() []byte { return r.in[:r.DataInLen] }

func (r result) wantGood() []byte {
	r.n.b.t.Helper()
	if r.Status != StatusGood {
		r.n.b.t.Fatalf("%s: status %#x, sense % x", r.what, r.Status, r.Sense[:r.SenseLen])
	}
	return r.data()
}

func (r result) wantStatus(status byte) {
	r.n.b.t.Helper()
	if r.Status != status {
		r.n.b.t.Fatalf("%s: status %#x, sense % x, want status %#x", r.what, r.Status, r.Sense[:r.SenseLen], status)
	}
}

func (r result) sense() Sense {
	if r.SenseLen == 0 {
		return Sense{}
	}
	if r.Sense[0]&0x7f == 0x72 {
		return Sense{r.Sense[1], r.Sense[2], r.Sense[3]}
	}
	return Sense{r.Sense[2] & 0xf, r.Sense[12], r.Sense[13]}
}

func (r result) wantSense(s Sense) {
	r.n.b.t.Helper()
	r.wantStatus(StatusCheckCondition)
	if r.sense() != s {
		r.n.b.t.Fatalf("%s: sense %+v, want %+v", r.what, r.sense(), s)
	}
}

// wantField expects INVALID FIELD IN CDB that points at byte field.
func (r result) wantField(field int) {
	r.n.b.t.Helper()
	r.wantSense(senseInvalidFieldInCDB)
	if got := int(binary.BigEndian.Uint16(r.Sense[16:])); r.Sense[15]&0xc0 != 0xc0 || got != field {
		r.n.b.t.Fatalf("%s: field pointer % x, want byte %d of the CDB", r.what, r.Sense[15:18], field)
	}
}

// CDBs.

var tur = []byte{0x00, 0, 0, 0, 0, 0}

func cdb10(op byte, flags byte, lba uint32, blocks uint16) []byte {
	c := []byte{op, flags, 0, 0, 0, 0, 0, 0, 0, 0}
	binary.BigEndian.PutUint32(c[2:], lba)
	binary.BigEndian.PutUint16(c[7:], blocks)
	return c
}

func cdb12(op, flags byte, lba, blocks uint32) []byte {
	c := make([]byte, 12)
	c[0], c[1] = op, flags
	binary.BigEndian.PutUint32(c[2:], lba)
	binary.BigEndian.PutUint32(c[6:], blocks)
	return c
}

func cdb16(op, flags byte, lba uint64, blocks uint32) []byte {
	c := make([]byte, 16)
	c[0], c[1] = op, flags
	binary.BigEndian.PutUint64(c[2:], lba)
	binary.BigEndian.PutUint32(c[10:], blocks)
	return c
}

func cdbSwap(lba uint64, blocks byte) []byte {
	c := cdb16(0x89, 0, lba, 0)
	c[13] = blocks
	return c
}

func cdbAlloc16(action byte, lba uint64, alloc uint32) []byte {
	c := cdb16(0x9e, action, lba, alloc)
	return c
}

func fill(n int, b byte) []byte {
	p := make([]byte, n)
	for i := range p {
		p[i] = b
	}
	return p
}

func randomDelay(rng *rand.Rand, most time.Duration) func() time.Duration {
	return func() time.Duration { return time.Duration(rng.Int64N(int64(most))) + 1 }
}
