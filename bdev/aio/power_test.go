package aio

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"pollux/bdev"
	"pollux/bdev/bdevtest"
	"pollux/reactor/reactortest"
	"pollux/reactor/uring"
)

// sector is what a power failure keeps or loses whole, in bytes: a block may be torn if it is larger.
const sector = 512

// powerTest is a device on a recording file, and what its sectors may hold after a power failure.
type powerTest struct {
	*bdevtest.Env
	rng       *rand.Rand
	file      *reactortest.File
	clients   [2]*bdevtest.Client
	blockSize uint64
	blocks    uint64
	mem       [4][]byte
	next      byte
	may       []map[byte]bool // by sector: the bytes that it may consist of
	now       []byte          // by sector: the byte that reads see
}

const powerBlocks = 40

func newPowerTest(t testing.TB, seed uint64, blockSize uint32) *powerTest {
	p := &powerTest{
		Env: bdevtest.NewEnv(t, 2), rng: rand.New(rand.NewPCG(seed, 9)), blockSize: uint64(blockSize), blocks: powerBlocks,
	}
	p.World.Seed(seed)
	f, sim := simulated(p.World, blockSize, powerBlocks*uint64(blockSize))
	register(p.Env, "file", f)
	sim.Record()
	p.file = sim
	for i := range p.clients {
		p.clients[i] = p.Open(i, "file", bdev.OpenOptions{Write: true})
	}
	for i := range p.mem {
		p.mem[i] = p.Memory(8 * int(blockSize))
	}
	p.now = make([]byte, p.blocks*p.blockSize/sector)
	for range p.now {
		p.may = append(p.may, map[byte]bool{0: true})
	}
	return p
}

// request is one by chance; writes fill their blocks with a byte of their own, or zeroes.
func (p *powerTest) request(mem []byte) (q bdev.Request, fill byte) {
	q.Blocks = 1 + p.rng.Uint64N(8)
	q.LBA = p.rng.Uint64N(p.blocks - q.Blocks + 1)
	if p.rng.IntN(4) == 0 {
		q.Flags = bdev.Flags(p.rng.IntN(4))
	}
	switch p.rng.IntN(8) {
	case 0:
		return bdev.Request{Op: bdev.OpFlush}, 0
	case 1:
		q.Op = bdev.OpUnmap
		return q, 0
	case 2:
		q.Op = bdev.OpWriteZeroes
		return q, 0
	default:
		q.Op = bdev.OpWrite
		p.next = p.next%250 + 1
		q.Data = [][]byte{mem[:q.Blocks*p.blockSize]}
		for i := range q.Data[0] {
			q.Data[0][i] = p.next
		}
		return q, p.next
	}
}

// begun notes what a request may leave behind from now on.
func (p *powerTest) begun(q bdev.Request, fill byte) {
	for s := q.LBA * p.blockSize / sector; s < (q.LBA+q.Blocks)*p.blockSize/sector; s++ {
		p.may[s][fill] = true
	}
}

// done notes what is sure when a request has ended.
func (p *powerTest) done(q bdev.Request, fill byte) {
	first, last := q.LBA*p.blockSize/sector, (q.LBA+q.Blocks)*p.blockSize/sector
	for s := first; s < last; s++ {
		p.now[s] = fill
		if q.Flags&bdev.FlagFUA != 0 {
			p.may[s] = map[byte]bool{fill: true}
		}
	}
	if q.Op == bdev.OpFlush || q.Flags&bdev.FlagFUA != 0 && q.Op != bdev.OpWrite {
		for s := range p.may { // These are a flush, which makes all of it durable.
			p.may[s] = map[byte]bool{p.now[s]: true}
		}
	}
}

// run does requests one after the other, and loses power while the last one is under way or has just ended.
func (p *powerTest) run() {
	for range 1 + p.rng.IntN(40) {
		q, fill := p.request(p.mem[0])
		p.begun(q, fill)
		p.Want(p.clients[p.rng.IntN(2)].Do(q), bdev.StatusOK)
		p.done(q, fill)
	}
	var late []*bdevtest.Op
	if p.rng.IntN(2) == 0 {
		q, fill := p.request(p.mem[1])
		if p.rng.IntN(2) == 0 {
			q, fill = bdev.Request{Op: bdev.OpFlush}, 0
		}
		p.begun(q, fill)
		o := p.clients[0].Start(q)
		late = append(late, o)
		for range 1 + p.rng.IntN(4) {
			p.World.Step(0)
		}
		if o.Ended > 0 {
			p.done(q, fill)
		}
	}
	p.World.PowerLoss(p.file)
	p.check()
	p.Wait(late...)
}

// check looks at what the power failure has left.
func (p *powerTest) check() {
	for s, may := range p.may {
		for i, v := range p.file.Data[s*sector : (s+1)*sector] {
			if !may[v] {
				p.T.Fatalf("after a power failure byte %d of sector %d is %d, which may be %v", i, s, v, may)
			}
		}
	}
}

