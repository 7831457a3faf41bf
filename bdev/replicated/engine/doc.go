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
//	range    overlapping writes go one after the other, in the order of arrival, on all replicas. A resync passes those that
//	         cannot go out, or that too few replicas have: they may wait for the copy that it brings. Writes never do
//	extents  the activity log knows, durably, that this part of the disk may be written (M1)
//	out      to all legs and to every peer that mirrors; the bits of those that do not
//	acked    when this node's disk has it and each peer has, by its mode: A sent, B received, C written
//	epoch    that acknowledgement closes the epoch: a barrier goes out, later writes belong to the next one
//	logged   until every peer has confirmed the epoch: it has flushed it, so no power loss can take it back
//
// What a peer had not confirmed when its link broke is dirty. A Primary that loses a peer starts a new generation, and
// acknowledges nothing until that is durable (M3): the peer will be recognized as the one that stayed behind. So does one that loses
// the target of a resync, unless it knows that this lacks data: the target may have written down the end of the resync, of which
// nobody hears then, and be promoted.
//
// # Several nodes
//
// Bits and bitmap generations belong to pairs of nodes, the current generation to the volume. With three nodes and more
// (several.go):
//
//	generation  a new one whenever a Primary begins or goes on without some of its peers, by promotion, by loss, or at the end of a
//	            resync, when it has that of its source, as they may; the peers that get its writes store it and the names of those
//	            left out before anything more is acknowledged, and mark from then on what these miss. Two that follow one another
//	            closely are told one after the other. Who is named as left out does not store it, and is compared again unless
//	            it is Behind, or a target.
//	            A Primary whose own data is not good (diskless, or a target) lets them start it
//	one source  a node takes over the data of one other at a time. While it does, it is nobody's source, and other links wait;
//	            to these it shows the generation that it had before, and it marks in their rows whatever it copies. If the
//	            source takes over other data before the end, it forgets what it began: then everything is copied (rule 81)
//	stable      a node that gets the writes of a Primary is neither source nor target of a third: its data moves. Whoever is
//	            behind waits for the Primary, or for its end. Two that are UpToDate and follow the same Primary are equal
//	waiting     a link that has been compared and must wait stays in WFReportParams; the side of which something has changed
//	            drops it, and the comparison is repeated
//	in sync     the source tells the others in sync with it that the target is, and the target who confirmed: no resync is
//	            needed between them. Two that have copied within one generation from different sources are resynced,
//	            and so are two of which one has copied from a third before it had heard of the end of their own resync
//	lost        when a Primary is lost, its last writes may be on some nodes only. A Secondary remembers what the Primary has not
//	            called settled, marks it towards everybody and is compared again; of two with the same generation (rule 42) the
//	            source is who noticed the loss, then who had nothing under way, then the crashed Primary, then a crashed
//	            Secondary. With mode C all that was acknowledged is on every node that did not crash; in modes A and B the
//	            crashed Primary goes first, as in DRBD (rule 40)
//	doubt       with the data of a source comes its doubt: towards whom it may lack last writes of a lost Primary, or have
//	            them alone. It ends with the next resync between the two, or with the word that they are in sync. A copy of
//	            a node in doubt is compared as that node would be, so that two that only a third sees do not overwrite it in turn
//	lenders     a node without disk is promoted when all that it would read from hold the same: none is in doubt towards another, or
//	            has writes of a Primary that are not settled
//	shown       a Primary that loses the source of its data goes on from who has the same generation or a later one
//	copies      min_acks counts this node and peers that have written and whose data is good: not mode A, not a target,
//	            and not what was written to disks that are gone
//	fencing     a node that knows a higher epoch tells the Primary; who is connected to a Primary refuses another's promotion
//	            unless it comes with a higher epoch
//	away        a node that was away is known by the generation that it had. That stays in the history of whoever has a bitmap since
//	            it, and with every new generation the Primary and those who follow it tell one another which those are. What no
//	            bitmap of these collects since is forgotten after 30 further generations: then its data passes for unrelated, and is
//	            given up by the operator (ancestors.go)
//	size        a new size is a new generation for all peers, and agreed in the comparison. Growing needs all of them, since
//	            the smallest bounds it; shrinking does not, and whoever comes back is cut. Only a Primary may do either
//
// # What is durable before what
//
//	M1  the activity log transaction, before the first write to a cold extent; what leaves the log has been flushed, on all legs
//	    before any of them forgets it
//	M2  bitmap pages of extents that leave the activity log, before the transaction that lets them leave
//	    (what is marked for a third node after the write, at its loss or at the Primary's, at once); between several nodes
//	    the writes in them that the Primary has not called settled are marked for this, towards everybody else
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
// What they repair is a change for trackers; what rots is not.
//
// A node that starts without a leg that the others take to be in sync cannot know what that leg has gone on to write
// alone. It is Inconsistent, and all bits are set: everything is copied here from a peer that is not behind. A peer that
// is behind is refused, until the operator adds the leg before a start, declares this data good (primary with force), or
// discards it. The target of a resync that only that leg knew is known by where the name of the resync comes from (rule
// 82). So a host waits for all legs before it starts a node. And a leg that had newer data, but that the node has gone on
// without, must not be started alone: it does not know that it was set aside. With the others present it is recognized,
// and refused.
//
// # Files
//
//	state uuid policy         tables: states and clamps, generations, split brain
//	types config view         what goes in and out, what is fixed, what can be seen
//	engine op                 Step, and the object that each piece of work is
//	interval bitmap actlog    range lock, dirty blocks, activity log
//	metaqueue                 metadata writes, one after another
//	write read peerwrite      requests of the front end, writes of a peer
//	epoch                     the transfer log: what a peer may still lose
//	peer link handshake       messages, connection and loss of it, comparison
//	several insync doubt      what three nodes and more need
//	lender                    when a node without disk may be promoted
//	ancestors                 by which former generations a node is known that was away for long
//	sync pull serve           resync: beginning and end, the target, the source
//	verify                    verify and repair
//	legs rebuild              local disks
//	repair legverify          what a leg cannot read, and what the legs hold differently
//	command admin invalidate  the operator
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
// Two nodes that are both behind a Primary which only one of them sees do not help one another: the other waits. A diskless
// Primary that stays for good keeps a node that was away waiting, since its only source is a node that gets writes. A node
// without disk is not promoted while two that may differ in the last writes of a lost Primary are connected to it but not
// to each other: the operator has to disconnect one of them. A quorum does not keep an isolated Primary from starting a
// generation when it loses its peers, although it acknowledges nothing in it: what it wrote has to be given up by the
// operator or by a policy. Of four nodes in a ring, each of which sees the same two others for good, what one takes over
// goes round by resync without end: the word that two are in sync reaches only those who see the source. It ends with the
// first link across. DRBD's two-primaries mode is refused.
package engine
