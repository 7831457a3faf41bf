// Program bench compares Pollux with its peers in one run, on one machine, with one load generator:
//
//	make bench                                  # all of it, some five minutes
//	go run ./test/bench -targets pollux,tgt -rounds 7 -loads 4k-read-32
//
// The servers are launched once, their LUNs are written once, and then each load visits them in turn, A B C A B C, for a
// number of rounds; the servers whose turn it is not are stopped by SIGSTOP. The server has one core, the generator another.
// The server's processor time comes from the kernel's accounting, and for Pollux from its reactors' busy ticks as well, both
// read while the load is steady. The report is a table in Markdown: medians, with the lowest and highest round.
//
// With -tcmur it compares handlers of bdev/tcmur with aio instead, at the block layer: tcmur.go.
//
// main.go reads the flags and goes round; load.go names the loads; generator.go runs the generator; measure.go is one turn;
// report.go prints.
package main
