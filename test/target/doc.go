// Package target starts a storage target as a user would, as a process with its own portal, RPC socket and folder, and
// serves it LUNs to test. The same test runs against Pollux and against peers that are known to work.
//
// A [Config] says what to serve: nodes, their LUNs, CHAP, digests. [Start] is for tests: it stops the server at the test's
// end, requires exit status 0 of Pollux, and shows the server's log when the test has failed. [Launch] is for programs.
// A [Server] can be stopped by SIGTERM, killed, and restarted on the same portal with the same LUNs (a memory LUN of Pollux
// comes back empty, a file does not).
//
// How the files divide the work: config.go says what is served; server.go and process.go start, stop and restart; a driver
// per kind of server knows its command line and how it is configured (pollux.go, tgt.go, gotgt.go); jsonrpc.go is a client
// of a few lines, on purpose not the project's own, so that one mistake cannot be made on both sides; machine.go finds the
// repository, the binaries, free ports and the cache; testing.go joins all that to package testing.
//
// Nothing waits for a fixed time: the server is asked until it answers, within a named bound.
package target
