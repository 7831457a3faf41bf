package bdevtest_test

import (
	"testing"

	"pollux/bdev"
	"pollux/bdev/bdevtest"
)

// limited marks the disk whose rates are limited, in a field that has no effect.
const limited = 99

// disks are ways to be a device that the generic layer has to make whole.
var disks = map[string]func() *bdevtest.Disk{
	"all native":        func() *bdevtest.Disk { return &bdevtest.Disk{Native: bdevtest.Everything()} },
	"all native, later": func() *bdevtest.Disk { return &bdevtest.Disk{Native: bdevtest.Everything(), Later: true} },
	"read and write":    func() *bdevtest.Disk { return &bdevtest.Disk{Native: bdevtest.Only(bdev.OpRead, bdev.OpWrite)} },
	"read, write, later": func() *bdevtest.Disk {
		return &bdevtest.Disk{Native: bdevtest.Only(bdev.OpRead, bdev.OpWrite), Later: true}
	},
	"cache without FUA": func() *bdevtest.Disk {
		return &bdevtest.Disk{Native: bdevtest.Only(bdev.OpRead, bdev.OpWrite, bdev.OpFlush, bdev.OpUnmap), Cache: true, Later: true}
	},
	"small requests": func() *bdevtest.Disk {
		return &bdevtest.Disk{Native: bdevtest.Everything(), Later: true, Limits: bdev.Limits{
			MaxTransferBlocks: 5, MaxUnmapBlocks: 7, MaxWriteZeroesBlocks: 3, MaxSegments: 9,
		}}
	},
	"boundary": func() *bdevtest.Disk {
		return &bdevtest.Disk{Native: bdevtest.Only(bdev.OpRead, bdev.OpWrite), Limits: bdev.Limits{
			OptimalBoundaryBlocks: 4, SplitAtBoundary: true, MaxTransferBlocks: 3,
		}}
	},
	"rate limits": func() *bdevtest.Disk {
		return &bdevtest.Disk{Native: bdevtest.Only(bdev.OpRead, bdev.OpWrite), Later: true, Limits: bdev.Limits{
			UnmapAlignmentBlocks: limited,
		}}
	},
	"out of resources every third time": func() *bdevtest.Disk {
		n := 0
		return &bdevtest.Disk{
			Native: bdevtest.Only(bdev.OpRead, bdev.OpWrite, bdev.OpFlush), Cache: true, Later: true,
			Limits: bdev.Limits{MaxTransferBlocks: 16},
			Refuse: func(*bdev.Request) bdev.Status {
				if n++; n%3 == 0 {
					return bdev.StatusNoMemory
				}
				return bdev.StatusOK
			},
		}
	},
}

func TestContract(t *testing.T) {
	for name, make := range disks {
		t.Run(name, func(t *testing.T) {
			bdevtest.Run(t, suite(make))
		})
	}
}

// suite is the contract of test disks.
func suite(make func() *bdevtest.Disk) bdevtest.Suite {
	var disk *bdevtest.Disk
	return bdevtest.Suite{
		Make: func(e *bdevtest.Env, blockSize uint32, blocks uint64) string {
			disk = make()
			d := disk.Register(e, "disk", blockSize, blocks)
			if disk.Limits.UnmapAlignmentBlocks == limited {
				if err := d.SetRateLimits(bdev.RateLimits{IOs: 20_000, WriteBytes: 1 << 28}); err != nil {
					e.T.Fatal(err)
				}
			}
			return "disk"
		},
		Crash: func() { disk.Crash() },
	}
}
