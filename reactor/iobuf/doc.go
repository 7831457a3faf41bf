// Package iobuf gives out I/O buffers that live outside the Go heap.
//
// A Pool belongs to one reactor; a Buf has one owner at a time and goes back by one Put, on the reactor whose pool it
// came from. Size classes are powers of two from MinSize to MaxSize; larger needs take several. All pools of a process
// draw on one Budget, which bounds the memory (--max-data-memory).
//
// A pool takes slabs of 2 MiB from the budget and splits buffers in halves as needed; Put is a push on a list. Halves are
// joined again only when nothing else helps. Builds with the race detector take slabs from the Go heap, since the detector
// does not see other memory; builds with -tags invariants overwrite what is put back.
package iobuf
