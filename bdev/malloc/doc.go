// Package malloc is a block device in memory.
//
// The memory is mapped outside the Go heap, advised to huge pages, and populated by what is written; unmap gives whole pages
// back. All reactors work on it directly, each through its own queue, and everything is done inside Submit.
//
// So the first write to a huge page waits until the kernel has zeroed it: half a millisecond, at times some ten, in which its reactor
// serves nobody. Small pages would cost less each and five times as much in all. Who cannot have that makes the disk with populate: its
// memory is taken at once, and that there is not enough of it shows then, not by a killed process later.
//
// # One block, two reactors
//
// A block is one instant: a reader sees all of a write or nothing of it. The memory is divided into stripes of 64 KiB, and each
// has a sequence word (stripes share words when the device is large): a writer makes it odd, copies, and makes it even again;
// a reader copies, and repeats when the word has changed or was odd. Compare-and-write holds the words of all its stripes.
//
// Nobody waits for long: who finds a word taken for more than some microseconds (the other reactor has lost its core, say) completes with
// StatusNoMemory, and the channel tries again later.
//
// In race builds the memory lies on the Go heap and readers take the word as writers do: a sequence lock is a data race by the
// rules of the Go memory model, made harmless by throwing away what was read.
//
// # Files
//
// malloc.go makes and deletes disks, disk.go does the operations, stripe.go is the sequence words, extent.go knows which parts hold
// data, memory.go and memory_race.go are where the bytes are, rpc.go the RPC methods.
package malloc
