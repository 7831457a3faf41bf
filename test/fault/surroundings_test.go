package fault

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pollux/iscsi"
	"pollux/iscsi/initiator"
	"pollux/iscsi/iscsitest"
	"pollux/reactor"
	"pollux/test/target"
)

const (
	surroundingsLimit = 2 * time.Minute
	chunkBlocks       = 128 // of one write of these tests
	chunk             = chunkBlocks * blockSize
	// filesFew lets the target start and serve a few sessions.
	filesFew = 40
	// stopped is how long a stopped process stays stopped.
	stopped, stoppedFull = 3 * time.Second, 30 * time.Second
)

// disk is a LUN as an initiator sees it.
type disk struct {
	t   *testing.T
	ctx context.Context
	c   *initiator.Client
	lun uint64
}

func logIn(t *testing.T, server *target.Server, lun int) *disk {
	t.Helper()
	return logInTo(t, server, "disk", lun)
}

func logInTo(t *testing.T, server *target.Server, node string, lun int) *disk {
	t.Helper()
	g, err := reactor.Start(reactor.Config{Cores: []int{-1}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(g.Stop)
	ctx, cancel := context.WithTimeout(t.Context(), surroundingsLimit)
	t.Cleanup(cancel)
	c, err := initiator.Dial(ctx, g.Reactors()[0], server.Portal(), initiator.Config{
		Offers: initiator.Offers("iqn.2026-01.test:fault", target.IQN(node)), Strict: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	d := &disk{t: t, ctx: ctx, c: c, lun: uint64(server.LUN(lun)) << 48}
	const attentionsMax = 8
	for range attentionsMax {
		if d.do([]byte{0, 0, 0, 0, 0, 0}, nil, 0).Status == 0 {
			break
		}
	}
	return d
}

func (d *disk) do(cdb, out []byte, in int) *initiator.Answer {
	d.t.Helper()
	a, err := d.c.Do(d.ctx, d.lun, cdb, out, in)
	if err != nil {
		d.t.Fatal(err)
	}
	return a
}

// cdb10 is a READ (10), WRITE (10) or SYNCHRONIZE CACHE (10).
func cdb10(op byte, lba, blocks int) []byte {
	cdb := make([]byte, 10)
	cdb[0] = op
	binary.BigEndian.PutUint32(cdb[2:], uint32(lba))
	binary.BigEndian.PutUint16(cdb[7:], uint16(blocks))
	return cdb
}

// pattern is what round writes to the i-th chunk.
func pattern(i, round int) []byte {
	return bytes.Repeat(fmt.Appendf(nil, "%08d%08d", i, round), chunk/16)
}

func (d *disk) write(i, round int) *initiator.Answer {
	d.t.Helper()
	return d.do(cdb10(0x2a, i*chunkBlocks, chunkBlocks), pattern(i, round), 0)
}

// holds asserts that the i-th chunk is what round wrote.
func (d *disk) holds(i, round int) {
	d.t.Helper()
	a := d.do(cdb10(0x28, i*chunkBlocks, chunkBlocks), nil, chunk)
	if a.Status != 0 || !bytes.Equal(a.In, pattern(i, round)) {
		d.t.Fatalf("chunk %d does not hold what round %d wrote: %s", i, round, told(a))
	}
}

// told is an answer's status and sense.
func told(a *initiator.Answer) string {
	if len(a.Sense) < 14 {
		return fmt.Sprintf("status %#x", a.Status)
	}
	return fmt.Sprintf("status %#x, sense %x/%02x/%02x", a.Status, a.Sense[2]&0xf, a.Sense[12], a.Sense[13])
}

// mustTell asserts status and sense of an answer.
func (d *disk) mustTell(what string, a *initiator.Answer, want string) {
	d.t.Helper()
	if got := told(a); got != want {
		d.t.Errorf("%s: %s, want %s", what, got, want)
	}
}

const (
	good         = "status 0x0"
	spaceFailed  = "status 0x2, sense 7/27/07"
	mediumError  = "status 0x2, sense 3/11/00"
	notThatFar   = "status 0x2, sense 5/21/00"
	capacityNew  = "status 0x2, sense 6/2a/09"
	syncCommand  = 0x35
	unmapCommand = 0x42
)

func oneMalloc() target.Config {
	return target.OneLUN(target.Pollux, target.LUN{Backing: target.Malloc, Size: lunSize})
}

// addFile makes LUN 1 of the node, on a file that the server knows as path.
func addFile(t *testing.T, server *target.Server, path string) {
	t.Helper()
	for _, c := range []struct {
		method string
		params map[string]any
	}{
		{"bdev_aio_create", map[string]any{"name": "file", "filename": path, "block_size": blockSize}},
		{"iscsi_target_node_add_lun", map[string]any{"name": target.IQN("disk"), "bdev_name": "file", "lun_id": 1}},
	} {
		if err := server.RPC(c.method, c.params, nil); err != nil {
			t.Fatal(err)
		}
	}
}

// TestFullDisk: a LUN on a file system without space answers SPACE ALLOCATION FAILED WRITE PROTECT (SBC-4 4.7.3.6), keeps what it
// holds, and goes on when there is space again. On tmpfs its file is used by threads, on ext4 with O_DIRECT by the ring.
func TestFullDisk(t *testing.T) {
	needRoot(t)
	t.Run("tmpfs", func(t *testing.T) {
		around := usual()
		around.size = "8m"
		testFullDisk(t, around, true)
	})
	t.Run("ext4", func(t *testing.T) {
		const space = 16 << 20
		target.NeedProgram(t, "mke2fs", "mount")
		needLoop(t)
		around := usual()
		around.image = filepath.Join(t.TempDir(), "ext4")
		if err := errors.Join(os.WriteFile(around.image, nil, 0o600), os.Truncate(around.image, space)); err != nil {
			t.Fatal(err)
		}
		target.Run(t, surroundingsLimit, "mke2fs", "-q", "-t", "ext4", "-m", "0", around.image)
		testFullDisk(t, around, false)
	})
}

func testFullDisk(t *testing.T, around surroundings, threads bool) {
	const filler = 4 << 20
	cfg := oneMalloc()
	cfg.Dir = folderOf(t, 0)
	around.small = filepath.Join(cfg.Dir, "small")
	if err := os.Mkdir(around.small, 0o700); err != nil {
		t.Fatal(err)
	}
	cfg.Wrap = around.wrap()
	server := target.Start(t, cfg)
	// The file system is the server's alone; we see it through its process.
	seen := fmt.Sprintf("/proc/%d/root%s", server.PID(), around.small)
	if err := errors.Join(os.WriteFile(seen+"/filler", make([]byte, filler), 0o600), os.WriteFile(seen+"/lun", nil, 0o600), os.Truncate(seen+"/lun", lunSize)); err != nil {
		t.Fatal(err)
	}
	addFile(t, server, around.small+"/lun")
	if told := linesWith(server.Log(), "through the page cache"); (len(told) > 0) != threads {
		t.Errorf("a file used by threads: %t, the target says %q", threads, told)
	}
	d, memory := logIn(t, server, 1), logIn(t, server, 0)

	written := 0
	for ; written < lunSize/chunk; written++ {
		if a := d.write(written, 1); a.Status != 0 {
			d.mustTell("a write without space", a, spaceFailed)
			break
		}
	}
	if written == 0 || written == lunSize/chunk {
		t.Fatalf("%d chunks were written", written)
	}
	for i := range written {
		d.holds(i, 1)
	}
	d.mustTell("a write over what is there", d.write(0, 2), good)
	d.mustTell("a flush", d.do(cdb10(syncCommand, 0, 0), nil, 0), good)
	d.mustTell("another write without space", d.write(written, 1), spaceFailed)
	d.mustTell("a write to memory", memory.write(0, 1), good)

	unmap := make([]byte, 24)
	binary.BigEndian.PutUint16(unmap, 22)
	binary.BigEndian.PutUint16(unmap[2:], 16)
	binary.BigEndian.PutUint64(unmap[8:], chunkBlocks)
	binary.BigEndian.PutUint32(unmap[16:], 2*chunkBlocks)
	d.mustTell("an unmap", d.do([]byte{unmapCommand, 0, 0, 0, 0, 0, 0, 0, 24, 0}, unmap, 0), good)
	d.mustTell("a write into what was unmapped", d.write(written, 1), good)
	if err := os.Remove(seen + "/filler"); err != nil {
		t.Fatal(err)
	}
	for i := written + 1; i < written+8; i++ {
		d.mustTell("a write with space again", d.write(i, 3), good)
		d.holds(i, 3)
	}
	d.holds(0, 2)
	for i := 3; i <= written; i++ {
		d.holds(i, 1)
	}
}

// TestFileShrinksAndVanishes: what is beyond a truncated file's end is MEDIUM ERROR until a rescan tells of the new size; a file that
// loses its name is served on.
func TestFileShrinksAndVanishes(t *testing.T) {
	server := target.Start(t, oneMalloc())
	path := filepath.Join(server.Dir(), "file")
	if err := errors.Join(os.WriteFile(path, nil, 0o600), os.Truncate(path, lunSize)); err != nil {
		t.Fatal(err)
	}
	addFile(t, server, path)
	d := logIn(t, server, 1)
	const half = lunSize / chunk / 2
	for _, i := range []int{0, half - 1, half} {
		d.mustTell("a write", d.write(i, 1), good)
	}
	if err := os.Truncate(path, half*chunk); err != nil {
		t.Fatal(err)
	}
	d.holds(0, 1)
	d.holds(half-1, 1)
	d.mustTell("a read beyond the file's end", d.do(cdb10(0x28, half*chunkBlocks, chunkBlocks), nil, chunk), mediumError)
	if err := server.RPC("bdev_aio_rescan", map[string]any{"name": "file"}, nil); err != nil {
		t.Fatal(err)
	}
	d.mustTell("the first command after the rescan", d.do(make([]byte, 6), nil, 0), capacityNew)
	d.mustTell("a read beyond the new end", d.do(cdb10(0x28, half*chunkBlocks, chunkBlocks), nil, chunk), notThatFar)
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	d.holds(half-1, 1)
	d.mustTell("a write without a name", d.write(1, 2), good)
	d.mustTell("a flush", d.do(cdb10(syncCommand, 0, 0), nil, 0), good)
	d.holds(1, 2)
	err := server.RPC("bdev_aio_create", map[string]any{"name": "again", "filename": path, "block_size": blockSize}, nil)
	if err == nil || !strings.Contains(err.Error(), path) || !strings.Contains(strings.ToLower(err.Error()), "no such file") {
		t.Errorf("a file that has gone: %v", err)
	}
}

// TestNoDescriptorsLeft: who is there is served; who comes waits or is refused, until descriptors are free again.
func TestNoDescriptorsLeft(t *testing.T) {
	cfg := oneMalloc()
	around := usual()
	around.nofile = filesFew
	cfg.Wrap = around.wrap()
	server := target.Start(t, cfg)
	s := &iscsitest.Stage{
		Options: iscsitest.Options{Portal: server.Portal(), Target: target.IQN("disk"), ISID: iscsi.ISID{0x80, 1}},
		LUN:     uint64(server.LUN(0)) << 48, Block: blockSize,
	}
	honest := newHonest(t, s)
	for range 3 {
		stop, made := iscsitest.Flood(s.Options, 4*filesFew, nil)
		for range 20 {
			if err := honest.Check(); err != nil {
				t.Fatalf("an honest session among %d connections: %v", made, err)
			}
		}
		if made < filesFew {
			t.Errorf("%d connections were made", made)
		}
		if used, err := cpuWhileIdle(server); err != nil || used > time.Second/2 {
			t.Errorf("the target uses %s of a second while it can accept nobody, %v", used, err)
		}
		stop()
		loginAgain(t, s)
		if err := server.RPC("bdev_get_bdevs", nil, nil); err != nil {
			t.Errorf("RPC after the flood: %v", err)
		}
	}
	if n := counted(t, server)["accept_errors"]; n == 0 {
		t.Error("no accept has failed, so nothing was shown")
	}
}

// cpuWhileIdle is how much processor time a target takes in a second in which nobody asks for anything.
func cpuWhileIdle(server *target.Server) (time.Duration, error) {
	before, err := server.CPUTime()
	if err != nil {
		return 0, err
	}
	time.Sleep(time.Second)
	after, err := server.CPUTime()
	return after - before, err
}

// loginAgain waits until a login succeeds.
func loginAgain(t *testing.T, s *iscsitest.Stage) {
	t.Helper()
	deadline := time.Now().Add(iscsitest.TimeoutDefault)
	for {
		o := s.Options
		o.Timeout = time.Second
		p, err := iscsitest.LogIn(o)
		if err == nil {
			p.Close()
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("no login: %v", err)
		}
	}
}

// serveFails runs `pollux serve` that has to fail, and returns what it says.
func serveFails(t *testing.T, args ...string) string {
	t.Helper()
	binary, err := target.PolluxBinary()
	if err != nil {
		t.Skip(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), surroundingsLimit)
	defer cancel()
	cmd := exec.CommandContext(ctx, binary, append([]string{"serve"}, args...)...)
	var out, said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &said
	if err := cmd.Run(); cmd.ProcessState.ExitCode() != 1 || out.Len() > 0 {
		t.Errorf("serve %q: %v, want exit status 1\n%s%s", args, err, out.String(), said.String())
	}
	return said.String()
}

// mustSay asserts that a message has all the words, in one line that is not about a part of the program.
func mustSay(t *testing.T, said string, words ...string) {
	t.Helper()
	for _, w := range words {
		if !strings.Contains(said, w) {
			t.Errorf("the message lacks %q: %s", w, said)
		}
	}
	if strings.Contains(said, "goroutine") || strings.Count(said, "\n") > 2 {
		t.Errorf("not a message for people: %s", said)
	}
}

func TestPortTaken(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	socket := filepath.Join(folderOf(t, 0), "rpc.sock")
	mustSay(t, serveFails(t, "--malloc", "16M", "--listen", l.Addr().String(), "-r", socket), l.Addr().String(), "address already in use")
	if _, err := os.Stat(socket); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the socket is left: %v", err)
	}

	// Asked for by RPC the target says so, and goes on.
	server := target.Start(t, oneMalloc())
	host, port, _ := net.SplitHostPort(l.Addr().String())
	params := map[string]any{"tag": 7, "portals": []any{map[string]any{"host": host, "port": port}}}
	if err := server.RPC("iscsi_create_portal_group", params, nil); err == nil || !strings.Contains(err.Error(), "address already in use") {
		t.Errorf("a portal on a taken port: %v", err)
	}
	l.Close()
	if err := server.RPC("iscsi_create_portal_group", params, nil); err != nil {
		t.Errorf("a portal on a port that is free again: %v", err)
	}
}

func TestSocketPath(t *testing.T) {
	dir := folderOf(t, 0)
	long := filepath.Join(dir, strings.Repeat("x", 120))
	mustSay(t, serveFails(t, "-r", long), long, "107")

	server := target.Start(t, oneMalloc())
	socket := filepath.Join(server.Dir(), "rpc.sock")
	mustSay(t, serveFails(t, "-r", socket), socket, "in use")
	if err := server.RPC("bdev_get_bdevs", nil, nil); err != nil {
		t.Errorf("the first target has lost its socket: %v", err)
	}
	mustSay(t, serveFails(t, "-r", filepath.Join(dir, "nowhere", "rpc.sock")), "nowhere", "no such file")

	// A socket whose owner was killed is nobody's.
	if err := errors.Join(server.Kill(), server.Start()); err != nil {
		t.Error(err)
	}
}

// TestStoppedProcess: a target that was stopped for a while goes on where it was.
func TestStoppedProcess(t *testing.T) {
	pause := stopped
	if target.Full() {
		pause = stoppedFull
	}
	for _, cfg := range target.UnderTest(t) {
		t.Run(cfg.String(), func(t *testing.T) {
			cfg.Nodes = []target.Node{{Name: "disk", LUNs: []target.LUN{{Backing: target.AIO, Size: lunSize}}}}
			server := target.Start(t, cfg)
			failed := make(chan string, 1)
			go func() {
				report, words, status := bench(t, "--verify", "--read-share", "40", "--connections", "2", "--depth", "8",
					"--duration", (pause + 2*time.Second).String(), server.URL("disk", 0))
				if status != 0 || report["mismatches"] != 0.0 || report["reconnects"] != 0.0 {
					failed <- fmt.Sprintf("status %d, %v\n%s", status, report, words)
				}
				close(failed)
			}()
			for until := time.Now().Add(surroundingsLimit); writes(t, server) < benchBetweenOps/10; {
				if time.Now().After(until) {
					t.Fatal("the load does not write")
				}
			}
			if err := server.Pause(); err != nil {
				t.Fatal(err)
			}
			time.Sleep(pause)
			if err := server.Resume(); err != nil {
				t.Fatal(err)
			}
			if text := <-failed; text != "" {
				t.Error(text)
			}
		})
	}
}
