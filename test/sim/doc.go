// Package sim runs the replication engine against everything that can happen to it: virtual time, ordered byte streams that
// are cut, one-way cut, reset and half-open, disks with volatile caches that tear and fail, processes that are killed, lose
// power or pause, an operator who gives random commands, and a front end with overlapping requests. One seed decides all of
// it, on one goroutine: the same seed is the same run.
//
// Seven worlds of sixteen have two nodes, seven three and two four, all connected to all. From three on there are partitions into
// any groups, several nodes that end or pause at once, and Primaries that are lost in the middle of writes (several.go).
//
// A run (run.go) is a number of rounds, each some work of the front end and one thing that goes wrong (hurt.go) or that the
// operator does (ops.go); then all faults end, and everything has to become equal in bounded time (recover.go). sim.go is
// the clock and what a seed chooses, disk.go and net.go are the world, node.go is the host of an engine; model.go and
// watch.go look for damage.
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
//   - Copies: a write is acknowledged with min_acks copies, and the nodes that are said to have it do.
//   - Fencing: no write of a superseded fencing epoch reaches a disk.
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
//	go test -tags invariants ./test/sim -run TestSeeds -nodes 3 -first 1019 -seeds 1 -skip '4 5 6'
//	go test ./test/sim -run TestTranscripts -update
package sim
