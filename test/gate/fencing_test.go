package gate

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"pollux/iscsi"
	"pollux/iscsi/initiator"
	"pollux/test/target"
)

// Task management functions of RFC 7143 11.5.1.
const (
	tmfAbortTaskSet   = 2
	tmfClearTaskSet   = 4
	tmfLUNReset       = 5
	tmfTargetWarm     = 6
	tmfComplete       = 0
	tmfNoTask         = 0xffffffff
	victimWrites      = 16
	writeLatencyUs    = 2000
	fencingRounds     = 1000
	reinstateRounds   = 1000
	reinstateInFlight = 64
)

// fence is a way to keep an initiator's writes from the device. After it has been answered none may reach it.
type fence struct {
	name string
	// prepare makes victim and guard what the fence needs them to be.
	prepare func(b *bed, victim, guard *initiator.Client, lun uint64)
	// drop fences victim off and returns when that has been answered.
	drop func(b *bed, victim, guard *initiator.Client, lun uint64)
}

const (
	victimKey = 0xa1
	guardKey  = 0xb2
)

var fences = []fence{
	{"preempt", holdReservation, preempt(prPreempt)},
	{"preempt-and-abort", holdReservation, preempt(prPreemptAndAbort)},
	{"lun-reset", nil, manage(tmfLUNReset)},
	{"clear-task-set", nil, manage(tmfClearTaskSet)},
	{"target-reset", nil, manage(tmfTargetWarm)},
	{"abort-task-set", nil, func(b *bed, victim, _ *initiator.Client, lun uint64) { b.manage(victim, tmfAbortTaskSet, lun) }},
	{"reinstatement", nil, func(b *bed, victim, _ *initiator.Client, _ uint64) {
		again := b.dialAgain(victim)
		again.Close()
	}},
}

// TestFencing: once PREEMPT (AND ABORT), a reset, CLEAR or ABORT TASK SET or a session reinstatement has been answered, no
// write of the fenced initiator reaches the device. Its writes are held up by a delay bdev so that they are in flight.
func TestFencing(t *testing.T) {
	onEach(t, func(b *bed) {
		for i, f := range fences {
			b.rpc("bdev_malloc_create", object{"name": "m" + f.name, "block_size": blockSize, "num_blocks": 2048}, nil)
			b.rpc("bdev_delay_create", object{
				"name": "d" + f.name, "base_bdev_name": "m" + f.name, "avg_read_latency": 0, "p99_read_latency": 0,
				"avg_write_latency": writeLatencyUs, "p99_write_latency": writeLatencyUs,
			}, nil)
			b.addNode(f.name, i+2, "d"+f.name)
		}
		b.t.Run("fences", func(t *testing.T) {
			for _, f := range fences {
				t.Run(f.name, func(t *testing.T) {
					t.Parallel()
					own := *b
					own.t = t
					testFence(&own, f)
				})
			}
		})
	})
}

func testFence(b *bed, f fence) {
	lun, inFlight := uint64(0), 0
	guard := b.dial(f.name, named("guard"))
	b.ready(guard, lun)
	out := memory(b.t, victimWrites*blockSize)
	for round := range fencingRounds {
		victim, err := b.tryDial(f.name, named("victim"), func(c *initiator.Config) { c.ISID = iscsi.ISID{0x80, 1} })
		if err != nil {
			b.t.Fatalf("round %d: %v", round, err)
		}
		b.ready(victim, lun)
		if f.prepare != nil {
			f.prepare(b, victim, guard, lun)
		}
		answered := submitStamps(b, victim, lun, out, uint64(round)+1)
		// The answer to a ping says that the target has all the writes.
		if _, err := victim.Ping(b.ctx, nil); err != nil {
			b.t.Fatalf("round %d: ping: %v", round, err)
		}
		if answered() < victimWrites {
			inFlight++
		}
		f.drop(b, victim, guard, lun)
		then := stamps(b, guard, lun)
		// A write of the guard's own, elsewhere, takes as long as any of the victim's may have had left.
		b.must(guard, lun, write16(1024, 1), make([]byte, blockSize), 0)
		b.must(guard, lun, write16(1024, 1), make([]byte, blockSize), 0)
		if now := stamps(b, guard, lun); now != then {
			b.t.Fatalf("round %d: written after the fence: %v, before %v", round, now, then)
		}
		victim.Close()
	}
	if inFlight == 0 {
		b.t.Errorf("in none of %d rounds was a write in flight", fencingRounds)
	}
	b.t.Logf("note: %s: %d rounds, %d of them with writes in flight", f.name, fencingRounds, inFlight)
}

// submitStamps sends a write of one stamped block for each of the first blocks, and returns a function that tells how many
// have been answered.
func submitStamps(b *bed, victim *initiator.Client, lun uint64, out []byte, v uint64) (answered func() int) {
	stamp(out, v)
	done := 0
	err := victim.Reactor.Call(func() {
		for i := range victimWrites {
			cmd := &initiator.Command{LUN: lun, Out: out[i*blockSize : (i+1)*blockSize]}
			copy(cmd.CDB[:], write16(uint64(i), 1))
			cmd.Done = func(*initiator.Command) { done++ }
			victim.Session.Submit(cmd)
		}
	})
	if err != nil {
		b.t.Fatal(err)
	}
	return func() (n int) {
		if err := victim.Reactor.Call(func() { n = done }); err != nil {
			b.t.Fatal(err)
		}
		return n
	}
}

