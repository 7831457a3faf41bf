package gate

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"

	"pollux/iscsi/initiator"
	"pollux/test/target"
)

// TestCountByCompareAndWrite: initiators count up in one block by READ and COMPARE AND WRITE; none of their additions is lost
// and none counts twice.
func TestCountByCompareAndWrite(t *testing.T) {
	const initiators, attempts = 4, 100_000
	onEach(t, func(b *bed) {
		successes := make([]uint64, initiators)
		misses := make([]uint64, initiators)
		var counters []func()
		for n := range initiators {
			c := b.dial("disk", named(fmt.Sprintf("counter%d", n)))
			b.ready(c, b.lun(0))
			counters = append(counters, func() { successes[n], misses[n] = count(b, c, attempts/initiators) })
		}
		together(counters...)
		c := b.dial("disk")
		sum, missed := uint64(0), uint64(0)
		for n := range initiators {
			sum += successes[n]
			missed += misses[n]
		}
		if got := binary.LittleEndian.Uint64(b.must(c, b.lun(0), read16(0, 1), nil, blockSize)); got != sum {
			t.Errorf("the block counts %d, the initiators %d", got, sum)
		}
		if sum+missed != attempts {
			t.Errorf("%d successes and %d misses are not %d attempts", sum, missed, attempts)
		}
		b.t.Logf("note: %d additions, %d misses", sum, missed)
	})
}

// count makes its attempts at adding one, and returns how many succeeded and how many met a miscompare.
func count(b *bed, c *initiator.Client, attempts int) (successes, misses uint64) {
	pair := memory(b.t, 2*blockSize)
	cmd := &initiator.Command{LUN: b.lun(0)}
	seen := make([]byte, blockSize)
	var failed error
	err := loop(c, cmd, func(i int) bool {
		if reading := i%2 == 0; reading {
			switch {
			case i == 0:
			case cmd.Status == statusGood:
				successes++
			case cmd.Status == statusCheck && senseOf(cmd.Sense[:cmd.SenseLen]).key == keyMiscompare:
				misses++
			default:
				failed = fmt.Errorf("COMPARE AND WRITE: status %#x, sense %+v", cmd.Status, senseOf(cmd.Sense[:cmd.SenseLen]))
			}
			copy(cmd.CDB[:], read16(0, 1))
			cmd.In, cmd.Out = seen, nil
			return failed == nil && i < 2*attempts
		}
		if cmd.Status != statusGood {
			failed = fmt.Errorf("READ: status %#x, sense %+v", cmd.Status, senseOf(cmd.Sense[:cmd.SenseLen]))
			return false
		}
		n, err := stampOf(seen)
		if err != nil {
			failed = err
			return false
		}
		copy(pair, seen)
		stamp(pair[blockSize:], n+1)
		copy(cmd.CDB[:], compareAndWrite(0, 1))
		cmd.In, cmd.Out = nil, pair
		return true
	})
	if err := errors.Join(err, failed); err != nil {
		b.t.Error(err)
	}
	return successes, misses
}

const (
	stampBlocks = 128 // the range that writers and readers meet in
	slowReads   = 1000
)

// TestBlocksAreOneInstant: readers whose receive window is small never see two stamps in one block while others write,
// unmap, compare and write the range.
func TestBlocksAreOneInstant(t *testing.T) {
	onEach(t, func(b *bed) {
		stop := make(chan struct{})
		var writers []func()
		for n := range 2 {
			c := b.dial("disk", named(fmt.Sprintf("writer%d", n)))
			b.ready(c, b.lun(0))
			writers = append(writers, func() { scribble(b, c, b.lun(0), uint64(n), stop) })
		}
		together(append(writers, func() {
			defer close(stop)
			var readers []func()
			for n := range 2 {
				c := b.dialNarrow("disk", named(fmt.Sprintf("reader%d", n)))
				b.ready(c, b.lun(0))
				readers = append(readers, func() {
					if got := readStamps(b, c, b.lun(0), slowReads); got != slowReads {
						b.t.Errorf("%d of %d reads were good", got, slowReads)
					}
				})
			}
			together(readers...)
		})...)
	})
}

// TestDeleteUnderSlowReaders: deleting a bdev does not wait for readers that drain slowly, and its freed memory is never sent.
func TestDeleteUnderSlowReaders(t *testing.T) {
	const rounds = 20
	onEach(t, func(b *bed) {
		for round := range rounds {
			name := fmt.Sprintf("doomed%d", round)
			b.rpc("bdev_malloc_create", object{"name": name, "block_size": blockSize, "num_blocks": 2048}, nil)
			b.addLUN(name, round+1)
			lun := uint64(round+1) << 48
			w := b.dial("disk", named("writer"))
			full := make([]byte, stampBlocks*blockSize)
			stamp(full, uint64(round)+1)
			b.must(w, lun, write16(0, stampBlocks), full, 0)
			r := b.dialNarrow("disk", named("reader"))
			b.ready(r, lun)
			together(
				func() { readStamps(b, r, lun, 200) },
				func() { b.rpc("bdev_malloc_delete", object{"name": name}, nil) },
			)
			r.Close()
			w.Close()
		}
	})
}

func (b *bed) addLUN(bdev string, id int) {
	b.t.Helper()
	b.rpc("iscsi_target_node_add_lun", object{"name": target.IQN("disk"), "bdev_name": bdev, "lun_id": id}, nil)
}

// scribble writes, unmaps, compares and writes at random places of the range until stop is closed.
func scribble(b *bed, c *initiator.Client, lun, seed uint64, stop chan struct{}) {
	random := rand.New(rand.NewPCG(seed, 1))
	out := memory(b.t, stampBlocks*blockSize)
	cmd := &initiator.Command{LUN: lun}
	err := loop(c, cmd, func(i int) bool {
		select {
		case <-stop:
			return false
		default:
		}
		lba := random.Uint64N(stampBlocks)
		blocks := 1 + random.Uint32N(uint32(stampBlocks-lba))
		switch random.IntN(8) {
		case 0:
			unmapList(out, lba, blocks)
			copy(cmd.CDB[:], append(unmap(), make([]byte, 6)...))
			cmd.Out = out[:24]
		case 1:
			stamp(out[:blockSize], 0) // what an unmapped block holds
			stamp(out[blockSize:2*blockSize], random.Uint64())
			copy(cmd.CDB[:], compareAndWrite(lba, 1))
			cmd.Out = out[:2*blockSize]
		default:
			stamp(out[:blocks*blockSize], random.Uint64())
			copy(cmd.CDB[:], write16(lba, blocks))
			cmd.Out = out[:blocks*blockSize]
		}
		return true
	})
	if err != nil {
		b.t.Error(err)
	}
}

// readStamps reads the range until it has done so n times or a read does not end GOOD, checks every block, and returns how
// many reads were good.
func readStamps(b *bed, c *initiator.Client, lun uint64, n int) (good int) {
	in := make([]byte, stampBlocks*blockSize)
	cmd := &initiator.Command{LUN: lun, In: in}
	copy(cmd.CDB[:], read16(0, stampBlocks))
	var torn error
	err := loop(c, cmd, func(i int) bool {
		if i > 0 {
			if cmd.Status != statusGood {
				return false
			}
			good++
			for at := 0; at < len(in); at += blockSize {
				if _, err := stampOf(in[at : at+blockSize]); err != nil {
					torn = fmt.Errorf("read %d, block %d: %w", i, at/blockSize, err)
					return false
				}
			}
		}
		return i < n
	})
	if err := errors.Join(err, torn); err != nil {
		b.t.Error(err)
	}
	return good
}
