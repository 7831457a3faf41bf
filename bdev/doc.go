// Package bdev is the block layer: named devices, and paths to them from every reactor.
//
//	Registry --- Device --- Backend (a module's)        control plane: register, open, claim, examine, remove
//	               |
//	             Desc       an open device: read-only, read-write or claimed; told of resize and removal
//	               |
//	   reactor 0: Channel --- Queue (the module's)      data plane: one Channel per Desc and reactor,
//	   reactor 1: Channel --- Queue                     one Queue per Device and reactor
//
// # A request
//
// The caller owns a Request (embedded in a larger object and pooled by it), fills it, and gives it to Channel.Submit on the
// channel's reactor. The generic layer checks mode, range, alignment and support; holds it back while an atomic range
// overlaps it; splits it at the device's limits; keeps it when the module is out of resources; counts it. The module's
// Queue sees only requests that it can do. Each request completes exactly once, by Done, on the reactor that submitted it,
// and never inside the Submit that started it.
//
// # What a module does not support
//
// The generic layer emulates write zeroes, compare, compare-and-write, copy, FUA (write then flush) out of reads, writes, flushes and
// range locks, or refuses with StatusUnsupported (unmap, seek). A module never pretends.
//
// # Removal
//
// Unregister marks the device, tells every Desc, fails new requests with StatusRemoved, and waits until all descs are
// closed and all queues drained; then the backend is destroyed. It never waits for a reader of data, since data is
// copied into the request's own memory.
package bdev
