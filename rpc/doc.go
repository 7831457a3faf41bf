// Package rpc is JSON-RPC 2.0 over Unix sockets in the dialect that SPDK's
// clients speak: its framing, its error codes, its two states, its save and
// load of configurations. It knows nothing of storage; other packages
// register their methods with it. It belongs to the control plane: handlers
// are ordinary Go, run on goroutines of the connections and reach a reactor
// only by Call and Each of package reactor.
//
// # How a package's rpc.go looks
//
//	type createParams struct {
//		Name      string  `json:"name"`                              // required
//		NumBlocks uint64  `json:"num_blocks" min:"1"`                // required, at least 1
//		BlockSize uint32  `json:"block_size,omitempty"`              // optional, see SetDefaults
//		UUID      *string `json:"uuid"`                              // optional, nil when absent
//		DIF       string  `json:"dif_type,omitempty" enum:"none,t1"` // optional, one of a list
//	}
//
//	func (p *createParams) SetDefaults()    { p.BlockSize = 512 }
//	func (p *createParams) Validate() error { ... }
//
//	func RegisterRPC(s *rpc.Server, registry *bdev.Registry) {
//		rpc.Handle(s, rpc.Runtime, "bdev_malloc_create",
//			func(ctx context.Context, p createParams) (string, error) {
//				if registry.Has(p.Name) {
//					return "", rpc.Exists(p.Name)
//				}
//				...
//				return p.Name, nil
//			}, "construct_malloc_bdev")
//		rpc.Handle(s, rpc.Runtime, "bdev_malloc_delete",
//			func(ctx context.Context, p deleteParams) (rpc.None, error) { ... })
//		s.Subsystem("bdev", []string{"sock", "iobuf"},
//			func(ctx context.Context) ([]rpc.ConfigEntry, error) { ... })
//	}
//
// # Parameters
//
// There is one rule: a member is required unless it is a pointer or its json
// tag says omitempty or omitzero. Every member has a json name, or "-".
// Embedded structs lend their members. null for an optional member is the
// same as its absence, and so is null for the parameters as a whole.
//
// The tags min, max and enum narrow a value; for a list they hold for each
// element. SetDefaults (see Defaulter) runs before decoding, and Validate
// (see Validator) after it. Types with UnmarshalText or UnmarshalJSON decode
// themselves. Integers may be written 2048, 2048.0 or 2e3. Unknown and
// duplicate names are refused, with the known names in the message.
//
// # Results and errors
//
// None is encoded as true, the result of SPDK's methods that have none. An
// *Error goes onto the wire as it is, a wrapped syscall.Errno becomes its
// negative value, any other error is -32603 with its text; see AsError.
//
// # Order
//
// Calls of one connection start in the order in which they arrive, and each
// ends before the next starts, but for methods marked with Waits: those
// leave the loop, up to a bound, and their replies come when they are done.
// Connections do not wait for one another. A call that changes something is
// not interrupted when its client goes away.
//
// # Files
//
//   - server.go: the Server, dispatch, Call; method.go: Handle and a method's
//     options; limits.go: every bound of what a client can take up
//   - schema.go, value.go, number.go, decode.go: what a parameter type says,
//     a JSON value with all its digits and duplicates, strict decoding
//   - errors.go: the one translation of errors into codes and messages
//   - listen.go: the socket and its lock file; frames.go: where a JSON value
//     ends; message.go: the checks of a request and the form of a reply;
//     stream.go: these as an ObjectStream of sourcegraph/jsonrpc2, with batches
//     and half-closed clients; conn.go: one client, the order of its calls
//   - framework.go: the two states; config.go: subsystems and their saved
//     configuration; load.go: loading one
//   - builtin.go, log.go: the methods every server has
//   - client.go, clientconfig.go: the other end; command.go, help.go: `pollux
//     rpc` on top of it, which the program calls as Command
package rpc