func testPowerLoss(t testing.TB, seed uint64) {
	for _, blockSize := range []uint32{512, 4096} {
		p := newPowerTest(t, seed, blockSize)
		p.run()
		if err := p.Registry.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// powerSeeds is how many histories are tried.
const powerSeeds = 100

// TestPowerLoss: what was flushed or written with FUA is there after a power failure, and nothing that was never written is.
func TestPowerLoss(t *testing.T) {
	for seed := range uint64(powerSeeds) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) { testPowerLoss(t, seed) })
	}
}

// TestFailedSync: after a sync that failed every flush fails, though the kernel would answer the next one well; a device made
// anew starts again.
func TestFailedSync(t *testing.T) { testFailedSync(t) }

func testFailedSync(t testing.TB) {
	e := bdevtest.NewEnv(t, 2)
	f, sim := simulated(e.World, 512, 64<<10)
	register(e, "file", f)
	failing := true
	sim.Fault = func(op *uring.SQE) syscall.Errno {
		if op.Opcode == uring.OpFsync && failing {
			failing = false
			return syscall.EIO
		}
		return 0
	}
	a, b := e.Open(0, "file", bdev.OpenOptions{Write: true}), e.Open(1, "file", bdev.OpenOptions{Write: true})
	data := [][]byte{e.Memory(512)}
	flush := bdev.Request{Op: bdev.OpFlush}
	e.Want(a.Do(bdev.Request{Op: bdev.OpWrite, Blocks: 1, Data: data}), bdev.StatusOK)
	e.Want(a.Do(flush), bdev.StatusMediumError)
	for range 3 {
		e.Want(a.Do(flush), bdev.StatusMediumError)
		e.Want(b.Do(flush), bdev.StatusMediumError)
	}
	e.Want(b.Do(bdev.Request{Op: bdev.OpUnmap, Flags: bdev.FlagFUA, Blocks: 1}), bdev.StatusMediumError)
	e.Want(b.Do(bdev.Request{Op: bdev.OpRead, Blocks: 1, Data: data}), bdev.StatusOK)
	if err := e.Registry.Unregister("file"); err != nil {
		t.Fatal(err)
	}
	register(e, "file", f)
	c := e.Open(1, "file", bdev.OpenOptions{Write: true})
	e.Want(c.Do(flush), bdev.StatusOK)
}

// TestFaults: what the kernel says becomes what the initiator should know.
func TestFaults(t *testing.T) {
	for errno, want := range map[syscall.Errno]bdev.Status{
		syscall.ENOSPC: bdev.StatusNoSpace,
		syscall.EDQUOT: bdev.StatusNoSpace,
		syscall.EIO:    bdev.StatusMediumError,
		syscall.ENODEV: bdev.StatusHardwareError,
		syscall.EROFS:  bdev.StatusReadOnly,
		syscall.EBADE:  bdev.StatusConflict,
		syscall.EBADF:  bdev.StatusHardwareError,
	} {
		e := bdevtest.NewEnv(t, 1)
		f, sim := simulated(e.World, 512, 64<<10)
		register(e, "file", f)
		sim.Fault = func(*uring.SQE) syscall.Errno { return errno }
		c := e.Open(0, "file", bdev.OpenOptions{Write: true})
		data := [][]byte{e.Memory(512)}
		e.Want(c.Do(bdev.Request{Op: bdev.OpWrite, Blocks: 1, Data: data}), want)
		e.Want(c.Do(bdev.Request{Op: bdev.OpUnmap, Blocks: 1}), want)
	}
}

// TestInterruptedAndBusy: what is only interrupted, or has no resources, is tried again.
func TestInterruptedAndBusy(t *testing.T) {
	e := bdevtest.NewEnv(t, 1)
	f, sim := simulated(e.World, 512, 64<<10)
	register(e, "file", f)
	answers := []syscall.Errno{syscall.EINTR, syscall.EAGAIN, syscall.ENOMEM, syscall.EINTR}
	sim.Fault = func(*uring.SQE) syscall.Errno {
		if len(answers) == 0 {
			return 0
		}
		a := answers[0]
		answers = answers[1:]
		return a
	}
	c := e.Open(0, "file", bdev.OpenOptions{Write: true})
	e.Want(c.Do(bdev.Request{Op: bdev.OpWrite, Blocks: 1, Data: [][]byte{e.Memory(512)}}), bdev.StatusOK)
	if len(answers) != 0 {
		t.Fatalf("%d answers were not asked for", len(answers))
	}
}

// TestPowerLossAfterResize: a size that a rescan has told of is there after a power failure, and so is what was flushed beyond the old
// end.
func TestPowerLossAfterResize(t *testing.T) { testPowerLossAfterResize(t) }

