// Package bench is the load generator behind `pollux bench`: a closed loop of reads and writes over iSCSI.
//
//	control plane: Run                           one reactor
//	  dial, READ CAPACITY --------------------->  worker per connection: initiator.Session + depth slots
//	  wait for duration, count or signal            slot: Command, its unit, its buffer; Done -> next
//	  reconnect a worker that lost its connection   histogram, counters, stamps of what was written
//	  last pass of --verify, report
//
// # Units
//
// The span of the LUN is divided into units of one block size, and a worker has every n-th of them. With --verify a unit has at
// most one command in flight, so that its content is known whenever it is read.
//
// # Stamps
//
// Each logical block that --verify writes carries its LBA, a generation, the run and a CRC32C (stamp.go). A unit's
// generation goes up with each write. What was acknowledged must be found; after a connection was lost in the middle of a
// write, each block of the unit may be old or new until it is read, and must not change after that.
//
// # Files
//
// options.go has the flags, run.go the control plane, connect.go how it connects and reconnects, worker.go the loop, unit.go which unit is next and what it should hold, stamp.go the
// blocks, histogram.go latencies, report.go the output.
package bench
