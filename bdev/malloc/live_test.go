package malloc

import (
	"encoding/binary"
	"errors"
	"log/slog"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"

	"pollux/bdev"
	"pollux/bdev/bdevtest"
	"pollux/reactor"
	"pollux/reactor/iobuf"
)

// job is what a liveUser does.
type job int

const (
	counts job = iota // read, compare-and-write of the value plus one, on block 0
	reads             // everything else, by chance
	writes            // stamps
	clears            // unmap and write zeroes
	jobs
)

// liveUser does one job on a device from one reactor, one request after the other.
type liveUser struct {
	job       job
	r         *reactor.Reactor
	desc      *bdev.Desc
	c         *bdev.Channel
	q         bdev.Request
	rng       *rand.Rand
	mem, old  []byte
	left      int
	stamp     uint64
	successes uint64
	failure   error
	over      func()
}

const (
	liveBlocks    = 64
	liveBlockSize = 4096
	liveLongest   = 8
)

func newLiveUser(g *bdev.Registry, r *reactor.Reactor, j job, rounds int) (*liveUser, error) {
	u := &liveUser{job: j, r: r, left: rounds, rng: rand.New(rand.NewPCG(uint64(r.ID()), uint64(j))), stamp: uint64(r.ID()) << 32}
	var err error
	if u.desc, err = g.Open("m", bdev.OpenOptions{Write: true}); err != nil {
		return nil, err
	}
	if u.mem, err = iobuf.Map(liveLongest * liveBlockSize); err != nil {
		return nil, err
	}
	if u.old, err = iobuf.Map(liveBlockSize); err != nil {
		return nil, err
	}
	u.q.Done = func(*bdev.Request) { u.ended() }
	callErr := r.Call(func() { u.c, err = u.desc.OpenChannel(r) })
	return u, errors.Join(callErr, err)
}

// run does the rounds and closes the device.
func (u *liveUser) run() error {
	err := u.r.Do(func(done func()) {
		u.over = func() { u.c.Close(done) }
		u.next()
	})
	u.desc.Close()
	return errors.Join(err, u.failure)
}

func (u *liveUser) next() {
	if u.left--; u.left < 0 || u.failure != nil {
		u.over()
		return
	}
	q := &u.q
	q.Flags, q.Blocks = 0, 1+u.rng.Uint64N(liveLongest)
	q.LBA = 1 + u.rng.Uint64N(liveBlocks-q.Blocks)
	q.Data = [][]byte{u.mem[:q.Blocks*liveBlockSize]}
	switch u.job {
	case counts:
		q.Op, q.LBA, q.Blocks, q.Data = bdev.OpRead, 0, 1, [][]byte{u.old}
	case writes:
		q.Op = bdev.OpWrite
		u.stamp++
		stamp(q.Data[0], u.stamp)
	case clears:
		q.Op, q.Flags = bdev.OpWriteZeroes, bdev.Flags(u.rng.IntN(2))*bdev.FlagUnmap
	default:
		q.Op = bdev.OpRead
	}
	u.c.Submit(q)
}

func (u *liveUser) ended() {
	q := &u.q
	switch {
	case q.Status == bdev.StatusMiscompare:
	case q.Status != bdev.StatusOK:
		u.failure = errors.New(q.Op.String() + ": " + q.Status.String())
	case u.job == counts && q.Op == bdev.OpRead:
		stamp(u.mem[:liveBlockSize], binary.LittleEndian.Uint64(u.old)+1)
		q.Op, q.Compare, q.Data = bdev.OpCompareAndWrite, [][]byte{u.old}, [][]byte{u.mem[:liveBlockSize]}
		u.c.Submit(q)
		return
	case u.job == counts:
		u.successes++
	case u.job == reads:
		u.checkBlocks(q.Data[0])
	}
	u.next()
}

func (u *liveUser) checkBlocks(b []byte) {
	for ; len(b) > 0; b = b[liveBlockSize:] {
		if !isStamped(b[:liveBlockSize]) {
			u.failure = errors.New("a block holds two stamps")
		}
	}
}

