// Package conformance runs libiscsi's iscsi-test-cu against the built binary, suite by suite, each on a fresh server with a
// fresh LUN, so that a reservation or a crash in one suite cannot spoil another.
//
// expected.txt lists every test that is not a plain pass, with its status and the reason. A result that differs fails, an
// unexpected pass too; so does an entry without a reason. "go test ./test/conformance -update" rewrites the statuses and
// keeps the reasons. The number of plain passes has a floor in the test.
package conformance
