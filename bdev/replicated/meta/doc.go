// Package meta is the durable form of a replicated volume on one local disk: the format GREP v1, its checks, and a reader
// for the metadata that DRBD 8.4 leaves on its disks.
//
// # Layout
//
// All integers are little-endian, all pages are 4 KiB, and every page says what it is and carries a CRC32C over itself
// with the checksum field zeroed. Internal metadata occupies the tail of the disk, so that the data begins at block 0:
//
//	[ data | bitmap slot 0 | ... | slot n-1 | activity log ring | superblock B | superblock A ]
//
// On a device of its own the same areas are its tail, and there is no data before them.
//
// A superblock is written with a higher sequence number and FUA to the copy that does not count, and when that is durable to
// the other one; only then has it been written. The valid copy with the higher number counts. So a write that is torn leaves
// the older copy, which is what counted, and a sector that rots or a write that is lost later leaves one with the same
// contents: with a single new copy, the loss of that one would silently bring an old generation back. The activity log is a ring of transactions: each carries what it changes and a window of
// the whole slot table, so that the last few rebuild the table. A bitmap page holds 32,256 bits of one slot.
//
// # What corruption costs
//
// A bitmap page that cannot be believed counts as all ones; an activity log that does not rebuild the whole table makes
// everything hot. Both cost a resync and nothing else. Two bad superblocks refuse the disk: nothing says whose data it is.
//
// A page that was written to the wrong place is not believed there. In its right place an older page is left, which looks as
// good as ever: of a superblock there is the other copy, but a transaction of the activity log or a bitmap page that the disk
// acknowledged and lost is not found on an only leg. Where several legs are in sync, the host takes the sum of what all of
// them say (package leg).
//
// # DRBD's metadata
//
// What DRBD 8.4 leaves on a disk can be read, not written: its superblock, the bitmap and the activity log. Dirty is the bitmap as
// the kernel would use it when it next attaches, which is what `drbdmeta apply-al` makes of it on disk:
//
//   - The log is a ring of 4 KiB blocks, written round its stripes. Each holds up to 64 updates and a window of 919 slots of the
//     table as it was before them; the size in the block is that of the whole table, not of the window. All bits of an extent that
//     the newest table holds are set. The reader goes back from the newest block for as long as the numbers, which wrap, follow
//     one another.
//   - The log counts where the flag primary-ind is set. A Primary that retires writes its bitmap first, and leaves the log behind,
//     and the kernel's mark "unclean" with it.
//   - A disk that was Primary without a log (al-updates no), or about to set all bits (full-sync), is dirty as a whole. The kernel does
//     that, drbdmeta does not.
//   - drbdmeta also sets the bits of a last extent's blocks past the end of the device. Nobody looks at them; here they are clear.
//   - Linux 6.1 forgets the last 64 bits when it attaches, if the bitmap ends with a whole word. They count here.
//   - A damaged block that may be the newest makes everything dirty. drbdmeta takes it for one that was torn when the power went, and
//     so for a write that never began; it cannot tell that from one that has rotted, whose extents it forgets. A damaged block that
//     newer ones make up for does no harm.
//   - The log of DRBD before 8.4 is another: of a crashed Primary of those, everything is dirty.
//
// # Files
//
// layout.go knows where everything is; super.go, actlog.go and bitmap.go are the three kinds of pages; store.go reads and
// writes them on a disk (an io.ReaderAt and io.WriterAt with Sync). command.go is `pollux replicated md`: check.go checks and
// prints, with runs.go for bits, and foreign.go knows what create must not destroy. drbd08.go reads DRBD's superblock and bitmap,
// drbd08log.go its activity log, and drbd08report.go prints them.
//
// The package knows nothing of the engine: the host converts between its types and these.
package meta
