package engine

// Mutation switches one safety rule off, so that the simulator can prove that it would notice.
// Only builds with -tags invariants look at the switches; in all others they cost nothing and do nothing.
type Mutation uint8

// Mutations.
const (
	MutNoALTransaction      Mutation = iota // M1: write to a cold extent without a durable transaction
	MutNoBitmapBeforeAL                     // M2: evict an extent without writing its bitmap pages
	MutNoFlushBeforeEvict                   // M1: evict an extent whose data may still be in the volatile cache
	MutAckBeforeRotation                    // M3: acknowledge before the new generation is durable
	MutNoRotation                           // M3: lose a peer without a new generation
	MutEagerBitClear                        // M4: clear bits on disk before the data they stand for is durable
	MutNoFlushBeforeEnd                     // M5: end a resync without flushing the target
	MutNoPrimaryMark                        // M6: write as Primary without the durable mark
	MutTrustBadPage                         // M7: a bad bitmap page counts as clean
	MutNoIntervalLock                       // overlapping writes go out together
	MutNoEpochClose                         // a completed write does not close its epoch
	MutForgetAtAck                          // a write is forgotten when it is acknowledged, not at the barrier
	MutNoBarrierFlush                       // a barrier is answered without a flush
	MutNoBarrierDrain                       // writes of the next epoch start before the last one is on disk
	MutLegAckBeforeStale                    // a leg's failure is not durable before the write is acknowledged
	MutNoFenceCheck                         // writes of a lower fencing epoch are accepted
	MutReadInconsistent                     // reads are served from blocks that are not in sync
	MutNoBitOnMissed                        // a write that a peer missed sets no bit
	MutNoResyncLock                         // resync reads do not exclude writes
	MutNoReconnectDrain                     // a new connection does not wait for the old one's writes
	MutNoTargetInconsistent                 // the target pulls without marking itself Inconsistent
	MutTargetBitsVolatile                   // the target pulls before the bits of both sides are durable on it
	MutNoALOnCrash                          // extents hot at a crash are not made dirty
	MutDisklessNoBits                       // writes of a diskless Primary set no bit on the disk that has them
	MutFlushLocalOnly                       // a flush does not wait for the peers
	MutTrustBadLog                          // M7: what is left of a bad activity log counts as all of it
	MutOneLegMetadata                       // the metadata of one leg counts, not the sum of all in sync
	MutMetadataCached                       // metadata writes end while they are in the disk's volatile cache
	MutNoRepairLock                         // a read repair does not exclude writes
	MutDigestOneLeg                         // verify and resync by digest look at one of several legs
	MutTrustWhatIsHere                      // a missing leg is taken to have nothing newer than the others
	MutNoMinAcks                            // a write is acknowledged with fewer copies than MinAcks
	MutPromoteBadData                       // a node without good data is promoted without force
	MutTwoPrimaries                         // a node is promoted although a connected one is Primary
	MutDemoteEarly                          // a Primary steps down with writes under way
	MutKeepFenced                           // what a fenced Primary could not acknowledge stays on its disk
	MutFenceVolatile                        // a fencing epoch is accepted before it is durable
	MutNoGrowthBits                         // the part by which a volume grows is not copied
	MutVerifyNoBits                         // what verify finds different is not marked
	MutNoOutOfSync                          // a target does not hear of the writes that it is not sent
	MutCsumBlind                            // a resync by digest does not compare them
	MutNoSuspendDeadline                    // suspended I/O does not resume by itself
	MutWriteSuspended                       // writes go out although I/O is suspended
	MutNoTrackerBits                        // a tracker does not see writes
	MutAckBeforeLoss                        // a Primary without disk acknowledges before a peer has noted that durably
	MutNoStartFlush                         // what a killed process left in the disks' caches is not flushed
	MutNoReconnectFlush                     // what a peer wrote over an ended connection is not flushed
	MutTrustLegs                            // after a crash the legs of a node count as equal
	MutClearOutsideSync                     // an acknowledged write clears bits before both sides' bitmaps agree
	MutTargetCounts                         // a target's own copy is worth an acknowledgement
	MutInvalidateVolatile                   // a node is invalidated before it is durable that all of it is
	MutDisklessAnyData                      // a Primary without disk goes on from data that is not what it has shown
	MutForgetClearedBits                    // M4: bits cleared during a flush are cleared in the page that follows it
	MutNoEndingGeneration                   // M3: the source of a resync that may have ended unheard goes on in the same generation
	MutForgetEvictedOpen                    // M2: extents leave the log although writes in them are not settled, and nothing marks these
	MutDoubtOwnRow                          // a copy of a node in doubt is not compared as that node would be
	MutSecondaryResizes                     // a Secondary begins the generation of another size
	MutLeftOutFollows                       // who is left out of a generation stores it
	MutForgetPartial                        // the target of a resync that the source has forgotten does not say that it is one
	MutForgetAncestors                      // a history forgets generations that bitmaps collect since
	MutForgetOpen                           // what a lost Primary had under way is not marked
	MutInSyncWithOpen                       // a node confirms that two are equal while it has writes of a third that are not settled
	MutLendersDiffer                        // a node without disk is promoted although its peers may hold different data
	MutEndsInOlder                          // a resync ends in a generation that its source has left meanwhile
	MutYieldToAll                           // a write that lacks copies lets writes pass, too
	MutKeepMissed                           // other peers do not hear what a lost one has missed
	MutFlushOneLeg                          // M1: extents leave the log when one leg of several has been flushed
	MutKeepForeignBitmaps                   // changes are collected since a generation that is none of this node's any more
	MutLostDisksCount                       // a copy on disks that are gone is worth an acknowledgement
	mutEnd
)

