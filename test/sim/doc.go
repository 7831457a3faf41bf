// Package sim runs the replication engine against everything that can happen to it: virtual time, ordered byte streams that
// are cut, one-way cut, reset and half-open, disks with volatile caches that tear and fail, processes that are killed, lose
// power or pause, an operator who gives random commands, and a front end with overlapping requests. One seed decides all of
// it, on one goroutine: the same seed is the same run.
//
// Seven worlds of sixteen have two nodes, seven three and two four, all connected to all. From three on there are partitions into
// any groups, several nodes that end or pause at once, and Primaries that are lost in the middle of writes (several.go).
//
// A run (run.go) begins with a first Primary: promoted by force, or after the operator has said that the disks are equal, or
// two of them before they have ever met. Then come rounds, each some work of the front end and one trouble: hurt.go has the
// table of them, hurt_resync.go those around a resync, hurt_loss.go those after a loss, hurt_rules.go those
// that are there for one rule, hurt_switches.go those of them that happen only with -only and in TestMutations, hurt_operator.go what an
// operator does (with ops.go, his ordinary commands), legs.go those of several local disks and rot.go what disks spoil. At last all
// faults end, and everything has to become equal in bounded time (recover.go).
//
// sim.go is the clock and what a seed chooses; disk.go, metadata.go and net.go are the world; node.go is the host of an
// engine; model.go, promises.go and watch.go look for damage.
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
//   - a page of metadata goes to another place, or nowhere, and its own stays as it was. That the disk has lost a write nobody can see on
//     an only leg, so it happens where several are in sync, one of the others without a worn block: the node ends before that changes.
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
//     while it was in sync, after a power loss what was flushed or what a resync had brought before its end. A write is
//     acknowledged with as many copies as min-acks says.
//   - Direction: no node that has what the other lacks is overwritten by one that missed writes, unless the operator or a
//     split-brain policy says so; least of all one that has acknowledged alone. None starts or is promoted as good that was
//     ended in the middle of a resync, and outdated data is promoted by force only.
//   - Equality: replicas and legs that call themselves in sync and are quiet hold the same, at the latest when the resync
//     ends, verify has repaired, or the volume has grown. A bit that was forgotten anywhere ends here. Every block that
//     has changed since a tracker was reset is in it.
//   - Legs: a node that had all of its legs in sync when it ended, and has them all, trusts them.
//   - Copies: a write is acknowledged with min_acks copies, and the nodes that are said to have it do.
//   - Fencing: no write of a superseded fencing epoch reaches a disk, and no accepted epoch is forgotten by a crash. Of two
//     nodes that see each other one is Primary.
//   - Suspension: no write is acknowledged between the word that I/O is drained and its end, which comes by itself.
//   - Rot: after verify and repair nothing is rotten of which there was a right copy.
//   - Progress: after the faults every resync ends, everything becomes UpToDate, and every request ends. Without a split brain no two nodes ever find
//     that they have nothing in common, which only an operator could end.
//   - Coverage: every rule of the compare table, every arrow of the state machine, every policy and every command is
//     reached, from 3,000 seeds on. coverage_test.go lists the rows that our own nodes never reach, with the reason; a
//     row of that list that is reached fails, too. A row that seeds hardly ever reach has a transcript that does.
//
// That a check would notice is proven by switching the rule off that it watches: TestMutations, with -tags invariants.
// testdata/mutations has the seed that noticed each switch last. Where it does not any more, because the engine or the
// simulator has changed, the test looks on, and it fails when 1,000 seeds pass without a rule.
//
// # What a failing seed leaves
//
// TestSeeds shrinks it: it leaves out the rounds and the complications of its world that the failure does not need, prints
// what is left as a script, and the line that goes to testdata/corpus. A seed means something else after a change of the
// simulator; what one has found for good belongs into a transcript (testdata/*.txt), too.
//
// # Running
//
//	go test ./test/sim                                                    200 seeds, transcripts, corpus
//	go test -tags invariants ./test/sim -run TestSeeds -seeds 100000 -timeout 0
//	go test -tags invariants ./test/sim -run TestSeeds -seeds 1 -first 4711 -story
//	go test -tags invariants ./test/sim -run TestSeeds -only congestion   one trouble, again and again
//	go test -tags invariants ./test/sim -run TestCorpus -line 'LINE' -story  a shrunk seed, from its line for the corpus
//	go test -tags invariants ./test/sim -run TestSeeds -mutate no-rotation -seeds 20
//	go test -tags invariants ./test/sim -run TestMutations -sweep -update -timeout 60m
//	go test ./test/sim -run TestTranscripts -update
package sim
