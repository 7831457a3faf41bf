// Package reactor runs the data plane: one goroutine, locked to one thread, on one core, in passes.
//
//	      control plane (goroutines, mutexes, error)
//	 Call, Each, Do |            ^ channels closed by messages
//	                v            |
//	+-------- Reactor 0 --------+   Message   +-------- Reactor 1 --------+
//	| ring  CQEs -> Op.fn       | <---------> | ring                      |
//	| mailbox -> Message.fn     |             | mailbox                   |
//	| timers, pollers           |             | timers, pollers           |
//	| deferred list             |             | deferred list             |
//	| pass end: flush list      |             | pass end                  |
//	| one enter                 |             | one enter                 |
//	+---------------------------+             +---------------------------+
//
// # A pass
//
// Reap completions of the ring, drain the mailbox, run timers that are due, run pollers, drain the deferred list,
// run the flush list, enter the kernel at most once and only if there is something to submit or to fetch. In adaptive
// mode a reactor that found no work for Config.Spin sleeps in the ring until a completion, a message or a timer.
//
// # What may be called where
//
// Methods say "on r" when they belong to the reactor's goroutine. Everything that runs there must not block, lock,
// allocate per I/O, log, or make a system call that can sleep. Send, Call and Do may be called from anywhere
// (Call and Do never from a reactor: they wait).
//
// # Mailbox
//
// A Message is embedded in the object that sends it and is linked into the mailbox itself, so sending allocates
// nothing and a mailbox cannot be full: there are as many places as there are messages. (A ring of pointers has to say
// what happens when it is full; two full mailboxes waiting for one another were the reason to prefer this.)
//
// # The ring and its three kernels
//
// Package uring holds the shared-memory layout. Whoever answers the submission queue is behind one function: the
// kernel's io_uring; a software ring over epoll and a bounded thread pool where io_uring is missing or denied; and
// reactortest's simulated kernel, which lets a test decide every order, every short count and every fault.
//
// # Rules of the loop, and where they are kept
//
// The thread is locked and pinned before the ring is made on it. The call that enters the kernel without waiting does not
// tell the Go scheduler (RawSyscall6); the one that may sleep does (Syscall6). Every path of the loop has a call
// with a stack check, checkpoint, where the runtime can stop the goroutine: a loop without one costs the reactor a fifth of its core
// in signals, and everybody else up to a second of stopped world. All other threads of the process are kept off the reactors'
// cores, unless no core is left for them.
//
// # Files
//
// reactor.go has the pass; mailbox.go, timer.go and poller.go what it runs; op.go the submission and completion of entries;
// sleep.go the loop around passes, spinning, sleeping and waking. group.go starts and stops reactors, affinity_linux.go says where,
// control.go is how goroutines get in. fixed.go registers buffers. stats.go and rpc.go tell what goes on,
// stepped.go is for package reactortest.
package reactor