// MutationNames names the switches in order.
var MutationNames = []string{
	"no-al-transaction", "no-bitmap-before-al", "no-flush-before-evict", "ack-before-rotation", "no-rotation",
	"eager-bit-clear", "no-flush-before-end", "no-primary-mark", "trust-bad-page", "no-interval-lock",
	"no-epoch-close", "forget-at-ack", "no-barrier-flush", "no-barrier-drain", "leg-ack-before-stale",
	"no-fence-check", "read-inconsistent", "no-bit-on-missed", "no-resync-lock", "no-reconnect-drain",
	"no-target-inconsistent", "target-bits-volatile", "no-al-on-crash",
	"diskless-no-bits", "flush-local-only", "trust-bad-log", "one-leg-metadata", "metadata-cached",
	"no-repair-lock", "digest-one-leg", "trust-what-is-here",
	"no-min-acks", "promote-bad-data", "two-primaries", "demote-early",
	"keep-fenced", "fence-volatile", "no-growth-bits", "verify-no-bits", "no-out-of-sync", "csum-blind",
	"no-suspend-deadline", "write-suspended", "no-tracker-bits", "ack-before-loss",
	"no-start-flush", "no-reconnect-flush", "trust-legs",
	"clear-outside-sync", "target-counts", "invalidate-volatile", "diskless-any-data", "forget-cleared-bits",
	"no-ending-generation", "forget-evicted-open", "doubt-own-row", "secondary-resizes", "left-out-follows",
	"forget-partial", "forget-ancestors", "forget-open", "in-sync-with-open",
	"lenders-differ", "ends-in-older", "yield-to-all",
	"keep-missed", "flush-one-leg", "keep-foreign-bitmaps", "lost-disks-count",
}

// MutationSet holds the switches of a configuration. The zero value has none, and all rules are in force.
type MutationSet [2]uint64

// With returns the set with one more switch.
func (s MutationSet) With(m Mutation) MutationSet {
	s[m/64] |= 1 << (m % 64)
	return s
}

// Has reports that a switch is in the set.
func (s MutationSet) Has(m Mutation) bool { return s[m/64]>>(m%64)&1 != 0 }

func (e *Engine) mutated(m Mutation) bool { return Switched(&e.cfg, m) }

// Switched reports that a rule is off; the rules of the host (package leg, test/sim) ask here, too.
func Switched(c *Config, m Mutation) bool { return Invariants && c.Mutations.Has(m) }
