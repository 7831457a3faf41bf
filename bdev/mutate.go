package bdev

// Mutation names a way to be wrong that a test must notice. Only builds with -tags invariants have them.
type Mutation uint32

// Mutations of the block layer and its modules.
const (
	MutateNone                Mutation = iota
	MutateLockNotBroadcast             // a range lock is made known on its user's reactor alone
	MutateLockNotDrained               // a range lock does not wait for what is in flight
	MutateFreeBeforeDrained            // a removed device is destroyed while its queues are open
	MutateResetForgets                 // a reset does not wait for what is in flight
	MutateAbortForgets                 // an abort does not wait for its target
	MutateFUADropped                   // FUA is not followed by a flush
	MutateShrinkNotDrained             // a resize does not wait for what is in flight beyond the new end
	MutateStripeNoSequence             // malloc: readers do not look at the sequence words
	MutateStripeNoExclusion            // malloc: writers do not exclude one another
	MutateUnmapKeeps                   // malloc: an unmapped block keeps its data
	MutateFlushDoesNothing             // aio: a flush answers without fdatasync
	MutateFUAIgnored                   // aio: FUA writes are plain writes
	MutateFlushAnswersEarly            // aio: a flush does not wait for writes that were answered before it
	MutateFlushForgetsFailure          // aio: after a failed fdatasync the next one may succeed
	MutateFileNotSynced                // aio: neither a new file nor its directory is synced
	MutateDirectoryNotSynced           // aio: the directory of a new file is not synced
	MutateSizeNotSynced                // aio: a rescan tells of a size that is not durable
)
