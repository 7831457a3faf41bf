// Package engine is the replication of one volume on one node, as a state machine without input, output, clock or
// goroutine: Step takes an event and returns the actions that follow from it. What performs the actions is the host: in the
// target, bdev/replicated with its reactor, disks and links; in test/sim, a simulator that does to it whatever can happen.
//
// The semantics are DRBD's, and so are the words; local mirrors, DRBD's wire and other links are only different hosts.
//
// # The model
//
// A volume has up to 16 replicas besides the node's own disk: peers (other nodes), legs (local disks; together they are the
// node's disk), and trackers (nobody: they collect what changed since a mark). Each has a row in the superblock and a
// bitmap of the blocks that it lacks.
//
// The node has a role, its data a disk state, every link a link state:
//
//	role   Secondary -> Primary           asked of all connected peers, durable before the first write (M6)
//	disk   Diskless < Inconsistent < Outdated < Consistent < UpToDate
//	link   StandAlone -> WFConnection -> WFReportParams (hello both ways, compare) ->
//	         Connected                                            equal
//	         WFBitMapS -> SyncSource -> Connected                 I am the source
//	         WFBitMapT -> WFSyncUUID -> SyncTarget -> Connected   I am the target
//	       Connected -> VerifyS | VerifyT -> Connected            compare block by block
//	       Connected -> StartingSyncS | StartingSyncT -> ...      invalidate: all bits, no bitmaps exchanged
//	       Connected -> Ahead | Behind -> SyncSource | SyncTarget the link could not keep up
//	       any -> WFConnection                                    link lost; StandAlone if the sides cannot work together
//
// state.go has the states and, as a table, which disk states each link state admits. uuid.go has, as a table, how two
// nodes find out who has the good data: by generation identifiers, the current one, the one since which the bitmap has been
// collecting, and former ones. policy.go decides a split brain.
//
// # The way of a write
//
//	held     until I/O is not suspended, a replica is there to take it, and a new generation (if one is due) is durable
//	range    overlapping writes go one after the other, in the order of arrival, on all replicas
//	extents  the activity log knows, durably, that this part of the disk may be written (M1)
//	out      to all legs and to every peer that mirrors; the bits of those that do not
//	acked    when this node's disk has it and each peer has, by its mode: A sent, B received, C written
//	epoch    that acknowledgement closes the epoch: a barrier goes out, later writes belong to the next one
//	logged   until every peer has confirmed the epoch: it has flushed it, so no power loss can take it back
//
// What a peer had not confirmed when its link broke is dirty. A Primary that loses a peer starts a new generation, and
// acknowledges nothing until that is durable (M3): the peer will be recognized as the one that stayed behind.
//
// # What is durable before what
//
//	M1  the activity log transaction, before the first write to a cold extent; what leaves the log has been flushed
//	M2  bitmap pages of extents that leave the activity log, before the transaction that lets them leave
//	M3  the new generation, before the first acknowledgement that a replica has no part in; the same for a leg marked stale
//	M4  bits are cleared on disk only after a flush of the data that they stood for
//	M5  the target's data is flushed before the generation that says the resync is complete
//	M6  the mark "is Primary", before the first write as Primary
//	M7  what cannot be read costs a resync: a bad bitmap page is all ones, a bad activity log makes everything hot
//
// And of a resync: the target's bitmap, merged with the source's, is durable before the target asks for the first block; so
// is the state Inconsistent, and the source's bitmap generation. A node that starts after a crash flushes first: what a
// killed process left in a disk's cache reads as if it were durable.
//
// # Disks that go bad
//
// What a leg cannot read is answered by another leg or by a peer, and then put back: the range is locked, read again from
// there, and written to the leg. A leg that cannot write it either has failed: it is durably stale before anything is
// acknowledged without it, and the last leg makes the node Diskless.
//
// Damage to metadata costs a resync, and if nothing says any more whose data it is, the disk is refused (packages meta and
// leg). There are no checksums of data, so a block that rots, or a write that a disk puts elsewhere, is not noticed when it
// is read: a read may return it, and a resync may copy it. It is found by comparing copies, and by nothing else:
//
//	CmdVerifyLegs   compares the legs of this node; repairs by majority, or from the leg that the operator names
//	CmdVerify       compares this node with a peer, all legs of both; repairs by a resync from the side that is named
//
// Verify does not know which copy is right. More than half of the legs is the only guess that it makes, and only when asked.
// While the good copy exists and the operator names it, verify and repair leave nothing rotten.
//
// A node that starts without a leg that the others take to be in sync cannot know what that leg has gone on to write alone.
// It is Inconsistent, and all bits are set: everything is copied here from a peer that is not behind. A peer that is behind is refused, until the operator adds the leg before a start, declares this
// data good (primary with force), or discards it. So a host waits for all legs before it starts a node. And a leg that had
// newer data, but that the node has gone on without, must not be started alone: it does not know that it was set aside. With
// the others present it is recognized, and refused.
//
// # Files
//
//	state uuid policy         tables: states and clamps, generations, split brain
//	types config view         what goes in and out, what is fixed, what can be seen
//	engine op                 Step, and the object that each piece of work is
//	interval bitmap actlog    range lock, dirty blocks, activity log
//	metaqueue                 metadata writes, one after another
//	write read peerwrite      requests of the front end, writes of a peer
//	peer link handshake       messages, connection and loss of it, comparison
//	sync pull serve           resync: beginning and end, the target, the source
//	verify                    verify and repair
//	legs rebuild              local disks
//	repair legverify          what a leg cannot read, and what the legs hold differently
//	command admin             the operator
//	mutation coverage         for tests: rules switched off (only with -tags invariants), what a run has reached
//
// # Contract of the host
//
// Actions are performed in order. Every leg and metadata action is answered by one event; a metadata action with several
// legs in its mask by one event when all have ended. Writes of one leg may be reordered by its disk until a flush. Messages
// keep their order on each of the link's two streams (MsgType.Meta tells which); a new connection's messages never mix with
// an old one's. Data is never looked at: it is the host's reference, used by an action until that is answered, and given
// back by ActComplete or ActRelease. Command IDs are never zero and never repeat. Deadline says when a tick is wanted.
//
// # Limits of this version
//
// More than one peer is in the types and the tables, but not proven: see test/sim. DRBD's two-primaries mode is refused.
package engine
