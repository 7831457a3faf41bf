package gate

import (
	"bytes"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"reflect"
	"strconv"
	"testing"

	"pollux/iscsi"
	"pollux/iscsi/initiator"
	"pollux/test/target"
)

// liveCuts is how many connections are cut; make test-full cuts more.
const liveCuts, liveCutsFull = 1000, 20_000

// cut is a way for a connection to end while I/O is under way.
type cut struct {
	name string
	end  func(b *bed, c *rawSession)
}

var cuts = []cut{
	{"rst", func(_ *bed, c *rawSession) { c.reset() }},
	{"fin", func(_ *bed, c *rawSession) { c.conn.Close() }},
	{"halfDataOut", func(b *bed, c *rawSession) {
		c.write(b, c.dataOut(4096)[:iscsi.BHSLength+1000])
		c.conn.Close()
	}},
	{"halfHeader", func(b *bed, c *rawSession) {
		c.write(b, c.dataOut(4096)[:20])
		c.reset()
	}},
	{"tmf", func(b *bed, c *rawSession) {
		c.write(b, c.manage(tmfAbortTaskSet))
		c.conn.Close()
	}},
	{"reinstatement", func(b *bed, c *rawSession) {
		again, err := b.rawDial(c.isid)
		if err != nil {
			b.t.Fatal(err)
		}
		again.reset()
		c.conn.Close()
	}},
}

// TestCutsLeaveNothing: connections that are cut in every way and in every state leave no session, no command, no buffer, no place in a
// ring, no timer, no descriptor and no goroutine behind, and nothing of one reaches another.
func TestCutsLeaveNothing(t *testing.T) {
	onEach(t, func(b *bed) {
		rounds := liveCuts
		if target.Full() {
			rounds = liveCutsFull
		}
		witness := b.dial("disk", named("witness"))
		pattern := bytes.Repeat([]byte("witness!"), 8*blockSize/8)
		b.must(witness, b.lun(0), write16(0, 8), pattern, 0)
		b.warmUp()
		before := b.holdings()
		for i := range rounds {
			c, err := b.rawDial(iscsi.ISID{0x80, 3, byte(i >> 8), byte(i)})
			if err != nil {
				b.t.Fatalf("round %d: %v", i, err)
			}
			c.startSome(b, rand.New(rand.NewPCG(uint64(i), 7)))
			cuts[i%len(cuts)].end(b, c)
			if got := b.must(witness, b.lun(0), read16(0, 8), nil, len(pattern)); !bytes.Equal(got, pattern) {
				b.t.Fatalf("round %d (%s): the witness reads what is not its own", i, cuts[i%len(cuts)].name)
			}
		}
		b.eventually("all is given back", func() error {
			after := b.holdings()
			after.descriptors = max(after.descriptors, before.descriptors) // The kernel may have closed the warm-up's since.
			if !reflect.DeepEqual(after, before) {
				return fmt.Errorf("before %+v, after %+v", before, after)
			}
			return nil
		})
	})
}

// warmUp lets the target make what it keeps.
func (b *bed) warmUp() {
	b.t.Helper()
	for i := range cuts {
		c, err := b.rawDial(iscsi.ISID{0x80, 4, byte(i)})
		if err != nil {
			b.t.Fatal(err)
		}
		c.startSome(b, rand.New(rand.NewPCG(uint64(i), 8)))
		cuts[i].end(b, c)
	}
	b.eventually("one connection", func() error { return b.connections(1) })
}

// holdings is what a target holds that a cut connection must give back.
type holdings struct {
	iscsi       iscsi.Usage
	reactors    []threadUsage
	outstanding int // requests at the devices
	goroutines  int
	descriptors int
}

// threadUsage is an element of reactor_get_usage.
type threadUsage struct {
	Name     string `json:"name"`
	Slots    int    `json:"ring_slots"`
	InFlight int    `json:"in_flight"`
	Backlog  int    `json:"backlog"`
	Buffers  int    `json:"buffers"`
	Timers   int    `json:"timers"`
}

func (b *bed) holdings() (h holdings) {
	b.t.Helper()
	b.rpc("iscsi_get_usage", nil, &h.iscsi)
	var reactors struct {
		Threads []threadUsage `json:"threads"`
	}
	b.rpc("reactor_get_usage", nil, &reactors)
	h.reactors = reactors.Threads
	var devices struct {
		Bdevs []struct {
			QueueDepth int `json:"queue_depth"`
		} `json:"bdevs"`
	}
	b.rpc("bdev_get_iostat", nil, &devices)
	for _, d := range devices.Bdevs {
		h.outstanding += d.QueueDepth
	}
	h.goroutines = b.goroutines()
	names, err := os.ReadDir(filepath.Join("/proc", strconv.Itoa(b.srv.PID()), "fd"))
	if err != nil {
		b.t.Fatal(err)
	}
	h.descriptors = len(names)
	return h
}

// goroutines is the least number of several: those of the RPC connection before may still be ending.
func (b *bed) goroutines() int {
	b.t.Helper()
	least := math.MaxInt
	for range 20 {
		var process struct {
			Goroutines int `json:"goroutines"`
		}
		b.rpc("process_get_memory", nil, &process)
		least = min(least, process.Goroutines)
	}
	return least
}

