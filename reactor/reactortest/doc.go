// Package reactortest runs reactors on the test's own goroutine: a pass happens when the test steps, in an order that the
// test or a seed chooses, under a clock that only the test moves, on a kernel that the test can look into.
//
//	w := reactortest.New(t, 2)
//	w.Reactors[0].Send(&m)
//	w.Run()                  // until nobody has anything to do
//	w.Advance(time.Second)   // timers due on the way run in order
//
//	fd, peer := w.Connect()  // a simulated connection: fd for sock.Conn, peer for the test
//	peer.Write(request)
//	w.Run()
//	reply := peer.Read()
//	w.From(other)            // later connections come from another address
//
// Reactor.Call and Do, Group.Each and whatever else waits step the world until the answer is there; when nothing is left
// to do, the clock goes on to the next timer, and without a timer the wait panics, since it would never end.
//
// # Chance
//
// Without a seed everything happens at once and in order. After World.Seed the order of reactors and completions, delays,
// short reads, short writes and the sizes of what arrives follow from the seed. A failed test prints it, and
// POLLUX_SEED=n runs that one alone where the test ranges over Seeds.
//
// # What the kernel objects to
//
// A descriptor that is closed while something is in flight on it, memory of a send or write that changes in flight, a
// registered buffer that does not hold what an entry says: each fails the test. OpenDescriptors and InFlight say what is left.
//
// # Files
//
// world.go has the reactors and the clock, kernel.go the simulated kernel, socket.go its connections, file.go its files,
// seeds.go the numbers.
package reactortest