// stamps reads what the first blocks hold.
func stamps(b *bed, c *initiator.Client, lun uint64) (all [victimWrites]uint64) {
	b.t.Helper()
	in := b.must(c, lun, read16(0, victimWrites), nil, victimWrites*blockSize)
	for i := range all {
		v, err := stampOf(in[i*blockSize : (i+1)*blockSize])
		if err != nil {
			b.t.Fatalf("block %d: %v", i, err)
		}
		all[i] = v
	}
	return all
}

// holdReservation registers both and gives the victim a reservation for registrants.
func holdReservation(b *bed, victim, guard *initiator.Client, lun uint64) {
	b.t.Helper()
	b.must(victim, lun, prOut(prIgnoreRegister, 0), prOutKeys(0, victimKey), 0)
	b.must(guard, lun, prOut(prIgnoreRegister, 0), prOutKeys(0, guardKey), 0)
	a, err := victim.Do(b.ctx, lun, prOut(prReserve, prWriteExclusiveRegistrants), prOutKeys(victimKey, 0), 0)
	if err != nil || (a.Status != statusGood && a.Status != statusConflict) { // the guard holds it from the second round on
		b.t.Fatalf("reserve: %+v, %v", a, err)
	}
}

func preempt(action byte) func(b *bed, victim, guard *initiator.Client, lun uint64) {
	return func(b *bed, _, guard *initiator.Client, lun uint64) {
		b.t.Helper()
		b.must(guard, lun, prOut(action, prWriteExclusiveRegistrants), prOutKeys(guardKey, victimKey), 0)
	}
}

func manage(function uint8) func(b *bed, victim, guard *initiator.Client, lun uint64) {
	return func(b *bed, _, guard *initiator.Client, lun uint64) { b.manage(guard, function, lun) }
}

func (b *bed) manage(c *initiator.Client, function uint8, lun uint64) {
	b.t.Helper()
	response, err := c.Manage(b.ctx, function, lun, tmfNoTask, 0)
	if err != nil || response != tmfComplete {
		b.t.Fatalf("task management function %d: response %d, %v", function, response, err)
	}
}

// dialAgain logs in as c did: a session reinstatement.
func (b *bed) dialAgain(c *initiator.Client) *initiator.Client {
	b.t.Helper()
	again, err := initiator.Dial(b.ctx, b.r, b.srv.Portal(), c.Session.Config)
	if err != nil {
		b.t.Fatal(err)
	}
	return again
}

// addNode makes a target node of one LUN on a bdev that is there.
func (b *bed) addNode(name string, tag int, bdev string) {
	b.t.Helper()
	b.rpc("iscsi_create_initiator_group", object{"tag": tag, "initiators": []string{"ANY"}, "netmasks": []string{"ANY"}}, nil)
	b.rpc("iscsi_create_target_node", object{
		"name": target.IQN(name), "alias_name": name, "queue_depth": 64, "disable_chap": true,
		"luns":       []object{{"bdev_name": bdev, "lun_id": 0}},
		"pg_ig_maps": []object{{"pg_tag": 1, "ig_tag": tag}},
	}, nil)
}

// TestReinstatementFromBothEnds: two logins as the same initiator port at the same time, over a session with 64 writes in
// flight, leave exactly one session.
func TestReinstatementFromBothEnds(t *testing.T) {
	onEach(t, func(b *bed) {
		out := memory(b.t, blockSize)
		port := func(c *initiator.Config) { c.ISID = iscsi.ISID{0x80, 2} }
		first := b.dial("disk", port)
		for round := range reinstateRounds {
			b.flood(first, out)
			var left, right *initiator.Client
			var leftErr, rightErr error
			together(
				func() { left, leftErr = b.tryDial("disk", port) },
				func() { right, rightErr = b.tryDial("disk", port) },
			)
			alive := []*initiator.Client{}
			for _, c := range []*initiator.Client{first, left, right} {
				if c != nil && b.answers(c) {
					alive = append(alive, c)
				}
			}
			if len(alive) != 1 {
				b.t.Fatalf("round %d: %d sessions answer (logins: %v, %v)", round, len(alive), leftErr, rightErr)
			}
			b.eventually("one connection", func() error { return b.connections(1) })
			for _, c := range []*initiator.Client{first, left, right} {
				if c != nil && c != alive[0] {
					c.Close()
				}
			}
			first = alive[0]
		}
		first.Close()
	})
}

// flood submits writes and does not wait for them.
func (b *bed) flood(c *initiator.Client, out []byte) {
	b.t.Helper()
	b.ready(c, b.lun(0))
	err := c.Reactor.Call(func() {
		for i := range reinstateInFlight {
			cmd := &initiator.Command{LUN: b.lun(0), Out: out, Done: func(*initiator.Command) {}}
			copy(cmd.CDB[:], write16(uint64(i), 1))
			c.Session.Submit(cmd)
		}
	})
	if err != nil {
		b.t.Fatal(err)
	}
}

// answers tells whether the session is alive: it answers a ping, or it has ended.
func (b *bed) answers(c *initiator.Client) bool {
	_, err := c.Ping(b.ctx, nil)
	if errors.Is(err, context.DeadlineExceeded) {
		b.t.Error("a session neither answers nor ends")
	}
	return err == nil
}

// connections is nil when the target has n connections.
func (b *bed) connections(n int) error {
	var all []object
	if err := b.srv.RPC("iscsi_get_connections", nil, &all); err != nil {
		return err
	}
	if len(all) != n {
		return fmt.Errorf("%d connections, want %d: %v", len(all), n, all)
	}
	return nil
}
