package fault

import (
	"bytes"
	"fmt"
	"testing"
	"time"

	"pollux/iscsi"
	"pollux/iscsi/iscsitest"
	"pollux/test/target"
)

// Bounds of the tests here.
const (
	blockSize  = 512
	lunSize    = 16 << 20
	slowBlocks = 256 // of one read of a slow reader
	slowReads  = 32
	// floodConnections is how many connections are open at once without a login.
	floodConnections = 10000
)

// serve starts each server under test with one LUN and calls test.
func serve(t *testing.T, test func(t *testing.T, server *target.Server, s *iscsitest.Stage)) {
	for _, cfg := range target.UnderTest(t) {
		t.Run(cfg.String(), func(t *testing.T) {
			cfg.Nodes = []target.Node{{Name: "disk", LUNs: []target.LUN{{Backing: target.Malloc, BlockSize: blockSize, Size: lunSize}}}}
			server := target.Start(t, cfg)
			test(t, server, &iscsitest.Stage{
				Options: iscsitest.Options{Portal: server.Portal(), Target: target.IQN("disk"), ISID: iscsi.ISID{0x80, 1}, CmdSN: 0xffffffe0},
				LUN:     uint64(server.LUN(0)) << 48,
				Block:   blockSize,
			})
		})
	}
}

func newHonest(t *testing.T, s *iscsitest.Stage) *iscsitest.Honest {
	t.Helper()
	h, err := iscsitest.NewHonest(s)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(h.Close)
	return h
}

// TestMisbehaviour plays the tables. What is refused or ends a connection is counted by its cause.
func TestMisbehaviour(t *testing.T) {
	serve(t, func(t *testing.T, server *target.Server, s *iscsitest.Stage) {
		honest := newHonest(t, s)
		for _, list := range [][]iscsitest.Case{iscsitest.BeforeLogin, iscsitest.InSession} {
			for _, c := range list {
				t.Run(c.Name, func(t *testing.T) {
					before := misdeeds(t, server)
					if err := c.Run(s); err != nil {
						t.Error(err)
					}
					if after := misdeeds(t, server); after == before && !c.Allowed {
						t.Errorf("nothing is counted (%d so far)", before)
					}
					if err := honest.Check(); err != nil {
						t.Fatalf("an honest session notices: %v", err)
					}
				})
			}
		}
	})
}

// misdeeds is the sum of all counters of what peers do wrong.
func misdeeds(t *testing.T, server *target.Server) (sum int) {
	t.Helper()
	var counters struct {
		Events map[string]int `json:"events"`
		Faults map[string]int `json:"faults"`
	}
	if err := server.RPC("iscsi_get_counters", nil, &counters); err != nil {
		t.Fatal(err)
	}
	for _, n := range counters.Faults {
		sum += n
	}
	for name, n := range counters.Events {
		switch name {
		case "connections_accepted", "sessions_opened", "tasks_aborted", "rejects_sent", "waits_for_memory", "sessions_failed":
		default:
			sum += n
		}
	}
	return sum
}

func TestConnectionsThatEndAnywhere(t *testing.T) {
	serve(t, func(t *testing.T, _ *target.Server, s *iscsitest.Stage) {
		honest := newHonest(t, s)
		for _, end := range iscsitest.Endings {
			half := s.Options
			half.ISID[5] ^= 0xff // a whole login that is cut may be done after the next one, and would reinstate it
			for _, cut := range iscsitest.LoginCuts(half) {
				p, err := iscsitest.Connect(half)
				endAt(t, s, p, err, cut, end)
			}
			for _, cut := range iscsitest.Cuts() {
				p, err := iscsitest.LogInReady(s.Options, s.LUN)
				endAt(t, s, p, err, cut, end)
			}
			if err := honest.Check(); err != nil {
				t.Fatalf("%s: an honest session notices: %v", end.Name, err)
			}
		}
	})
}

func endAt(t *testing.T, s *iscsitest.Stage, p *iscsitest.Peer, err error, cut iscsitest.Cut, end iscsitest.Ending) {
	t.Helper()
	if err == nil {
		err = cut.Play(p, s)
	}
	if err != nil {
		t.Errorf("%s, %s: %v", cut.Name, end.Name, err)
		return
	}
	end.End(p)
}

