// Package test, with the packages below it, drives the built binary as users and their programs do. The tests of this
// package itself look at the shape of the source: who imports whom.
//
//	target       starts Pollux or a peer as a process and serves LUNs; everything below uses it
//	quickstart   what the README tells a newcomer to do, and what a user sees of the program
//	conformance  libiscsi's iscsi-test-cu, suite by suite, against a list of what is expected
//	interop      libiscsi's programs and qemu-img
//	md           `pollux replicated md` on files and block devices, and against DRBD's own drbdmeta
//	drbdmeta     what drbdmeta prints, for md and vm
//	vm           the Linux kernel's initiator, and its DRBD, in an emulated guest
//	summary      a program: what a person wants of go test -json
//	bench        a program: Pollux, tgt and gotgt in turn
//
// What is missing on a machine (a program, a peer) skips with the reason; make deps installs it as root.
// POLLUX_TEST_TARGETS=tgt runs the tests against a peer that is known to work, which tests the tests.
package test
