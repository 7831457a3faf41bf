// Package sim runs the replication engine against everything that can happen to it: virtual time, ordered byte streams that
// are cut, one-way cut, reset and half-open, disks with volatile caches that tear and fail, processes that are killed, lose
// power or pause, an operator who gives random commands, and a front end with overlapping requests. One seed decides all of
// it, on one goroutine: the same seed is the same run.
//
// A run (run.go) is a number of rounds, each some work of the front end and one thing that goes wrong (hurt.go) or that the
// operator does (ops.go); then all faults end, and everything has to become equal in bounded time (recover.go). sim.go is
// the clock and what a seed chooses, disk.go, metadata.go and net.go are the world, node.go is the host of an engine; model.go
// and watch.go look for damage.
//
// # Disks
//
// A node has 1 to 4 legs. A leg is blocks with version numbers and, byte for byte, its metadata, both behind a volatile
// cache: a power loss keeps, loses or tears each block that was not durable, and leaves any mixture of old and new sectors of
// a page under way. A node starts from these bytes alone, by the decoder and the rules of packages meta and leg. legs.go pulls
// legs, puts other disks in their place and starts nodes without them; rot.go lets them go bad:
//
//   - a block is unreadable until it is written again, or worn: then it cannot be written either;
//   - a block rots at rest, and a write of one block goes to another place, in the data or the metadata;
//   - a bit of a page of metadata changes; one superblock of the two stays good;
//   - a page of metadata goes to another place, and its own stays as it was. That the disk has lost a write nobody can see on
//     an only leg, so it happens where several are in sync, and the node ends before that changes.
//
// What no checksum finds, rot and misdirected writes of data, happens to one leg of one node, so that there is a right copy.
// A rotten block stands for what should be there: all other checks look through it, and excuse nothing else. At the end
// verify runs, and whatever had a right copy must be right everywhere.
//
// # What is checked
//
//   - Reads (model.go): while one node is Primary a block reads as something no older than what was acknowledged when the
//     read began.
//   - Durability: a node that is promoted has everything that it has promised to keep: with mode C what was acknowledged
//     while it was in sync, after a power loss what was flushed.
//   - Direction: no node that has what the other lacks is overwritten by one that missed writes, unless the operator or a
//     split-brain policy says so; none is promoted in the middle of a resync.
//   - Equality: replicas and legs that call themselves in sync and are quiet hold the same. A bit that was forgotten
//     anywhere ends here.
//   - Fencing: no write of a superseded fencing epoch reaches a disk.
//   - Rot: after verify and repair nothing is rotten of which there was a right copy.
//   - Progress: after the faults everything becomes UpToDate, and every request ends.
//   - Coverage: every rule of the compare table, every arrow of the state machine and every policy is reached, from 3,000
//     seeds on, but for what coverage_test.go lists with its reason.
//
// That a check would notice is proven by switching the rule off: TestMutations, with -tags invariants.
//
// # Running
//
//	go test ./test/sim                                                    200 seeds, transcripts, corpus
//	go test -tags invariants ./test/sim -run TestSeeds -seeds 100000 -timeout 0
//	go test -tags invariants ./test/sim -run TestSeeds -seeds 1 -first 4711 -story
//	go test -tags invariants ./test/sim -run TestMutations -sweep -timeout 30m
//	go test ./test/sim -run TestTranscripts -update
package sim