// TestFloodOfConnectionsWithoutLogin: many times the connections that the target lets begin to log in. Who has a session goes on, and who logs in
// among them is let in at once.
func TestFloodOfConnectionsWithoutLogin(t *testing.T) {
	serve(t, func(t *testing.T, server *target.Server, s *iscsitest.Stage) {
		honest := newHonest(t, s)
		for _, flood := range []struct {
			n   int
			say []byte
		}{{floodConnections, nil}, {600, []byte("GET / HTTP/1.0\r\n")}, {600, make([]byte, 20)}, {600, make([]byte, iscsi.BHSLength-1)}} {
			stop, made := iscsitest.Flood(s.Options, flood.n, flood.say)
			if err := honest.Check(); err != nil {
				t.Errorf("with %d connections that do not log in: %v", made, err)
			}
			if p, err := iscsitest.LogIn(s.Options); err != nil {
				t.Errorf("a login among %d connections that do not: %v", made, err)
			} else {
				p.Close()
			}
			stop()
			if made < flood.n*9/10 {
				t.Errorf("%d of %d connections were made", made, flood.n)
			}
		}
		if server.Kind() == target.Pollux {
			if n := counted(t, server)["connections_refused"]; n < floodConnections/2 {
				t.Errorf("%d connections gave way or were refused", n)
			}
		}
		// Places are free again once the target has seen the connections end.
		deadline := time.Now().Add(iscsitest.TimeoutDefault)
		for {
			p, err := iscsitest.LogIn(s.Options)
			if err == nil {
				p.Close()
				break
			}
			if time.Now().After(deadline) {
				t.Fatalf("no login after the flood: %v", err)
			}
		}
	})
}

// TestSlowWriters: peers that send their commands a few bytes at a time, cut anywhere. What they write is whole, and a session beside them goes on.
func TestSlowWriters(t *testing.T) {
	serve(t, func(t *testing.T, _ *target.Server, s *iscsitest.Stage) {
		honest := newHonest(t, s)
		const slow, step = 4, 7
		var peers []*iscsitest.Peer
		var sends [][]byte
		block := func(i int) []byte { return bytes.Repeat([]byte{byte(i + 1)}, s.Block) }
		for i := range slow {
			o := s.Options
			o.ISID[4] = byte(i + 1)
			p, err := iscsitest.LogInReady(o, s.LUN)
			if err != nil {
				t.Fatal(err)
			}
			defer p.Close()
			w := p.Command(s.LUN, cdb10(0x2a, i, 1), uint32(s.Block), true)
			w.Data = block(i)
			peers, sends = append(peers, p), append(sends, w.Append(nil, false, false))
		}
		for at := 0; at < len(sends[0]); at += step {
			for i, p := range peers {
				if err := p.SendBytes(sends[i][at:min(at+step, len(sends[i]))]); err != nil {
					t.Fatal(err)
				}
			}
			if err := honest.Check(); err != nil {
				t.Fatalf("an honest session notices after %d bytes: %v", at, err)
			}
		}
		for i, p := range peers {
			rsp, err := p.Receive()
			if err != nil || rsp.Opcode() != iscsi.OpSCSIResponse || rsp.Status() != 0 {
				t.Errorf("slow writer %d is answered by %v, %v", i, rsp, err)
				continue
			}
			err = p.Send(p.Command(s.LUN, cdb10(0x28, i, 1), uint32(s.Block), false))
			if err == nil {
				rsp, err = p.Receive()
			}
			if err != nil || !bytes.Equal(rsp.Data, block(i)) {
				t.Errorf("slow writer %d reads something else: %v, %v", i, rsp, err)
			}
		}
	})
}

func TestSlowReaders(t *testing.T) {
	serve(t, func(t *testing.T, _ *target.Server, s *iscsitest.Stage) {
		honest := newHonest(t, s)
		var slow []*iscsitest.SlowReader
		for i := range 4 {
			mine := *s
			mine.Options.ISID[4] = byte(i + 1)
			r, err := iscsitest.NewSlowReader(&mine, slowReads, slowBlocks/8)
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			slow = append(slow, r)
		}
		for range 20 {
			if err := honest.Check(); err != nil {
				t.Fatalf("an honest session notices: %v", err)
			}
		}
		zero := make([]byte, blockSize)
		for _, r := range slow {
			err := r.Drain(func(lba int, data []byte) error {
				for i := 0; i < len(data); i += blockSize {
					if b := data[i : i+blockSize]; lba+i/blockSize != 2047 && !bytes.Equal(b, zero) {
						return fmt.Errorf("block %d holds %x...", lba+i/blockSize, b[:16])
					}
				}
				return nil
			})
			if err != nil {
				t.Error(err)
			}
		}
	})
}
