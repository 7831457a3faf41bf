package scsi

// Mutation is a way to break the program on purpose (builds with -tags invariants only): each makes one of the gate's tests fail.
type Mutation uint32

// Mutations.
const (
	MutationNone      Mutation = iota
	MutationNoFence            // fences are acknowledged although tasks are under way
	MutationStaleView          // tasks are not admitted again when the state has changed since Prepare
	MutationTornSwap           // COMPARE AND WRITE compares and writes in two steps
	MutationNoDrain            // a nexus is closed, and a task aborted, without waiting for its device
)
