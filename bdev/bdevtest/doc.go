// Package bdevtest is the contract of block devices as tests.
//
// Run takes a way to make a device and holds it to what package bdev promises of every device: each operation against a model in
// memory, from two reactors, in an order that a seed decides; bounds; atomic blocks and compare-and-write; range locks; abort,
// reset, resize and removal with I/O outstanding; no allocation per I/O. Every module calls it. What two modules must both do is
// added here.
//
//	env.go     a world of stepped reactors with a registry, clients that submit requests and wait
//	disk.go    Disk, a device that a test holds back, fails and crashes at will; its write cache is lost at Crash
//	run.go     Run and the list of contract tests, which follow in ops.go, random.go, share.go and life.go
package bdevtest