// rawSession is a logged-in connection of which the test writes every byte.
type rawSession struct {
	conn  *net.TCPConn
	isid  iscsi.ISID
	cmdSN uint32
	tag   uint32
}

func (b *bed) rawDial(isid iscsi.ISID) (*rawSession, error) {
	nc, err := new(net.Dialer).DialContext(b.ctx, "tcp", b.srv.Portal())
	if err != nil {
		return nil, err
	}
	c := &rawSession{conn: nc.(*net.TCPConn), isid: isid, cmdSN: target.NearWrap}
	login := iscsi.InitiatorLogin{ISID: isid, CmdSN: c.cmdSN}
	login.Keys.Own = initiator.Offers("iqn.2026-01.test:raw", target.IQN("disk"))
	login.Keys.Own.DefaultTime2Retain = 0 // A session ends with its connection.
	login.Start()
	for {
		var p iscsi.PDU
		p.Data = login.Request(&p.BHS, nil)
		if _, err := nc.Write(p.Append(nil, false, false)); err != nil {
			return nil, err
		}
		h, data, err := readPDU(nc)
		if err != nil {
			return nil, err
		}
		switch step, err := login.Handle(h, data); step {
		case iscsi.LoginDone:
			return c, nil
		case iscsi.LoginOver:
			nc.Close()
			return nil, fmt.Errorf("login: %w", err)
		case iscsi.LoginGoOn:
		}
	}
}

// readPDU reads a header and its data segment, without digests.
func readPDU(r io.Reader) (*iscsi.BHS, []byte, error) {
	h := new(iscsi.BHS)
	if _, err := io.ReadFull(r, h[:]); err != nil {
		return nil, nil, err
	}
	n := int(h.DataSegmentLength())
	data := make([]byte, (n+3)&^3)
	if _, err := io.ReadFull(r, data); err != nil {
		return nil, nil, err
	}
	return h, data[:n], nil
}

func (c *rawSession) reset() {
	_ = c.conn.SetLinger(0)
	c.conn.Close()
}

// write sends bytes; that the target has ended the connection meanwhile is no error here.
func (c *rawSession) write(_ *bed, p []byte) { _, _ = c.conn.Write(p) }

// startSome sends a random number of reads, writes that wait for their data, and writes with immediate data, and reads a
// random part of what comes back.
func (c *rawSession) startSome(b *bed, random *rand.Rand) {
	for range random.IntN(8) {
		lba := 64 + random.Uint64N(1024)
		switch random.IntN(3) {
		case 0:
			c.write(b, c.command(read16(lba, 64), 64*blockSize, nil, true))
		case 1:
			c.write(b, c.command(write16(lba, 64), 64*blockSize, nil, false))
		default:
			c.write(b, c.command(write16(lba, 2), 2*blockSize, make([]byte, 2*blockSize), false))
		}
	}
	if random.IntN(2) == 0 && c.tag > 0 {
		_, _ = io.CopyN(io.Discard, c.conn, int64(1+random.IntN(iscsi.BHSLength)))
	}
}

// command is a SCSI Command PDU (RFC 7143 11.3).
func (c *rawSession) command(cdb []byte, expected uint32, immediate []byte, read bool) []byte {
	var p iscsi.PDU
	p.Clear(iscsi.OpSCSICommand)
	p.SetFinal(true)
	if read {
		p.BHS[1] |= 0x40
	} else {
		p.BHS[1] |= 0x20
	}
	p.BHS[1] |= 1 // simple task
	c.number(&p)
	put32(p.BHS[20:], expected)
	copy(p.BHS[32:48], cdb)
	p.Data = immediate
	c.cmdSN++
	return p.Append(nil, false, false)
}

// dataOut is a SCSI Data-Out PDU for the last command, as if it had been asked for; the target may not have.
func (c *rawSession) dataOut(n int) []byte {
	var p iscsi.PDU
	p.Clear(iscsi.OpDataOut)
	p.SetFinal(true)
	put32(p.BHS[16:], c.tag)
	p.SetTargetTransferTag(iscsi.ReservedTag)
	p.SetDataSN(iscsi.FirstSN())
	p.Data = make([]byte, n)
	return p.Append(nil, false, false)
}

func (c *rawSession) manage(function byte) []byte {
	var p iscsi.PDU
	p.Clear(iscsi.OpTaskManagement)
	p.SetImmediate(true)
	p.SetFinal(true)
	p.SetFunction(function)
	c.number(&p)
	put32(p.BHS[20:], tmfNoTask)
	return p.Append(nil, false, false)
}

// number gives a request its task tag and CmdSN.
func (c *rawSession) number(p *iscsi.PDU) {
	c.tag++
	put32(p.BHS[16:], c.tag)
	put32(p.BHS[24:], c.cmdSN)
}

func put32(b []byte, v uint32) {
	b[0], b[1], b[2], b[3] = byte(v>>24), byte(v>>16), byte(v>>8), byte(v)
}
