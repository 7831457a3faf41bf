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
// copied into the request's own memory. A module that does not answer ends the wait after RemovalTimeout, not the removal: the device
// is hidden, and is destroyed when it has answered (removal.go).
//
// # How a request travels
//
// Each device has a lane on every reactor: its module's queue there and everything in flight on it. A request goes, in the order
// of the files:
//
//	channel.go   Submit counts it
//	lane.go      start -> run -> dispatch -> the module -> Complete -> finish -> end -> Done. What ends inside a Submit, or is
//	             refused, goes onto the lane's list, which is drained later in the pass. What the module has no resources for
//	             waits until something else has ended, or a timer
//	check.go     refuses what makes no sense; decides whether the module can do it as it is
//	gates.go     holds it back: range locks, resets, removal. Aborts and resets themselves. One branch when there is none
//	compose.go   otherwise carries it out as a program of stages, each made of parts (parts.go, cursor.go)
//	qos.go       has it wait for tokens where rates are limited
//	rangelock.go atomic ranges, by way of the device's home reactor
//	stats.go     what bdev_get_iostat shows
//
// request.go, list.go and ops.go are the request itself and the table of operations. Of the control plane, registry.go, spec.go, device.go
// and desc.go are the four nouns, removal.go is their end, examine.go lets modules look at new devices, stack.go is what devices upon devices have in common, gauge.go waits
// until users are gone, rpc*.go, notify.go, params.go and uuid.go are the RPC methods. mutate*.go are the ways to be wrong on
// purpose of builds with -tags invariants.
package bdev
