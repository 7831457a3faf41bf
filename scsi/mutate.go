package scsi

// Mutation names a way to be wrong that a test must notice. Only builds with -tags invariants have them.
type Mutation uint32

// Mutations of this package.
const (
	MutateNone      Mutation = iota
	MutateNoFence            // fences are acknowledged although tasks are under way
	MutateStaleView          // tasks are not admitted again when the state has changed since Prepare
	MutateTornSwap           // COMPARE AND WRITE compares and writes in two steps
	MutateOwnOrder           // ordered tasks are ordered among the tasks of their own nexus alone
	MutateNoDrain            // aborts, closes and removals do not wait for what the device has
)
