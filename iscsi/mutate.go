package iscsi

// Mutation names a way to be wrong that a test must notice. Only builds with -tags invariants have them.
type Mutation uint32

// Mutations of this package.
const (
	MutateNone           Mutation = iota
	MutateReinstateEarly          // a reinstating login does not wait for the end of the old session
	MutateKeepTask                // a task whose answer has been sent is not given back
	MutateWrongTask               // Data-Out is stored in whatever task gathers data
	MutatePlainCompare            // sequence numbers are compared as numbers, not as serial numbers
)
