// Package tcmur makes block devices of tcmu-runner's handlers: shared objects, unmodified and as distributions package them, that
// know how to reach a qcow2 image, a Ceph RBD image, a Gluster volume or anything else that somebody wrote one for.
//
//	reactor 0: queue --- ring 0 \                    / worker
//	                             > sealed memfd ----<  worker   handler_X.so
//	reactor 1: queue --- ring 1 /                    \ ...
//	supervisor (a goroutine)  -------- socket -------- control   pollux-tcmur-helper
//
// # One process for each device
//
// Handlers are foreign code: they crash, loop and scribble. Each device's handler runs in a helper, a small C program (folder
// helper) that supplies the functions which handlers expect of their host. The target stays pure Go and shares with it one
// memfd, sealed against resizing, and trusts nothing that it reads there: which requests are in flight, how long they are and
// whose memory they use is in the queue's own table, and a completion that does not match it ends the helper. The helper has a
// process group of its own, no new privileges, may make threads but no processes, may signal nobody, and is what the kernel
// kills first when memory is short. That confines accidents. What means harm must not run as the target's user: the parameter
// user names another.
//
// # A request
//
// Submit takes a slot, compiles the request into at most three callouts of the handler (program.go), copies data into the
// slot's part of the memfd and pushes an entry. At the end of the pass one futex call wakes the workers, if any sleeps. The
// poller takes completions. Before the reactor sleeps it arms its ring, and the helper writes to a pipe that the reactor's ring
// polls. Callouts that a handler lacks are made of others by the generic layer, or refused.
//
// A synchronous handler promises to be called by at most nr_threads threads, so there are no more workers; requests that overlap
// do not run side by side unless both read. An asynchronous one (nr_threads 0) has one dispatcher.
//
// # When a helper dies
//
// Its supervisor hears of it at once, from wait(2). Queues take what has ended and hold the rest, and new requests, for the next
// helper; reads, writes, unmaps and flushes can be done twice. A compare-and-write that was begun ends as aborted. Requests
// that were at work when the helper died are suspects: the next helper gets them one at a time before anything else, so that
// the one which kills its helper is found, and fails, with nobody else to blame. A request that takes longer than the timeout
// counts as a crash. Restarts come after pauses that grow; after too many within a minute the device is offline, and requests
// fail, until bdev_tcmur_restart.
//
// After each open the handler's lock is taken, which fences off a predecessor that is still known to a cluster. A qcow2 image is
// repaired by qemu-img before it is written again, since the handler counts clusters after it uses them, and images that the
// packaged handler is known to corrupt or to die on are refused by their header (image.go). For handlers that may keep data in
// their process, requests that were not flushed before the crash may be lost: who uses the device is told.
//
// # The end
//
// From the moment that a device is being removed, or the target begins to end (bdev.Module.Ending), no helper is started any
// more and a request has leavingPatience; then its helper is killed and what it had is answered. When the last request has ended
// the handler is closed, within stopPatience; at the end of the target all of them beside one another. A helper whose target is
// gone closes its handler and ends by itself.
//
// # Files
//
//   - region.go, ring.go: the shared memory and the target's side of a ring; all of unsafe is there and in pipe.go
//   - disk.go, queue.go, program.go, status.go: the data plane
//   - supervisor.go, recover.go: helpers come and go; resize.go; helper.go: one process; logs.go: what it prints
//   - tcmur.go, handlers.go, image.go: devices are made, handlers found, images checked; rpc.go: the RPC methods
//   - helper: the C program; its abi.h is what it agrees on with handlers, region.h with the target
package tcmur