func testPowerLossAfterResize(t testing.TB) {
	e := bdevtest.NewEnv(t, 2)
	e.World.Seed(1)
	f, sim := simulated(e.World, 512, 64<<10)
	register(e, "file", f)
	sim.Record()
	a, b := e.Open(0, "file", bdev.OpenOptions{Write: true}), e.Open(1, "file", bdev.OpenOptions{Write: true})
	last := bdev.Request{Op: bdev.OpWrite, LBA: 255, Blocks: 1, Data: [][]byte{e.Memory(512)}}
	last.Data[0][0] = 7
	e.Want(a.Do(last), bdev.StatusOutOfRange)
	sim.Data = append(sim.Data, make([]byte, 64<<10)...)
	if err := New(e.Registry).Rescan("file"); err != nil {
		t.Fatal(err)
	}
	e.World.PowerLoss(sim)
	if len(sim.Data) != 128<<10 {
		t.Fatalf("the file has %d bytes after a power failure", len(sim.Data))
	}
	e.Want(a.Do(last), bdev.StatusOK)
	e.Want(b.Do(bdev.Request{Op: bdev.OpFlush}), bdev.StatusOK)
	e.World.PowerLoss(sim)
	if len(sim.Data) != 128<<10 || sim.Data[255*512] != 7 {
		t.Fatalf("the file has %d bytes after a power failure", len(sim.Data))
	}
	last.Op, last.Data[0][0] = bdev.OpRead, 0
	if e.Want(b.Do(last), bdev.StatusOK); last.Data[0][0] != 7 {
		t.Fatal("what was flushed is lost")
	}
}

// TestFailedSyncOfResize: a rescan whose sync fails changes nothing, and the failure, of which the kernel tells only once, is every later
// flush's too.
func TestFailedSyncOfResize(t *testing.T) {
	e := bdevtest.NewEnv(t, 1)
	f, sim := simulated(e.World, 512, 64<<10)
	register(e, "file", f)
	failing := true
	sim.Fault = func(op *uring.SQE) syscall.Errno {
		if op.Opcode == uring.OpFsync && failing {
			failing = false
			return syscall.EIO
		}
		return 0
	}
	c := e.Open(0, "file", bdev.OpenOptions{Write: true})
	sim.Data = append(sim.Data, make([]byte, 64<<10)...)
	if err := New(e.Registry).Rescan("file"); !errors.Is(err, syscall.EIO) {
		t.Errorf("rescan: %v", err)
	}
	e.Want(c.Do(bdev.Request{Op: bdev.OpRead, LBA: 255, Blocks: 1, Data: [][]byte{e.Memory(512)}}), bdev.StatusOutOfRange)
	e.Want(c.Do(bdev.Request{Op: bdev.OpFlush}), bdev.StatusMediumError)
}

// TestRescanOfAHungDisk: a sync that does not end is given up in time, and nobody is told of a size that may not be durable; the next rescan
// tells of it.
func TestRescanOfAHungDisk(t *testing.T) { synctest.Test(t, testRescanOfAHungDisk) }

func testRescanOfAHungDisk(t *testing.T) {
	e := bdevtest.NewEnv(t, 1)
	f, sim := simulated(e.World, 512, 64<<10)
	may, sync := make(chan struct{}), f.sync
	f.sync = func() error {
		<-may
		return sync()
	}
	register(e, "file", f)
	d, err := e.Registry.Lookup("file")
	if err != nil {
		t.Fatal(err)
	}
	sim.Data = append(sim.Data, make([]byte, 64<<10)...)
	began := time.Now()
	if err := New(e.Registry).Rescan("file"); !errors.Is(err, bdev.ErrUnanswered) || time.Since(began) != SyncTimeout || d.Blocks() != 128 {
		t.Errorf("%d blocks after %v: %v", d.Blocks(), time.Since(began), err)
	}
	close(may)
	if err := New(e.Registry).Rescan("file"); err != nil || d.Blocks() != 256 {
		t.Errorf("%d blocks: %v", d.Blocks(), err)
	}
}

// TestNewFileIsSynced: a new file is durable with its size, and its name with its directory, in this order.
func TestNewFileIsSynced(t *testing.T) { testNewFileIsSynced(t) }

func testNewFileIsSynced(t testing.TB) {
	const size = 1 << 20
	dir := t.TempDir()
	path := filepath.Join(dir, "file")
	var synced []string
	created, err := createFile(path, size, func(fd int) error {
		name, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", fd))
		info, _ := os.Stat(path)
		synced = append(synced, fmt.Sprintf("%s %d", name, info.Size()))
		return err
	})
	want := []string{fmt.Sprintf("%s %d", path, size), fmt.Sprintf("%s %d", dir, size)}
	if err != nil || !created || !slices.Equal(synced, want) {
		t.Fatalf("synced %q, want %q (%v)", synced, want, err)
	}
	if _, err := createFile(path+"2", size, func(int) error { return syscall.EIO }); !errors.Is(err, syscall.EIO) {
		t.Errorf("a file that is not durable: %v", err)
	}
	if _, err := os.Stat(path + "2"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a file that is not durable is left: %v", err)
	}
}
