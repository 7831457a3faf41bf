// Package reactortest runs reactors on the test's own goroutine: a pass happens when the test steps, in an order that the
// test or a seed chooses, under a clock that only the test moves.
//
//	w := reactortest.New(t, 2)
//	w.Reactors[0].Send(&m)
//	w.Run()                  // until nobody has anything to do
//	w.Advance(time.Second)   // timers due on the way run in order
//
// Reactor.Call and Do, Group.Each and whatever else waits step the world until the answer is there; when nothing is left
// to do, the clock goes on to the next timer, and without a timer the wait panics, since it would never end.
package reactortest
