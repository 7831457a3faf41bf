// Package scsi executes SCSI commands on block devices. It has not heard of any transport.
//
//	Devices -> Device (a SCSI target device: name, LUN table)    control plane makes and changes it
//	             LUN 0..255 -> bdev.Desc                         a home reactor owns reservations, mode pages, capacity, start and stop
//	             outpost, one per reactor                        the device's nexuses and its paths to LUNs there
//	               path (a LUN on one reactor: a bdev.Channel)
//	               Nexus (initiator port, target port)           one per session; all of a nexus is on one reactor
//	                 unit (a LUN as one nexus sees it)           its tasks in order of arrival, its unit attentions
//	                   Task (a command; embeds bdev.Request)     pooled by the transport
//
// # A command, as the transport sees it
//
//	n.Prepare(t)   finds t.LUN and the row of the table, reports a unit attention, checks reservations, CDB and range: what data
//	               moves and how much (t.DataOutLen, t.DataInMax), or that it is refused at once. The transport then gathers
//	               the data-out and provides memory for the data-in.
//	n.Execute(t)   runs it; t.Finished is called once, later, on the nexus's reactor, with t.Status, t.Sense, t.DataInLen.
//	n.Cancel(t)    forgets a prepared task that will not be executed.
//
// If the initiator expects to move less than the CDB says, reads return what is expected, and WRITE and WRITE AND VERIFY write the whole blocks
// that are expected, with GOOD status; the transport's residual count tells. What makes sense only as a whole is refused.
//
// # What a LUN shares
//
// State that all nexuses see (type state) is an immutable snapshot behind one atomic pointer, read once per command: again when the
// task starts, if the pointer is another one than at Prepare. Commands that change it are forwarded to the LUN's home reactor (change.go), which
// makes one change at a time: it publishes the new snapshot and sends every reactor a notice. There, unit attentions are
// established, tasks that the change fences off are aborted, and the reactor acknowledges when every task that is fenced off, or that the new
// reservations would refuse, has ended. Then the change is answered: no write of theirs can reach the device any more.
//
//   - PREEMPT waits for the tasks of the nexuses it removes; PREEMPT AND ABORT, CLEAR TASK SET and resets abort them first.
//   - ABORT TASK and ABORT TASK SET are about one nexus, so they stay on its reactor.
//   - A task whose data-out is being gathered is only marked; Execute ends it, and it never reaches the device.
//   - A task that is itself at a home reactor is not waited for (it may be this change it waits for). A reactor's messages arrive in
//     order, so when all have acknowledged, what fenced nexuses had sent before is in the home's queue, and is dropped.
//   - Nexus.Close and RemoveLUN end everything of a nexus or a LUN, and return when it has ended.
//   - A block device that does not answer lets none of this end, for what it was given may still be written. So whoever waits has a bound, and
//     hears that it is not done: RemoveLUN by ErrUnanswered, a management function that the transport abandons, by its rejection.
//
// Registrations made with APTPL are written to the LUN's ptpl_file (LUNOptions), by a goroutine, before the snapshot that has them is
// published. Until then the LUN's other changes wait, a reset too; I/O does not.
//
// # Task set
//
// There is one task set per LUN (TST 0). Simple tasks may be reordered at will (QUEUE ALGORITHM MODIFIER 1). Ordered and head of queue tasks
// take their place among the tasks of their nexus; an ordered task then asks the LUN's home reactor for its turn (turn.go), during which
// nothing of other nexuses is under way on any reactor. Simple tasks pay one branch for that.
//
// # Tables
//
// commands.go is THE table's type, with lookup and all checks that come before a handler; its rows are in primary.go, persistent.go and
// block.go: one per operation code and service action, with CDB usage bits (REPORT SUPPORTED OPERATION CODES prints them, Prepare
// refuses all other bits), what reservations allow, what the backing must be able to do, and its functions. What the backing cannot do is not
// offered. vpd.go and modepage.go are tables of pages; sense.go maps bdev.Status to sense data.
//
// # Files
//
// task.go, management.go, device.go and removal.go are what transports see. nexus.go, unit.go and task_state.go are the life of a task;
// attention.go the unit attentions, turn.go the order between nexuses. lun.go and change.go are what is shared; reservation.go is the rules
// of persistent reservations as a pure function, ptpl.go their file. transfer.go, sbc.go and steps.go move blocks: one request, or several.
// inquiry.go tells who a LUN is. rpc.go lists devices.
package scsi
