// Package leg joins the replication engine to the metadata on a node's local disks: it turns the engine's metadata actions
// into pages of the format GREP v1, and what the legs' pages say at start into what an engine starts from.
//
// # At start
//
// The host opens every leg that is here and makes a Set of them. Load chooses the leg to start from by the superblocks
// (engine.ChooseLeg), and takes the sum of what all legs that are in sync with it say: the bits of all bitmaps, the hot
// extents of all activity logs. So a page that one leg has lost costs a resync at most, even if the disk does not know that
// it lost it. An extent that only some of the logs have is dirty by that, but not hot: before the next write there, all of them get
// it. What no leg can read counts as dirty or hot. A leg whose two superblocks are bad is not here. One that the
// volume has never seen, because its disk was replaced, is a new one: everything is copied to it.
//
// # While it runs
//
// Encode gives the pages of one metadata action for one leg, in order: each has to be durable before the next is written, and
// the last one before the engine hears of the end. Before a leg is added again (engine.CmdLegAdd), the host opens its
// metadata anew, or creates it if the disk is another one, and puts it into the Set. Every superblock says which disks all the legs
// are, as the Set knows them, so that after a crash any leg that is in sync will do to start from.
package leg
