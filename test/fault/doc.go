// Package fault brings the built binary to where things go wrong. An honest session beside them notices nothing, what was
// acknowledged is kept, and service goes on as soon as it can.
//
// Peers that misbehave (misbehave_test.go): each gets the answer of RFC 7143 or a closed connection; what they do is in the
// tables of package iscsitest. Those that hoard memory are in memory_test.go. Death: kill -9 under stamped blocks (verify_test.go),
// and with writes in flight that outlive the target (lastwrites_test.go). Fallbacks (fallback_test.go): every kernel feature missing
// in turn. Hostile surroundings (surroundings_test.go): a full disk, no descriptors, a taken port, a stopped process; output that
// nobody takes (output_test.go).
//
// confine_test.go makes the surroundings: the test program itself becomes the server's, after having taken away what the test
// wants it to lack.
package fault