func stamp(b []byte, v uint64) {
	for i := 0; i < len(b); i += 8 {
		binary.LittleEndian.PutUint64(b[i:], v)
	}
}

func isStamped(block []byte) bool {
	for i := 8; i < len(block); i += 8 {
		if binary.LittleEndian.Uint64(block[i:]) != binary.LittleEndian.Uint64(block) {
			return false
		}
	}
	return true
}

// TestLiveAtomicity: users on two running reactors count up in one block by read and compare-and-write, while others read blocks that
// others write, zero and unmap. No success is lost, and no block holds two stamps.
func TestLiveAtomicity(t *testing.T) {
	rounds := 20_000
	if readersLock || testing.Short() {
		rounds = 2000
	}
	g, err := reactor.Start(reactor.Config{Cores: []int{-1, -1}})
	if err != nil {
		t.Fatal(err)
	}
	defer g.Stop()
	registry := bdev.NewRegistry(g, slog.New(slog.DiscardHandler))
	m := New(registry)
	if _, err := m.Create(Options{Name: "m", BlockSize: liveBlockSize, Blocks: liveBlocks}); err != nil {
		t.Fatal(err)
	}
	var users []*liveUser
	var group sync.WaitGroup
	for i := range 2 * int(jobs) {
		u, err := newLiveUser(registry, g.Reactors()[i%2], job(i/2), rounds)
		if err != nil {
			t.Fatal(err)
		}
		users = append(users, u)
	}
	for _, u := range users {
		group.Go(func() {
			if err := u.run(); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	d, err := registry.Lookup("m")
	if err != nil {
		t.Fatal(err)
	}
	sum := users[0].successes + users[1].successes
	if got := binary.LittleEndian.Uint64(d.Spec().Backend.(*disk).mem); got != sum || sum == 0 {
		t.Errorf("the counter is %d, the successes are %d", got, sum)
	}
	if err := m.Delete("m"); err != nil {
		t.Fatal(err)
	}
}

// TestUnmapFreesMemory: what has been unmapped is not resident any more, and neither is what was deleted.
func TestUnmapFreesMemory(t *testing.T) {
	if readersLock {
		t.Skip("race builds take the memory from the Go heap")
	}
	const size, blockSize = 64 << 20, 4096
	e := bdevtest.NewEnv(t, 1)
	m := New(e.Registry)
	before := resident(t)
	if _, err := m.Create(Options{Name: "m", BlockSize: blockSize, Blocks: size / blockSize}); err != nil {
		t.Fatal(err)
	}
	c := e.Open(0, "m", bdev.OpenOptions{Write: true})
	data := e.Memory(1 << 20)
	for lba := uint64(0); lba < size/blockSize; lba += 256 {
		e.Want(c.Do(bdev.Request{Op: bdev.OpWrite, LBA: lba, Blocks: 256, Data: [][]byte{data}}), bdev.StatusOK)
	}
	full := resident(t)
	if full < before+size*3/4 {
		t.Fatalf("a full disk of %d bytes takes %d", size, full-before)
	}
	e.Want(c.Do(bdev.Request{Op: bdev.OpUnmap, LBA: 1, Blocks: size/blockSize - 1}), bdev.StatusOK)
	if now := resident(t); now > full-size*3/4 {
		t.Fatalf("%d bytes are resident after unmap, %d before", now, full)
	}
	e.Want(c.Do(bdev.Request{Op: bdev.OpSeekData, LBA: 1}), bdev.StatusOK)
}

// resident is the process's resident memory that belongs to no file, in bytes.
func resident(t *testing.T) int {
	text, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, "RssAnon:"); ok {
			n, err := strconv.Atoi(strings.TrimSuffix(strings.TrimSpace(rest), " kB"))
			if err != nil {
				t.Fatal(err)
			}
			return n << 10
		}
	}
	t.Fatal("no RssAnon in /proc/self/status")
	return 0
}
