// Package aio is a block device in a file or on a block device of the kernel.
//
// Files are opened with O_DIRECT and read and written through the reactor's ring, so that nothing waits and nothing is copied.
// Where that cannot be (tmpfs, file systems without O_DIRECT, a sector that is larger than the block) the file is used
// through the page cache by a bounded pool of threads, since the ring would hand every such request to a thread of the kernel's
// anyway. A backing file is never mapped: a full disk or a truncated file would be a signal instead of a status.
//
// # Durability
//
// What has been written is durable after a flush, which is fdatasync; a write with FUA carries RWF_DSYNC. After an fdatasync that failed, the
// kernel may have dropped the data and would answer the next one well: every later flush fails until the device is made
// anew. A new file is synced together with its directory.
//
// A file is locked (flock) while it is a device. What a killed process had in flight holds its lock: a successor that writes before
// such a write has ended might find its own, acknowledged write undone.
//
// # Disks that hang
//
// Whatever asks the kernel about a file may wait for ever, on a disk or a server that hangs. A create, a rescan and the making of a new file
// therefore wait on a goroutine of their own, hold no lock meanwhile, and answer bdev.ErrUnanswered after OpenTimeout or SyncTimeout, or at
// once when the target begins to end. What the kernel answers later is closed and becomes no device. Until then a thread of the process is
// gone, so there are at most openingsMax, and neither such a file nor the size of such a device is asked for twice.
//
// # Files
//
// aio.go makes, deletes and rescans devices; opening.go has the kernel open files in time; open.go opens them and finds out what they can
// do; queue.go is the data plane, with transfer.go for what the kernel does in several goes; pool.go is the threads; status.go translates
// errors; rpc.go the methods.
package aio
