// Package uring is io_uring by system call: the shared-memory rings, the entries, registration and probing. It knows
// nothing of reactors.
//
// A Ring is memory (submission entries, completion entries, heads and tails) and a Kernel that answers it. There are
// three kernels: Linux itself; Soft, which executes the same entries with epoll and a bounded pool of threads where
// io_uring is missing or denied; and the simulated one of package reactortest.
package uring
