// Package scsi executes SCSI commands on block devices. It has not heard of any transport.
//
//	Device (a SCSI target device: name, LUN table)            control plane makes and changes it
//	  LUN 0..n  -> bdev.Desc; a home reactor owns reservations, mode pages, ALUA, write protection
//	Nexus (initiator port, target port) on one reactor         one per session; unit attentions, tasks, a bdev.Channel per LUN
//	Task (a command; embeds bdev.Request)                      pooled by the transport
//
// # A command, as the transport sees it
//
//	n.Prepare(t)   decodes t.CDB for t.LUN: what data moves and how much (t.DataOutLen, t.DataInMax), or that it is refused at once.
//	               The transport then gathers the data-out and provides memory for the data-in.
//	n.Execute(t)   runs it; t.Done is called once, later, on the nexus's reactor, with t.Status, t.Sense, t.DataInLen.
//
// # What a LUN shares
//
// State that all nexuses see (reservations, registrations, mode pages, capacity) is an immutable snapshot behind one atomic pointer, read once
// per command. Commands that change it are forwarded to the LUN's home reactor, which publishes a new snapshot, has every
// reactor with a nexus on the LUN acknowledge it, and answers only then. Fencing (PREEMPT AND ABORT, resets, CLEAR TASK SET, LUN removal) is a barrier
// broadcast by the home reactor: each reactor aborts or drains the tasks of the affected nexuses before it acknowledges, so
// when the fencing command has answered, no write of an affected nexus can reach the device any more.
//
// # Tables
//
// commands.go is THE table: a row per operation code and service action, with its CDB usage bits (REPORT SUPPORTED OPERATION CODES prints them),
// direction, what it needs of reservations, and its function. vpd.go and modepage.go are tables of pages; sense.go maps bdev.Status
// to sense data.
package scsi
